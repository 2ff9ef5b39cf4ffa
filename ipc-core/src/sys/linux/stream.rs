//! Byte streams: Unix sockets, which also carry handles, TCP, and pipes.
//!
//! Each call says whether it may wait (`MSG_DONTWAIT`, `RWF_NOWAIT`), so that a file
//! description shared with other programs keeps its mode. Kernels before Linux 6.4
//! cannot be told so for a pipe: there ours are non-blocking from their creation.

use std::io::{self, IoSlice, IoSliceMut};
use std::time::Duration;

use rustix::io::{Errno, ReadWriteFlags, preadv2, pwritev2};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, recv, send, shutdown, socketpair,
    sockopt,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::system::uname;

use super::Handle;
use super::companion::{HANDLES_PER_PACKET, receive_what_came, send_with_handles};
use super::poll::Interest;
use super::quiet::{is_ignored, quietly};
use crate::raw::Settled;
use std::os::fd::AsFd;

/// One end of a byte stream.
#[derive(Debug)]
pub(crate) struct Stream {
    handle: Handle,
    kind: Kind,
    /// A write that nobody will read would bring a signal which ends the program.
    is_loud: bool,
    /// Whether a read that waits ends by itself after [`NAP`], once that was asked for.
    naps: Settled<bool>,
}

