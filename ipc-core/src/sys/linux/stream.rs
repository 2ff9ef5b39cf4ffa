//! Byte streams: Unix sockets, which also carry handles, TCP, and pipes.
//!
//! A socket is asked not to wait call by call (`MSG_DONTWAIT`), so that a file
//! description shared with other programs keeps its mode; a pipe of ours is
//! non-blocking from its creation.

use std::io;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};

use super::Handle;
use super::companion::{HANDLES_PER_PACKET, receive_what_came, send_with_handles};
use super::poll::Interest;
use std::os::fd::AsFd;

/// One end of a byte stream.
#[derive(Debug)]
pub(crate) struct Stream {
    handle: Handle,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Socket,
    Tcp,
    Pipe,
}

impl Stream {
    /// Two connected sockets, each for both directions, that pass handles.
    pub(crate) fn socket_pair() -> io::Result<(Self, Self)> {
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        Ok((Self::socket(a.into()), Self::socket(b.into())))
    }

    /// A pipe: the end to read from, then the end to write to.
    pub(crate) fn pipe_pair() -> io::Result<(Self, Self)> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok((Self::pipe(reader.into()), Self::pipe(writer.into())))
    }

    pub(crate) fn socket(handle: Handle) -> Self {
        Self { handle, kind: Kind::Socket }
    }

    pub(crate) fn tcp(handle: Handle) -> Self {
        Self { handle, kind: Kind::Tcp }
    }

    pub(crate) fn pipe(handle: Handle) -> Self {
        Self { handle, kind: Kind::Pipe }
    }

    pub(crate) fn passes_handles(&self) -> bool {
        self.kind == Kind::Socket
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    pub(crate) fn into_handle(self) -> Handle {
        self.handle
    }

    pub(crate) fn readable(&self) -> Interest<'_> {
        Interest::readable(&self.handle)
    }

    pub(crate) fn writable(&self) -> Interest<'_> {
        Interest::writable(&self.handle)
    }

    /// Reads what is there: `None` if nothing is, `Some(0)` at the end.
    ///
    /// Handles that came along are added to `handles`; `lost` is set if some of
    /// them found no room here.
    pub(crate) fn try_read(
        &self,
        into: &mut [u8],
        handles: &mut Vec<Handle>,
        lost: &mut bool,
    ) -> io::Result<Option<usize>> {
        let result = match self.kind {
            Kind::Socket => receive_what_came(self.handle.as_fd(), into, handles).map(|received| {
                *lost |= received.lost_handles;
                received.bytes
            }),
            Kind::Tcp => recv(&self.handle, &mut *into, RecvFlags::DONTWAIT).map(|(read, _)| read),
            Kind::Pipe => rustix::io::read(&self.handle, into),
        };
        match result {
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(Errno::CONNRESET) => Ok(Some(0)),
            other => other.map(Some).map_err(io::Error::from),
        }
    }

    /// Writes what fits now, with at most [`HANDLES_PER_PACKET`] handles: `None` if nothing fits,
    /// [`io::ErrorKind::ResourceBusy`] if it is the handles for which there is no room.
    pub(crate) fn try_write(&self, bytes: &[u8], handles: &[Handle]) -> io::Result<Option<usize>> {
        debug_assert!(handles.len() <= HANDLES_PER_PACKET);
        let result = match self.kind {
            Kind::Tcp => send(&self.handle, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Kind::Socket if handles.is_empty() => {
                send(&self.handle, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
            }
            Kind::Socket => send_with_handles(self.handle.as_fd(), bytes, handles),
            Kind::Pipe => rustix::io::write(&self.handle, bytes),
        };
        match result {
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            // This user has as many handles on the way as the kernel allows.
            Err(Errno::TOOMANYREFS) => Err(io::ErrorKind::ResourceBusy.into()),
            other => other.map(Some).map_err(io::Error::from),
        }
    }
}
