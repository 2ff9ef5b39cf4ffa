//! A child as its parent holds it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ipc_core::link::{Link, SocketLink};
use ipc_core::{Arm, Packet, RecvError, Waitable, wait_deadline};

use crate::boot::{self, Answer};
use crate::error::Kind;
use crate::exit;
use crate::status::ExitStatus;
use crate::sys::end::{self, Request};

/// A child process: what outlives the types of its function.
#[derive(Debug)]
pub(crate) struct Child {
    system: end::Child,
    link: SocketLink,
    answers: Mutex<Answers>,
}

/// What has come from the child.
#[derive(Debug, Default)]
struct Answers {
    /// The value's packet, or why there is none.
    last: Option<(Answer, Packet)>,
    begun: bool,
    taken: bool,
    overflowed: bool,
    closed: bool,
}

impl Child {
    pub(crate) fn new(system: end::Child, link: SocketLink) -> Self {
        Self { system, link, answers: Mutex::default() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.system.pid()
    }

    pub(crate) fn status(&self) -> io::Result<Option<ExitStatus>> {
        self.system.try_status()
    }

    pub(crate) fn signal(&self, request: Request) -> io::Result<()> {
        self.system.signal(request)
    }

    /// Waits until the child has ended; `None` at the deadline. What it says
    /// meanwhile is read and kept.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> io::Result<Option<ExitStatus>> {
        loop {
            self.listen()?;
            if let Some(status) = self.status()? {
                // It may have spoken between the two lines above.
                self.listen()?;
                return Ok(Some(status));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
            let Some(sentinel) = self.system.sentinel() else { continue };
            let closed = self.answers().closed;
            let items: [&dyn Waitable; 2] = [sentinel, &LinkEnd(&self.link)];
            wait_deadline(if closed { &items[..1] } else { &items }, deadline)?;
        }
    }

    /// Reads what has come, without waiting.
    fn listen(&self) -> io::Result<()> {
        let mut answers = self.answers();
        while !answers.closed {
            let mut packet = Packet::new();
            match self.link.recv(&mut packet, Some(Instant::now())) {
                Ok(()) => answers.take(packet),
                Err(RecvError::Timeout) => return Ok(()),
                Err(_) => answers.closed = true,
            }
        }
        Ok(())
    }

    fn answers(&self) -> std::sync::MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The child's value, or the reason why there is none; after it has ended.
    pub(crate) fn outcome(&self, status: ExitStatus) -> Result<Packet, Kind> {
        let pid = self.pid();
        let mut answers = self.answers();
        if std::mem::replace(&mut answers.taken, true) {
            return Err(Kind::Taken);
        }
        match answers.last.take() {
            Some((Answer::Returned, packet)) => Ok(packet),
            Some((Answer::Panicked(panic), _)) => Err(Kind::Panicked(panic)),
            Some((Answer::BadArgument(reason), _)) => Err(Kind::BadArgument { pid, reason }),
            Some((Answer::BadResult(reason), _)) => Err(Kind::BadResult { pid, reason }),
            Some((Answer::Refused(reason), _)) => Err(Kind::Refused { pid, reason }),
            _ if answers.overflowed => Err(Kind::StackOverflow { pid, status }),
            _ if !answers.begun && status.code().is_some() => Err(Kind::NoInit { pid, status }),
            _ => Err(Kind::Ended { pid, status }),
        }
    }

    /// Sends a new child its orders.
    pub(crate) fn order(&self, orders: &mut Packet) -> Result<(), ipc_core::SendError> {
        self.link.send(orders, Some(Instant::now() + boot::START_TIMEOUT))
    }
}

impl Answers {
    fn take(&mut self, mut packet: Packet) {
        let answer = boot::gather(&mut packet)
            .map_err(|error| error.to_string())
            .and_then(|()| packet.read::<Answer>().map_err(|error| error.to_string()));
        match answer {
            Ok(Answer::Begun) => self.begun = true,
            Ok(Answer::StackOverflow) => self.overflowed = true,
            Ok(answer) => self.last = Some((answer, packet)),
            Err(reason) => self.last = Some((Answer::BadResult(reason), packet)),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        exit::collect_later(&self.system);
    }
}

/// The link as something to wait for.
struct LinkEnd<'a>(&'a SocketLink);

impl Waitable for LinkEnd<'_> {
    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        self.0.arm(arm);
    }
}

/// Becomes ready when its process has ended: for [`ipc_core::wait`].
///
/// # Examples
/// ```
/// # mp_process::init();
/// let slow = mp_process::Process::spawn(|()| std::thread::sleep(std::time::Duration::from_secs(60)), ())?;
/// let quick = mp_process::Process::spawn(|()| (), ())?;
/// let ended = ipc_core::wait(&[&slow.sentinel(), &quick.sentinel()], None)?;
/// assert_eq!(ended, [1]);
/// slow.kill()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Sentinel(pub(crate) Arc<Child>);

impl Waitable for Sentinel {
    fn is_ready(&self) -> Option<bool> {
        // Only a child that cannot be waited for is known to be ready without asking.
        if self.0.system.sentinel().is_none() { Some(true) } else { None }
    }

    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        if let Some(handle) = self.0.system.sentinel() {
            arm.readable(handle);
        }
    }
}
