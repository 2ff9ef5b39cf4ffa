//! How a process is to be started.
//!
//! # Safety
//! The closure of a fork is taken once in the child, whose copy it is, and once in the parent.

#![allow(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::mem::{ManuallyDrop, needs_drop};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ipc_core::link::Outgoing;
use ipc_core::raw::hand_over;
use ipc_core::{Message, Packet};

use crate::boot::{self, Birth};
use crate::child::Child;
use crate::error::{Kind, ProcessError};
use crate::exit;
use crate::family::{CurrentProcess, ParentProcess, current_process};
use crate::fork_server::ForkServer;
use crate::function::{FOREIGN_CODE, Function};
use crate::init;
use crate::memory;
use crate::per_process::PerProcess;
use crate::process::Process;
use crate::settings::{Resource, Settings, Stdio, Streams};
use crate::start::{self, Launch, StartMethod, Started};
use crate::sys::usage;

/// Sets how a process is started and what becomes of it; made by
/// [`Process::builder`].
///
/// # Examples
/// ```
/// # mp_process::init();
/// use mp_process::{Process, current_process};
///
/// let child = Process::builder()
///     .name("reader")
///     .env("LEVEL", "3")
///     .spawn(|()| (current_process().name().to_owned(), std::env::var("LEVEL").ok()), ())?;
/// assert_eq!(child.join()?, ("reader".to_owned(), Some("3".to_owned())));
/// # Ok::<(), mp_process::ProcessError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Builder {
    name: Option<String>,
    launch: Launch,
    settings: Settings,
    streams: Streams,
    kill_on_drop: bool,
    grace_at_exit: Duration,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            name: None,
            launch: Launch::default(),
            settings: Settings::default(),
            streams: Streams::default(),
            kill_on_drop: false,
            grace_at_exit: exit::DEFAULT_GRACE,
        }
    }

    /// How the process comes into being: [`StartMethod::Spawn`] unless set.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use mp_process::{Process, StartMethod};
    ///
    /// let child = Process::builder().start_method(StartMethod::ForkServer).spawn(|x: u32| x + 1, 1)?;
    /// assert_eq!(child.join()?, 2);
    /// # Ok::<(), mp_process::ProcessError>(())
    /// ```
    #[must_use]
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.launch.method = method;
        self
    }

    /// Has the process forked by this server, as [`StartMethod::ForkServer`] has it by the
    /// plain one.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use mp_process::{ForkServer, Process};
    ///
    /// let server = ForkServer::start(|()| println!("once, in the server"), ())?;
    /// let child = Process::builder().fork_server(&server).spawn(|x: u32| x + 1, 1)?;
    /// assert_eq!(child.join()?, 2);
    /// # Ok::<(), mp_process::ProcessError>(())
    /// ```
    #[must_use]
    pub fn fork_server(mut self, server: &ForkServer) -> Self {
        self.launch.method = StartMethod::ForkServer;
        self.launch.server = Some(server.clone());
        self
    }

    /// The process's name, for [`current_process`] and tools. `Process-1`, `Process-2`
    /// and so on unless set; those of a child are `Process-1:1` and so on.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use mp_process::{Process, current_process};
    ///
    /// let child = Process::builder().name("reader").spawn(|()| current_process().name().to_owned(), ())?;
    /// assert_eq!(child.join()?, "reader");
    /// # Ok::<(), mp_process::ProcessError>(())
    /// ```
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets a variable of the child's environment, which is otherwise this process's. A name
    /// that is empty or has a `=` in it makes the start an error.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// let child = mp_process::Process::builder().env("LEVEL", "3").spawn(|()| std::env::var("LEVEL").ok(), ())?;
    /// assert_eq!(child.join()?.as_deref(), Some("3"));
    /// # Ok::<(), mp_process::ProcessError>(())
    /// ```
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.launch.env.push((key.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    /// Leaves a variable out of the child's environment.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// let child = mp_process::Process::builder().env_remove("PATH").spawn(|()| std::env::var("PATH").ok(), ())?;
    /// assert_eq!(child.join()?, None);
    /// # Ok::<(), mp_process::ProcessError>(())
    /// ```
    #[must_use]
    pub fn env_remove(mut self, key: impl AsRef<OsStr>) -> Self {
        self.launch.env.push((key.as_ref().to_owned(), None));
        self
    }

    /// The arguments that the child finds in [`std::env::args`] behind the program's
    /// name, instead of this process's own.
    ///
    /// A program's arguments are what it was executed with. With [`StartMethod::ForkServer`]
    /// children with other arguments are forked by a server that was executed with them, so
    /// the first with new ones takes as long as with [`StartMethod::Spawn`]; beside the usual
    /// server the last of these is kept. With
    /// [`StartMethod::Fork`] the start is an error, as nothing is executed: what the child
    /// is to know goes into the argument of its function.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// let child = mp_process::Process::builder()
    ///     .args(["--quiet", "input.txt"])
    ///     .spawn(|()| std::env::args().skip(1).collect::<Vec<_>>(), ())?;
    /// assert_eq!(child.join()?, ["--quiet", "input.txt"]);
    /// # Ok::<(), mp_process::ProcessError>(())
    /// ```
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.launch.args = Some(args.into_iter().map(Into::into).collect());
        self
    }

    /// Starts the executable at `path` instead of the one that runs here.
    ///
    /// It must be of the same build, a copy for one: the child compares the build ids,
    /// and refuses in words to take functions of another one. With
    /// [`StartMethod::ForkServer`] the server runs it, as [`args`](Self::args) says; with
    /// [`StartMethod::Fork`] the start is an error, as a fork is a copy of this process. Until it
    /// calls [`init`](crate::init()), Ctrl-C is blocked in it, as said there.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// let copy = std::env::temp_dir().join(format!("copy-{}", std::process::id()));
    /// std::fs::copy("/proc/self/exe", &copy)?;
    /// let child = mp_process::Process::builder().executable(&copy).spawn(|x: u32| x + 1, 1)?;
    /// assert_eq!(child.join()?, 2);
    /// std::fs::remove_file(&copy)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "set_executable")]
    #[must_use]
    pub fn executable(mut self, path: impl AsRef<Path>) -> Self {
        self.launch.program = Some(path.as_ref().as_os_str().to_owned());
        self
    }

    /// The directory in which the child works: this process's unless set.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// let child = mp_process::Process::builder().current_dir("/").spawn(|()| std::env::current_dir().ok(), ())?;
    /// assert_eq!(child.join()?, Some("/".into()));
    /// # Ok::<(), mp_process::ProcessError>(())
    /// ```
    #[must_use]
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.settings.directory = Some(directory.as_ref().as_os_str().to_owned());
        self
    }

    /// Where the child's standard input comes from: from nowhere unless set.
    ///
    /// With [`Stdio::inherit`] both processes read from the same place, and what one of them takes the
    /// other does not get. With [`StartMethod::Fork`] the child also has a copy of what this process has
    /// read ahead and not used, for which [`std::io::stdin`] has room of 8 kB: its own `stdin` gives it
    /// that first, whatever is set here. Where this process reads its standard input by lines, such a child
    /// is better given what it needs as its argument.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use std::fs::File;
    /// use std::os::fd::OwnedFd;
    /// use ipc_core::Handle;
    ///
    /// let file = std::env::temp_dir().join(format!("input-{}", std::process::id()));
    /// std::fs::write(&file, "one line")?;
    /// let child = mp_process::Process::builder()
    ///     .stdin(Handle::from(OwnedFd::from(File::open(&file)?)))
    ///     .spawn(|()| std::io::read_to_string(std::io::stdin()).unwrap(), ())?;
    /// assert_eq!(child.join()?, "one line");
    /// std::fs::remove_file(&file)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn stdin(mut self, stdio: impl Into<Stdio>) -> Self {
        self.streams.0[0] = stdio.into();
        self
    }

    /// Where the child's standard output goes: where this process's does, unless set.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use std::fs::File;
    /// use std::os::fd::OwnedFd;
    /// use ipc_core::Handle;
    ///
    /// let file = std::env::temp_dir().join(format!("output-{}", std::process::id()));
    /// let child = mp_process::Process::builder()
    ///     .stdout(Handle::from(OwnedFd::from(File::create(&file)?)))
    ///     .spawn(|()| println!("said by the child"), ())?;
    /// child.join()?;
    /// assert_eq!(std::fs::read_to_string(&file)?, "said by the child\n");
    /// std::fs::remove_file(&file)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn stdout(mut self, stdio: impl Into<Stdio>) -> Self {
        self.streams.0[1] = stdio.into();
        self
    }

    /// Where the child's standard errors go: where this process's do, unless set.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use mp_process::{Process, Stdio};
    ///
    /// // Nobody hears it.
    /// let child = Process::builder().stderr(Stdio::null()).spawn(|()| eprintln!("said in vain"), ())?;
    /// child.join()?;
    /// # Ok::<(), mp_process::ProcessError>(())
    /// ```
    #[must_use]
    pub fn stderr(mut self, stdio: impl Into<Stdio>) -> Self {
        self.streams.0[2] = stdio.into();
        self
    }

    /// How much the child yields to others: 19 is the most; below zero needs rights.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// let own = |()| rustix::process::getpriority_process(None).ok();
    /// let child = mp_process::Process::builder().niceness(19).spawn(own, ())?;
    /// assert_eq!(child.join()?, Some(19));
    /// # Ok::<(), mp_process::ProcessError>(())
    /// ```
    #[must_use]
    pub fn niceness(mut self, niceness: i32) -> Self {
        self.settings.niceness = Some(niceness);
        self
    }

    /// The CPUs on which the child may run, by number.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use mp_process::{Process, cpu_count};
    ///
    /// let this = rustix::thread::sched_getcpu();
    /// let child = Process::builder().cpus([this]).spawn(|()| cpu_count(), ())?;
    /// assert_eq!(child.join()?, 1);
    /// # Ok::<(), mp_process::ProcessError>(())
    /// ```
    #[must_use]
    pub fn cpus(mut self, cpus: impl IntoIterator<Item = usize>) -> Self {
        self.settings.cpus = Some(cpus.into_iter().collect());
        self
    }

    /// How much of a resource the child may use. A higher limit than this process's
    /// own stays where it is.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use mp_process::{Process, Resource};
    ///
    /// let open_many = |()| (0..100).map(|_| std::fs::File::open("/dev/null")).collect::<Result<Vec<_>, _>>().is_err();
    /// let child = Process::builder().limit(Resource::OpenFiles, 50).spawn(open_many, ())?;
    /// assert!(child.join()?);
    /// # Ok::<(), mp_process::ProcessError>(())
    /// ```
    #[must_use]
    pub fn limit(mut self, resource: Resource, most: u64) -> Self {
        self.settings.limits.push((resource, most));
        self
    }

    /// Has the child lead a process group of its own, so that Ctrl-C in a terminal does
    /// not reach it and the programs it starts.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use rustix::process::{getpgrp, getpid};
    ///
    /// let leads = |()| getpgrp() == getpid();
    /// let child = mp_process::Process::builder().process_group(true).spawn(leads, ())?;
    /// assert!(child.join()?);
    /// # Ok::<(), mp_process::ProcessError>(())
    /// ```
    #[must_use]
    pub fn process_group(mut self, own: bool) -> Self {
        self.settings.own_group = own;
        self
    }

    /// Kills the child when its [`Process`] is dropped, and does not wait for it at
    /// the end of `main`. Off unless set. The drop waits until it has ended, for a second at most.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use std::{thread, time::Duration};
    ///
    /// let builder = mp_process::Process::builder().kill_on_drop(true);
    /// let child = builder.spawn(|()| thread::sleep(Duration::MAX), ())?;
    /// let end = child.sentinel();
    /// drop(child);
    /// assert_eq!(ipc_core::wait(&[&end], None)?, [0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "daemon")]
    #[must_use]
    pub fn kill_on_drop(mut self, kill: bool) -> Self {
        self.kill_on_drop = kill;
        self
    }

    /// How long the end of `main` waits for the child before it is killed: ten
    /// seconds unless set. `Duration::MAX` is for ever.
    ///
    /// [`std::process::exit`] waits so too; a process that is killed does not, and its children end with it.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use std::time::Duration;
    ///
    /// // The program may leave at once, and this child goes on for half a second at most.
    /// let builder = mp_process::Process::builder().join_at_exit(Duration::from_millis(500));
    /// drop(builder.spawn(|()| std::thread::sleep(Duration::from_millis(5)), ())?);
    /// # Ok::<(), mp_process::ProcessError>(())
    /// ```
    #[must_use]
    pub fn join_at_exit(mut self, grace: Duration) -> Self {
        self.grace_at_exit = grace;
        self
    }

    /// Starts a process that runs `function` with `arg`.
    ///
    /// The argument is encoded before the child is started; handles and channel
    /// ends in it go along.
    ///
    /// # Errors
    /// A [`ProcessError`] for which [`is_start_failure`](ProcessError::is_start_failure)
    /// holds: [`init`](crate::init()) was not called, the argument does not encode,
    /// or the system refuses. No child is left behind.
    pub fn spawn<A: Message, R: Message>(
        self,
        function: fn(A) -> R,
        arg: A,
    ) -> Result<Process<R>, ProcessError> {
        let depth = init::may_start()?;
        if !Function::new(function).can_travel() {
            return Err(Kind::Function(FOREIGN_CODE).into());
        }
        self.launch.check()?;
        if self.launch.method == StartMethod::Fork {
            let mut arg = boot::argument(&arg).map_err(Kind::Argument)?;
            let child = self.fork_to(depth, || boot::run_in_fork(function, std::mem::take(&mut arg)))?;
            // What moves has left.
            arg.sent();
            return Ok(child);
        }
        #[cfg_attr(not(feature = "log"), allow(unused_mut))]
        let mut birth = self.birth(depth);
        #[cfg(feature = "log")]
        let tail = crate::logs::begin_tail(&mut birth);
        let name = birth.name.clone();
        let mut orders = boot::orders(birth, &self.streams, function, &arg).map_err(Kind::Argument)?;
        exit::collect();
        memory::count_from_here();
        let started = start::start(&self.launch, &mut orders)?;
        let process = self.hold(started, name);
        #[cfg(feature = "log")]
        process.keep_tail(tail);
        Ok(process)
    }

    /// Forks this process; the child runs `closure`, captures and all.
    ///
    /// What the closure has captured by value moves to the child, which waits until it is
    /// dropped here: files, memory and channel ends are the child's alone from then on. A
    /// channel end that is lent, or of which a clone stays here, is this process's, and using it
    /// in the child is the error [`SendError::Moved`](ipc_core::SendError::Moved) or
    /// [`RecvError::Moved`](ipc_core::RecvError::Moved). Locks, queues and shared values are both
    /// processes'.
    ///
    /// A value whose `Drop` does more than give things back, and removes a directory for one,
    /// does so in both processes: lend it.
    ///
    /// The child has a copy of all memory of this process, and ends without running
    /// what was registered with the C library's `atexit` before, and without dropping what this
    /// thread keeps in `thread_local!`s, unless it calls [`exit`](std::process::exit) itself. What
    /// it registers with `atexit` runs at its end; what it registers with glibc's `on_exit` may
    /// not. With musl, a child that returns runs no such handler, and one that calls `exit` runs
    /// those of this process too.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn), and if this process has threads of its own: their
    /// locks would never be released in the child. The library's threads do not count. The
    /// system may list a thread for a moment after it was joined, so before a fork is refused
    /// the threads are given half a second to be gone, in which this waits.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// # fn alone() -> Result<(), Box<dyn std::error::Error>> {
    /// let words = vec!["one", "two"];
    /// let (tx, rx) = ipc_core::pipe()?;
    /// let child = mp_process::Process::fork(move || tx.send(&words.len()).unwrap())?;
    /// assert_eq!(rx.recv()?, 2);
    /// child.join()?;
    /// # Ok(()) }
    /// # // Tests of documentation run beside other threads.
    /// # assert!(alone().is_ok_and(|()| true) || true);
    /// ```
    pub fn fork<R: Message>(self, closure: impl FnOnce() -> R) -> Result<Process<R>, ProcessError> {
        let depth = init::may_start()?;
        let takes_along = needs_drop_of(&closure);
        let mut closure = ManuallyDrop::new(closure);
        let child = self.start_method(StartMethod::Fork).fork_to(depth, || {
            if takes_along {
                boot::await_release();
            }
            // SAFETY: this runs in the child, whose copy of the closure nobody else takes.
            let closure = unsafe { ManuallyDrop::take(&mut closure) };
            boot::report(closure)
        });
        let closure = ManuallyDrop::into_inner(closure);
        if let (Ok(child), true) = (&child, takes_along) {
            // Also if dropping it panics.
            let _released = Released(child.child());
            hand_over(|| drop(closure));
        }
        child
    }

    /// Forks this process; the child does the work.
    fn fork_to<R>(self, depth: u32, work: impl FnOnce() -> Packet) -> Result<Process<R>, ProcessError> {
        self.launch.check()?;
        start::check_fork(&self.launch)?;
        let Birth { name, depth, parent, settings, .. } = self.birth(depth);
        let who = Box::new(CurrentProcess::child(name.clone(), depth, parent));
        let streams = &self.streams;
        exit::collect();
        memory::count_from_here();
        boot::prepare_for_forks();
        let started = start::fork(|kit| boot::live_as(kit, who, &settings, streams, work))?;
        Ok(self.hold(started, name))
    }

    /// Who the child will be.
    fn birth(&self, depth: u32) -> Birth {
        let name = self.name.clone().unwrap_or_else(next_name);
        let mut settings = self.settings.clone();
        match self.launch.method {
            StartMethod::Spawn => {}
            StartMethod::ForkServer => {
                settings.env = self.launch.env.clone();
                self.launch.server().take_along(&self.launch, &mut settings);
            }
            StartMethod::Fork => settings.env = self.launch.env.clone(),
        }
        let announce = self.launch.method == StartMethod::Spawn;
        Birth { name, depth, parent: ParentProcess::this(), settings, announce, tail: 0 }
    }

    fn hold<R>(self, started: Started, name: String) -> Process<R> {
        let announces = self.launch.method == StartMethod::Spawn;
        let is_limited = self.settings.limits.iter().any(|(resource, _)| *resource == Resource::Memory);
        // A process begins with the peak of the one that executed its program.
        let floor = if announces { usage::own_peak() } else { 0 };
        let child = Arc::new(Child::new(started, name, announces, is_limited, floor));
        let grace = if self.kill_on_drop { Duration::ZERO } else { self.grace_at_exit };
        exit::enrol(&child, grace);
        Process::new(child, self.kill_on_drop, self.grace_at_exit)
    }
}

fn needs_drop_of<T>(_: &T) -> bool {
    needs_drop::<T>()
}

/// Lets a child begin that waits for it, when dropped.
struct Released<'a>(&'a Child);

impl Drop for Released<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

fn next_name() -> String {
    static COUNT: PerProcess<u32> = PerProcess::new();
    let number = COUNT.with(|count| {
        *count += 1;
        *count
    });
    let own = current_process();
    if own.is_child() { format!("{}:{number}", own.name()) } else { format!("Process-{number}") }
}
