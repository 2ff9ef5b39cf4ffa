//! What a frame looks like.

use crate::codec::fnv1a;
use crate::sys::cpu;

/// "mpf2": a stream that is not one of ours is noticed at once. Behind it the header has the
/// number of handles, the CPU on which the message was sent, and the message's length.
pub(super) const MAGIC: u32 = u32::from_le_bytes(*b"mpf2");
/// "mpf3", "mpf4": the first chunk of a message, which has more, and a further one.
pub(super) const FIRST: u32 = u32::from_le_bytes(*b"mpf3");
pub(super) const NEXT: u32 = u32::from_le_bytes(*b"mpf4");
pub(super) const HEAD: usize = 16;
/// So much a pipe takes whole or not at all (`PIPE_BUF`), and a socket as one buffer.
pub(super) const CHUNK: usize = 4096;
/// How long the mark at a chunk's end is.
pub(super) const MARK: usize = size_of::<u64>();
/// How much of a message a chunk carries at most.
pub(super) const PART: usize = CHUNK - HEAD - MARK;
/// The shortest frame: a header, and the message's first bytes or zeros.
pub(super) const UNIT: usize = 64;
/// However long a message says it is, no more than this is set aside at once.
pub(super) const LARGEST_STEP: usize = 1 << 20;

/// Which part of a message a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Whole,
    First,
    Next,
}

/// What a header says.
pub(super) struct Head {
    pub(super) kind: Kind,
    /// Of the message, or of what is missing of it at this chunk.
    pub(super) len: usize,
    pub(super) handles: usize,
    pub(super) cpu: u16,
}

pub(super) fn header(len: usize, handles: usize) -> [u8; HEAD] {
    header_of(MAGIC, len, handles)
}

pub(super) fn header_of(kind: u32, len: usize, handles: usize) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&kind.to_le_bytes());
    head[4..6].copy_from_slice(&(handles as u16).to_le_bytes());
    head[6..8].copy_from_slice(&(cpu::current() as u16).to_le_bytes());
    head[8..].copy_from_slice(&(len as u64).to_le_bytes());
    head
}

/// What stands at the end of a chunk with this header. No other chunk can put it there: where the
/// rest of one is missing, what comes next lies that much further on.
pub(super) fn mark(head: &[u8]) -> [u8; MARK] {
    fnv1a(&head[..HEAD]).to_le_bytes()
}

pub(super) fn parse(head: &[u8; UNIT]) -> Result<Head, &'static str> {
    let half = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let word = |at: usize| u32::from(half(at)) | u32::from(half(at + 2)) << 16;
    let kind = match word(0) {
        MAGIC => Kind::Whole,
        FIRST => Kind::First,
        NEXT => Kind::Next,
        _ => return Err("no frame header"),
    };
    let len = u64::from(word(8)) | u64::from(word(12)) << 32;
    let len = usize::try_from(len).map_err(|_| "a length beyond memory")?;
    Ok(Head { kind, len, handles: half(4).into(), cpu: half(6) })
}
