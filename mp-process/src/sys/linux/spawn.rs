//! Starting this program again: `std::process::Command`, which takes the
//! `posix_spawn` path as long as nobody asks for `pre_exec`.

use std::env;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{self, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ipc_core::link::SocketLink;

use super::boot::{self, VARIABLE};
use super::end;
use super::signals;
use super::start::Born;
use crate::per_process::PerProcess;
use crate::start::Launch;

/// The running program, whatever has become of its file since it was started.
const THIS_PROGRAM: &str = "/proc/self/exe";

pub(crate) fn spawn(launch: &Launch, link: SocketLink) -> io::Result<Born> {
    let (answer, answered) = channel();
    let launch = launch.clone();
    with_spawner(move || {
        // A caller that has gone away drops the child's socket, and the child ends.
        let _ = answer.send(start(&launch, link));
    })?;
    answered.recv().map_err(|_| io::Error::other("the thread that starts processes has ended"))?
}

fn start(launch: &Launch, link: SocketLink) -> io::Result<Born> {
    let _busy = keep_forks_out();
    let mut arguments = env::args_os();
    let mut program = process::Command::new(launch.program.as_deref().unwrap_or(THIS_PROGRAM.as_ref()));
    if let Some(name) = arguments.next() {
        program.arg0(name);
    }
    match &launch.args {
        Some(args) => program.args(args),
        None => program.args(arguments),
    };
    for (key, value) in &launch.env {
        match value {
            Some(value) => program.env(key, value),
            None => program.env_remove(key),
        };
    }
    let socket = link.into_handle()?;
    program.env(VARIABLE, boot::summons_for(&socket)?).stdin(Stdio::from(OwnedFd::from(socket)));
    let mut child = signals::unblocked(|| program.spawn()).map_err(|error| explain(launch, error))?;
    match end::open(child.id()) {
        Ok(end) => Ok(Born { pid: child.id(), end, relay: None }),
        Err(error) => {
            // Nobody could wait for it, and it has its orders.
            let _ = child.kill();
            let _ = child.wait();
            Err(error)
        }
    }
}

/// Names what is missing where the kernel only says that something is.
fn explain(launch: &Launch, error: io::Error) -> io::Error {
    if launch.program.is_some() || error.kind() != io::ErrorKind::NotFound {
        return error;
    }
    let text = format!(
        "{THIS_PROGRAM} cannot be executed, by which a program starts itself again: is /proc mounted?"
    );
    io::Error::new(error.kind(), text)
}

/// Held while the spawner works: a fork in between would copy half-done work.
pub(super) fn keep_forks_out() -> MutexGuard<'static, ()> {
    static GATE: Mutex<()> = Mutex::new(());
    GATE.lock().unwrap_or_else(PoisonError::into_inner)
}

type Job = Box<dyn FnOnce() + Send>;

/// Runs `job` on the one thread that starts processes.
///
/// A child dies when the thread that started it ends (`PR_SET_PDEATHSIG` follows
/// the thread, not its process), so that thread must never end: not before the
/// whole process does.
fn with_spawner(job: impl FnOnce() + Send + 'static) -> io::Result<()> {
    static SPAWNER: PerProcess<Option<Sender<Job>>> = PerProcess::new();
    let sent = SPAWNER.with(|spawner| {
        if spawner.is_none() {
            *spawner = Some(start_spawner()?);
        }
        Ok::<_, io::Error>(spawner.as_ref().map(|jobs| jobs.send(Box::new(job))))
    })?;
    if let Some(Ok(())) = sent {
        Ok(())
    } else {
        Err(io::Error::other("the thread that starts processes has ended"))
    }
}

fn start_spawner() -> io::Result<Sender<Job>> {
    let (jobs, queue) = channel::<Job>();
    signals::blocked(|| {
        std::thread::Builder::new().name("mp-spawner".into()).stack_size(256 << 10).spawn(move || {
            for job in queue {
                job();
            }
        })
    })?;
    Ok(jobs)
}
