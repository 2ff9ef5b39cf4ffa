//! How a log lies in its file.
//!
//! ```text
//! head    "mp-manager state", and the version of the format
//! frame   length of the body, its checksum, the body
//! body    what it tells, of which object, a name and its length, and the rest
//! ```
//!
//! Numbers are little-endian. A frame whose checksum does not hold was cut off in the middle of a
//! write, and ends the log.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

/// How every file begins.
pub(super) const MAGIC: &[u8; 16] = b"mp-manager state";
/// The version of what follows.
pub(super) const FORMAT: u32 = 1;
/// How many bytes that is.
pub(super) const HEAD: u64 = 20;

/// What a frame tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tells {
    /// There is an object of this crate; the name is its type's.
    Made = 1,
    /// An object of this crate has changed.
    Changed = 2,
    /// An object of a user's type is so now; the name is its type's.
    Whole = 3,
    /// An object has the name.
    Named = 4,
    /// No durable object has the name any more.
    Unnamed = 5,
}

/// One step of the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) tells: Tells,
    pub(super) object: u64,
    pub(super) name: &'a str,
    pub(super) rest: &'a [u8],
}

const BEFORE_BODY: usize = 8;
const BEFORE_NAME: usize = 11;

impl<'a> Frame<'a> {
    /// Adds the frame to `bytes`; `false` if it is too long for one.
    pub(super) fn write(&self, bytes: &mut Vec<u8>) -> bool {
        let body = BEFORE_NAME + self.name.len() + self.rest.len();
        let (Ok(body), Ok(name)) = (u32::try_from(body), u16::try_from(self.name.len())) else {
            return false;
        };
        let begin = bytes.len();
        bytes.extend_from_slice(&body.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.push(self.tells as u8);
        bytes.extend_from_slice(&self.object.to_le_bytes());
        bytes.extend_from_slice(&name.to_le_bytes());
        bytes.extend_from_slice(self.name.as_bytes());
        bytes.extend_from_slice(self.rest);
        let sum = crc32fast::hash(&bytes[begin + BEFORE_BODY..]).to_le_bytes();
        bytes[begin + 4..begin + BEFORE_BODY].copy_from_slice(&sum);
        true
    }

    /// One that was read by itself, if its checksum holds.
    pub(super) fn whole(bytes: &'a [u8]) -> Option<Self> {
        let (head, body) = bytes.split_first_chunk::<BEFORE_BODY>()?;
        let [_, _, _, _, sum @ ..] = *head;
        Self::parse(body).filter(|_| crc32fast::hash(body) == u32::from_le_bytes(sum))
    }

    fn parse(body: &'a [u8]) -> Option<Self> {
        let (tells, rest) = body.split_first()?;
        let tells = match tells {
            1 => Tells::Made,
            2 => Tells::Changed,
            3 => Tells::Whole,
            4 => Tells::Named,
            5 => Tells::Unnamed,
            _ => return None,
        };
        let (object, rest) = rest.split_first_chunk()?;
        let (name, rest) = rest.split_first_chunk()?;
        let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*name)))?;
        let name = std::str::from_utf8(name).ok()?;
        Some(Self { tells, object: u64::from_le_bytes(*object), name, rest })
    }
}

/// Where a frame lies in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) at: u64,
    pub(super) len: u64,
}

/// Reads frames one after the other, up to the first that is not whole.
#[derive(Debug)]
pub(super) struct Frames {
    file: BufReader<File>,
    len: u64,
    at: u64,
    body: Vec<u8>,
}

