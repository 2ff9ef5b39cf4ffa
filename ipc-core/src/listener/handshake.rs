//! How a connection begins: both sides greet, and prove the key if there is one.
//!
//! ```text
//! client                              server
//!   greeting            ->
//!                       <-            greeting
//!   with a key: proof   ->
//!                       <-            verdict, proof
//! ```
//!
//! A client that has something to say at once sends it behind its proof, and its greeting tells of
//! that: then verdict and proof go out with the first message to it, so that it wakes up once for
//! both. A verdict that refuses always goes at once.
//!
//! No message is longer than [`HELLO`], and nothing is read beyond it. The server
//! never waits: a client that is slow is looked at again when more has come.

use std::time::{Duration, Instant};

use super::auth::{AuthKey, Greetings, HELLO, Hello, MAGIC, Proof, REFUSED, Role, VERDICT, WELCOME};
use super::error::ConnectError;
use crate::link::Limits;
use crate::sys::cpu;
use crate::sys::poll::poll_one;
use crate::sys::stream::{NAP, Stream};

/// How long a client looks for the listener's word before it sleeps: about as long as a wake-up takes.
const LOOK_FOR: Duration = Duration::from_micros(30);

/// What this side brings to a handshake.
#[derive(Debug)]
pub(super) struct Terms<'a> {
    pub(super) authkey: Option<&'a AuthKey>,
    pub(super) max_message: usize,
}

/// The server's side of one handshake, as far as it has come.
#[derive(Debug)]
pub(super) struct Reception {
    inbox: [u8; HELLO],
    filled: usize,
    /// Both greetings, once they are said.
    said: Option<Greetings>,
}

/// How a step went.
#[derive(Debug)]
pub(super) enum Step {
    /// The client owes us more.
    Waiting,
    /// It is let in. What is still to be said to it goes before the first message.
    Done(Limits, Vec<u8>),
    /// It is not one of ours, or has gone.
    Out,
}

impl Reception {
    pub(super) fn new() -> Self {
        Self { inbox: [0; HELLO], filled: 0, said: None }
    }

    /// Goes on as far as it can without waiting.
    pub(super) fn step(&mut self, stream: &Stream, terms: &Terms<'_>) -> Step {
        loop {
            let owed = if self.said.is_none() { HELLO } else { size_of::<Proof>() };
            if self.filled < owed {
                match read_some(stream, &mut self.inbox[self.filled..owed]) {
                    Ok(Some(count @ 1..)) => self.filled += count,
                    Ok(None) => return Step::Waiting,
                    _ => return Step::Out,
                }
            }
            if self.is_nonsense() {
                return Step::Out;
            }
            if self.filled == owed {
                self.filled = 0;
                // What comes next is an answer to what was just said.
                return self.answer(stream, terms);
            }
        }
    }

    /// Told by its first bytes, so that what is not a client goes at once.
    fn is_nonsense(&self) -> bool {
        let known = self.filled.min(MAGIC.len());
        self.said.is_none() && self.inbox[..known] != MAGIC[..known]
    }

    fn answer(&mut self, stream: &Stream, terms: &Terms<'_>) -> Step {
        match self.said.take() {
            None => self.greet(stream, terms),
            Some(said) => self.judge(stream, terms, &said),
        }
    }

    fn greet(&mut self, stream: &Stream, terms: &Terms<'_>) -> Step {
        let Ok(server) = Hello::write(terms.authkey.is_some(), false, terms.max_message) else {
            return Step::Out;
        };
        let Some(hello) = Hello::read(&self.inbox) else { return Step::Out };
        // Also said to a client that is turned away, so that it knows why.
        let is_said = say(stream, &server);
        if !is_said || !hello.is_known_version() || hello.has_key != terms.authkey.is_some() {
            return Step::Out;
        }
        if terms.authkey.is_none() {
            return Step::Done(terms.limits(&hello), Vec::new());
        }
        self.said = Some(Greetings { client: self.inbox, server });
        Step::Waiting
    }

    fn judge(&self, stream: &Stream, terms: &Terms<'_>, said: &Greetings) -> Step {
        let Some(hello) = Hello::read(&said.client) else { return Step::Out };
        let proof = self.inbox.first_chunk();
        let (Some(key), Some(proof)) = (terms.authkey, proof) else { return Step::Out };
        let mut verdict = [0; VERDICT];
        if !key.accepts(Role::Client, said, proof) {
            verdict[0] = REFUSED;
            say(stream, &verdict);
            return Step::Out;
        }
        verdict[0] = WELCOME;
        verdict[1..].copy_from_slice(&key.proof(Role::Server, said));
        if hello.speaks {
            return Step::Done(terms.limits(&hello), verdict.to_vec());
        }
        if say(stream, &verdict) { Step::Done(terms.limits(&hello), Vec::new()) } else { Step::Out }
    }
}

