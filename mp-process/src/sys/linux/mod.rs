//! Linux: `clone` and `execve`, `fork`, pidfds, `dl_iterate_phdr`.

pub(crate) mod before_main;
pub(crate) mod boot;
pub(crate) mod end;
mod execute;
mod fork;
pub(crate) mod image;
pub(crate) mod janitor;
pub(crate) mod leave;
#[cfg(feature = "log")]
pub(crate) mod logs;
pub(crate) mod memory;
pub(crate) mod overflow;
mod reap;
mod server;
pub(crate) mod setup;
mod signals;
mod spawn;
pub(crate) mod spill;
pub(crate) mod start;
pub(crate) mod usage;
mod watch;
