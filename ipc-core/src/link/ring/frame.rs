//! The eight bytes in front of each frame of a ring.

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// Bytes of payload.
    pub(super) len: u32,
    pub(super) kind: Kind,
    /// How many handles wait on the companion socket; those of the whole message
    /// come with its first part.
    pub(super) handles: u16,
}

/// What the payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A whole message.
    Whole,
    /// The first part of a message, after its full length in eight bytes.
    First,
    /// A further part.
    Next,
    /// No message: its handles went out, and then it was withdrawn.
    Withdrawn,
}

/// How long a header is.
pub(super) const HEAD: usize = 8;

impl Frame {
    pub(super) fn to_bytes(self) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        bytes[..4].copy_from_slice(&self.len.to_le_bytes());
        bytes[4] = self.kind as u8;
        bytes[6..].copy_from_slice(&self.handles.to_le_bytes());
        bytes
    }

    pub(super) fn from_word(word: u64) -> Option<Self> {
        let bytes = word.to_le_bytes();
        let kind = match bytes[4] {
            0 => Kind::Whole,
            1 => Kind::First,
            2 => Kind::Next,
            3 => Kind::Withdrawn,
            _ => return None,
        };
        Some(Self {
            len: u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
            kind,
            handles: u16::from_le_bytes([bytes[6], bytes[7]]),
        })
    }

    /// The room a frame with `len` bytes of payload takes: whole double words.
    pub(super) fn room(len: usize) -> usize {
        (HEAD + len).next_multiple_of(8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_way() {
        for kind in [Kind::Whole, Kind::First, Kind::Next, Kind::Withdrawn] {
            let frame = Frame { len: 0xdead_beef, kind, handles: 513 };
            assert_eq!(Frame::from_word(u64::from_le_bytes(frame.to_bytes())), Some(frame));
        }
        assert_eq!(Frame::from_word(u64::MAX), None);
    }
}
