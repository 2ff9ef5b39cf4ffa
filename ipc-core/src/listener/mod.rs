//! Listeners and clients: connections between processes that know an address.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::link::Link;
use crate::raw;
use crate::sys::poll::poll_one;
use crate::sys::process;
use crate::sys::socket::Listening;
use crate::sys::stream::Stream;
use crate::wait::{Arm, Waitable};
use crate::{Connection, Message, deadline};

mod address;
mod auth;
mod connect;
mod door;
mod error;
mod handshake;
mod options;

#[allow(unused_imports, reason = "not every platform makes files")]
pub(crate) use address::{AUTOMATIC_FILE, is_automatic};
pub use address::{Address, AddressError};
pub use auth::AuthKey;
pub use connect::{Greeted, connect, connect_link, connect_link_with};
pub use error::{AcceptError, BindError, ConnectError};
pub use options::{ConnectOptions, ListenerOptions};

/// Waits at an address for processes that [`connect`].
///
/// A thread of the library's own hears who they are, all at once, and lets in
/// those that keep to the protocol and, if there is a key, prove it;
/// [`accept`](Self::accept) hands them over. Whoever does not is put out, and
/// nobody hears of it.
///
/// A local address is this user's alone unless the options say otherwise; one on
/// the network needs a key. [`wait`](crate::wait) takes a listener too: it is
/// ready when `accept` would give a connection.
///
/// Dropping it closes it: its file is removed, if it is still its own, and
/// connections that were accepted stay. In a fork of this process it is closed.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use ipc_core::{AcceptError, Address, Listener};
///
/// let listener = Listener::bind(&Address::auto()?)?;
/// let nobody = listener.accept_timeout::<String, String>(Duration::from_millis(1));
/// assert!(matches!(nobody, Err(AcceptError::Timeout)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Listener {
    address: Address,
    listening: Arc<Listening>,
    queue: Arc<door::Queue>,
    /// A byte for each client in the queue, the end when there will be no more.
    bell: Stream,
    /// Calls the thread; gone once the listener is closed.
    thread: Mutex<Option<(Stream, JoinHandle<()>)>>,
    backlog: usize,
    is_over: Arc<AtomicBool>,
    word: Arc<Mutex<[u8; auth::WORD]>>,
    owner: u32,
}

/// A client that was let in.
#[derive(Debug)]
pub struct Accepted {
    link: Box<dyn Link>,
    process: Option<u32>,
    address: Option<SocketAddr>,
}

impl Accepted {
    /// The bare link: a [`SocketLink`](crate::link::SocketLink), or a
    /// [`TcpLink`](crate::link::TcpLink).
    #[must_use]
    pub fn into_link(self) -> Box<dyn Link> {
        self.link
    }

    /// The typed end: sends `A`, receives `B`.
    #[must_use]
    pub fn into_connection<A: Message, B: Message>(self) -> Connection<A, B> {
        Connection::over(self.link)
    }

    /// The process that connected, if it runs on this machine and its system said
    /// so. It may have ended, and its number belong to another one.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.process
    }

    /// Where a connection over TCP comes from.
    #[doc(alias = "last_accepted")]
    #[must_use]
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        self.address
    }
}

