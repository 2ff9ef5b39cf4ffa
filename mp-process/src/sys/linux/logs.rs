//! Records between processes: a socket that keeps messages apart, however many write to it.

use std::io;
use std::time::Duration;

use ipc_core::Handle;
use ipc_core::raw;

use super::signals;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv as receive, send as transmit,
    socketpair,
};

/// The end that receives, and the one that sends.
pub(crate) fn pair() -> io::Result<(Handle, Handle)> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    Ok((ours.into(), theirs.into()))
}

/// Sends one message, and waits for room no longer than `patience`; `false` if it was not sent.
pub(crate) fn send(socket: &Handle, bytes: &[u8], patience: Duration) -> bool {
    let attempt = || transmit(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    match attempt() {
        Err(Errno::AGAIN | Errno::INTR) if !patience.is_zero() => {
            let mut room = [PollFd::new(socket, PollFlags::OUT)];
            let _ = poll(&mut room, Timespec::try_from(patience).ok().as_ref());
            attempt().is_ok()
        }
        result => result.is_ok(),
    }
}

/// Takes one message, if there is one: how long it is.
pub(crate) fn recv(socket: &Handle, into: &mut [u8]) -> Option<usize> {
    match receive(socket, into, RecvFlags::DONTWAIT) {
        Ok((len, _)) if len > 0 => Some(len),
        _ => None,
    }
}

/// Starts a thread in which no handler of the program's signals runs.
pub(crate) fn start_thread(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    signals::blocked(|| raw::start_thread(thread, run)).map(drop)
}
