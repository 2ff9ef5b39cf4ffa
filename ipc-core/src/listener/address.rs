//! Where a listener can be found.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

use crate::sys;
use crate::transfer::{deserialize_error, serialize_error};

/// Where a [`Listener`](crate::Listener) is to be found.
///
/// It is written, and read, as a text that says its kind; in serde's formats
/// too. Texts that can mean only one kind need not say it.
///
/// | kind | text | or shorter |
/// |---|---|---|
/// | local socket with a file | `unix:run/jobs` | `/run/jobs`, `./jobs` |
/// | local socket without one | `abstract:jobs` | `@jobs` |
/// | TCP | `tcp:localhost:5000`, `tcp:[::1]:5000` | `localhost:5000` |
/// | named pipe of Windows | `pipe:jobs` | `\\.\pipe\jobs` |
///
/// # Examples
/// ```
/// use ipc_core::Address;
///
/// let address: Address = "[::1]:5000".parse()?;
/// assert_eq!(address, Address::tcp("::1", 5000));
/// assert_eq!(address.to_string(), "tcp:[::1]:5000");
/// assert_eq!("/run/jobs".parse(), Ok(Address::file("/run/jobs")));
/// # Ok::<(), ipc_core::AddressError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Address {
    /// A local socket with a file in the file system.
    File(PathBuf),
    /// A local socket with a name that is no file, and ends with the listener: Linux only.
    Abstract(String),
    /// A TCP port of a host, which is a name or a number of version 4 or 6.
    Tcp {
        /// The host, without brackets.
        host: String,
        /// The port; zero lets the system choose one.
        port: u16,
    },
    /// A named pipe, without the `\\.\pipe\` in front: Windows only.
    NamedPipe(String),
}

/// A text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address: write `unix:PATH`, `abstract:NAME`, `tcp:HOST:PORT` or `pipe:NAME`")]
pub struct AddressError(String);

impl Address {
    /// A local address of this machine that nobody else has: what a program uses
    /// that does not care for the name. It leaves nothing behind, also when the
    /// listener's process is killed.
    ///
    /// # Errors
    /// What the system says, if it has no random numbers.
    pub fn auto() -> io::Result<Self> {
        Ok(Self::Abstract(format!("ipc-core-{:032x}", sys::memory::random_id()?)))
    }

    /// As [`auto`](Self::auto), with a file in a folder of its own in the folder
    /// for temporary files: for programs that share no network namespace.
    ///
    /// The listener removes both when it closes. If its process is killed, they go with it
    /// where a keeper of names was told of them
    /// ([`keep_names_by`](crate::raw::keep_names_by); processes that `mp-process` has
    /// initialised have one). Elsewhere they stay for an hour at least, until some
    /// process of this user listens at an address of this kind for the first time.
    ///
    /// # Errors
    /// As [`auto`](Self::auto).
    pub fn auto_file() -> io::Result<Self> {
        let folder = format!("{FOLDER}{:016x}", sys::memory::random_id()? as u64);
        Ok(Self::File(std::env::temp_dir().join(folder).join(AUTOMATIC_FILE)))
    }

    /// A local socket with a file.
    pub fn file(path: impl AsRef<Path>) -> Self {
        Self::File(path.as_ref().to_owned())
    }

    /// A TCP port. A host of version 6 stands here without brackets.
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        Self::Tcp { host: host.into(), port }
    }

    /// Whether only processes of this machine reach it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        !matches!(self, Self::Tcp { .. })
    }
}

/// What the folder of an automatic address is called, before sixteen digits.
const FOLDER: &str = "ipc-core-";
/// What the file in it is called.
#[allow(dead_code, reason = "not every platform makes files")]
pub(crate) const AUTOMATIC_FILE: &str = "socket";

/// Whether this may be the file of an automatic address.
#[allow(dead_code, reason = "not every platform makes files")]
pub(crate) fn is_automatic(path: &Path) -> bool {
    let is_folder = |name: &str| {
        name.strip_prefix(FOLDER)
            .is_some_and(|id| id.len() == 16 && id.bytes().all(|digit| digit.is_ascii_hexdigit()))
    };
    let folder = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    path.file_name().is_some_and(|name| name == AUTOMATIC_FILE) && folder.is_some_and(is_folder)
}

/// What is said of an address of another platform's.
pub(super) fn no_named_pipes() -> io::Error {
    let text = "there are no named pipes on this platform: use `unix:PATH` or `tcp:HOST:PORT`";
    io::Error::new(io::ErrorKind::Unsupported, text)
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::tcp(host_of(&address), address.port())
    }
}

/// The host with its scope, without which a link-local address leads nowhere.
fn host_of(address: &SocketAddr) -> String {
    match address {
        SocketAddr::V6(address) if address.scope_id() != 0 => {
            format!("{}%{}", address.ip(), address.scope_id())
        }
        _ => address.ip().to_string(),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "unix:{}", path.display()),
            Self::Abstract(name) => write!(f, "abstract:{name}"),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp:{host}:{port}"),
            Self::NamedPipe(name) => write!(f, "pipe:{name}"),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        parse(text).ok_or_else(|| AddressError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Address> {
    let named = |name: &str| (!name.is_empty() && !name.contains('\0')).then(|| name.to_owned());
    if let Some(path) = text.strip_prefix("unix:") {
        named(path).map(Address::file)
    } else if let Some(name) = text.strip_prefix("abstract:").or_else(|| text.strip_prefix('@')) {
        named(name).map(Address::Abstract)
    } else if let Some(name) = text.strip_prefix("pipe:").or_else(|| text.strip_prefix(r"\\.\pipe\")) {
        named(name).map(Address::NamedPipe)
    } else if let Some(place) = text.strip_prefix("tcp:") {
        parse_tcp(place)
    } else if text.starts_with(['/', '.']) {
        named(text).map(Address::file)
    } else {
        parse_tcp(text)
    }
}

fn parse_tcp(text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        // Without brackets, nobody knows where such a host ends.
        None if host.contains(':') => return None,
        None => host,
    };
    (!host.is_empty()).then_some(Address::tcp(host, port.parse().ok()?))
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::File(path) if path.to_str().is_none() => {
                Err(serialize_error("the path of a local socket is not Unicode"))
            }
            _ => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(deserialize_error)
    }
}
