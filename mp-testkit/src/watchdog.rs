//! A guard that turns a hang into a report.
//!
//! The report is for whoever finds it in a log: for this process and every one below it the
//! name, the state, what each thread waits for in the kernel, and a backtrace where gdb is
//! installed. Then the tree is killed, because a hung tree would keep the next suite from its
//! processors and names.

use std::env;
use std::process;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::sys::{autopsy, exit, signal, tag};

/// The exit code of a process that its watchdog ended, as that of `timeout(1)`.
pub const EXIT_CODE: i32 = 124;

/// Ends this process, with a report, unless it is dropped in time.
///
/// It is a thread: a trial that must be alone in its process cannot run under it.
#[derive(Debug)]
#[must_use = "a watchdog that is dropped watches nothing"]
pub struct Watchdog {
    disarm: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    owner: u32,
}

impl Watchdog {
    /// Watches from now on, for `limit` or for the seconds that `MP_TESTKIT_TIMEOUT` names.
    ///
    /// # Panics
    ///
    /// When no thread can be started.
    pub fn arm(name: &str, limit: Duration) -> Watchdog {
        let limit = limit_from_environment().unwrap_or(limit);
        let name = name.to_owned();
        let (disarm, disarmed) = mpsc::channel();
        let watch = move || {
            if disarmed.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                fire(&name, limit);
            }
        };
        let thread = thread::Builder::new().name("watchdog".to_owned()).spawn(watch);
        Watchdog {
            disarm: Some(disarm),
            thread: Some(thread.expect("a thread for the watchdog")),
            owner: process::id(),
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.disarm.take());
        // A forked child has a copy of the guard but not the thread: joining would never end.
        if let Some(thread) = self.thread.take().filter(|_| self.owner == process::id()) {
            let _ = thread.join();
        }
    }
}

fn limit_from_environment() -> Option<Duration> {
    let seconds = env::var("MP_TESTKIT_TIMEOUT").ok()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

fn fire(name: &str, limit: Duration) -> ! {
    let family = tag::family(process::id());
    autopsy::say(&format!("\nwatchdog: `{name}` was not done after {limit:?}\n"));
    autopsy::report(&family);
    kill_the_others();
    autopsy::say(&format!("watchdog: `{name}` ended with exit code {EXIT_CODE}\n"));
    // Exit handlers may wait for the very thing that hangs.
    exit::at_once(EXIT_CODE)
}

/// Kills more than once: what is killed may be replaced by a thread that still runs.
fn kill_the_others() {
    for _ in 0..3 {
        let family = tag::family(process::id());
        for member in family.iter().filter(|member| member.pid != process::id()) {
            let _ = signal::kill(member.pid);
        }
    }
}
