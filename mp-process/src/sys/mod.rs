//! What this crate asks of an operating system, and nothing else names one.
//!
//! A platform supplies a folder beside `linux/` with these items:
//!
//! | item | what it is |
//! |---|---|
//! | `image::{Image, Image::current}` | this program in memory: its identity, the offset of a function, the function at an offset |
//! | `spawn::{Command, Spawned, spawn}` | start this program again with a socket for its orders |
//! | `end::{Child, signal…}` | know a child's end without polling, and bring it about |
//! | `before_main` | the macro `__before_main!`: have a function run before `main` |
//! | `boot::{summons, …}` | in a child: take the socket, tie its life to its owner, keep Ctrl-C out |
//! | `overflow::report_with` | in a child: say that the stack overflowed before dying of it |
//! | `spill::{store, load}` | put bytes where a handle leads to them |
//! | `leave::at_exit` | run something when `main` has returned |

#[cfg(all(target_os = "linux", not(force_unsupported)))]
mod linux;
#[cfg(all(target_os = "linux", not(force_unsupported)))]
pub(crate) use linux::{boot, end, image, leave, overflow, spawn, spill};

#[cfg(any(not(target_os = "linux"), force_unsupported))]
mod unsupported;
#[cfg(any(not(target_os = "linux"), force_unsupported))]
pub(crate) use unsupported::{boot, end, image, leave, overflow, spawn, spill};