impl Frames {
    /// Those of a file whose head was looked at.
    pub(super) fn of(mut file: File) -> io::Result<Self> {
        let len = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(HEAD))?;
        Ok(Self { file: BufReader::with_capacity(1 << 18, file), len, at: HEAD, body: Vec::new() })
    }

    /// Where the frames that were read end.
    pub(super) fn end(&self) -> u64 {
        self.at
    }

    /// The next frame, if it is whole.
    pub(super) fn next(&mut self) -> Result<Option<(Place, Frame<'_>)>, ReadError> {
        let left = self.len - self.at;
        let mut head = [0; BEFORE_BODY];
        if left < head.len() as u64 {
            return Ok(None);
        }
        self.file.read_exact(&mut head)?;
        let [a, b, c, d, sum @ ..] = head;
        let len = u32::from_le_bytes([a, b, c, d]);
        // A file system may leave zeros after a loss of power, and the checksum of nothing is zero.
        let is_possible = BEFORE_NAME as u64..=left - BEFORE_BODY as u64;
        if !is_possible.contains(&u64::from(len)) {
            return Ok(None);
        }
        self.body.resize(len as usize, 0);
        self.file.read_exact(&mut self.body)?;
        if crc32fast::hash(&self.body) != u32::from_le_bytes(sum) {
            return Ok(None);
        }
        let place = Place { at: self.at, len: BEFORE_BODY as u64 + u64::from(len) };
        // Its checksum holds: it was written like this.
        let frame = Frame::parse(&self.body).ok_or(ReadError::Unknown(place.at))?;
        self.at += place.len;
        Ok(Some((place, frame)))
    }
}

/// Why there is no next frame.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What stands there says nothing that this version knows.
    #[error("at byte {0} stands what this version does not know")]
    Unknown(u64),
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let path = std::env::temp_dir().join(format!("mp-frames-{}-{:p}", std::process::id(), bytes));
        let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        file.write_all(&[0; HEAD as usize]).unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn two() -> Vec<u8> {
        let mut bytes = Vec::new();
        let frame = |object, rest| Frame { tells: Tells::Changed, object, name: "n", rest };
        assert!(frame(7, b"first").write(&mut bytes));
        assert!(frame(8, b"second").write(&mut bytes));
        bytes
    }

    fn count(bytes: &[u8]) -> usize {
        let mut frames = Frames::of(file(bytes)).unwrap();
        let mut count = 0;
        while let Some((_, frame)) = frames.next().unwrap() {
            assert_eq!((frame.tells, frame.object, frame.name), (Tells::Changed, 7 + count as u64, "n"));
            count += 1;
        }
        count
    }

    #[test]
    fn a_frame_that_was_cut_off_anywhere_ends_the_log() {
        let bytes = two();
        assert_eq!(count(&bytes), 2);
        for end in 0..bytes.len() {
            assert_eq!(count(&bytes[..end]), usize::from(end >= bytes.len() / 2), "{end}");
        }
        // As a file system may leave it after a loss of power.
        let zeroed: Vec<u8> = bytes.iter().copied().chain([0; 100]).collect();
        assert_eq!(count(&zeroed), 2);
    }

    #[test]
    fn a_bit_that_has_changed_ends_the_log() {
        let bytes = two();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(count(&changed) < 2, "{bit}");
        }
    }

    #[test]
    fn a_whole_frame_that_says_something_unknown_is_an_error() {
        let mut bytes = two();
        let begin = bytes.len();
        assert!(Frame { tells: Tells::Named, object: 9, name: "n", rest: b"" }.write(&mut bytes));
        bytes[begin + 8] = 99;
        let sum = crc32fast::hash(&bytes[begin + 8..]).to_le_bytes();
        bytes[begin + 4..begin + 8].copy_from_slice(&sum);
        let mut frames = Frames::of(file(&bytes)).unwrap();
        assert!(frames.next().unwrap().is_some() && frames.next().unwrap().is_some());
        let at = HEAD + begin as u64;
        assert!(matches!(frames.next(), Err(ReadError::Unknown(unknown)) if unknown == at));
    }

    #[test]
    fn the_bytes_of_a_frame_stay_what_they_are() {
        let mut bytes = Vec::new();
        let frame = Frame { tells: Tells::Named, object: 0x0102, name: "ab", rest: b"c" };
        assert!(frame.write(&mut bytes));
        assert_eq!(bytes[..4], [14, 0, 0, 0]);
        assert_eq!(bytes[8..], *b"\x04\x02\x01\0\0\0\0\0\0\x02\0abc");
    }
}
