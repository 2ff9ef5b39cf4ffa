//! How a connection begins: both sides greet, and prove the key if there is one.
//!
//! ```text
//! client                                     server
//!   greeting, with a key: proof of it  ->
//!                                      <-    greeting, word, with a key: proof of all that
//!   with a key: proof of all that      ->
//! ```
//!
//! A client's first message goes right behind its last word. The word is what the listener says of
//! itself to those who have the key. Who is turned away hears the greeting alone, which says why:
//! another version, a key on one side only, or the wrong one.
//!
//! Nothing is read beyond what this says. The server never waits: a client that is slow is looked at
//! again when more has come.

use std::time::{Duration, Instant};

use super::auth::{AuthKey, Greetings, HELLO, Hello, MAGIC, PROOF, Role, WORD};
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
    inbox: [u8; HELLO + PROOF],
    filled: usize,
    /// Both greetings, once they are said.
    said: Option<Greetings>,
}

/// How a step went.
#[derive(Debug)]
pub(super) enum Step {
    /// The client owes us more.
    Waiting,
    /// It is let in.
    Done(Limits),
    /// It is not one of ours, or has gone.
    Out,
}

impl Reception {
    pub(super) fn new() -> Self {
        Self { inbox: [0; HELLO + PROOF], filled: 0, said: None }
    }

    /// Goes on as far as it can without waiting. `word` is what the listener says of itself.
    pub(super) fn step(&mut self, stream: &Stream, terms: &Terms<'_>, word: &[u8; WORD]) -> Step {
        loop {
            let owed = self.owed(terms);
            match read_some(stream, &mut self.inbox[self.filled..owed]) {
                Ok(Some(count @ 1..)) => self.filled += count,
                Ok(None) => return Step::Waiting,
                _ => return Step::Out,
            }
            if self.said.is_some() {
                if self.filled == owed {
                    return self.judge(terms);
                }
            } else if let Some(step) = self.meet(stream, terms, word) {
                // What comes next is an answer to what was just said.
                return step;
            }
        }
    }

    /// So long is what comes next from a client that is to be let in.
    fn owed(&self, terms: &Terms<'_>) -> usize {
        match (&self.said, terms.authkey) {
            (Some(_), _) => PROOF,
            (None, Some(_)) => HELLO + PROOF,
            (None, None) => HELLO,
        }
    }

    /// Looks at as much of a greeting as has come; `None` if there is to be more.
    fn meet(&mut self, stream: &Stream, terms: &Terms<'_>, word: &[u8; WORD]) -> Option<Step> {
        let said = &self.inbox[..self.filled];
        // Told by its first bytes, so that what is not a client goes at once.
        let known = said.len().min(MAGIC.len());
        if said[..known] != MAGIC[..known] {
            return Some(Step::Out);
        }
        let hello = Hello::read(said)?;
        if !hello.is_known_version() || hello.has_key != terms.authkey.is_some() {
            return Some(turn_away(stream, terms, false));
        }
        if said.len() < self.owed(terms) {
            return None;
        }
        Some(self.greet(stream, terms, word, &hello).unwrap_or(Step::Out))
    }

    fn greet(
        &mut self,
        stream: &Stream,
        terms: &Terms<'_>,
        word: &[u8; WORD],
        hello: &Hello,
    ) -> Option<Step> {
        let mut server = [0; HELLO + WORD];
        server[..HELLO].copy_from_slice(&terms.greeting(false).ok()?);
        server[HELLO..].copy_from_slice(word);
        let Some(key) = terms.authkey else {
            return say(stream, &server).then(|| Step::Done(terms.limits(hello)));
        };
        let (greeting, proof) = self.inbox.split_at(HELLO);
        if !key.accepts(Role::Caller, [greeting, &[]], proof) {
            return Some(turn_away(stream, terms, true));
        }
        let said = Greetings { client: self.inbox, server };
        let is_said = say(stream, &[&server[..], &key.proof(Role::Server, said.words())].concat());
        (self.said, self.filled) = (Some(said), 0);
        is_said.then_some(Step::Waiting)
    }

