//! Who is there: greetings, and proofs of a key that never travels.
//!
//! Each side greets with its version, whether it has a key, and 32 random bytes; so a key on one
//! side only is noticed at once. With a key the client's greeting ends with a proof that it has the
//! key, made of the greeting alone, so that a listener says nothing that was made of its key to
//! those who have shown nothing; who has heard that proof may say it again, and learns no more by
//! that than it was made of. What lets a side in is a proof of both greetings: the HMAC-SHA-256 of
//! its maker's role and of all that was said. The roles keep a proof from being sent back to who
//! made it, the random bytes from being used twice.

use std::fmt;
use std::io;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::sys;

/// A secret that both sides of a connection must have.
///
/// # Examples
/// ```
/// use ipc_core::AuthKey;
///
/// let chosen = AuthKey::from(b"shared with the workers".as_slice());
/// let random = AuthKey::random()?;
/// assert_eq!(format!("{random:?}"), "AuthKey(..)");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct AuthKey(Vec<u8>);

impl AuthKey {
    /// 32 random bytes.
    ///
    /// # Errors
    /// What the system says, if it has no random numbers.
    pub fn random() -> io::Result<Self> {
        Ok(Self(sys::memory::random_bytes::<32>()?.to_vec()))
    }

    /// The secret itself, to be passed on in a way of your own.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it keeps nobody out: an empty key is a key, but no secret.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The proof that `role` knows this key and has heard what was `said`.
    pub(super) fn proof(&self, role: Role, said: [&[u8]; 2]) -> Proof {
        self.mac(role, said).finalize().into_bytes().into()
    }

    /// Whether `proof` is the one; takes as long for a wrong one as for the right one.
    pub(super) fn accepts(&self, role: Role, said: [&[u8]; 2], proof: &[u8]) -> bool {
        self.mac(role, said).verify_slice(proof).is_ok()
    }

    fn mac(&self, role: Role, said: [&[u8]; 2]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(match role {
            Role::Caller => b"ipc-core caller ",
            Role::Client => b"ipc-core client ",
            Role::Server => b"ipc-core server ",
        });
        said.into_iter().for_each(|words| mac.update(words));
        mac
    }
}

impl From<&[u8]> for AuthKey {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl From<&str> for AuthKey {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl fmt::Debug for AuthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthKey(..)")
    }
}

/// Who makes a proof.
#[derive(Debug, Clone, Copy)]
pub(super) enum Role {
    /// A client that has heard nothing yet.
    Caller,
    Client,
    Server,
}

/// The length of a proof.
pub(super) const PROOF: usize = 32;
pub(super) type Proof = [u8; PROOF];

/// The length of a greeting: magic, version, flags, longest message, random bytes.
pub(super) const HELLO: usize = 56;
/// The length of what a listener says of itself behind its greeting.
pub(super) const WORD: usize = 32;

/// What both sides said first, as it went over the wire, if there is a key.
#[derive(Debug)]
pub(super) struct Greetings {
    /// A greeting, and the proof of a [caller](Role::Caller).
    pub(super) client: [u8; HELLO + PROOF],
    /// A greeting, and the listener's word.
    pub(super) server: [u8; HELLO + WORD],
}

impl Greetings {
    pub(super) fn words(&self) -> [&[u8]; 2] {
        [&self.client, &self.server]
    }
}

/// How every greeting begins.
pub(super) const MAGIC: [u8; 8] = *b"ipc-core";
const VERSION: u8 = 2;
const HAS_KEY: u8 = 1;
/// The listener does not take the caller's proof.
const REFUSES: u8 = 2;

/// What a greeting says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hello {
    pub(super) version: u8,
    pub(super) has_key: bool,
    /// The other side's key is not this one's.
    pub(super) refuses: bool,
    /// Messages longer than this are not taken.
    pub(super) max_message: u64,
}

impl Hello {
    /// A fresh greeting of this side.
    pub(super) fn write(has_key: bool, refuses: bool, max_message: usize) -> io::Result<[u8; HELLO]> {
        let mut hello = [0; HELLO];
        hello[..8].copy_from_slice(&MAGIC);
        hello[8] = VERSION;
        hello[9] = (u8::from(has_key) * HAS_KEY) | (u8::from(refuses) * REFUSES);
        hello[16..24].copy_from_slice(&(max_message as u64).to_le_bytes());
        hello[24..].copy_from_slice(&sys::memory::random_bytes::<32>()?);
        Ok(hello)
    }

    /// Reads what the other side said; `None` if it is no greeting.
    pub(super) fn read(said: &[u8]) -> Option<Self> {
        let hello: &[u8; HELLO] = said.first_chunk()?;
        let (magic, rest) = hello.split_first_chunk()?;
        let max_message = u64::from_le_bytes(*hello[16..].first_chunk()?);
        let (version, flags) = (rest[0], rest[1]);
        let (has_key, refuses) = (flags & HAS_KEY != 0, flags & REFUSES != 0);
        (*magic == MAGIC).then_some(Self { version, has_key, refuses, max_message })
    }

    pub(super) fn is_known_version(&self) -> bool {
        self.version == VERSION
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greetings() -> Greetings {
        let [mut client, mut server] = [[0; HELLO + PROOF]; 2];
        client[..HELLO].copy_from_slice(&Hello::write(true, false, 1).unwrap());
        server[..HELLO].copy_from_slice(&Hello::write(true, false, 2).unwrap());
        Greetings { client, server }
    }

    #[test]
    fn a_proof_holds_for_its_key_role_and_connection_only() {
        let (key, said) = (AuthKey::from("right"), greetings());
        let proof = key.proof(Role::Client, said.words());
        assert!(key.accepts(Role::Client, said.words(), &proof));
        assert!(!key.accepts(Role::Server, said.words(), &proof), "a proof sent back");
        assert!(!key.accepts(Role::Caller, said.words(), &proof), "a proof of something else");
        assert!(!key.accepts(Role::Client, greetings().words(), &proof), "a proof sent again");
        assert!(!AuthKey::from("wrong").accepts(Role::Client, said.words(), &proof));
    }

    #[test]
    fn a_greeting_reads_as_it_was_written() {
        for (has_key, refuses) in [(true, false), (false, true), (true, true), (false, false)] {
            let hello = Hello::write(has_key, refuses, 77).unwrap();
            let read = Hello::read(&hello).unwrap();
            assert!(read.is_known_version() && read.max_message == 77);
            assert_eq!((read.has_key, read.refuses), (has_key, refuses));
        }
        assert!(Hello::read(&[b'x'; HELLO]).is_none());
        assert!(Hello::read(&Hello::write(true, true, 77).unwrap()[1..]).is_none());
    }
}
