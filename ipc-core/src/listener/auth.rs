//! Who is there: greetings, and proofs of a key that never travels.
//!
//! Each side greets with its version, whether it has a key, and 32 random bytes;
//! so a key on one side only is noticed at once. With a key, each side then
//! sends the HMAC-SHA-256 of its role and both greetings, the client first. The
//! roles keep a proof from being sent back to who made it, the random bytes
//! from being used twice.

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

    /// The proof that `role` knows this key, for this connection alone.
    pub(super) fn proof(&self, role: Role, greetings: &Greetings) -> Proof {
        self.mac(role, greetings).finalize().into_bytes().into()
    }

    /// Whether `proof` is the one; takes as long for a wrong one as for the right one.
    pub(super) fn accepts(&self, role: Role, greetings: &Greetings, proof: &Proof) -> bool {
        self.mac(role, greetings).verify_slice(proof).is_ok()
    }

    fn mac(&self, role: Role, greetings: &Greetings) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(match role {
            Role::Client => b"ipc-core client ",
            Role::Server => b"ipc-core server ",
        });
        mac.update(&greetings.client);
        mac.update(&greetings.server);
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
    Client,
    Server,
}

pub(super) type Proof = [u8; 32];

/// What both sides said first, as it went over the wire.
#[derive(Debug)]
pub(super) struct Greetings {
    pub(super) client: [u8; HELLO],
    pub(super) server: [u8; HELLO],
}

/// The length of a greeting: magic, version, flags, longest message, random bytes.
pub(super) const HELLO: usize = 56;
/// The length of the server's last word: a verdict and its proof.
pub(super) const VERDICT: usize = 33;
/// The client's proof was right, and what follows is the server's.
pub(super) const WELCOME: u8 = 1;
/// The client's proof was wrong.
pub(super) const REFUSED: u8 = 0;

/// How every greeting begins.
pub(super) const MAGIC: [u8; 8] = *b"ipc-core";
const VERSION: u8 = 1;
const HAS_KEY: u8 = 1;
/// A client's first message follows its proof, and it wants the verdict with what answers that.
const SPEAKS: u8 = 2;

/// What a greeting says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hello {
    pub(super) version: u8,
    pub(super) has_key: bool,
    /// The verdict is to go with the first message to this side.
    pub(super) speaks: bool,
    /// Messages longer than this are not taken.
    pub(super) max_message: u64,
}

impl Hello {
    /// A fresh greeting of this side.
    pub(super) fn write(has_key: bool, speaks: bool, max_message: usize) -> io::Result<[u8; HELLO]> {
        let mut hello = [0; HELLO];
        hello[..8].copy_from_slice(&MAGIC);
        hello[8] = VERSION;
        hello[9] = (u8::from(has_key) * HAS_KEY) | (u8::from(speaks) * SPEAKS);
        hello[16..24].copy_from_slice(&(max_message as u64).to_le_bytes());
        hello[24..].copy_from_slice(&sys::memory::random_bytes::<32>()?);
        Ok(hello)
    }

    /// Reads what the other side said; `None` if it is no greeting.
    pub(super) fn read(hello: &[u8; HELLO]) -> Option<Self> {
        let (magic, rest) = hello.split_first_chunk()?;
        let max_message = u64::from_le_bytes(*hello[16..].first_chunk()?);
        let (version, flags) = (rest[0], rest[1]);
        let (has_key, speaks) = (flags & HAS_KEY != 0, flags & SPEAKS != 0);
        (*magic == MAGIC).then_some(Self { version, has_key, speaks, max_message })
    }

    pub(super) fn is_known_version(&self) -> bool {
        self.version == VERSION
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greetings() -> Greetings {
        Greetings {
            client: Hello::write(true, true, 1).unwrap(),
            server: Hello::write(true, false, 2).unwrap(),
        }
    }

    #[test]
    fn a_proof_holds_for_its_key_role_and_connection_only() {
        let (key, said) = (AuthKey::from("right"), greetings());
        let proof = key.proof(Role::Client, &said);
        assert!(key.accepts(Role::Client, &said, &proof));
        assert!(!key.accepts(Role::Server, &said, &proof), "a proof sent back");
        assert!(!key.accepts(Role::Client, &greetings(), &proof), "a proof sent again");
        assert!(!AuthKey::from("wrong").accepts(Role::Client, &said, &proof));
    }

    #[test]
    fn a_greeting_reads_as_it_was_written() {
        for (has_key, speaks) in [(true, false), (false, true), (true, true), (false, false)] {
            let hello = Hello::write(has_key, speaks, 77).unwrap();
            let read = Hello::read(&hello).unwrap();
            assert!(read.is_known_version() && read.max_message == 77);
            assert_eq!((read.has_key, read.speaks), (has_key, speaks));
        }
        assert!(Hello::read(&[b'x'; HELLO]).is_none());
    }
}