impl Terms<'_> {
    fn limits(&self, peer: &Hello) -> Limits {
        Limits { receives: self.max_message as u64, sends: peer.max_message }
    }
}

/// Writes all at once; a socket that has not been written to has room for it.
fn say(stream: &Stream, bytes: &[u8]) -> bool {
    matches!(stream.try_write(bytes, &[]), Ok(Some(count)) if count == bytes.len())
}

/// As [`Stream::try_read`]; handles of somebody unknown are closed.
fn read_some(stream: &Stream, into: &mut [u8]) -> std::io::Result<Option<usize>> {
    stream.try_read(into, &mut Vec::new(), &mut false)
}

/// The client's side, from its greeting to the listener's last word. `first` is what the client
/// says behind its own.
pub(super) fn introduce(
    stream: &Stream,
    terms: &Terms<'_>,
    deadline: Option<Instant>,
    first: &[u8],
) -> Result<Limits, ConnectError> {
    let client = Hello::write(terms.authkey.is_some(), !first.is_empty(), terms.max_message)?;
    tell(stream, &client)?;
    let mut server = [0; HELLO];
    hear(stream, &mut server, &MAGIC, deadline)?;
    let hello = Hello::read(&server).ok_or(ConnectError::NotAListener)?;
    if !hello.is_known_version() {
        return Err(ConnectError::Version(hello.version));
    }
    match (terms.authkey, hello.has_key) {
        (None, false) if first.is_empty() => {}
        (None, false) => tell(stream, first)?,
        (None, true) => return Err(ConnectError::KeyMissing),
        (Some(_), false) => return Err(ConnectError::KeyUnexpected),
        (Some(key), true) => prove(stream, key, &Greetings { client, server }, deadline, first)?,
    }
    Ok(terms.limits(&hello))
}

fn prove(
    stream: &Stream,
    key: &AuthKey,
    said: &Greetings,
    deadline: Option<Instant>,
    first: &[u8],
) -> Result<(), ConnectError> {
    tell(stream, &[&key.proof(Role::Client, said), first].concat())?;
    let mut verdict = [0; VERDICT];
    hear(stream, &mut verdict, &[], deadline)?;
    let proof: &Proof = verdict[1..].first_chunk().ok_or(ConnectError::Impostor)?;
    match verdict[0] {
        WELCOME if key.accepts(Role::Server, said, proof) => Ok(()),
        WELCOME => Err(ConnectError::Impostor),
        _ => Err(ConnectError::WrongKey),
    }
}

fn tell(stream: &Stream, bytes: &[u8]) -> Result<(), ConnectError> {
    if say(stream, bytes) { Ok(()) } else { Err(ConnectError::Closed) }
}

/// Reads all of `into`, which must begin with `magic`.
fn hear(
    stream: &Stream,
    into: &mut [u8],
    magic: &[u8],
    deadline: Option<Instant>,
) -> Result<(), ConnectError> {
    let mut filled = 0;
    // Over a network it takes longer, and what is sent to this very machine there is seen to on this CPU.
    let looks = stream.passes_handles() && cpu::count() > 1;
    let look_until = looks.then(|| Instant::now() + LOOK_FOR);
    while filled < into.len() {
        let is_looking = look_until.is_some_and(|until| Instant::now() < until);
        let read = if !is_looking && may_sleep_reading(stream, deadline) {
            stream.read_waiting(&mut into[filled..], &mut Vec::new(), &mut false)
        } else {
            read_some(stream, &mut into[filled..])
        };
        match read? {
            Some(0) => return Err(ConnectError::Closed),
            Some(count) => filled += count,
            None if is_looking => std::hint::spin_loop(),
            None if may_sleep_reading(stream, deadline) => {}
            None if !poll_one(stream.readable(), deadline)? => return Err(ConnectError::Timeout),
            None => {}
        }
        let known = filled.min(magic.len());
        if into[..known] != magic[..known] {
            return Err(ConnectError::NotAListener);
        }
    }
    Ok(())
}

/// Whether a read may wait by itself, which ends in time for the deadline.
fn may_sleep_reading(stream: &Stream, deadline: Option<Instant>) -> bool {
    deadline.is_none_or(|at| at.saturating_duration_since(Instant::now()) > NAP) && stream.naps()
}
