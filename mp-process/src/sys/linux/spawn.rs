//! Starting this program again.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ipc_core::Handle;
use ipc_core::link::SocketLink;
use ipc_core::raw::{self, start_thread};
use rustix::process::getpid;
use rustix::thread::gettid;

use super::boot::{self, VARIABLE};
use super::execute::Program;
use super::signals;
use super::start::Born;
use crate::per_process::PerProcess;
use crate::start::Launch;

/// The running program, whatever has become of its file since it was started.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// Starts the program from a thread that lives as long as this process: a child dies
/// with the *thread* that has started it, as that is what `PR_SET_PDEATHSIG` follows.
pub(crate) fn spawn(launch: &Launch, link: SocketLink) -> io::Result<Born> {
    let (program, socket) = (program(launch, &link)?, link.into_handle());
    if gettid() == getpid() {
        // When the main thread ends, so does the process.
        return start(&program, &socket).map_err(|error| explain(launch, error));
    }
    let (answer, answered) = channel();
    with_spawner(move || {
        // A caller that has gone away drops the child's socket, and the child ends.
        let _ = answer.send(start(&program, &socket));
    })?;
    let result =
        answered.recv().map_err(|_| io::Error::other("the thread that starts processes has ended"))?;
    result.map_err(|error| explain(launch, error))
}

fn start(program: &Program, socket: &Handle) -> io::Result<Born> {
    let _busy = keep_forks_out();
    let (pid, end) = program.execute(socket)?;
    Ok(Born { pid, end: Some(end), relay: None, told: None })
}

fn program(launch: &Launch, link: &SocketLink) -> io::Result<Program> {
    let mut own = env::args_os();
    let name = own.next().into_iter();
    let path = launch.program.clone().unwrap_or_else(|| THIS_PROGRAM.into());
    let mut program = match &launch.args {
        Some(args) => Program::new(path)?.arguments(name.chain(args.iter().cloned())),
        None => Program::new(path)?.arguments(name.chain(own)),
    }?;
    // It comes first, so that one set by a stranger does not count.
    program.variable(VARIABLE.into(), boot::summons_for(link.handle())?.into())?;
    if launch.env.is_empty() {
        env::vars_os().try_for_each(|(key, value)| program.variable(key, value))?;
    } else {
        changed(&launch.env).into_iter().try_for_each(|(key, value)| program.variable(key, value))?;
    }
    Ok(program)
}

fn changed(changes: &[(OsString, Option<OsString>)]) -> BTreeMap<OsString, OsString> {
    let mut all: BTreeMap<_, _> = env::vars_os().collect();
    for (key, value) in changes {
        match value {
            Some(value) => all.insert(key.clone(), value.clone()),
            None => all.remove(key),
        };
    }
    all
}

/// Names what is missing where the kernel only says that something is.
fn explain(launch: &Launch, error: io::Error) -> io::Error {
    if let Some(program) = &launch.program {
        let text = format!("{} cannot be executed, which `executable` names: {error}", program.display());
        return io::Error::new(error.kind(), text);
    }
    if error.kind() != io::ErrorKind::NotFound {
        return error;
    }
    let text = format!(
        "{THIS_PROGRAM} cannot be executed, by which a program starts itself again: is /proc mounted?"
    );
    io::Error::new(error.kind(), text)
}

/// Held while the spawner works: a fork in between would copy half-done work.
pub(super) fn keep_forks_out() -> MutexGuard<'static, ()> {
    static GATE: raw::PerProcess<Mutex<()>> = raw::PerProcess::new(Mutex::new(()), |_| Mutex::new(()));
    GATE.here().lock().unwrap_or_else(PoisonError::into_inner)
}

type Job = Box<dyn FnOnce() + Send>;

/// Runs `job` on the one thread that starts processes where the main thread does not. It
/// must never end: not before the whole process does.
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
    let thread = std::thread::Builder::new().name("mp-spawner".into()).stack_size(256 << 10);
    signals::blocked(|| {
        start_thread(thread, move || {
            for job in queue {
                job();
            }
        })
    })?;
    Ok(jobs)
}
