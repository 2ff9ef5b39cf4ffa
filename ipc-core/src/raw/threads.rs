//! Threads of the library's own, and whether one is about to begin.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{Builder, JoinHandle};

use super::PerProcess;

/// How many threads have been started that have not taken their names.
static NAMELESS: PerProcess<AtomicU32> = PerProcess::new(AtomicU32::new(0), |_| AtomicU32::new(0));

/// One of them; also one that could not be started.
struct Nameless(&'static AtomicU32);

impl Drop for Nameless {
    fn drop(&mut self) {
        // ORDERING: whoever sees that it counts no more finds its name.
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// Starts a thread that runs nothing of the program's. Until it has taken the name that `builder`
/// gives it, [`threads_are_starting`] holds: it is called as its maker so long.
///
/// # Errors
/// As [`Builder::spawn`].
pub fn start_thread<R: Send + 'static>(
    builder: Builder,
    run: impl FnOnce() -> R + Send + 'static,
) -> io::Result<JoinHandle<R>> {
    let count = NAMELESS.here();
    count.fetch_add(1, Ordering::Relaxed);
    let nameless = Nameless(count);
    builder.spawn(move || {
        // The standard library has set the name.
        drop(nameless);
        run()
    })
}

/// Whether a thread that [`start_thread`] has started here has not taken its name.
#[must_use]
pub fn threads_are_starting() -> bool {
    NAMELESS.here().load(Ordering::Acquire) > 0
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// Other tests of this program start threads too.
    fn comes_to_rest() -> bool {
        let until = Instant::now() + Duration::from_secs(20);
        while threads_are_starting() {
            if Instant::now() > until {
                return false;
            }
            std::thread::yield_now();
        }
        true
    }

    #[test]
    fn a_thread_that_runs_is_not_about_to_begin() {
        let (tell, told) = std::sync::mpsc::channel::<()>();
        let thread = start_thread(Builder::new(), move || told.recv().is_err()).unwrap();
        assert!(comes_to_rest());
        drop(tell);
        assert!(thread.join().unwrap());
    }

    #[test]
    fn one_that_could_not_be_started_is_not_waited_for() {
        assert!(start_thread(Builder::new().stack_size(usize::MAX / 4), || ()).is_err());
        assert!(comes_to_rest());
    }
}
