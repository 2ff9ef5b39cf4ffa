//! How a log lies in its file.
//!
//! ```text
//! head    "mp-manager state", and the version of the format
//! frame   length of the body, its checksum, the body
//! body    what it tells, of which object, a name and its length, and the rest
//! ```
//!
//! Numbers are little-endian. A frame whose checksum does not hold, and behind which no whole one
//! stands, was cut off in the middle of a write, and ends the log. Before whole ones it is damage.

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

/// So many bytes are looked through at a time for a frame behind one that is not whole.
const WINDOW: usize = 1 << 20;
/// What looks like a frame is read up to so many bytes in all.
const MOST_READ: u64 = 8 << 30;
/// No object has such a number.
const NO_OBJECT: u64 = 1 << 48;

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

/// Whether a frame may begin like this, of which not more than `left` bytes are there; how long it is.
fn may_begin(bytes: &[u8], left: u64) -> Option<u64> {
    let (head, rest) = bytes.split_first_chunk::<BEFORE_BODY>()?;
    let [tells, o, b, j, e, c, t, s, number, n, m] = *rest.first_chunk::<BEFORE_NAME>()?;
    let [len @ .., _, _, _, _] = *head;
    let body = u64::from(u32::from_le_bytes(len));
    let name = BEFORE_NAME as u64 + u64::from(u16::from_le_bytes([n, m]));
    let is_known = matches!(tells, 1..=5) && u64::from_le_bytes([o, b, j, e, c, t, s, number]) < NO_OBJECT;
    let all = BEFORE_BODY as u64 + body;
    (is_known && name <= body && all <= left).then_some(all)
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

    /// The next frame; `None` at the end, which may be one that was cut off.
    pub(super) fn next(&mut self) -> Result<Option<(Place, Frame<'_>)>, ReadError> {
        let Some(place) = self.read_whole()? else {
            return if self.is_followed()? { Err(ReadError::Broken(self.at)) } else { Ok(None) };
        };
        // Its checksum holds: it was written like this.
        let frame = Frame::parse(&self.body).ok_or(ReadError::Unknown(place.at))?;
        self.at += place.len;
        Ok(Some((place, frame)))
    }

    /// Reads what stands at the place, if that is a whole frame.
    fn read_whole(&mut self) -> io::Result<Option<Place>> {
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
        let is_whole = crc32fast::hash(&self.body) == u32::from_le_bytes(sum);
        Ok(is_whole.then_some(Place { at: self.at, len: BEFORE_BODY as u64 + u64::from(len) }))
    }

    /// Whether a whole frame begins anywhere behind the place: then what stands there is not the rest of
    /// a write that was cut off. Where it would begin is not to be told from a length that is damaged.
    fn is_followed(&mut self) -> io::Result<bool> {
        let mut window = Vec::new();
        let mut read = 0;
        let mut begin = self.at + 1;
        while begin < self.len {
            window.clear();
            self.file.seek(SeekFrom::Start(begin))?;
            let most = WINDOW + BEFORE_BODY + BEFORE_NAME - 1;
            self.file.by_ref().take(most as u64).read_to_end(&mut window)?;
            for (at, bytes) in (begin..self.len).zip((0..WINDOW).map_while(|at| window.get(at..))) {
                let Some(len) = may_begin(bytes, self.len - at) else { continue };
                read += len;
                // In doubt nothing is thrown away.
                if read > MOST_READ || self.is_whole_at(at, len)? {
                    return Ok(true);
                }
            }
            begin += WINDOW as u64;
        }
        Ok(false)
    }

    fn is_whole_at(&mut self, at: u64, len: u64) -> io::Result<bool> {
        self.file.seek(SeekFrom::Start(at))?;
        self.body.clear();
        self.file.by_ref().take(len).read_to_end(&mut self.body)?;
        Ok(Frame::whole(&self.body).is_some())
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
    /// What stands there was changed after it was written: whole frames stand behind it.
    #[error("what stands at byte {0} is damaged")]
    Broken(u64),
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

    /// Where the first frame is damaged, if that is said.
    fn damage(bytes: &[u8]) -> Option<u64> {
        let mut frames = Frames::of(file(bytes)).unwrap();
        loop {
            match frames.next() {
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(ReadError::Broken(at)) => return Some(at),
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn a_bit_that_has_changed_ends_the_log_in_the_last_frame_only() {
        let mut bytes = two();
        let second = bytes.len() / 2;
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            if bit / 8 < second {
                assert_eq!(damage(&bytes), Some(HEAD), "{bit}");
            } else {
                assert_eq!(count(&bytes), 1, "{bit}");
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn whole_frames_are_found_however_far_behind_the_damage() {
        let two = two();
        for zeros in [1, 4096, WINDOW - 20, WINDOW - 1, WINDOW, WINDOW + 7, 2 * WINDOW] {
            let bytes = [&two[..], &vec![0; zeros], &two].concat();
            assert_eq!(damage(&bytes), Some(HEAD + two.len() as u64), "{zeros}");
            // The same where the second of them, too, was cut off.
            let bytes = &bytes[..bytes.len() - 1];
            assert_eq!(damage(bytes), Some(HEAD + two.len() as u64), "{zeros}");
        }
    }

    #[test]
    fn what_only_looks_like_frames_is_cut_off() {
        for byte in 0..=u8::MAX {
            let bytes = [two(), vec![byte; 100_000]].concat();
            assert_eq!(count(&bytes), 2, "{byte}");
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
