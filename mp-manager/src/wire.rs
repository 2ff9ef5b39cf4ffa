//! What clients and servers say to each other.
//!
//! A server says who it is while the connection is made: its [`Welcome`] is its listener's word. So a
//! client's first message is its first request.
//!
//! A request is a [`Head`] and, for some, arguments behind it. An answer is what
//! its kind says, with a [`Tail`] at the end that is read first: which objects
//! stand in a value is known only once it is written.
//!
//! A client over TCP may ask with [`Request::Last`] to be waited for when the connection is cut. From
//! there on both sides number the messages of each direction, from one, without writing the numbers:
//! the client all that it sends after the request, the server all after the [`Ticket`] but fillers. Each
//! keeps what the other has not said with `Heard` to have come. A new connection that begins with
//! [`Request::Resume`] goes on with the session: it says how many messages of the server's have come, the
//! answer how many of the client's, and both send again what is missing, in order, before anything new.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ipc_core::{Address, AuthKey, Connection, EncodeError, Packet};
use serde::de::{Deserializer, Error as _, Visitor};
use serde::ser::{SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};

use crate::context;
use crate::error::FaultKind;
use crate::lease::Lease;

/// What this version speaks.
pub(crate) const VERSION: u16 = 2;

/// How a request begins.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Head {
    /// The client's number for it; an answer carries it again. Zero wants none.
    pub(crate) call: u64,
    pub(crate) request: Request,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Runs a method; its arguments follow.
    Call {
        object: u64,
        method: u64,
        patience: Patience,
    },
    /// Makes an object; the constructor's arguments follow, and before them the
    /// constructor itself, if it is not known by name.
    Create {
        name: String,
        by_function: bool,
    },
    /// The client has one reference less.
    Release {
        object: u64,
    },
    /// The client waits for this call no more.
    Cancel {
        object: u64,
        call: u64,
    },
    /// A reference for a proxy that leaves in a message.
    Fly {
        object: u64,
    },
    /// A proxy has arrived in a message.
    Claim {
        object: u64,
        ticket: u128,
    },
    Publish {
        name: String,
        object: u64,
    },
    Unpublish {
        name: String,
    },
    Find {
        name: String,
    },
    Count,
    /// All objects.
    List,
    /// The methods of an object.
    Describe {
        object: u64,
    },
    /// A way through shared memory, in the place of the socket: answered by [`Ring`]. The
    /// longest answer that the client takes.
    Ring {
        longest: u64,
    },
    /// Several requests, which follow as packets; each has its own answer.
    Batch,
    /// Gives an object a name that nobody has; brings the one that has it then.
    Adopt {
        name: String,
        object: u64,
    },
    /// How long the log is, and how many objects are durable.
    State,
    /// The client comes back when the connection is cut: answered by [`Ticket`]. What it sends from
    /// now on is counted.
    Last,
    /// The very first one of a connection in the place of one that was cut; `heard` messages came over
    /// that. Answered by [`Resumed`].
    Resume {
        version: u16,
        epoch: u128,
        ticket: Ticket,
        heard: u64,
    },
    /// So many messages have come: they need not be kept any more.
    Heard {
        count: u64,
    },
    /// The client ends, and does not come back.
    Leave,
    /// The item that answered a call has come to who asked for it.
    Taken {
        call: u64,
    },
}

/// Who comes back with it is who went.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Ticket {
    pub(crate) session: u64,
    pub(crate) token: u128,
}

/// A client has come back: so many of its messages have come before.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Resumed {
    pub(crate) heard: u64,
}

/// How long a caller waits, in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Patience {
    /// After this the object gives the wait up, and says so.
    pub(crate) limit: Option<u64>,
    /// Whoever waits in an object hears this often that it still does.
    pub(crate) hear: u64,
}

/// What a server says of itself to those who connect, before they say anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Welcome {
    pub(crate) version: u16,
    pub(crate) epoch: u128,
    /// There are as many clients as may be.
    pub(crate) is_full: bool,
}

impl Welcome {
    /// As a listener's word.
    pub(crate) fn word(self) -> [u8; 32] {
        let mut word = [0; 32];
        word[..2].copy_from_slice(&self.version.to_le_bytes());
        word[2] = u8::from(self.is_full);
        word[16..].copy_from_slice(&self.epoch.to_le_bytes());
        word
    }

    /// Read again.
    pub(crate) fn of(word: &[u8; 32]) -> Self {
        let mut epoch = [0; 16];
        epoch.copy_from_slice(&word[16..]);
        Self {
            version: u16::from_le_bytes([word[0], word[1]]),
            epoch: u128::from_le_bytes(epoch),
            is_full: word[2] != 0,
        }
    }
}

/// How an answer ends.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Tail {
    pub(crate) call: u64,
    pub(crate) kind: AnswerKind,
    /// The objects in the value: the client has one more reference to each.
    pub(crate) objects: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AnswerKind {
    Value,
    Fault(FaultKind),
    /// The call still waits in its object.
    Waiting,
    /// The last answer over the socket: those that follow come over the ring in it.
    Ring,
    /// Several answers, which come before this as packets.
    Batch,
    /// A [`Ticket`]: what follows is counted.
    Ticket,
    /// So many requests as the number of the call says have come.
    Heard,
    /// A value that nobody else has. The manager keeps it until the client says [`Taken`](Request::Taken), and
    /// gives it to others if the client gives the call up instead, or ends.
    Item,
}

