//! What a listener and a client may choose.

use std::time::Duration;

use super::AuthKey;
use super::auth::WORD;

/// Messages longer than this are refused unless the options say otherwise.
const MAX_MESSAGE: usize = 256 << 20;

/// How a [`Listener`](crate::Listener) lets clients in.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use ipc_core::{Address, AuthKey, Listener, ListenerOptions};
///
/// let options = ListenerOptions::new()
///     .authkey(AuthKey::random()?)
///     .handshake_timeout(Duration::from_secs(2));
/// let listener = Listener::bind_with(&Address::tcp("localhost", 0), options)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct ListenerOptions {
    pub(super) authkey: Option<AuthKey>,
    pub(super) handshake_timeout: Duration,
    pub(super) max_handshakes: usize,
    pub(super) backlog: usize,
    pub(super) max_message: usize,
    pub(super) anyone: bool,
    pub(super) trust_peers: bool,
    pub(super) word: [u8; WORD],
}

impl Default for ListenerOptions {
    fn default() -> Self {
        Self {
            authkey: None,
            handshake_timeout: Duration::from_secs(10),
            max_handshakes: 64,
            backlog: 32,
            max_message: MAX_MESSAGE,
            anyone: false,
            trust_peers: false,
            word: [0; WORD],
        }
    }
}

impl ListenerOptions {
    /// No key, only processes of this user, messages of up to 256 MiB.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets in only clients that prove this key, and proves it to them.
    #[must_use]
    pub fn authkey(mut self, key: AuthKey) -> Self {
        self.authkey = Some(key);
        self
    }

    /// How long a client may take to say who it is: ten seconds unless chosen.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// How many clients may be saying who they are at one time; one more puts the
    /// one out that has taken longest. 64 unless chosen.
    #[must_use]
    pub fn max_handshakes(mut self, count: usize) -> Self {
        self.max_handshakes = count.max(1);
        self
    }

    /// How many clients may be let in and wait for `accept`; more wait in the
    /// system. 32 unless chosen.
    #[must_use]
    pub fn backlog(mut self, count: usize) -> Self {
        // Each waits with a byte in a pipe, which holds more than this.
        self.backlog = count.clamp(1, 4096);
        self
    }

    /// The longest message that links of this listener take; a longer one gives
    /// the link up before memory is set aside for it. 256 MiB unless chosen.
    #[must_use]
    pub fn max_message(mut self, len: usize) -> Self {
        self.max_message = len;
        self
    }

    /// What the listener says of itself to clients while they connect: see
    /// [`connect_link_with`](crate::connect_link_with). With a key only those hear it who have that,
    /// or say again what they heard such a one say: it is no place for secrets. Zeros unless chosen.
    #[must_use]
    pub fn word(mut self, word: [u8; 32]) -> Self {
        self.word = word;
        self
    }

    /// Lets in whoever reaches the address: other users of this machine, and
    /// without a key everybody on the network.
    #[must_use]
    pub fn anyone(mut self) -> Self {
        self.anyone = true;
        self
    }

    /// Whoever proves the key is a process of this program's tree, because only
    /// such processes know it: its messages may hold what strangers' may not.
    #[must_use]
    pub fn trust_peers(mut self) -> Self {
        self.trust_peers = true;
        self
    }
}

/// How [`connect`](crate::connect) reaches a listener.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    pub(super) authkey: Option<AuthKey>,
    pub(super) timeout: Duration,
    pub(super) wait_for_listener: bool,
    pub(super) max_message: usize,
    pub(super) anyone: bool,
    pub(super) trust_peer: bool,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            authkey: None,
            timeout: Duration::from_secs(20),
            wait_for_listener: false,
            max_message: MAX_MESSAGE,
            anyone: false,
            trust_peer: false,
        }
    }
}

impl ConnectOptions {
    /// No key, twenty seconds, messages of up to 256 MiB.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Connects only to a listener that proves this key, and proves it to it.
    #[must_use]
    pub fn authkey(mut self, key: AuthKey) -> Self {
        self.authkey = Some(key);
        self
    }

    /// How long everything may take together: finding the host, connecting, and
    /// proving the key. Twenty seconds unless chosen.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Waits for the listener to appear, up to the timeout, instead of failing at once.
    #[must_use]
    pub fn wait_for_listener(mut self) -> Self {
        self.wait_for_listener = true;
        self
    }

    /// The longest message that the link takes; see [`ListenerOptions::max_message`].
    #[must_use]
    pub fn max_message(mut self, len: usize) -> Self {
        self.max_message = len;
        self
    }

    /// Connects to a local socket of another user too.
    #[must_use]
    pub fn anyone(mut self) -> Self {
        self.anyone = true;
        self
    }

    /// See [`ListenerOptions::trust_peers`].
    #[must_use]
    pub fn trust_peer(mut self) -> Self {
        self.trust_peer = true;
        self
    }
}