/// How long a read that waits takes at most, where the kernel was told so.
pub(crate) const NAP: Duration = Duration::from_secs(1);

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
        let mode = if pipes_are_told().is_empty() { PipeFlags::NONBLOCK } else { PipeFlags::empty() };
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | mode)?;
        Ok((Self::pipe(reader.into()), Self::pipe(writer.into())))
    }

    pub(crate) fn socket(handle: Handle) -> Self {
        Self { handle, kind: Kind::Socket, is_loud: false, naps: Settled::new() }
    }

    pub(crate) fn tcp(handle: Handle) -> Self {
        Self { handle, kind: Kind::Tcp, is_loud: false, naps: Settled::from(false) }
    }

    /// One that was made here, whose reads may be told to [nap](Self::naps).
    pub(crate) fn own_tcp(handle: Handle) -> Self {
        Self { naps: Settled::new(), ..Self::tcp(handle) }
    }

    pub(crate) fn pipe(handle: Handle) -> Self {
        Self { handle, kind: Kind::Pipe, is_loud: !is_ignored(), naps: Settled::new() }
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

    pub(crate) fn ended(&self) -> Interest<'_> {
        Interest::ended(&self.handle)
    }

    /// Sees to it that `chunk` bytes are taken whole or not at all, also where somebody has
    /// chosen a smaller buffer for the socket: the kernel splits what is longer than half of it.
    pub(crate) fn take_whole(&self, chunk: usize) -> io::Result<()> {
        if self.kind == Kind::Socket
            && sockopt::socket_send_buffer_size(&self.handle)? / 2 < chunk + KERNELS_OWN
        {
            // The kernel doubles what is asked for.
            sockopt::set_socket_send_buffer_size(&self.handle, 2 * (chunk + KERNELS_OWN))?;
        }
        Ok(())
    }

    /// Ends what is sent here, for all who do: the peer receives what went out, and then the end.
    pub(crate) fn end_sending(&self) {
        let _ = shutdown(&self.handle, Shutdown::Write);
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
        self.read(into, handles, lost, RecvFlags::DONTWAIT)
    }

    /// Whether [`read_waiting`](Self::read_waiting) ends after [`NAP`], so that one with a deadline may
    /// call it. The kernel is told so of TCP sockets that were made here: another one is its maker's.
    pub(crate) fn naps(&self) -> bool {
        let tell = || sockopt::set_socket_timeout(&self.handle, sockopt::Timeout::Recv, Some(NAP)).is_ok();
        self.kind == Kind::Tcp && *self.naps.get_or_make(tell)
    }

    /// Whether a read that waits is woken, and sleeps again, also when the peer has made room for what this end
    /// sent. So it is with local sockets; who polls for something to read sleeps on.
    pub(crate) fn disturbs_readers(&self) -> bool {
        self.kind == Kind::Socket
    }

    /// As [`try_read`](Self::try_read), but waits for something to read; `None` if a signal
    /// came, the stream was made so that nobody waits at it, or it [naps](Self::naps).
    pub(crate) fn read_waiting(
        &self,
        into: &mut [u8],
        handles: &mut Vec<Handle>,
        lost: &mut bool,
    ) -> io::Result<Option<usize>> {
        self.read(into, handles, lost, RecvFlags::empty())
    }

    fn read(
        &self,
        into: &mut [u8],
        handles: &mut Vec<Handle>,
        lost: &mut bool,
        flags: RecvFlags,
    ) -> io::Result<Option<usize>> {
        let result = match self.kind {
            Kind::Socket => receive_what_came(self.handle.as_fd(), into, handles, flags).map(|received| {
                *lost |= received.lost_handles;
                received.bytes
            }),
            Kind::Tcp => recv(&self.handle, &mut *into, flags).map(|(read, _)| read),
            Kind::Pipe if flags.is_empty() => rustix::io::read(&self.handle, into),
            Kind::Pipe => preadv2(&self.handle, &mut [IoSliceMut::new(into)], NO_PLACE, pipes_are_told()),
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
        self.write(bytes, handles, SendFlags::DONTWAIT)
    }

    /// As [`try_write`](Self::try_write), but waits for room for all of it; `None` if a signal
    /// came, or the stream was made so that nobody waits at it.
    pub(crate) fn write_waiting(&self, bytes: &[u8], handles: &[Handle]) -> io::Result<Option<usize>> {
        self.write(bytes, handles, SendFlags::empty())
    }

    fn write(&self, bytes: &[u8], handles: &[Handle], flags: SendFlags) -> io::Result<Option<usize>> {
        debug_assert!(handles.len() <= HANDLES_PER_PACKET);
        let result = match self.kind {
            Kind::Tcp => send(&self.handle, bytes, flags | SendFlags::NOSIGNAL),
            Kind::Socket if handles.is_empty() => send(&self.handle, bytes, flags | SendFlags::NOSIGNAL),
            Kind::Socket => send_with_handles(self.handle.as_fd(), bytes, handles),
            Kind::Pipe if self.is_loud => quietly(|| self.write_to_pipe(bytes, flags)),
            Kind::Pipe => self.write_to_pipe(bytes, flags),
        };
        match result {
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            // This user has as many handles on the way as the kernel allows.
            Err(Errno::TOOMANYREFS) => Err(io::ErrorKind::ResourceBusy.into()),
            other => other.map(Some).map_err(io::Error::from),
        }
    }
}

impl Stream {
    fn write_to_pipe(&self, bytes: &[u8], flags: SendFlags) -> rustix::io::Result<usize> {
        if flags.is_empty() {
            rustix::io::write(&self.handle, bytes)
        } else {
            pwritev2(&self.handle, &[IoSlice::new(bytes)], NO_PLACE, pipes_are_told())
        }
    }
}

/// So much of half a buffer the kernel does not fill.
const KERNELS_OWN: usize = 64;

/// A stream has no places to read from.
const NO_PLACE: u64 = u64::MAX;

/// How a call says that it does not wait at a pipe: nothing, where the kernel has no word for it.
/// All processes of a machine agree on it.
fn pipes_are_told() -> ReadWriteFlags {
    static NO_WAIT: Settled<ReadWriteFlags> = Settled::new();
    *NO_WAIT.get_or_make(|| {
        let uname = uname();
        let mut version = uname.release().to_bytes().split(|byte| !byte.is_ascii_digit());
        let mut number = || str::from_utf8(version.next()?).ok()?.parse::<u32>().ok();
        let since = (number().unwrap_or(0), number().unwrap_or(0));
        if since >= (6, 4) { ReadWriteFlags::NOWAIT } else { ReadWriteFlags::empty() }
    })
}
