//! What a wait costs when most of what is watched is idle: by `wait`, and by a `WaitSet`.
//!
//! `cargo run --release -p ipc-core --example many`. Each turn sends one message over a
//! link, waits for it among many idle handles, and receives it.

use std::error::Error;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc_core::link::{PipeLink, RingLink, RingOptions};
use ipc_core::{Handle, Receiver, Sender, WaitSet, Waitable, wait};

type Ends = (Sender<u64>, Arc<Receiver<u64>>);

/// How long one figure is measured.
const TIME: Duration = Duration::from_millis(300);

fn main() -> Result<(), Box<dyn Error>> {
    let (pipe_tx, pipe_rx) = PipeLink::pair()?;
    let (ring_tx, ring_rx) = RingLink::pipe(RingOptions::default())?;
    let pipe = (Sender::over(pipe_tx), Arc::new(Receiver::over(pipe_rx)));
    let ring = (Sender::over(ring_tx), Arc::new(Receiver::over(ring_rx)));
    // Somebody who never says anything.
    let (quiet, _silent) = std::io::pipe()?;
    let quiet = Handle::from(OwnedFd::from(quiet));
    println!("{:>7}  {:>11} {:>11}  {:>11} {:>11}", "idle", "pipe, wait", "WaitSet", "ring, wait", "WaitSet");
    for count in [10, 1_000, 10_000] {
        let idle: Vec<Arc<Handle>> =
            (0..count).map(|_| quiet.try_clone().map(Arc::new)).collect::<Result<_, _>>()?;
        let [one, two] = [&pipe, &ring].map(|ends| row(ends, &idle));
        let ((all, kept), (all_of_ring, kept_of_ring)) = (one?, two?);
        println!("{count:>7}  {all:>11.2?} {kept:>11.2?}  {all_of_ring:>11.2?} {kept_of_ring:>11.2?}");
    }
    Ok(())
}

/// What a turn costs, with everything named to each wait, and with a set.
fn row(ends: &Ends, idle: &[Arc<Handle>]) -> Result<(Duration, Duration), Box<dyn Error>> {
    let mut items: Vec<&dyn Waitable> = vec![&*ends.1];
    items.extend(idle.iter().map(|handle| &**handle as &dyn Waitable));
    let all = measure(ends, || Ok(wait(&items, None)?[0] as u64))?;
    let set = WaitSet::new()?;
    set.add(0, Arc::clone(&ends.1))?;
    for (key, handle) in (1..).zip(idle) {
        set.add(key, Arc::clone(handle))?;
    }
    Ok((all, measure(ends, || Ok(set.wait(None)?[0]))?))
}

fn measure(
    (tx, rx): &Ends,
    wait: impl Fn() -> Result<u64, Box<dyn Error>>,
) -> Result<Duration, Box<dyn Error>> {
    let (begun, mut turns) = (Instant::now(), 0);
    while begun.elapsed() < TIME {
        tx.send(&1)?;
        assert_eq!(wait()?, 0);
        rx.recv()?;
        turns += 1;
    }
    Ok(begun.elapsed() / turns)
}
