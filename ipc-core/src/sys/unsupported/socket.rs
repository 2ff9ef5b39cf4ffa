use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use super::handle::Never;
use super::poll::Interest;
use super::stream::Stream;
use super::unsupported;

#[derive(Debug)]
pub(crate) struct Listening(Never);

#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) stream: Stream,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) process: Option<Credentials>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Credentials {
    pub(crate) process: u32,
    pub(crate) user: u32,
}

impl Listening {
    pub(crate) fn file(_path: &Path, _anyone: bool) -> io::Result<Self> {
        unsupported()
    }

    pub(crate) fn abstract_name(_name: &str) -> io::Result<Self> {
        unsupported()
    }

    pub(crate) fn tcp(_address: SocketAddr) -> io::Result<Self> {
        unsupported()
    }

    pub(crate) fn tcp_address(&self) -> io::Result<Option<SocketAddr>> {
        match self.0 {}
    }

    pub(crate) fn readable(&self) -> Interest<'_> {
        match self.0 {}
    }

    pub(crate) fn try_accept(&self) -> io::Result<Option<Caller>> {
        match self.0 {}
    }

    pub(crate) fn shut_down(&self) {
        match self.0 {}
    }
}

pub(crate) fn credentials(stream: &Stream) -> io::Result<Credentials> {
    stream.handle().never()
}

pub(crate) fn current_user() -> u32 {
    0
}

pub(crate) fn connect_file(_path: &Path, _deadline: Option<Instant>) -> io::Result<Stream> {
    unsupported()
}

pub(crate) fn connect_abstract(_name: &str, _deadline: Option<Instant>) -> io::Result<Stream> {
    unsupported()
}

pub(crate) fn connect_tcp(_address: SocketAddr, _deadline: Option<Instant>) -> io::Result<Stream> {
    unsupported()
}
