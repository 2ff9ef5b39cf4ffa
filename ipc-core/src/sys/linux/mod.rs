//! Linux: memfd, futex, pidfd, Unix sockets, `poll` and `epoll`.

pub(crate) mod companion;
pub(crate) mod cpu;
pub(crate) mod futex;
pub(crate) mod handle;
pub(crate) mod identity;
pub(crate) mod memory;
#[cfg(feature = "named")]
pub(crate) mod named;
pub(crate) mod names;
pub(crate) mod poll;
pub(crate) mod post;
pub(crate) mod process;
mod quiet;
#[cfg(feature = "async")]
pub(crate) mod reactor;
pub(crate) mod robust;
pub(crate) mod set;
pub(crate) mod socket;
mod socket_file;
pub(crate) mod stream;

pub use handle::Handle;

use std::io;
use std::time::{Duration, Instant};

use rustix::time::Timespec;

/// Runs a system call again until no signal interrupts it.
pub(crate) fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

/// The time left until `deadline` as the kernel wants it; `None` waits for ever.
pub(crate) fn remaining(deadline: Option<Instant>) -> Option<Timespec> {
    let left = deadline?.saturating_duration_since(Instant::now());
    Some(timespec(left))
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
