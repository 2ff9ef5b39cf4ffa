//! Reaching a listener.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::handshake::{Terms, introduce};
use super::{Address, ConnectError, ConnectOptions};
use crate::link::{Limits, Link, SocketLink, TcpLink};
use crate::raw;
use crate::sys::socket;
use crate::sys::stream::Stream;
use crate::{Connection, Message, Packet, SendError, deadline};

/// Connects to a listener: sends `A`, receives `B`.
///
/// Blocks until the listener has let this client in, which takes no `accept` on
/// its side, and not longer than the options' timeout.
///
/// # Errors
/// See [`ConnectError`].
///
/// # Examples
/// ```
/// use ipc_core::{Address, ConnectOptions, Connection, Listener, connect};
///
/// let listener = Listener::bind(&Address::auto()?)?;
/// let client: Connection<u32, String> = connect(listener.address(), ConnectOptions::new())?;
/// let server: Connection<String, u32> = listener.accept()?;
/// client.send(&7)?;
/// server.send(&format!("got {}", server.recv()?))?;
/// assert_eq!(client.recv()?, "got 7");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "Client")]
pub fn connect<A: Message, B: Message>(
    address: &Address,
    options: ConnectOptions,
) -> Result<Connection<A, B>, ConnectError> {
    Ok(Connection::over(connect_link(address, options)?))
}

/// As [`connect`], for the bare link: a [`SocketLink`], or a [`TcpLink`].
///
/// # Errors
/// As [`connect`].
pub fn connect_link(address: &Address, options: ConnectOptions) -> Result<Box<dyn Link>, ConnectError> {
    Ok(connect_and_say(address, options, None)?.link)
}

/// A link to a listener, and what that says of itself.
#[derive(Debug)]
#[non_exhaustive]
pub struct Greeted {
    /// A [`SocketLink`], or a [`TcpLink`].
    pub link: Box<dyn Link>,
    /// As [`ListenerOptions::word`](crate::ListenerOptions::word) has it.
    pub word: [u8; 32],
}

/// A first message that is longer than this goes by itself: the last of the handshake is said at once, whatever
/// there is room for.
const SHORT: usize = 2048;

/// As [`connect_link`], and tells what the listener says of itself. If there is a first message, without
/// handles, it goes with the last of the handshake, to a listener that has proven the key; a long one goes
/// right behind it.
///
/// # Errors
/// As [`connect_link`]; [`ConnectError::Io`] if the message cannot be sent, as one that is longer than the
/// listener takes, and [`ConnectError::Timeout`] if that takes too long.
pub fn connect_link_with(
    address: &Address,
    options: ConnectOptions,
    first: Option<&mut Packet>,
) -> Result<Greeted, ConnectError> {
    if first.as_ref().is_some_and(|first| first.handle_count() > 0 || first.moves_ends()) {
        let why = "a first message has no handles";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why).into());
    }
    connect_and_say(address, options, first)
}

fn connect_and_say(
    address: &Address,
    options: ConnectOptions,
    first: Option<&mut Packet>,
) -> Result<Greeted, ConnectError> {
    if options.trust_peer && options.authkey.as_ref().is_none_or(|key| key.is_empty()) {
        return Err(ConnectError::NothingToTrust);
    }
    let deadline = deadline::after(options.timeout);
    let stream = reach(address, &options, deadline)?;
    if address.is_local() && !options.anyone {
        check_user(&stream)?;
    }
    let terms = Terms { authkey: options.authkey.as_ref(), max_message: options.max_message };
    let (mut short, long) = match first {
        Some(first) if first.bytes().len() > SHORT => (None, Some(first)),
        first => (first, None),
    };
    let frame = |limits: &Limits| short.as_mut().map_or(Ok(Vec::new()), |first| frame_within(first, limits));
    let (limits, word) = introduce(&stream, &terms, deadline, frame)?;
    let link: Box<dyn Link> = if address.is_local() {
        Box::new(SocketLink::connected(stream, options.trust_peer, limits))
    } else {
        Box::new(TcpLink::connected(stream, options.trust_peer, limits))
    };
    if let Some(first) = long {
        link.send(first, deadline).map_err(unsent)?;
    }
    Ok(Greeted { link, word })
}

