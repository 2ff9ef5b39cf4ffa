//! A child as its parent holds it.

use std::io;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipc_core::link::{Link, SocketLink};
use ipc_core::{Arm, Handle, Packet, RecvError, Waitable, wait_deadline};

use crate::boot::{self, Answer, OTHER_FORMAT};
use crate::error::Kind;
use crate::memory;
use crate::start::Started;
use crate::status::{ABORTED, Ending, ExitStatus, KILLED, OutOfMemory};
use crate::sys::end::{self, Request};
use crate::sys::setup::Place;
use crate::sys::start::{Born, Told};

/// How long after a child's end the one who collects it may take to say how it ended.
const RELAY_TIMEOUT: Duration = Duration::from_secs(5);

/// A child process: what outlives the types of its function.
#[derive(Debug)]
pub(crate) struct Child {
    pid: u32,
    name: String,
    /// The process that collects this child and passes its status on by the link,
    /// where it is not this one.
    relay: Option<Arc<Handle>>,
    /// A peak of memory up to this may be another process's.
    floor: u64,
    place: Arc<Place>,
    state: Mutex<State>,
    #[cfg(feature = "log")]
    tail: std::sync::OnceLock<crate::tail::Tail>,
}

/// What is known of a child. Its two handles are given back when its end is known.
#[derive(Debug, Default)]
struct State {
    /// Becomes ready when it has ended; `None` too if it could never be watched.
    end: Option<Arc<Handle>>,
    link: Option<OwnLink>,
    told: Option<Told>,
    status: Option<ExitStatus>,
    /// The most memory that it had resident, in bytes.
    peak: Option<u64>,
    /// It has ended; how, is not known yet.
    ended: Option<Instant>,
    /// The value's packet, or why there is none.
    last: Option<(Answer, Packet)>,
    begun: bool,
    taken: bool,
    overflowed: bool,
    relayed: Option<ExitStatus>,
    /// Its memory was limited.
    is_limited: bool,
    /// This process has asked it to end.
    is_signalled: bool,
}

impl Child {
    pub(crate) fn new(started: Started, name: String, announces: bool, is_limited: bool, floor: u64) -> Self {
        let Started { born: Born { pid, end, relay, told }, link } = started;
        let place = Arc::new(Place::of(link.handle()));
        let (end, link) = (end.map(Arc::new), Some(OwnLink(link, Arc::clone(&place))));
        let state = State { end, link, told, begun: !announces, is_limited, ..State::default() };
        Self {
            pid,
            name,
            relay,
            floor,
            place,
            state: Mutex::new(state),
            #[cfg(feature = "log")]
            tail: std::sync::OnceLock::new(),
        }
    }

    /// The most memory that it had resident, in bytes, if it has ended and that is known.
    pub(crate) fn peak(&self) -> Option<u64> {
        self.state().peak.filter(|peak| *peak > self.floor)
    }

    #[cfg(feature = "log")]
    pub(crate) fn keep_tail(&self, tail: Option<crate::tail::Tail>) {
        if let Some(tail) = tail {
            let _ = self.tail.set(tail);
        }
    }

