//! A link that speaks TLS over TCP.
//!
//! One mutex guards the TLS state and is held for steps that never wait; each direction
//! has a turn of its own, which is held while a message is sent or received.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ipc_core::link::{Capabilities, Link, Outgoing};
use ipc_core::{Arm, Handle, Packet, RecvError, SendError, Waitable, wait_deadline};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

use crate::turn::{Turn, lock};

/// A message's length stands in front of it, little end first.
const HEAD: usize = 8;
/// How much is read at a time.
const STEP: usize = 16 * 1024;

/// One end of a TLS connection.
///
/// # Security
/// Who the peer is, its certificate proves as far as the configuration asks for it: with
/// `with_no_client_auth`, anybody may be the client. A connection that ends without the
/// peer's signed farewell is [`RecvError::Cut`], for somebody on the way may have cut it.
#[derive(Debug)]
pub struct TlsLink {
    socket: TcpStream,
    /// The socket once more, as something to wait for.
    handle: Handle,
    sending: Turn,
    receiving: Turn,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tls: Connection,
    /// The message under way, of which a deadline may have cut the rest.
    outbox: Vec<u8>,
    /// How much of it is encrypted.
    done: usize,
    broken: bool,
    /// What came and has not been received.
    inbox: Vec<u8>,
    end: Option<End>,
}

/// How the peer's direction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Farewell,
    Cut,
}

/// What stopped a step.
enum Stop {
    Done,
    Blocked,
}

impl TlsLink {
    /// Greets the server at the other end of `socket`, which must prove to be `name`.
    ///
    /// # Errors
    /// What the system or TLS says, and [`ErrorKind::TimedOut`] or
    /// [`ErrorKind::WouldBlock`] if a step takes longer than `timeout`.
    pub fn client(
        socket: TcpStream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        timeout: Duration,
    ) -> io::Result<Self> {
        let tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
        Self::greet(socket, tls.into(), timeout)
    }

    /// Greets the client at the other end of `socket`.
    ///
    /// The configuration is best made with `send_tls13_tickets = 0`: tickets that a client
    /// never reads make the system drop what it sent before it closed.
    ///
    /// # Errors
    /// As [`client`](Self::client).
    pub fn server(socket: TcpStream, config: Arc<ServerConfig>, timeout: Duration) -> io::Result<Self> {
        let tls = ServerConnection::new(config).map_err(io::Error::other)?;
        Self::greet(socket, tls.into(), timeout)
    }

    fn greet(socket: TcpStream, mut tls: Connection, timeout: Duration) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(timeout))?;
        socket.set_write_timeout(Some(timeout))?;
        while tls.is_handshaking() {
            tls.complete_io(&mut &socket)?;
        }
        socket.set_nonblocking(true)?;
        let handle = OwnedFd::from(socket.try_clone()?).into();
        let mut state =
            State { tls, outbox: Vec::new(), done: 0, broken: false, inbox: Vec::new(), end: None };
        // What the peer said right behind its greeting has come with it.
        state.decrypted()?;
        let (sending, receiving) = Default::default();
        Ok(Self { socket, handle, sending, receiving, state: Mutex::new(state) })
    }

    /// Writes what is left of the last message. The turn is held.
    fn finish(&self, deadline: Option<Instant>) -> Result<(), SendError> {
        loop {
            let step = lock(&self.state).write(&self.socket);
            match step {
                Ok(Stop::Done) => return Ok(()),
                Ok(Stop::Blocked) => {
                    if wait_deadline(&[&Writable(&self.handle)], deadline)?.is_empty() {
                        return Err(SendError::Timeout);
                    }
                }
                Err(error) => {
                    lock(&self.state).broken = true;
                    return Err(if is_end(&error) { SendError::Closed } else { error.into() });
                }
            }
        }
    }

    /// Reads until `found`; `false` at the deadline.
    fn read_until(&self, found: impl Fn(&State) -> bool, deadline: Option<Instant>) -> io::Result<bool> {
        let begun = Instant::now();
        loop {
            {
                let mut state = lock(&self.state);
                if found(&state) {
                    return Ok(true);
                }
                if matches!(state.read(&self.socket)?, Stop::Done) {
                    drop(state);
                    // A peer that sends bit by bit does not stretch the deadline.
                    if deadline.is_none_or(|deadline| Instant::now() < deadline.max(begun + STEP_TIME)) {
                        continue;
                    }
                    return Ok(found(&lock(&self.state)));
                }
                if found(&state) {
                    return Ok(true);
                }
            }
            if wait_deadline(&[&self.handle], deadline)?.is_empty() {
                return Ok(false);
            }
        }
    }
}

/// What is there already is read for so long, also past the deadline.
const STEP_TIME: Duration = Duration::from_millis(2);

impl TlsLink {
    fn send_frame(&self, message: &mut dyn Outgoing, deadline: Option<Instant>) -> Result<(), SendError> {
        // Users' code runs here: before the turn is taken.
        let bytes = message.bytes()?;
        let frame = [&(bytes.len() as u64).to_le_bytes(), bytes].concat();
        match message.handles().len() {
            0 => {}
            count => return Err(SendError::NoHandles { count }),
        }
        let _turn = self.sending.take(deadline).ok_or(SendError::Timeout)?;
        if lock(&self.state).broken {
            return Err(SendError::Closed);
        }
        // A message that an earlier deadline cut goes first; this one has not begun then.
        self.finish(deadline)?;
        lock(&self.state).begin(frame);
        let result = self.finish(deadline);
        if matches!(result, Ok(()) | Err(SendError::Timeout)) {
            // Whatever is left of it follows, with the next one at the latest.
            message.sent();
        }
        result
    }
}

