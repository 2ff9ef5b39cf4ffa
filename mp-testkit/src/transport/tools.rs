//! What the checks have in common.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use ipc_core::link::{Link, Outgoing};
use ipc_core::{EncodeError, Handle, Packet, RecvError};

/// A deadline that is not.
pub(super) const LATE: Duration = Duration::from_secs(60);

/// A deadline that is meant to pass.
pub(super) const SOON: Duration = Duration::from_millis(20);

/// A message that counts what it is told.
#[derive(Default)]
pub(super) struct Told {
    pub(super) bytes: Vec<u8>,
    pub(super) refuses: bool,
    pub(super) was_asked: bool,
    pub(super) sent: u32,
    pub(super) unsent: u32,
}

impl Outgoing for Told {
    fn write_into(&mut self, space: &mut [u8]) -> Result<Option<usize>, EncodeError> {
        let bytes = self.bytes()?;
        let Some(space) = space.get_mut(..bytes.len()) else { return Ok(None) };
        space.copy_from_slice(bytes);
        Ok(Some(bytes.len()))
    }

    fn bytes(&mut self) -> Result<&[u8], EncodeError> {
        self.was_asked = true;
        if self.refuses { Err(EncodeError::new::<Self>("on purpose")) } else { Ok(&self.bytes) }
    }

    fn handles(&self) -> &[Handle] {
        &[]
    }

    fn sent(&mut self) {
        self.sent += 1;
    }

    fn unsent(&mut self) {
        self.unsent += 1;
    }
}

/// Bytes that differ from place to place, and begin elsewhere for each length: a part of one table, as the
/// checks need many, and are not optimised.
pub(super) fn pattern(len: usize) -> Vec<u8> {
    const PERIOD: usize = 1 << 16;
    static TABLE: LazyLock<Vec<u8>> =
        LazyLock::new(|| (0..2 * PERIOD).map(|place| (place * 31 + (place >> 8)) as u8).collect());
    let begin = &TABLE[len % PERIOD..][..len.min(PERIOD)];
    let mut bytes = begin.repeat(len.div_ceil(PERIOD));
    bytes.truncate(len);
    bytes
}

pub(super) fn packet(bytes: &[u8]) -> Packet {
    let mut packet = Packet::new();
    packet.extend_bytes(bytes);
    packet
}

#[track_caller]
pub(super) fn send(link: &dyn Link, bytes: &[u8]) {
    if let Err(error) = link.send(&mut packet(bytes), after(LATE)) {
        panic!("a send of {} bytes: {error:?}", bytes.len());
    }
}

#[track_caller]
pub(super) fn recv(link: &dyn Link) -> Vec<u8> {
    let mut packet = Packet::new();
    if let Err(error) = link.recv(&mut packet, after(LATE)) {
        panic!("a receive of what was sent: {error:?}");
    }
    packet.bytes().to_vec()
}

pub(super) fn try_recv(link: &dyn Link) -> Result<Vec<u8>, RecvError> {
    let mut packet = Packet::new();
    link.recv(&mut packet, in_past())?;
    Ok(packet.bytes().to_vec())
}

pub(super) fn after(time: Duration) -> Option<Instant> {
    Some(Instant::now() + time)
}

pub(super) fn in_past() -> Option<Instant> {
    Some(Instant::now())
}
