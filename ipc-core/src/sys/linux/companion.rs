//! The socket beside a ring: `socketpair(2)` of sequenced packets. A packet is
//! a bell (`B`), or carries handles as `SCM_RIGHTS` behind their number (`H`, n, and
//! the place of their frame), so that a receiver knows also of those that its
//! descriptor limit cost it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType, recv, recvmsg, send, sendmsg,
    shutdown, socketpair,
};

use super::Handle;
use super::poll::{Interest, poll_one};

/// The kernel takes at most this many descriptors with one message (`SCM_MAX_FD`).
pub(crate) const HANDLES_PER_PACKET: usize = 253;

const BELL: u8 = b'B';
const HANDLES: u8 = b'H';
/// The longest packet.
const PACKET: usize = 10;

/// One end of the pair.
#[derive(Debug)]
pub(crate) struct Companion(Handle);

/// What a packet was.
#[derive(Debug)]
pub(crate) enum Packet {
    Bell,
    /// Those of the frame at this place. An empty one is a handle that was sent, and
    /// found no room here.
    Handles(u64, Vec<Option<Handle>>),
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

    /// Passes the `handles` of the frame at `place` on, in as many packets as it takes; an
    /// error says how many went.
    pub(crate) fn send_handles(
        &self,
        place: u64,
        handles: &[Handle],
        deadline: Option<Instant>,
    ) -> Result<(), (usize, io::Error)> {
        for (packet, some) in handles.chunks(HANDLES_PER_PACKET).enumerate() {
            self.send_packet(place, some, deadline).map_err(|error| (packet * HANDLES_PER_PACKET, error))?;
        }
        Ok(())
    }

    fn send_packet(&self, place: u64, handles: &[Handle], deadline: Option<Instant>) -> io::Result<()> {
        let mut packet = [0; PACKET];
        packet[0] = HANDLES;
        packet[1] = u8::try_from(handles.len()).unwrap_or(u8::MAX);
        packet[2..].copy_from_slice(&place.to_le_bytes());
        loop {
            match send_with_handles(self.0.as_fd(), &packet, handles) {
                Err(Errno::INTR) => {}
                Err(Errno::TOOMANYREFS) => {
                    if !rest_until_received(deadline) {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                Err(Errno::AGAIN) => {
                    if !poll_one(Interest::writable(&self.0), deadline)? {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                other => return other.map(drop).map_err(io::Error::from),
            }
        }
    }

    /// Takes one packet without waiting.
    pub(crate) fn receive(&self) -> io::Result<Packet> {
        let mut packet = [0u8; PACKET];
        let mut handles = Vec::new();
        loop {
            return match receive_what_came(self.0.as_fd(), &mut packet, &mut handles, RecvFlags::DONTWAIT) {
                // Said once, before what is still there to be read: the peer
                // closed without having read everything itself.
                Err(Errno::CONNRESET | Errno::INTR) => continue,
                Err(Errno::AGAIN) => Ok(Packet::Nothing),
                Err(error) => Err(error.into()),
                Ok(received) => understand(&packet[..received.bytes], handles),
            };
        }
    }

    /// Whether the next packet is a bell; it stays where it is.
    pub(crate) fn has_bell(&self) -> bool {
        let mut kind = [0u8; 1];
        let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
        matches!(recv(&self.0, &mut kind, flags), Ok((_, 1..))) && kind[0] == BELL
    }

    /// Lets go of the socket, while somebody may still have it in use here: what is asked of
    /// it from now on fails, or finds nothing.
    pub(crate) fn let_go(&self) {
        self.0.let_go();
    }

    /// Ends the connection also where copies of its handles are held elsewhere:
    /// both ends become readable, and what was sent can still be received.
    pub(crate) fn shut_down(&self) {
        let _ = shutdown(&self.0, Shutdown::Both);
    }
}

fn understand(packet: &[u8], handles: Vec<Handle>) -> io::Result<Packet> {
    match *packet {
        [] => Ok(Packet::End),
        [BELL] if handles.is_empty() => Ok(Packet::Bell),
        [HANDLES, count, ref place @ ..]
            if handles.len() <= usize::from(count) && place.len() == size_of::<u64>() =>
        {
            let mut bytes = [0; size_of::<u64>()];
            bytes.copy_from_slice(place);
            let lost = usize::from(count) - handles.len();
            let handles = handles.into_iter().map(Some);
            let handles = handles.chain(std::iter::repeat_with(|| None).take(lost));
            Ok(Packet::Handles(u64::from_le_bytes(bytes), handles.collect()))
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the peer sent an unknown packet")),
    }
}

/// The kernel lets a user have only so many handles on the way, and tells nobody when
/// there are fewer: a short rest, and `false` at the deadline.
pub(crate) fn rest_until_received(deadline: Option<Instant>) -> bool {
    const REST: Duration = Duration::from_micros(200);
    let left = deadline.map_or(REST, |deadline| deadline.saturating_duration_since(Instant::now()));
    std::thread::sleep(left.min(REST));
    !left.is_zero()
}

/// What one reading brought.
pub(super) struct Received {
    pub(super) bytes: usize,
    /// Handles were sent along that found no room here: the descriptor limit.
    pub(super) lost_handles: bool,
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

/// As [`receive_what_came`], for packets whose handles are nothing without each other.
pub(super) fn receive_with_handles(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    handles: &mut Vec<Handle>,
) -> rustix::io::Result<usize> {
    let received = receive_what_came(socket, bytes, handles, RecvFlags::DONTWAIT)?;
    if received.lost_handles { Err(Errno::MFILE) } else { Ok(received.bytes) }
}

/// Receives into `bytes`, and waits unless `flags` say otherwise; handles that came along
/// are added to `handles`.
pub(super) fn receive_what_came(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    handles: &mut Vec<Handle>,
    flags: RecvFlags,
) -> rustix::io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDLES_PER_PACKET))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let message = recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut control, flags)?;
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = part {
            handles.extend(fds.map(|fd: OwnedFd| Handle::from(fd)));
        }
    }
    Ok(Received { bytes: message.bytes, lost_handles: message.flags.contains(ReturnFlags::CTRUNC) })
}
