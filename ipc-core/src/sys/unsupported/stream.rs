use std::io;
use std::time::Duration;

use super::handle::Handle;
use super::poll::Interest;
use super::unsupported;

pub(crate) const NAP: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Stream(Handle);

impl Stream {
    pub(crate) fn socket_pair() -> io::Result<(Self, Self)> {
        unsupported()
    }

    pub(crate) fn pipe_pair() -> io::Result<(Self, Self)> {
        unsupported()
    }

    pub(crate) fn socket(handle: Handle) -> Self {
        Self(handle)
    }

    pub(crate) fn tcp(handle: Handle) -> Self {
        Self(handle)
    }

    pub(crate) fn pipe(handle: Handle) -> Self {
        Self(handle)
    }

    pub(crate) fn passes_handles(&self) -> bool {
        self.0.never()
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.0
    }

    pub(crate) fn into_handle(self) -> Handle {
        self.0
    }

    pub(crate) fn readable(&self) -> Interest<'_> {
        self.0.never()
    }

    pub(crate) fn writable(&self) -> Interest<'_> {
        self.0.never()
    }

    pub(crate) fn ended(&self) -> Interest<'_> {
        self.0.never()
    }

    pub(crate) fn take_whole(&self, _chunk: usize) -> io::Result<()> {
        self.0.never()
    }

    pub(crate) fn end_sending(&self) {
        self.0.never()
    }

    pub(crate) fn try_read(
        &self,
        _into: &mut [u8],
        _handles: &mut Vec<Handle>,
        _lost: &mut bool,
    ) -> io::Result<Option<usize>> {
        self.0.never()
    }

    pub(crate) fn disturbs_readers(&self) -> bool {
        self.0.never()
    }

    pub(crate) fn naps(&self) -> bool {
        self.0.never()
    }

    pub(crate) fn read_waiting(
        &self,
        _into: &mut [u8],
        _handles: &mut Vec<Handle>,
        _lost: &mut bool,
    ) -> io::Result<Option<usize>> {
        self.0.never()
    }

    pub(crate) fn try_write(&self, _bytes: &[u8], _handles: &[Handle]) -> io::Result<Option<usize>> {
        self.0.never()
    }

    pub(crate) fn write_waiting(&self, _bytes: &[u8], _handles: &[Handle]) -> io::Result<Option<usize>> {
        self.0.never()
    }
}