/// What a link sends for a message, if the listener takes one of that length.
fn frame_within(message: &mut Packet, limits: &Limits) -> Result<Vec<u8>, ConnectError> {
    let (len, most) = (message.bytes().len(), limits.sends);
    if len as u64 > most {
        let why = format!("the first message is {len} bytes long, and the listener takes at most {most}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why).into());
    }
    SocketLink::frame(message).map_err(unsent)
}

fn unsent(error: SendError) -> ConnectError {
    match error {
        SendError::Closed => ConnectError::Closed,
        SendError::Timeout => ConnectError::Timeout,
        SendError::Io(error) => error.into(),
        error => io::Error::new(io::ErrorKind::InvalidInput, error).into(),
    }
}

/// A name without a file may be taken by anybody once its listener has gone.
fn check_user(stream: &Stream) -> Result<(), ConnectError> {
    let user = socket::credentials(stream)?.user;
    let is_known = user == socket::current_user() || user == 0;
    if is_known { Ok(()) } else { Err(ConnectError::OtherUser { user }) }
}

/// How long a client that waits for its listener sleeps between two tries, first and at most.
const TRY_AGAIN: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

fn reach(
    address: &Address,
    options: &ConnectOptions,
    deadline: Option<Instant>,
) -> Result<Stream, ConnectError> {
    let mut pause = TRY_AGAIN.0;
    loop {
        match reach_once(address, deadline) {
            Err(error) if !options.wait_for_listener || !is_absence(&error) => {
                return Err(explain(address, error));
            }
            Err(_) if deadline::expired(deadline) => return Err(ConnectError::Timeout),
            Err(_) => {
                let left = deadline.map_or(pause, |at| at.saturating_duration_since(Instant::now()));
                std::thread::sleep(pause.min(left));
                pause = (pause * 2).min(TRY_AGAIN.1);
            }
            Ok(stream) => return Ok(stream),
        }
    }
}

fn reach_once(address: &Address, deadline: Option<Instant>) -> io::Result<Stream> {
    match address {
        Address::File(path) => socket::connect_file(path, deadline),
        Address::Abstract(name) => socket::connect_abstract(name, deadline),
        Address::Tcp { host, port } => reach_tcp(host, *port, deadline),
        Address::NamedPipe(_) => Err(super::address::no_named_pipes()),
    }
}

/// Tries the host's addresses one after the other, and leaves each later one its share of the time.
fn reach_tcp(host: &str, port: u16, deadline: Option<Instant>) -> io::Result<Stream> {
    let addresses = resolve(host, port, deadline)?;
    let mut last: io::Error = io::ErrorKind::NotFound.into();
    for (tried, address) in addresses.iter().enumerate() {
        let untried = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = |at: Instant| Instant::now() + at.saturating_duration_since(Instant::now()) / untried;
        match socket::connect_tcp(*address, deadline.map(share)) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The addresses of a host. A name is looked up on a thread of its own, because
/// the system's resolver knows no deadline.
pub(super) fn resolve(host: &str, port: u16, deadline: Option<Instant>) -> io::Result<Vec<SocketAddr>> {
    if let Ok(number) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(number, port)]);
    }
    let (answer, answers) = mpsc::sync_channel(1);
    let host = host.to_owned();
    raw::start_thread(std::thread::Builder::new().name("ipc-core-lookup".into()), move || {
        // Nobody waits for it any more after the deadline.
        let _ = answer.send((host.as_str(), port).to_socket_addrs().map(Iterator::collect));
    })?;
    let answer = match deadline {
        None => answers.recv().map_err(|_| io::ErrorKind::Other),
        Some(at) => {
            let left = at.saturating_duration_since(Instant::now());
            answers.recv_timeout(left).map_err(|_| io::ErrorKind::TimedOut)
        }
    };
    answer?
}

/// Whether nobody listens there, so far.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn explain(address: &Address, error: io::Error) -> ConnectError {
    match error.kind() {
        _ if is_absence(&error) => ConnectError::NoListener(address.clone()),
        io::ErrorKind::TimedOut => ConnectError::Timeout,
        _ => error.into(),
    }
}
