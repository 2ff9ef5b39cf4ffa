//! Peers that write what they like into a ring.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc_core::{Receiver, RecvError, SendError, WaitSet, pipe, wait};

use crate::child::{Job, Worker};

/// A message longer than all that anybody sent was made up.
const LONGEST: usize = 64 << 20;
const STEP: Duration = Duration::from_millis(5);

fn time() -> Duration {
    crate::soak().unwrap_or(Duration::from_secs(2))
}

pub(crate) fn sender() {
    let end = Instant::now() + time();
    let mut seed = 1;
    while Instant::now() < end {
        seed += 1;
        let (tx, rx) = pipe().unwrap();
        let mut worker = Worker::start(&Job::ScribbleAsSender(tx, seed));
        let until = Instant::now() + Duration::from_millis(300);
        let (rx, set) = (Arc::new(rx), WaitSet::new().unwrap());
        set.add(0, Arc::clone(&rx)).unwrap();
        while Instant::now() < until && receive(&rx, &set) {}
        worker.kill();
    }
}

/// Does what a receiver may do; `false` once the link is given up.
fn receive(rx: &Receiver<Vec<u8>>, set: &WaitSet) -> bool {
    let begun = Instant::now();
    let _ = wait(&[rx], Some(STEP)).unwrap();
    let _ = set.wait(Some(STEP)).unwrap();
    let _ = rx.try_recv_bytes_into(&mut [0; 10]);
    let _ = rx.poll(STEP);
    let result = rx.recv_timeout(STEP);
    assert!(begun.elapsed() < Duration::from_secs(30), "it was kept past its deadline");
    match result {
        Ok(value) => assert!(value.len() < LONGEST),
        Err(RecvError::Timeout | RecvError::Decode(_) | RecvError::Io(_)) => {}
        Err(_) => return false,
    }
    true
}

pub(crate) fn receiver() {
    let end = Instant::now() + time();
    let mut seed = 1;
    while Instant::now() < end {
        seed += 1;
        let (tx, rx) = pipe::<Vec<u8>>().unwrap();
        let mut worker = Worker::start(&Job::ScribbleAsReceiver(rx, seed));
        let until = Instant::now() + Duration::from_millis(300);
        let mut size = 1;
        while Instant::now() < until {
            let begun = Instant::now();
            size = size * 5 % 100_003;
            let result = tx.send_timeout(&vec![1; size], STEP);
            assert!(begun.elapsed() < Duration::from_secs(30), "it was kept past its deadline");
            if matches!(result, Err(SendError::Closed)) {
                break;
            }
        }
        worker.kill();
    }
}