/// A message from a server that means nothing, and is not counted.
pub(crate) fn filler() -> Packet {
    let mut packet = Packet::new();
    let tail = Tail { call: 0, kind: AnswerKind::Waiting, objects: Vec::new() };
    // Nothing in it can refuse to be encoded.
    let _ = packet.append_tail(&tail);
    packet
}

/// Whether it is a [`filler`].
pub(crate) fn is_filler(packet: &Packet) -> bool {
    static FILLER: LazyLock<Vec<u8>> = LazyLock::new(|| filler().bytes().to_vec());
    packet.bytes() == *FILLER
}

/// A way through shared memory to a client that calls often.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ring {
    /// Nothing goes over it in this form: it is a link, and both sides use it as one.
    pub(crate) link: Connection<u8, u8>,
    /// The longest request that the server takes.
    pub(crate) longest: u64,
}

/// Why one more client is turned away.
pub(crate) const FULL: &str = "as many clients are connected as may be: see `Builder::max_clients`";

/// A client that has said nothing over its ring for so long does not use it any more.
pub(crate) const RING_UNUSED: Duration = Duration::from_secs(5);
/// Longer than [`RING_UNUSED`]: then the server drops it.
pub(crate) const RING_IDLE: Duration = Duration::from_secs(10);

/// How to reach a manager.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) address: Address,
    pub(crate) key: Key,
    pub(crate) epoch: u128,
}

/// What a client proves to the manager.
#[derive(Debug, Clone)]
pub(crate) enum Key {
    None,
    /// What the user chose; it stays in the process that was told.
    Chosen(AuthKey),
    /// What a started manager made for its tree; it goes where proxies go.
    Tree(AuthKey),
}

/// A value as a managed container keeps it: encoded, with the objects in it.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Raw {
    pub(crate) bytes: Bytes,
    pub(crate) objects: Vec<u64>,
    /// Whose objects they are, at a client.
    #[serde(skip)]
    pub(crate) epoch: Option<u128>,
    /// At the client: what holds the objects until the manager does.
    #[serde(skip)]
    pub(crate) leases: Vec<Arc<Lease>>,
}

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_for = |epoch| self.objects.is_empty() || context::is_for(epoch);
        if !self.epoch.is_none_or(is_for) {
            return Err(ipc_core::raw::serialize_error(
                "an object in the value is of a manager that has ended: find it in the one that is there",
            ));
        }
        for lease in &self.leases {
            lease.epoch().map(|epoch| context::collect(epoch, lease));
        }
        let mut raw = serializer.serialize_struct("Raw", 2)?;
        raw.serialize_field("bytes", &self.bytes)?;
        raw.serialize_field("objects", &self.objects)?;
        raw.end()
    }
}

/// Bytes that travel in one piece.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;
        impl Visitor<'_> for Whole {
            type Value = Bytes;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Whole).map_err(D::Error::custom)
    }
}

impl Access {
    pub(crate) fn authkey(&self) -> Option<&AuthKey> {
        match &self.key {
            Key::None => None,
            Key::Chosen(key) | Key::Tree(key) => Some(key),
        }
    }

    /// Whether both sides run one program and may send each other functions.
    pub(crate) fn is_tree(&self) -> bool {
        matches!(self.key, Key::Tree(_))
    }
}

/// An [`Access`] in a message.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AccessWire {
    address: Address,
    epoch: u128,
    needs_key: bool,
    tree_key: Option<Bytes>,
}

impl From<&Access> for AccessWire {
    fn from(access: &Access) -> Self {
        let tree_key = match &access.key {
            Key::Tree(key) => Some(Bytes(key.bytes().to_vec())),
            _ => None,
        };
        Self {
            address: access.address.clone(),
            epoch: access.epoch,
            needs_key: !matches!(access.key, Key::None),
            tree_key,
        }
    }
}

impl AccessWire {
    pub(crate) fn epoch(&self) -> u128 {
        self.epoch
    }

    /// What the message says; an error if it takes a key that this process does not have.
    pub(crate) fn access(self) -> Result<Access, String> {
        let key = match self.tree_key {
            Some(key) if ipc_core::decoding_from_own_tree() => Key::Tree(AuthKey::from(key.0.as_slice())),
            None if !self.needs_key => Key::None,
            _ => {
                return Err(format!(
                    "the manager at {} needs an authkey: connect to it before proxies of it are received",
                    self.address
                ));
            }
        };
        Ok(Access { address: self.address, key, epoch: self.epoch })
    }
}

/// A request, ready for its arguments.
pub(crate) fn request(call: u64, request: Request) -> Result<Packet, EncodeError> {
    let mut packet = Packet::new();
    packet.append(&Head { call, request })?;
    Ok(packet)
}

/// The number by which a method goes over the wire.
#[must_use]
pub const fn method_id(name: &str) -> u64 {
    let bytes = name.as_bytes();
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    hash
}