    /// Its last records.
    pub(crate) fn last_records(&self) -> Vec<String> {
        #[cfg(feature = "log")]
        return self.tail.get().map(crate::tail::Tail::lines).unwrap_or_default();
        #[cfg(not(feature = "log"))]
        Vec::new()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How it ended, if it has.
    pub(crate) fn status(&self) -> io::Result<Option<ExitStatus>> {
        self.wait(Some(Instant::now()))
    }

    /// What becomes ready at its end; `None` if that is known.
    pub(crate) fn end(&self) -> Option<Arc<Handle>> {
        self.state().end.clone()
    }

    /// As [`end`](Self::end), for exit handlers: `None` too if another thread does not let go.
    pub(crate) fn try_end(&self, patience: Duration) -> Option<Arc<Handle>> {
        let deadline = Instant::now() + patience;
        loop {
            match self.state.try_lock() {
                Ok(state) => return state.end.clone(),
                Err(_) if Instant::now() >= deadline => return None,
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    pub(crate) fn signal(&self, request: Request) -> io::Result<()> {
        self.state().is_signalled = true;
        // One that has ended needs no signal.
        self.end().map_or(Ok(()), |end| end::signal(&end, request))
    }

    /// Kills it and all that descends from it.
    pub(crate) fn kill_tree(&self) -> io::Result<()> {
        self.state().is_signalled = true;
        self.end().map_or(Ok(()), |end| end::kill_tree(self.pid, &end))
    }

    /// Waits until the child has ended and its status is known; `None` at the
    /// deadline.
    ///
    /// What it says meanwhile waits in the socket, which has room for all of it.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> io::Result<Option<ExitStatus>> {
        loop {
            let mut state = self.state();
            state.look(self.relay.as_deref())?;
            if let Some(status) = state.status {
                return Ok(Some(status));
            }
            if let (Some(limit), Some(relay), Some(link)) = (state.relay_limit(), &self.relay, &state.link) {
                // It has ended, so its status is a matter of a moment.
                wait_deadline(&[&LinkEnd(link), &**relay], Some(limit))?;
                continue;
            }
            let end = state.end.clone();
            drop(state);
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
            if let Some(end) = end {
                wait_deadline(&[&*end], deadline)?;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The child's value, or the reason why there is none; after it has ended.
    pub(crate) fn outcome(&self, status: ExitStatus) -> Result<Packet, Kind> {
        let pid = self.pid;
        let mut state = self.state();
        if std::mem::replace(&mut state.taken, true) {
            return Err(Kind::Taken);
        }
        match state.last.take() {
            Some((Answer::Returned, packet)) => Ok(packet),
            Some((Answer::Panicked(panic), _)) => Err(Kind::Panicked(panic)),
            Some((Answer::BadArgument(reason), _)) => Err(Kind::BadArgument { pid, reason }),
            Some((Answer::BadResult(reason), _)) => Err(Kind::BadResult { pid, reason }),
            Some((Answer::Refused(reason), _)) => Err(Kind::Refused { pid, reason }),
            _ if state.overflowed => Err(Kind::StackOverflow { pid, status }),
            _ if !state.begun && status.code().is_some() => Err(Kind::NoInit { pid, status }),
            _ => Err(Kind::Ended { pid, status }),
        }
    }

    /// Lets a fork begin that waits for its parent to let go of what it took along.
    pub(crate) fn release(&self) {
        if let Some(link) = &self.state().link {
            boot::release(link);
        }
    }

    /// Where the socket is.
    pub(crate) fn place(&self) -> &Arc<Place> {
        &self.place
    }
}

/// The parent's end of a child's link, whose place forks find.
#[derive(Debug)]
struct OwnLink(SocketLink, Arc<Place>);

impl Deref for OwnLink {
    type Target = SocketLink;

    fn deref(&self) -> &SocketLink {
        &self.0
    }
}

impl Drop for OwnLink {
    fn drop(&mut self) {
        // While the number is this link's.
        self.1.clear();
    }
}

impl State {
    /// Reads what has come and asks whether the child has ended, without waiting.
    fn look(&mut self, relay: Option<&Handle>) -> io::Result<()> {
        if self.status.is_some() {
            return Ok(());
        }
        let status = match relay {
            None => self.collect()?,
            Some(relay) => self.ask_relay(relay)?,
        };
        if let Some(status) = status {
            self.listen();
            self.status = Some(self.explained(status, memory::was_one_killed));
            self.end = None;
            self.link = None;
            self.told = None;
        }
        Ok(())
    }

    /// With what can be known of memory.
    fn explained(&self, status: ExitStatus, was_one_killed: impl FnOnce() -> bool) -> ExitStatus {
        match status.signal() {
            Some(KILLED) if !self.is_signalled && was_one_killed() => {
                status.for_want_of_memory(OutOfMemory::Killed)
            }
            Some(ABORTED) if self.is_limited && !self.overflowed && self.last.is_none() => {
                status.for_want_of_memory(OutOfMemory::Guessed)
            }
            _ => status,
        }
    }

    fn collect(&mut self) -> io::Result<Option<ExitStatus>> {
        let Some(end) = &self.end else { return Ok(Some(ExitStatus::new(Ending::Unknown))) };
        let Some((status, peak)) = end::collect(end)? else { return Ok(None) };
        self.peak = peak;
        Ok(Some(status))
    }

    fn ask_relay(&mut self, relay: &Handle) -> io::Result<Option<ExitStatus>> {
        let now = Some(Instant::now());
        if self.relayed.is_some() {
            return Ok(self.relayed);
        }
        if let (None, Some(end)) = (self.ended, &self.end)
            && !wait_deadline(&[&**end], now)?.is_empty()
        {
            self.ended = now;
        }
        if self.ended.is_none() && self.end.is_some() {
            return Ok(None);
        }
        let is_lost = self.link.is_none()
            || self.relay_limit().is_none_or(|limit| Instant::now() >= limit)
            || !wait_deadline(&[relay], now)?.is_empty();
        self.listen();
        Ok(self.relayed.or(is_lost.then_some(ExitStatus::new(Ending::Unknown))))
    }

    /// Until when a status is awaited that somebody else has to pass on.
    fn relay_limit(&self) -> Option<Instant> {
        self.ended.map(|ended| ended + RELAY_TIMEOUT)
    }

    /// Reads what has come, without waiting.
    fn listen(&mut self) {
        while let Some(link) = &self.link {
            let mut packet = Packet::new();
            match link.recv(&mut packet, Some(Instant::now())) {
                Ok(()) => self.take(packet),
                Err(RecvError::Timeout) => return,
                Err(RecvError::Protocol(_)) if !self.begun => {
                    self.link = None;
                    self.last = Some((Answer::Refused(OTHER_FORMAT.to_owned()), packet));
                }
                Err(_) => self.link = None,
            }
        }
    }

    fn take(&mut self, mut packet: Packet) {
        let answer = boot::gather(&mut packet)
            .map_err(|error| error.to_string())
            .and_then(|()| packet.read::<Answer>().map_err(|error| error.to_string()));
        match answer {
            Ok(Answer::Begun) => self.begun = true,
            Ok(Answer::StackOverflow) => self.overflowed = true,
            Ok(Answer::Ended(ending)) => self.relayed = Some(ExitStatus::new(ending)),
            Ok(answer) => self.last = Some((answer, packet)),
            Err(reason) => self.last = Some((Answer::BadResult(reason), packet)),
        }
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
pub struct Sentinel(pub(crate) Option<Arc<Handle>>);

impl Waitable for Sentinel {
    fn is_ready(&self) -> Option<bool> {
        // Without a handle the end was known already.
        if self.0.is_none() { Some(true) } else { None }
    }

    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        if let Some(handle) = self.0.as_deref() {
            arm.readable(handle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child() -> Child {
        let (link, _) = SocketLink::pair().unwrap();
        let born = Born { pid: 1, end: None, relay: None, told: None };
        Child::new(Started { born, link }, String::new(), false, false, 0)
    }

    fn explanation(child: &Child) -> Option<OutOfMemory> {
        let killed = Ending::Signaled { signal: KILLED, core_dumped: false };
        child.state().explained(ExitStatus::new(killed), || true).out_of_memory()
    }

    #[test]
    fn who_was_killed_from_here_did_not_die_for_want_of_memory() {
        assert_eq!(explanation(&child()), Some(OutOfMemory::Killed));
        let killed = child();
        killed.signal(Request::Kill).unwrap();
        assert_eq!(explanation(&killed), None);
        let killed = child();
        killed.kill_tree().unwrap();
        assert_eq!(explanation(&killed), None);
    }
}
