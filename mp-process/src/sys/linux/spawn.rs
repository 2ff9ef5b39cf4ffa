//! Starting this program again: `std::process::Command`, which takes the
//! `posix_spawn` path as long as nobody asks for `pre_exec`.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{self, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};

use ipc_core::link::SocketLink;

use super::boot::VARIABLE;
use super::end::Child;

/// The running program, whatever has become of its file since it was started.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// How a child is started.
#[derive(Debug, Default, Clone)]
pub(crate) struct Command {
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) depth: u32,
}

/// A child just started, and the parent's end of its orders' socket.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) child: Child,
    pub(crate) link: SocketLink,
}

pub(crate) fn spawn(command: Command) -> io::Result<Spawned> {
    let (answer, answered) = channel();
    with_spawner(move || {
        // A caller that has gone away drops the child's socket, and the child ends.
        let _ = answer.send(start(&command));
    })?;
    answered.recv().map_err(|_| io::Error::other("the thread that starts processes has ended"))?
}

fn start(command: &Command) -> io::Result<Spawned> {
    let (ours, theirs) = SocketLink::pair()?;
    let mut arguments = env::args_os();
    let mut program = process::Command::new(THIS_PROGRAM);
    if let Some(name) = arguments.next() {
        program.arg0(name);
    }
    let child = program
        .args(arguments)
        .envs(command.env.iter().map(|(key, value)| (key, value)))
        .env(VARIABLE, format!("{}:{}", process::id(), command.depth))
        .stdin(Stdio::from(OwnedFd::from(theirs.into_handle()?)))
        .spawn()?;
    Ok(Spawned { child: Child::open(child.id())?, link: ours })
}

type Job = Box<dyn FnOnce() + Send>;

/// Runs `job` on the one thread that starts processes.
///
/// A child dies when the thread that started it ends (`PR_SET_PDEATHSIG` follows
/// the thread, not its process), so that thread must never end: not before the
/// whole process does.
fn with_spawner(job: impl FnOnce() + Send + 'static) -> io::Result<()> {
    static SPAWNER: OnceLock<Mutex<Option<Sender<Job>>>> = OnceLock::new();
    let mut spawner = SPAWNER.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if spawner.is_none() {
        *spawner = Some(start_spawner()?);
    }
    let sent = spawner.as_ref().map(|jobs| jobs.send(Box::new(job)));
    if let Some(Ok(())) = sent {
        Ok(())
    } else {
        Err(io::Error::other("the thread that starts processes has ended"))
    }
}

fn start_spawner() -> io::Result<Sender<Job>> {
    let (jobs, queue) = channel::<Job>();
    std::thread::Builder::new().name("mp-spawner".into()).stack_size(256 << 10).spawn(move || {
        for job in queue {
            job();
        }
    })?;
    Ok(jobs)
}
