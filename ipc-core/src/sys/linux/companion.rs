//! The socket beside a ring: `socketpair(2)` of sequenced packets. A packet is
//! a bell (`B`) or carries handles (`H`) as `SCM_RIGHTS`.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, send, sendmsg, socketpair,
};

use super::Handle;
use super::poll::{Interest, poll};
use crate::deadline;

/// The kernel takes at most this many descriptors with one message (`SCM_MAX_FD`).
pub(crate) const HANDLES_PER_PACKET: usize = 253;

const BELL: u8 = b'B';
const HANDLES: u8 = b'H';

/// One end of the pair.
#[derive(Debug)]
pub(crate) struct Companion(Handle);

/// What a packet was.
#[derive(Debug)]
pub(crate) enum Packet {
    Bell,
    Handles(Vec<Handle>),
    /// The other end is closed everywhere.
    End,
    /// Nothing is there now.
    Nothing,
}

impl Companion {
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(a.into()), Self(b.into())))
    }

    pub(crate) fn from_handle(handle: Handle) -> Self {
        Self(handle)
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.0
    }

    pub(crate) fn interest(&self) -> Interest<'_> {
        Interest::readable(&self.0)
    }

    /// Ready only once the other end is closed everywhere.
    pub(crate) fn hangup(&self) -> Interest<'_> {
        Interest::hangup(&self.0)
    }

    /// Rings the bell. A full socket is one that already makes its reader ready.
    pub(crate) fn ring(&self) {
        let _ = send(&self.0, &[BELL], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }

    /// Passes `handles` on, in as many packets as it takes; an error says how many went.
    pub(crate) fn send_handles(
        &self,
        handles: &[Handle],
        deadline: Option<Instant>,
    ) -> Result<(), (usize, io::Error)> {
        for (packet, some) in handles.chunks(HANDLES_PER_PACKET).enumerate() {
            self.send_packet(some, deadline).map_err(|error| (packet * HANDLES_PER_PACKET, error))?;
        }
        Ok(())
    }

    fn send_packet(&self, handles: &[Handle], deadline: Option<Instant>) -> io::Result<()> {
        loop {
            match send_with_handles(self.0.as_fd(), &[HANDLES], handles) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    poll(&[Interest::writable(&self.0)], deadline)?;
                    if deadline::expired(deadline) {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                other => return other.map(drop).map_err(io::Error::from),
            }
        }
    }

    /// Takes one packet without waiting.
    pub(crate) fn receive(&self) -> io::Result<Packet> {
        let mut kind = [0u8; 1];
        let mut handles = Vec::new();
        match receive_with_handles(self.0.as_fd(), &mut kind, &mut handles) {
            Ok(0) | Err(Errno::CONNRESET) => Ok(Packet::End),
            Ok(_) if kind[0] == BELL => Ok(Packet::Bell),
            Ok(_) if kind[0] == HANDLES => Ok(Packet::Handles(handles)),
            Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "the peer sent an unknown packet")),
            Err(Errno::AGAIN | Errno::INTR) => Ok(Packet::Nothing),
            Err(error) => Err(error.into()),
        }
    }
}

/// Sends `bytes` with `handles`, without waiting; the count of bytes taken.
pub(super) fn send_with_handles(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    handles: &[Handle],
) -> rustix::io::Result<usize> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    if handles.is_empty() {
        return send(socket, bytes, flags);
    }
    let fds: Vec<BorrowedFd<'_>> = handles.iter().map(AsFd::as_fd).collect();
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDLES_PER_PACKET))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(Errno::TOOMANYREFS);
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags)
}

/// Receives into `bytes` without waiting; handles that came along are added to `handles`.
pub(super) fn receive_with_handles(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    handles: &mut Vec<Handle>,
) -> rustix::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDLES_PER_PACKET))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let message = recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut control, flags)?;
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = part {
            handles.extend(fds.map(|fd: OwnedFd| Handle::from(fd)));
        }
    }
    // The kernel drops what finds no room, as at a descriptor limit: say so, never lose it silently.
    if message.flags.contains(ReturnFlags::CTRUNC) {
        return Err(Errno::MFILE);
    }
    Ok(message.bytes)
}
