//! Senders and receivers that are killed at random moments.

use std::time::{Duration, Instant};

use ipc_core::{Handle, Receiver, RecvError, SendError, Sender, pipe};
use serde::{Deserialize, Serialize};

use crate::child::{Job, Worker};

/// A message that shows whether it is whole.
#[derive(Serialize, Deserialize)]
pub(crate) struct Numbered {
    number: u64,
    bytes: Vec<u8>,
    handle: Option<Handle>,
}

impl Numbered {
    fn new(number: u64) -> Self {
        let null = || std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null").unwrap()).into();
        let handle = number.is_multiple_of(5).then(null);
        Self { number, bytes: vec![number as u8; Self::len(number)], handle }
    }

    /// Mostly small, at times in parts, once in a while larger than the ring.
    fn len(number: u64) -> usize {
        match number % 50 {
            49 => 500_000,
            20 => 70_000,
            rest => rest as usize * 31,
        }
    }

    fn check(&self, number: u64) {
        assert_eq!(self.number, number, "out of order");
        assert_eq!(self.bytes.len(), Self::len(number), "torn");
        assert!(self.bytes.iter().all(|byte| *byte == number as u8), "torn");
        assert_eq!(self.handle.is_some(), number.is_multiple_of(5), "a handle too many or too few");
    }
}

pub(crate) fn at_random() {
    let begun = Instant::now();
    let mut kills = 0u64;
    let goes_on = |kills| match crate::soak() {
        Some(time) => begun.elapsed() < time,
        None => kills < 300,
    };
    while goes_on(kills) {
        // Spread from before the first message to some thousands of them.
        let delay = Duration::from_micros(kills.wrapping_mul(7_919) % 6_000);
        if kills.is_multiple_of(2) {
            kill_sender(delay)
        } else {
            kill_receiver(delay)
        }
        kills += 1;
    }
    println!("          {kills} kills");
}

fn kill_sender(delay: Duration) {
    let (tx, rx) = pipe().unwrap();
    let mut worker = Worker::start(&Job::Talk(tx));
    let killer = std::thread::spawn(move || {
        std::thread::sleep(delay);
        worker.kill();
    });
    for number in 0.. {
        match rx.recv() {
            Ok(message) => Numbered::check(&message, number),
            Err(RecvError::Closed) => break,
            Err(RecvError::Cut) => assert!(matches!(rx.recv(), Err(RecvError::Closed))),
            Err(error) => panic!("{error}"),
        }
    }
    killer.join().unwrap();
}

fn kill_receiver(delay: Duration) {
    let (tx, rx) = pipe().unwrap();
    let (progress, seen) = pipe::<u64>().unwrap();
    let mut worker = Worker::start(&Job::Listen(rx, progress));
    let killer = std::thread::spawn(move || {
        std::thread::sleep(delay);
        worker.kill();
    });
    let mut sent = 0;
    for number in 0.. {
        match tx.send(&Numbered::new(number)) {
            Ok(()) => sent = number + 1,
            Err(SendError::Closed) => break,
            Err(error) => panic!("{error}"),
        }
    }
    killer.join().unwrap();
    for number in seen.iter().map(Result::unwrap) {
        assert!(number <= sent, "it received what was never sent, or not as it was sent");
    }
}

pub(crate) fn talk(tx: &Sender<Numbered>) {
    for number in 0.. {
        if tx.send(&Numbered::new(number)).is_err() {
            return;
        }
    }
}

pub(crate) fn listen(rx: &Receiver<Numbered>, progress: &Sender<u64>) {
    for number in 0.. {
        let Ok(message) = rx.recv() else { return };
        // A message that is not whole is told as one that nobody can have sent.
        let is_whole = std::panic::catch_unwind(|| message.check(number)).is_ok();
        let _ = progress.try_send(if is_whole { &number } else { &u64::MAX });
    }
}
