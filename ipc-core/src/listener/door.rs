//! The thread of a listener: it takes connections in, hears who they are, and
//! hands over those that are let in.
//!
//! It waits for all clients at once and for none of them alone, so a silent
//! client, a port scan or a wrong key delays nobody.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::auth::WORD;
use super::handshake::{Reception, Step, Terms};
use super::{Accepted, ListenerOptions};
use crate::deadline;
use crate::link::{Limits, Link, SocketLink, TcpLink};
use crate::sys::poll::{Interest, poll};
use crate::sys::socket::{Caller, Listening, current_user};
use crate::sys::stream::Stream;

/// How long new clients are left waiting after the system had no room for one.
const NO_ROOM: Duration = Duration::from_millis(20);

/// How long a client has for saying who it is before another one may take its place.
const GRACE: Duration = Duration::from_secs(1);

/// The clients that were let in, in the order in which they came in.
pub(super) type Queue = Mutex<VecDeque<Accepted>>;

/// What the thread works with.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) listening: Arc<Listening>,
    pub(super) options: ListenerOptions,
    /// A byte here is a reason to look around; the end is the listener's end.
    pub(super) calls: Stream,
    /// A byte goes here for each client in the queue.
    pub(super) bell: Stream,
    pub(super) queue: Arc<Queue>,
    /// The listener is closed. A fork may have a copy of the other end of `calls`, and then
    /// that one does not end.
    pub(super) is_over: Arc<AtomicBool>,
    /// What the listener says of itself.
    pub(super) word: Arc<Mutex<[u8; WORD]>>,
}

/// A client that has not yet said who it is.
#[derive(Debug)]
struct Visitor {
    caller: Caller,
    reception: Reception,
    leave_at: Option<Instant>,
    gives_way_at: Instant,
}

impl Visitor {
    fn new(caller: Caller, timeout: Duration) -> Self {
        let leave_at = deadline::after(timeout);
        Self { caller, reception: Reception::new(), leave_at, gives_way_at: Instant::now() + GRACE }
    }
}

/// Whether the one that has taken longest has taken long enough to give way.
fn gives_way(visitors: &[Visitor]) -> bool {
    visitors.first().is_some_and(|oldest| Instant::now() >= oldest.gives_way_at)
}

impl Door {
    /// Runs until the listener is closed.
    pub(super) fn keep(self) {
        let mut visitors: Vec<Visitor> = Vec::new();
        let mut pause: Option<Instant> = None;
        loop {
            if deadline::expired(pause) {
                pause = None;
            }
            let takes_in = pause.is_none() && self.has_room(&visitors);
            let Ok(ready) = self.look(&visitors, takes_in, pause) else {
                // Memory is short for the kernel; nothing else can be wrong with these.
                std::thread::sleep(NO_ROOM);
                continue;
            };
            if self.is_over.load(Ordering::Acquire) || (ready.calls && self.is_closed()) {
                // Who waits looks around; a fork may have a copy of this end, too.
                let _ = self.bell.try_write(&[0], &[]);
                return;
            }
            visitors = self.hear(visitors, &ready.visitors);
            if ready.door {
                pause = self.take_in(&mut visitors).err().map(|_| Instant::now() + NO_ROOM);
            }
        }
    }

    /// Waits for the first thing to do.
    fn look(&self, visitors: &[Visitor], takes_in: bool, pause: Option<Instant>) -> io::Result<Ready> {
        let mut interests: Vec<Interest<'_>> = vec![self.calls.readable()];
        interests.extend(visitors.iter().map(|one| one.caller.stream.readable()));
        if takes_in {
            interests.push(self.listening.readable());
        }
        let first_to_leave = visitors.iter().filter_map(|one| one.leave_at);
        let may_give_way = visitors.first().map(|one| one.gives_way_at).filter(|_| !takes_in);
        let ready = poll(&interests, first_to_leave.chain(may_give_way).chain(pause).min())?;
        let visited = 1 + visitors.len();
        Ok(Ready {
            calls: ready[0],
            visitors: ready[1..visited].to_vec(),
            door: ready.get(visited).copied().unwrap_or(false),
        })
    }

