//! What this crate asks of an operating system, and nothing else names one.
//!
//! A platform supplies a folder beside `linux/` with these items:
//!
//! | item | what it is |
//! |---|---|
//! | `image::{Image, Image::current}` | this program in memory: its identity, the offset of a function, the function at an offset |
//! | `start::{AVAILABLE, Born, Told, spawn, Server, discard, tend, fork, threads_of_the_program}` | make a process at the other end of a link, and collect what dead servers of them leave behind |
//! | `end::{Request, of_process, collect, signal, kill_tree}` | know how a process ended, and bring its end about |
//! | `before_main` | the macro `__before_main!`: have a function run before `main` |
//! | `boot::{summons, stand_in_for_std, set_process_name}` | in a child: take the link, tie its life to its owner, keep Ctrl-C out |
//! | `setup` | in a child: environment, streams, limits; `setup::{abandon, Place}`, by which a fork lets go of its parent's link and its siblings' |
//! | `overflow::{prepare, report_with}` | in a child: say that the stack overflowed before dying of it |
//! | `spill::{store, load}` | put bytes where a handle leads to them |
//! | `janitor::{Notes, begin}` | a process that outlives this one, and the notes it takes |
//! | `memory::kills` | how often the system has killed a process for want of memory |
//! | `usage::{resident, resident_of, own_peak}` | how much memory a process has resident, if that can be told, and the most that this one has had |
//! | `logs::{pair, send, recv, start_thread}` | bounded messages from many processes to one (feature `log`) |
//! | `leave::{at_exit, now}` | run something when `main` has returned, and end the process |

#[cfg(all(target_os = "linux", not(force_unsupported)))]
mod linux;
#[cfg(all(target_os = "linux", not(force_unsupported), feature = "log"))]
pub(crate) use linux::logs;
#[cfg(all(target_os = "linux", not(force_unsupported)))]
pub(crate) use linux::{boot, end, image, janitor, leave, memory, overflow, setup, spill, start, usage};

#[cfg(any(not(target_os = "linux"), force_unsupported))]
mod unsupported;
#[cfg(all(any(not(target_os = "linux"), force_unsupported), feature = "log"))]
pub(crate) use unsupported::logs;
#[cfg(any(not(target_os = "linux"), force_unsupported))]
pub(crate) use unsupported::{
    boot, end, image, janitor, leave, memory, overflow, setup, spill, start, usage,
};
