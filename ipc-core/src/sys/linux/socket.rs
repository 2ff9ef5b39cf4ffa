//! Sockets that listen and connect: local ones by file or abstract name, and TCP.
//!
//! Listening and accepting on local sockets is the `interprocess` crate's.
//! Connecting is not: when the queue of a listener is full, its timed connect
//! reports success on a socket that is not connected.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use interprocess::local_socket::traits::Listener as _;
use interprocess::local_socket::{self, ListenerNonblockingMode, ListenerOptions, Name, ToFsName, ToNsName};
use interprocess::os::unix::local_socket::{AbstractNsUdSocket, FilesystemUdSocket, ListenerOptionsExt};
use rustix::io::Errno;
use rustix::net::{Shutdown, SocketAddrUnix, shutdown, sockopt};

use super::poll::Interest;
use super::socket_file::{self, SocketFile};
use super::stream::Stream;
use crate::deadline;

/// A socket that listens, without waiting.
#[derive(Debug)]
pub(crate) struct Listening {
    file: Mutex<Option<SocketFile>>,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Local(local_socket::Listener),
    Tcp(TcpListener),
}

/// A connection that came in.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) stream: Stream,
    /// Where it came from over the network.
    pub(crate) address: Option<SocketAddr>,
    /// Who it is on this machine.
    pub(crate) process: Option<Credentials>,
}

/// A process of this machine, as the kernel knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Credentials {
    pub(crate) process: u32,
    pub(crate) user: u32,
}

impl Listening {
    /// Listens on a local socket with a file, which only this user may use unless
    /// `anyone` may.
    pub(crate) fn file(path: &Path, anyone: bool) -> io::Result<Self> {
        let (file, socket) = SocketFile::bind(path, || {
            listen(path.to_fs_name::<FilesystemUdSocket>()?, |options| options.mode(0o600))
        })?;
        if anyone {
            // Said again, because the process's mask for new files takes bits away.
            fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
        }
        Ok(Self { file: Mutex::new(Some(file)), socket: Socket::Local(socket) })
    }

    /// Listens on a local socket whose name is no file.
    pub(crate) fn abstract_name(name: &str) -> io::Result<Self> {
        let socket = listen(name.to_ns_name::<AbstractNsUdSocket>()?, |options| options)?;
        Ok(Self { file: Mutex::default(), socket: Socket::Local(socket) })
    }

    pub(crate) fn tcp(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        // Those that it accepts have it from it.
        choose(&socket)?;
        Ok(Self { file: Mutex::default(), socket: Socket::Tcp(socket) })
    }

    /// Where a TCP socket listens, with the port that the system chose.
    pub(crate) fn tcp_address(&self) -> io::Result<Option<SocketAddr>> {
        match &self.socket {
            Socket::Tcp(socket) => socket.local_addr().map(Some),
            Socket::Local(_) => Ok(None),
        }
    }

    pub(crate) fn readable(&self) -> Interest<'_> {
        Interest::readable(self)
    }

    /// Takes the next connection, if there is one.
    pub(crate) fn try_accept(&self) -> io::Result<Option<Caller>> {
        let accepted = match &self.socket {
            Socket::Local(socket) => socket.accept().and_then(local_caller),
            Socket::Tcp(socket) => socket.accept().map(|(stream, from)| tcp_caller(stream, from)),
        };
        match accepted {
            Err(error) if is_no_caller(&error) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Stops listening, also where a fork holds a copy of the socket, and removes the file.
    pub(crate) fn shut_down(&self) {
        // The file goes while nobody can take it for a stale one.
        drop(self.file.lock().unwrap_or_else(PoisonError::into_inner).take());
        let _ = shutdown(self, Shutdown::Both);
    }
}

impl AsFd for Listening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Local(local_socket::Listener::UdSocket(socket)) => socket.as_fd(),
            Socket::Tcp(socket) => socket.as_fd(),
        }
    }
}

fn listen(
    name: Name<'_>,
    choose: impl FnOnce(ListenerOptions<'_>) -> ListenerOptions<'_>,
) -> io::Result<local_socket::Listener> {
    // Whose file it is when it is to be removed, `SocketFile` knows better.
    let options = ListenerOptions::new().name(name).reclaim_name(false);
    choose(options.nonblocking(ListenerNonblockingMode::Accept)).create_sync()
}

fn local_caller(stream: local_socket::Stream) -> io::Result<Caller> {
    let local_socket::Stream::UdSocket(stream) = stream;
    let stream = Stream::socket(OwnedFd::from(stream).into());
    let process = Some(credentials(&stream)?);
    Ok(Caller { stream, address: None, process })
}

fn tcp_caller(stream: TcpStream, from: SocketAddr) -> Caller {
    let stream = Stream::own_tcp(OwnedFd::from(stream).into());
    Caller { stream, address: Some(from), process: None }
}

/// Whether there is nobody, or it has gone again already, which is as good.
fn is_no_caller(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, NotConnected, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted | ConnectionAborted | ConnectionReset | NotConnected)
}

/// How long a peer may be silent before the system asks whether its machine is there.
const ASK_AFTER: Duration = Duration::from_secs(60);

/// A stream over a TCP connection.
fn tcp_stream(stream: TcpStream) -> io::Result<Stream> {
    choose(&stream)?;
    Ok(Stream::own_tcp(OwnedFd::from(stream).into()))
}

/// Small messages leave at once, and a machine that has vanished is noticed some day.
fn choose(socket: impl AsFd) -> io::Result<()> {
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_keepalive(&socket, true)?;
    Ok(sockopt::set_tcp_keepidle(&socket, ASK_AFTER)?)
}

/// Who is at the other end of a local stream.
pub(crate) fn credentials(stream: &Stream) -> io::Result<Credentials> {
    let known = sockopt::socket_peercred(stream.handle())?;
    let process = u32::try_from(known.pid.as_raw_pid()).unwrap_or(0);
    Ok(Credentials { process, user: known.uid.as_raw() })
}

/// The user for whom this process runs.
pub(crate) fn current_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

pub(crate) fn connect_file(path: &Path, deadline: Option<Instant>) -> io::Result<Stream> {
    connect_local(&SocketAddrUnix::new(path)?, deadline)
}

pub(crate) fn connect_abstract(name: &str, deadline: Option<Instant>) -> io::Result<Stream> {
    connect_local(&SocketAddrUnix::new_abstract_name(name.as_bytes())?, deadline)
}

pub(crate) fn connect_tcp(address: SocketAddr, deadline: Option<Instant>) -> io::Result<Stream> {
    let Some(deadline) = deadline else { return tcp_stream(TcpStream::connect(address)?) };
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    tcp_stream(TcpStream::connect_timeout(&address, left)?)
}

/// How long a client sleeps before it tries a full listener again; doubles up to the second.
const FULL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(64));

fn connect_local(address: &SocketAddrUnix, deadline: Option<Instant>) -> io::Result<Stream> {
    let mut pause = FULL.0;
    loop {
        match socket_file::try_connect(address) {
            // The queue is full, and no readiness tells when it is not.
            Err(Errno::AGAIN) if deadline::expired(deadline) => return Err(io::ErrorKind::TimedOut.into()),
            Err(Errno::AGAIN) => std::thread::sleep(pause.min(left(deadline))),
            Err(Errno::INTR) => {}
            other => return Ok(Stream::socket(other?)),
        }
        pause = (pause * 2).min(FULL.1);
    }
}

fn left(deadline: Option<Instant>) -> Duration {
    deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()))
}