impl Listener {
    /// Listens at `address`, without a key.
    ///
    /// A folder that is not there is made for a socket file, for this user alone,
    /// and removed again; a file at which nobody listens any more is replaced.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind(address: &Address) -> Result<Self, BindError> {
        Self::bind_with(address, ListenerOptions::new())
    }

    /// As [`bind`](Self::bind), with options.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind_with(address: &Address, options: ListenerOptions) -> Result<Self, BindError> {
        let has_secret = options.authkey.as_ref().is_some_and(|key| !key.is_empty());
        if options.trust_peers && !has_secret {
            return Err(BindError::NothingToTrust);
        }
        if !address.is_local() && !has_secret && !options.anyone {
            return Err(BindError::NeedsKey);
        }
        let opened =
            listen(address, options.anyone).and_then(|listening| Self::open(address, listening, options));
        opened.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse(address.clone()),
            _ => BindError::Io { address: address.clone(), source },
        })
    }

    fn open(address: &Address, listening: Listening, options: ListenerOptions) -> io::Result<Self> {
        let chosen = listening.tcp_address()?;
        let listening = Arc::new(listening);
        let queue = Arc::new(Mutex::new(VecDeque::new()));
        let (bell, ring) = Stream::pipe_pair()?;
        let (calls, call) = Stream::pipe_pair()?;
        let backlog = options.backlog;
        let is_over = Arc::new(AtomicBool::new(false));
        let word = Arc::new(Mutex::new(options.word));
        let door = door::Door {
            listening: Arc::clone(&listening),
            options,
            calls,
            bell: ring,
            queue: Arc::clone(&queue),
            is_over: Arc::clone(&is_over),
            word: Arc::clone(&word),
        };
        let thread = std::thread::Builder::new().name("ipc-core-door".into());
        let thread = raw::start_thread(thread, || door.keep())?;
        Ok(Self {
            address: chosen.map_or_else(|| address.clone(), Address::from),
            listening,
            queue,
            bell,
            thread: Mutex::new(Some((call, thread))),
            backlog,
            is_over,
            word,
            owner: process::current_id(),
        })
    }

    /// Where it listens; with the port that the system chose, if it was to choose one.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What it says of itself to those who connect from now on: see [`ListenerOptions::word`].
    pub fn set_word(&self, word: [u8; 32]) {
        *self.word.lock().unwrap_or_else(PoisonError::into_inner) = word;
    }

    /// Waits for the next client that is let in: sends `A` to it, receives `B`.
    ///
    /// # Errors
    /// [`AcceptError::Closed`] once the listener is closed. A client can cause no error.
    pub fn accept<A: Message, B: Message>(&self) -> Result<Connection<A, B>, AcceptError> {
        Ok(self.next(None)?.into_connection())
    }

    /// As [`accept`](Self::accept), if a client has been let in by now.
    ///
    /// # Errors
    /// As [`accept`](Self::accept), and [`AcceptError::Timeout`] if there is none.
    pub fn try_accept<A: Message, B: Message>(&self) -> Result<Connection<A, B>, AcceptError> {
        Ok(self.next(deadline::now())?.into_connection())
    }

    /// As [`accept`](Self::accept), for up to `timeout`.
    ///
    /// # Errors
    /// As [`accept`](Self::accept), and [`AcceptError::Timeout`].
    pub fn accept_timeout<A: Message, B: Message>(
        &self,
        timeout: Duration,
    ) -> Result<Connection<A, B>, AcceptError> {
        Ok(self.next(deadline::after(timeout))?.into_connection())
    }

    /// Waits for the next client until `deadline`, and gives its link, and who it
    /// is; `None` waits for ever.
    ///
    /// # Errors
    /// As [`accept_timeout`](Self::accept_timeout).
    pub fn accept_link(&self, deadline: Option<Instant>) -> Result<Accepted, AcceptError> {
        self.next(deadline)
    }

    /// Stops listening: nobody is let in any more, and whoever waits in `accept`,
    /// or comes to it when those who were let in are taken, is told. The file of
    /// the address is removed, if it is still this listener's own.
    pub fn close(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((call, thread)) = thread else { return };
        if self.owner == process::current_id() {
            self.is_over.store(true, Ordering::Release);
            // A full pipe calls as well.
            let _ = call.try_write(&[0], &[]);
            self.listening.shut_down();
            // It never waits for a client, and ends at once.
            let _ = thread.join();
        }
        drop(call);
    }

    fn next(&self, deadline: Option<Instant>) -> Result<Accepted, AcceptError> {
        if self.owner != process::current_id() {
            return Err(AcceptError::Closed);
        }
        loop {
            if door::lock(&self.queue).is_empty() {
                if self.is_over.load(Ordering::Acquire) {
                    return Err(AcceptError::Closed);
                }
                // The bell rings for who is in the queue already.
                if deadline::expired(deadline) {
                    return Err(AcceptError::Timeout);
                }
            }
            let mut byte = [0; 1];
            match self.bell.try_read(&mut byte, &mut Vec::new(), &mut false)? {
                Some(0) => return Err(AcceptError::Closed),
                Some(_) => {
                    if let Some(accepted) = self.take() {
                        return Ok(accepted);
                    }
                }
                None if !poll_one(self.bell.readable(), deadline)? => return Err(AcceptError::Timeout),
                None => {}
            }
        }
    }

    fn take(&self) -> Option<Accepted> {
        let mut queue = door::lock(&self.queue);
        let was_full = queue.len() >= self.backlog;
        let accepted = queue.pop_front();
        drop(queue);
        if was_full {
            self.call_thread();
        }
        accepted
    }

    fn call_thread(&self) {
        if let Some((call, _)) = &*self.thread.lock().unwrap_or_else(PoisonError::into_inner) {
            // A full pipe calls as well.
            let _ = call.try_write(&[0], &[]);
        }
    }
}

fn listen(address: &Address, anyone: bool) -> io::Result<Listening> {
    match address {
        Address::File(path) => Listening::file(path, anyone),
        Address::Abstract(name) => Listening::abstract_name(name),
        Address::Tcp { host, port } => listen_tcp(host, *port),
        Address::NamedPipe(_) => Err(address::no_named_pipes()),
    }
}

fn listen_tcp(host: &str, port: u16) -> io::Result<Listening> {
    let mut last: io::Error = io::ErrorKind::NotFound.into();
    for address in connect::resolve(host, port, None)? {
        match Listening::tcp(address) {
            Ok(listening) => return Ok(listening),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Waitable for Listener {
    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        arm.push(self.bell.readable());
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("address", &self.address).finish_non_exhaustive()
    }
}