impl Link for TlsLink {
    fn capabilities(&self) -> Capabilities {
        Capabilities::BYTES
    }

    fn send(&self, message: &mut dyn Outgoing, deadline: Option<Instant>) -> Result<(), SendError> {
        let sent = self.send_frame(message, deadline);
        if sent.is_err() {
            message.unsent();
        }
        sent
    }

    fn recv_at_most(
        &self,
        packet: &mut Packet,
        most: usize,
        deadline: Option<Instant>,
    ) -> Result<(), RecvError> {
        let _turn = self.receiving.take(deadline).ok_or(RecvError::Timeout)?;
        let is_there = |state: &State| {
            state.has_message() || state.end.is_some() || state.message_len().is_some_and(|len| len > most)
        };
        if !self.read_until(is_there, deadline)? {
            return Err(RecvError::Timeout);
        }
        let mut state = lock(&self.state);
        if let Some(needed) = state.message_len().filter(|len| *len > most) {
            return Err(RecvError::BufferTooShort { needed });
        }
        if !state.has_message() {
            return Err(state.tell_end());
        }
        let len = state.message_len().unwrap_or_default();
        packet.clear();
        packet.extend_bytes(&state.inbox[HEAD..HEAD + len]);
        state.inbox.drain(..HEAD + len);
        Ok(())
    }

    fn poll(&self, deadline: Option<Instant>) -> Result<bool, RecvError> {
        let Some(_turn) = self.receiving.take(deadline) else { return Ok(false) };
        Ok(self.read_until(State::is_ready, deadline)?)
    }

    fn is_ready(&self) -> Option<bool> {
        // What was read and lies here is nothing that the socket would tell of.
        if lock(&self.state).is_ready() { Some(true) } else { None }
    }

    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        arm.readable(&self.handle);
    }

    fn flush(&self, deadline: Option<Instant>) -> Result<(), SendError> {
        let _turn = self.sending.take(deadline).ok_or(SendError::Timeout)?;
        if lock(&self.state).broken { Err(SendError::Closed) } else { self.finish(deadline) }
    }

    fn arm_room<'a>(&'a self, arm: &mut Arm<'a>) -> bool {
        arm.writable(&self.handle);
        true
    }
}

impl Drop for TlsLink {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        // A farewell in the middle of a message would make it look whole.
        if state.done == state.outbox.len() {
            state.tls.send_close_notify();
        }
        let _ = state.write(&self.socket);
    }
}

impl State {
    fn begin(&mut self, frame: Vec<u8>) {
        (self.outbox, self.done) = (frame, 0);
    }

    /// Encrypts and writes what there is, as far as the socket takes it.
    fn write(&mut self, mut socket: &TcpStream) -> io::Result<Stop> {
        loop {
            self.done += self.tls.writer().write(&self.outbox[self.done..])?;
            if !self.tls.wants_write() {
                return Ok(Stop::Done);
            }
            match self.tls.write_tls(&mut socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Stop::Blocked),
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads and decrypts one portion.
    fn read(&mut self, mut socket: &TcpStream) -> io::Result<Stop> {
        if self.end.is_some() {
            return Ok(Stop::Blocked);
        }
        match self.tls.read_tls(&mut socket) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(Stop::Done),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Stop::Blocked),
            Err(error) if is_end(&error) => {
                self.end = Some(End::Cut);
                return Ok(Stop::Done);
            }
            Err(error) => return Err(error),
        }
        self.tls.process_new_packets().map_err(io::Error::other)?;
        self.decrypted()?;
        Ok(Stop::Done)
    }

    fn decrypted(&mut self) -> io::Result<()> {
        loop {
            let len = self.inbox.len();
            self.inbox.resize(len + STEP, 0);
            let result = self.tls.reader().read(&mut self.inbox[len..]);
            self.inbox.truncate(len + result.as_ref().map_or(0, |read| *read));
            match result {
                Ok(0) => self.end = Some(End::Farewell),
                Ok(_) => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => self.end = Some(End::Cut),
                Err(error) => return Err(error),
            }
            return Ok(());
        }
    }

    fn is_ready(&self) -> bool {
        self.has_message() || self.end.is_some()
    }

    fn has_message(&self) -> bool {
        self.message_len().is_some_and(|len| self.inbox.len() - HEAD >= len)
    }

    fn message_len(&self) -> Option<usize> {
        let len = u64::from_le_bytes(*self.inbox.first_chunk::<HEAD>()?);
        Some(usize::try_from(len).unwrap_or(usize::MAX))
    }

    /// The end; one that cut something is told once.
    fn tell_end(&mut self) -> RecvError {
        let was_cut = !self.inbox.is_empty() || self.end == Some(End::Cut);
        self.inbox.clear();
        self.end = Some(End::Farewell);
        if was_cut { RecvError::Cut } else { RecvError::Closed }
    }
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::NotConnected)
}

/// Room to write, as something to wait for.
struct Writable<'a>(&'a Handle);

impl Waitable for Writable<'_> {
    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        arm.writable(self.0);
    }
}