    fn judge(&self, terms: &Terms<'_>) -> Step {
        let (Some(said), Some(key)) = (&self.said, terms.authkey) else { return Step::Out };
        let is_right = key.accepts(Role::Client, said.words(), &self.inbox[..PROOF]);
        match Hello::read(&said.client) {
            Some(hello) if is_right => Step::Done(terms.limits(&hello)),
            _ => Step::Out,
        }
    }
}

/// Tells a client why it is not let in.
fn turn_away(stream: &Stream, terms: &Terms<'_>, refuses: bool) -> Step {
    // What lies there unread when the socket is closed might keep it from being heard.
    let _ = read_some(stream, &mut [0; PROOF]);
    if let Ok(greeting) = terms.greeting(refuses) {
        say(stream, &greeting);
    }
    Step::Out
}

impl Terms<'_> {
    fn greeting(&self, refuses: bool) -> std::io::Result<[u8; HELLO]> {
        Hello::write(self.authkey.is_some(), refuses, self.max_message)
    }

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

/// The client's side, from its greeting to its last word, behind which goes what it has to say `first`,
/// once it knows what the listener takes; the listener's word.
pub(super) fn introduce(
    stream: &Stream,
    terms: &Terms<'_>,
    deadline: Option<Instant>,
    first: impl FnOnce(&Limits) -> Result<Vec<u8>, ConnectError>,
) -> Result<(Limits, [u8; WORD]), ConnectError> {
    let mut client = [0; HELLO + PROOF];
    client[..HELLO].copy_from_slice(&terms.greeting(false)?);
    let mut answer = [0; HELLO + WORD + PROOF];
    let mut last_word = match terms.authkey {
        None => {
            tell(stream, &client[..HELLO])?;
            hear(stream, &mut answer[..HELLO + WORD], terms, deadline)?;
            Vec::new()
        }
        Some(key) => {
            let proof = key.proof(Role::Caller, [&client[..HELLO], &[]]);
            client[HELLO..].copy_from_slice(&proof);
            tell(stream, &client)?;
            hear(stream, &mut answer, terms, deadline)?;
            let (server, proof) = answer.split_first_chunk().ok_or(ConnectError::NotAListener)?;
            let said = Greetings { client, server: *server };
            if !key.accepts(Role::Server, said.words(), proof) {
                return Err(ConnectError::Impostor);
            }
            key.proof(Role::Client, said.words()).to_vec()
        }
    };
    let limits = terms.limits(&Hello::read(&answer).ok_or(ConnectError::NotAListener)?);
    last_word.extend(first(&limits)?);
    if !last_word.is_empty() {
        tell(stream, &last_word)?;
    }
    let word = answer[HELLO..].first_chunk().ok_or(ConnectError::NotAListener)?;
    Ok((limits, *word))
}

/// What there is to say against a listener whose answer begins with this.
fn objection(said: &[u8], terms: &Terms<'_>) -> Option<ConnectError> {
    let known = said.len().min(MAGIC.len());
    if said[..known] != MAGIC[..known] {
        return Some(ConnectError::NotAListener);
    }
    let hello = Hello::read(said)?;
    if !hello.is_known_version() {
        return Some(ConnectError::Version(hello.version));
    }
    match (terms.authkey.is_some(), hello.has_key) {
        (false, true) => Some(ConnectError::KeyMissing),
        (true, false) => Some(ConnectError::KeyUnexpected),
        _ if hello.refuses => Some(ConnectError::WrongKey),
        _ => None,
    }
}

fn tell(stream: &Stream, bytes: &[u8]) -> Result<(), ConnectError> {
    if say(stream, bytes) { Ok(()) } else { Err(ConnectError::Closed) }
}

/// Reads all of `into`, or as much as says why there will be no more.
fn hear(
    stream: &Stream,
    into: &mut [u8],
    terms: &Terms<'_>,
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
        if let Some(error) = objection(&into[..filled], terms) {
            return Err(error);
        }
    }
    Ok(())
}

/// Whether a read may wait by itself, which ends in time for the deadline.
fn may_sleep_reading(stream: &Stream, deadline: Option<Instant>) -> bool {
    deadline.is_none_or(|at| at.saturating_duration_since(Instant::now()) > NAP) && stream.naps()
}