    fn is_closed(&self) -> bool {
        let mut bytes = [0; 64];
        !matches!(self.calls.try_read(&mut bytes, &mut Vec::new(), &mut false), Ok(Some(1..) | None))
    }

    /// Goes on with those who said something, and sends those away whose time is up.
    fn hear(&self, visitors: Vec<Visitor>, ready: &[bool]) -> Vec<Visitor> {
        let mut staying = Vec::with_capacity(visitors.len());
        for (visitor, ready) in visitors.into_iter().zip(ready) {
            let visitor = if *ready { self.hear_one(visitor) } else { Some(visitor) };
            staying.extend(visitor.filter(|visitor| !deadline::expired(visitor.leave_at)));
        }
        staying
    }

    /// Goes on with one, as far as that is possible without waiting; none if it is let in, or put out.
    fn hear_one(&self, mut visitor: Visitor) -> Option<Visitor> {
        let word = *self.word.lock().unwrap_or_else(PoisonError::into_inner);
        match visitor.reception.step(&visitor.caller.stream, &self.terms(), &word) {
            Step::Waiting => return Some(visitor),
            Step::Done(limits) => self.let_in(visitor.caller, limits),
            Step::Out => {}
        }
        None
    }

    /// Whether one more client can be taken in, at the cost of the oldest if need be.
    fn has_room(&self, visitors: &[Visitor]) -> bool {
        let has_place = visitors.len() < self.options.max_handshakes || gives_way(visitors);
        has_place && lock(&self.queue).len() < self.options.backlog
    }

    /// Takes in those who stand at the door; an error if the system has no room for them.
    fn take_in(&self, visitors: &mut Vec<Visitor>) -> io::Result<()> {
        while self.has_room(visitors) {
            let caller = match self.listening.try_accept() {
                Ok(None) => return Ok(()),
                Ok(Some(caller)) => caller,
                Err(_) if gives_way(visitors) => {
                    visitors.remove(0);
                    continue;
                }
                Err(error) => return Err(error),
            };
            if visitors.len() >= self.options.max_handshakes {
                visitors.remove(0);
            }
            let is_alone = visitors.is_empty();
            if self.may_enter(&caller) {
                // It most likely greets as it comes.
                let visitor = Visitor::new(caller, self.options.handshake_timeout);
                visitors.extend(self.hear_one(visitor));
            }
            if is_alone {
                // So most likely is the next one, who is told of if there is one.
                return Ok(());
            }
        }
        Ok(())
    }

    /// A local socket is its user's alone, also where it has no file that says so.
    fn may_enter(&self, caller: &Caller) -> bool {
        let is_known = |user| user == current_user() || user == 0;
        self.options.anyone || caller.process.is_none_or(|process| is_known(process.user))
    }

    fn let_in(&self, caller: Caller, limits: Limits) {
        let trusted = self.options.trust_peers;
        let link: Box<dyn Link> = match caller.address {
            None => Box::new(SocketLink::connected(caller.stream, trusted, limits)),
            Some(_) => Box::new(TcpLink::connected(caller.stream, trusted, limits)),
        };
        let process = caller.process.map(|process| process.process);
        lock(&self.queue).push_back(Accepted { link, process, address: caller.address });
        // It holds more bytes than the queue holds clients.
        let _ = self.bell.try_write(&[0], &[]);
    }

    fn terms(&self) -> Terms<'_> {
        Terms { authkey: self.options.authkey.as_ref(), max_message: self.options.max_message }
    }
}

/// What there is to do.
struct Ready {
    calls: bool,
    visitors: Vec<bool>,
    door: bool,
}

pub(super) fn lock(queue: &Queue) -> MutexGuard<'_, VecDeque<Accepted>> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}
