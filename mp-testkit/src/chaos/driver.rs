//! Drivers that kill.

use std::process;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{Rng, descendants};
use crate::sys::signal;

/// Kills one of `pids`, chosen by `rng`, and returns it; `None` when none was killed.
///
/// Only a process below this one is killed: an id that was given up and taken by a stranger is
/// left alone.
pub fn kill_at_random(pids: &[u32], rng: &mut Rng) -> Option<u32> {
    let pid = *rng.pick(pids)?;
    signal::kill_if(pid, || is_ours(pid)).ok().filter(|killed| *killed).map(|_| pid)
}

/// A thread that goes on killing until it is told to finish.
///
/// ```ignore
/// let pool = Arc::clone(&shared_pool);
/// let chaos = Chaos::start(rng, Duration::from_millis(50), move || pool.pids());
/// // … work …
/// let killed = chaos.finish();
/// ```
#[derive(Debug)]
#[must_use = "the killing ends when this is dropped"]
pub struct Chaos {
    finish: Option<Sender<()>>,
    thread: Option<JoinHandle<Vec<u32>>>,
}

impl Chaos {
    /// Kills one of `victims()`, pauses for up to `pause`, and begins again.
    pub fn start(
        mut rng: Rng,
        pause: Duration,
        mut victims: impl FnMut() -> Vec<u32> + Send + 'static,
    ) -> Chaos {
        let (finish, finished) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut killed = Vec::new();
            while finished.recv_timeout(rng.pause(pause)) == Err(RecvTimeoutError::Timeout) {
                killed.extend(kill_at_random(&victims(), &mut rng));
            }
            killed
        });
        Chaos { finish: Some(finish), thread: Some(thread) }
    }

    /// Ends the killing, and returns whom it killed, in order.
    ///
    /// # Panics
    ///
    /// When `victims` panicked.
    pub fn finish(mut self) -> Vec<u32> {
        drop(self.finish.take());
        let thread = self.thread.take().expect("finished only once");
        thread.join().expect("the choice of victims does not panic")
    }
}

impl Drop for Chaos {
    fn drop(&mut self) {
        drop(self.finish.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn is_ours(pid: u32) -> bool {
    let mut below = descendants(process::id()).into_iter();
    below.any(|process| process.pid == pid && !process.is_zombie())
}
