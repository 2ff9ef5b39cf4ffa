//! What a child does to itself before its function begins.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use ipc_core::{DecodeError, EncodeError, Handle, Packet};
use serde::{Deserialize, Serialize};

use crate::start::EnvChange;
use crate::sys::setup;

/// Where one of a child's standard streams leads.
///
/// # Examples
/// ```
/// # mp_process::init();
/// use std::io::Read;
/// use std::os::fd::OwnedFd;
/// use ipc_core::Handle;
/// use mp_process::{Process, Stdio};
///
/// let (mut reader, writer) = std::io::pipe()?;
/// let output = Handle::from(OwnedFd::from(writer));
/// let child = Process::builder().stdout(output).stderr(Stdio::null()).spawn(|()| println!("hello"), ())?;
/// child.join()?;
/// let mut text = String::new();
/// reader.read_to_string(&mut text)?;
/// assert_eq!(text, "hello\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Stdio(Target);

#[derive(Debug, Clone, Default)]
enum Target {
    #[default]
    Inherit,
    Null,
    Handle(Arc<Handle>),
}

impl Stdio {
    /// Where this process's own stream leads.
    #[must_use]
    pub fn inherit() -> Self {
        Self(Target::Inherit)
    }

    /// Nowhere: an empty input, an output that is thrown away.
    #[must_use]
    pub fn null() -> Self {
        Self(Target::Null)
    }
}

/// To a file, a pipe or a socket.
impl From<Handle> for Stdio {
    fn from(handle: Handle) -> Self {
        Self(Target::Handle(Arc::new(handle)))
    }
}

/// What of the system's resources a process may use, for
/// [`Builder::limit`](crate::Builder::limit).
///
/// # Examples
/// ```
/// # mp_process::init();
/// use mp_process::{Process, Resource};
///
/// let open_all = |()| (0..100).map_while(|_| std::fs::File::open("/dev/null").ok()).collect::<Vec<_>>().len();
/// let child = Process::builder().limit(Resource::OpenFiles, 20).spawn(open_all, ())?;
/// assert!(child.join()? < 20);
/// # Ok::<(), mp_process::ProcessError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Resource {
    /// Bytes of address space: allocations beyond it fail.
    Memory,
    /// Seconds of processor time, after which the process is killed (by SIGXCPU on Unix).
    CpuSeconds,
    /// Open files and other handles.
    OpenFiles,
    /// Bytes of a core file; zero for none.
    CoreSize,
    /// Bytes of a file that it writes.
    FileSize,
}

/// Everything but the streams.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// Changes to the environment that the child was born with.
    pub(crate) env: Vec<EnvChange>,
    /// The whole environment, for a child that was born with another one.
    pub(crate) whole_env: Option<Vec<(OsString, OsString)>>,
    pub(crate) directory: Option<OsString>,
    pub(crate) niceness: Option<i32>,
    pub(crate) cpus: Option<Vec<usize>>,
    pub(crate) limits: Vec<(Resource, u64)>,
    pub(crate) own_group: bool,
}

impl Settings {
    /// For a child of the server: what it would have inherited from this process, where
    /// the server has it otherwise.
    pub(crate) fn take_along(&mut self, server: Option<&Surroundings>) {
        let here = Surroundings::of_this_process();
        // A directory that was removed cannot be entered by anybody else.
        if let Some(directory) = &here.directory {
            self.directory = self.directory.as_ref().map(|below| directory.join(below).into_os_string());
        }
        if self.directory.is_none() && server.is_none_or(|server| server.directory != here.directory) {
            self.directory = here.directory.map(PathBuf::into_os_string);
        }
        if server.is_none_or(|server| server.env != here.env) {
            self.whole_env = Some(here.env);
        }
    }

    /// Makes this process so; an error says what could not be done.
    pub(crate) fn apply(&self) -> Result<(), String> {
        if self.whole_env.is_some() || !self.env.is_empty() {
            setup::change_environment(self.whole_env.as_deref(), &self.env);
        }
        if let Some(directory) = &self.directory {
            env::set_current_dir(directory).map_err(|error| {
                format!("the directory {} cannot be entered: {error}", directory.display())
            })?;
        }
        if self.own_group {
            said("leading a process group", setup::lead_group())?;
        }
        if let Some(niceness) = self.niceness {
            said("changing its niceness", setup::set_niceness(niceness))?;
        }
        if let Some(cpus) = &self.cpus {
            said(&format!("binding it to the CPUs {cpus:?}"), setup::bind_to(cpus))?;
        }
        self.limits
            .iter()
            .try_for_each(|(resource, most)| said("limiting its resources", setup::limit(*resource, *most)))
    }
}

/// Where a process finds itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Surroundings {
    env: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
}

impl Surroundings {
    pub(crate) fn of_this_process() -> Self {
        Self { env: env::vars_os().collect(), directory: env::current_dir().ok() }
    }
}

fn said(doing: &str, result: std::io::Result<()>) -> Result<(), String> {
    result.map_err(|error| format!("{doing} failed: {error}"))
}

/// A child's standard input, output and errors.
#[derive(Debug, Clone)]
pub(crate) struct Streams(pub(crate) [Stdio; 3]);

impl Default for Streams {
    fn default() -> Self {
        Self([Stdio::null(), Stdio::inherit(), Stdio::inherit()])
    }
}

/// A stream in the orders.
#[derive(Debug, Serialize, Deserialize)]
enum Wire<H> {
    AsBorn,
    Null,
    Handle(H),
}

impl Streams {
    /// Writes them into the orders. Who reads them has its input from nowhere, and not
    /// from where this process has its own.
    pub(crate) fn append(&self, packet: &mut Packet) -> Result<(), EncodeError> {
        let own_input = match self.0[0].0 {
            Target::Inherit => setup::own_input().ok(),
            _ => None,
        };
        let wire = |number: usize| match (&self.0[number].0, &own_input) {
            (Target::Handle(handle), _) => Wire::Handle(&**handle),
            (Target::Inherit, Some(input)) if number == 0 => Wire::Handle(input),
            (Target::Null, _) if number == 0 => Wire::AsBorn,
            (Target::Inherit, _) => Wire::AsBorn,
            (Target::Null, _) => Wire::Null,
        };
        packet.append(&[wire(0), wire(1), wire(2)])
    }

    /// In a fork, which has them in memory: puts them in place.
    pub(crate) fn apply(&self) -> Result<(), String> {
        for (number, stream) in self.0.iter().enumerate() {
            let result = match &stream.0 {
                Target::Inherit => Ok(()),
                Target::Null => setup::silence_stream(number),
                Target::Handle(handle) => {
                    handle.try_clone().and_then(|handle| setup::replace_stream(number, handle))
                }
            };
            said("replacing a standard stream", result)?;
        }
        Ok(())
    }

    /// In the child: reads them from the orders and puts them in place.
    pub(crate) fn install(packet: &mut Packet) -> Result<(), DecodeError> {
        let wires: [Wire<Handle>; 3] = packet.read()?;
        for (number, wire) in wires.into_iter().enumerate() {
            let result = match wire {
                Wire::AsBorn => Ok(()),
                Wire::Null => setup::silence_stream(number),
                Wire::Handle(handle) => setup::replace_stream(number, handle),
            };
            result.map_err(DecodeError::new::<Stdio>)?;
        }
        Ok(())
    }
}
