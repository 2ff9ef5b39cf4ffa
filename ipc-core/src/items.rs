//! Writing and reading many values of one packet.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::buffer::Buffer;
use crate::codec::{self, DecodeError, EncodeError, Message};
use crate::plain;
use crate::transfer;

/// How many bytes stand in front of an item and say how long it is.
const ITEM_HEAD: usize = 4;

/// No length: the item is as long as the eight bytes behind this say.
const LONG: u32 = u32::MAX;

/// A vector of fewer bytes is copied into its packet.
pub(crate) const LONE: usize = 64 << 10;

/// Writes values behind one another; lent by [`Packet::writing`](crate::Packet::writing).
#[derive(Debug)]
pub struct Writer<'a> {
    pub(crate) bytes: &'a mut Buffer,
    pub(crate) lone: &'a mut bool,
}

impl Writer<'_> {
    /// How many bytes the packet has now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What was written after the first `from` bytes.
    ///
    /// # Panics
    /// If there are fewer.
    #[must_use]
    pub fn written(&self, from: usize) -> &[u8] {
        &self.bytes[from..]
    }

    /// How many handles go with the bytes so far.
    #[must_use]
    pub fn handle_count(&self) -> usize {
        transfer::handle_count()
    }

    /// Writes one byte.
    pub fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// Takes back all but the first `len` bytes. Handles written since stay.
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
        *self.lone = false;
    }

    /// Writes a value.
    ///
    /// # Errors
    /// [`EncodeError`] if its `Serialize` refuses; what was there stays as it was.
    pub fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        let (before, brought) = (self.bytes.len(), transfer::Brought::new());
        codec::append(value, self.bytes).inspect_err(|_| self.bytes.truncate(before))?;
        brought.keep();
        Ok(())
    }

    /// Writes a value that a reader can skip: with its length in front, or of a
    /// fixed width ([`item_width`](crate::item_width)).
    ///
    /// # Errors
    /// As [`value`](Self::value). After a panic of the value's bytes of it may be left, and no handle or end.
    #[inline]
    pub fn item<T: Message>(&mut self, value: &T) -> Result<(), EncodeError> {
        if plain::item_width::<T>().is_some() {
            plain::push_number(value, self.bytes);
            return Ok(());
        }
        if plain::is_unit::<T>() {
            self.bytes.extend_from_slice(&[0; ITEM_HEAD]);
            return Ok(());
        }
        self.item_with_length(value)
    }

    /// Writes up to `most` items of a fixed width ([`item_width`](crate::item_width)),
    /// as [`item`](Self::item) would one by one; how many there were. Of other types
    /// it takes none.
    pub fn numbers<T: Message>(&mut self, items: &mut impl Iterator<Item = T>, most: usize) -> usize {
        plain::push_numbers(items, most, self.bytes)
    }

    /// Writes `bytes` over what stands at `at`.
    ///
    /// # Panics
    /// If there is less.
    pub fn overwrite(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Makes `value` all of the packet, without a length in front, in its own memory: so it is not copied. It
    /// is left empty; nothing may be written behind it. `false`, and nothing has changed, if it is no vector of
    /// numbers, or a short one, or not the first thing written.
    pub fn lone_item<T: Message>(&mut self, value: &mut T) -> bool {
        let bytes = if self.is_empty() { plain::take_vector(value, LONE) } else { None };
        *self.lone |= bytes.is_some();
        bytes.map(|bytes| *self.bytes = bytes).is_some()
    }

    /// Writes what stands in front of an item of `len` bytes that has no fixed width.
    pub fn item_length(&mut self, len: usize) {
        match u32::try_from(len).ok().filter(|len| *len < LONG) {
            Some(len) => self.bytes.extend_from_slice(&len.to_le_bytes()),
            None => {
                self.bytes.extend_from_slice(&LONG.to_le_bytes());
                self.bytes.extend_from_slice(&(len as u64).to_le_bytes());
            }
        }
    }

    fn item_with_length<T: Message>(&mut self, value: &T) -> Result<(), EncodeError> {
        let head = self.bytes.len();
        // What the value had brought stays here, also where it panics.
        let brought = transfer::Brought::new();
        self.bytes.extend_from_slice(&[0; ITEM_HEAD]);
        match codec::append_message(value, self.bytes) {
            Ok(()) => write_length(self.bytes, head, LONG),
            Err(error) => {
                self.bytes.truncate(head);
                return Err(error);
            }
        }
        brought.keep();
        Ok(())
    }
}

/// Writes into the place at `head` how long the item behind it is, which moves if it is `long`.
fn write_length(bytes: &mut Buffer, head: usize, long: u32) {
    let begin = head + ITEM_HEAD;
    let len = bytes.len() - begin;
    if let Some(len) = u32::try_from(len).ok().filter(|len| *len < long) {
        bytes[head..begin].copy_from_slice(&len.to_le_bytes());
        return;
    }
    let wide = (len as u64).to_le_bytes();
    bytes.reserve_exact(wide.len());
    bytes.extend_from_slice(&wide);
    bytes.copy_within(begin..begin + len, begin + wide.len());
    bytes[head..begin].copy_from_slice(&LONG.to_le_bytes());
    bytes[begin..begin + wide.len()].copy_from_slice(&wide);
}

/// Where the first item of `bytes` begins, and how long it says that it is.
fn read_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let (len, rest) = bytes.split_first_chunk()?;
    match u32::from_le_bytes(*len) {
        LONG => {
            let len = u64::from_le_bytes(*rest.first_chunk()?);
            Some((ITEM_HEAD + size_of::<u64>(), usize::try_from(len).ok()?))
        }
        len => Some((ITEM_HEAD, len as usize)),
    }
}

/// What stands behind the first item of `bytes`, of a type that has no fixed width
/// ([`item_width`](crate::item_width)); `None` if it is cut short.
///
/// # Examples
/// ```
/// let mut packet = ipc_core::Packet::new();
/// packet.append_item(&"one".to_owned())?;
/// let first = packet.bytes().len();
/// packet.append_item(&"two".to_owned())?;
/// assert_eq!(ipc_core::skip_item(packet.bytes()), Some(&packet.bytes()[first..]));
/// # Ok::<(), ipc_core::EncodeError>(())
/// ```
#[must_use]
pub fn skip_item(bytes: &[u8]) -> Option<&[u8]> {
    let (begin, len) = read_length(bytes)?;
    bytes.get(begin..)?.get(len..)
}

/// What the first item of `bytes` is, of a type that has no fixed width, without its length; `None` if it
/// is cut short.
#[must_use]
pub fn item_bytes(bytes: &[u8]) -> Option<&[u8]> {
    let (begin, len) = read_length(bytes)?;
    bytes.get(begin..)?.get(..len)
}

/// Reads values one after the other; lent by [`Packet::reading`](crate::Packet::reading).
#[derive(Debug)]
pub struct Reader<'a> {
    pub(crate) bytes: &'a mut Buffer,
    pub(crate) at: &'a mut usize,
    pub(crate) lone: bool,
}

impl Reader<'_> {
    /// Reads one byte; `None` at the end.
    pub fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(*self.at)?;
        *self.at += 1;
        Some(byte)
    }

    /// Reads a value.
    ///
    /// # Errors
    /// [`DecodeError`] if what comes next is not a `T`; the reader stays where it was.
    pub fn value<T: DeserializeOwned>(&mut self) -> Result<T, DecodeError> {
        let (value, rest) = codec::decode_prefix(&self.bytes[*self.at..])?;
        *self.at = self.bytes.len() - rest.len();
        Ok(value)
    }

    /// Reads an item that [`Writer::item`] wrote, and moves behind it first, so
    /// that the next can be read even if this one is no `T`, or its decoding panics.
    ///
    /// # Errors
    /// [`DecodeError`] if the item is not exactly one `T`, or the packet is cut short.
    #[inline]
    pub fn item<T: Message>(&mut self) -> Result<T, DecodeError> {
        if let Some(width) = plain::item_width::<T>() {
            let number = self.take(width).and_then(plain::get_number::<T>);
            return number.ok_or_else(|| DecodeError::new::<T>(CUT));
        }
        if self.lone {
            return self.lone_item();
        }
        let head = self.bytes.get(*self.at..).and_then(read_length);
        // Of one that is cut short there is no end but the packet's.
        let (head, len) = head.unwrap_or((usize::MAX, 0));
        let bytes = if self.take(head).is_some() { self.take(len) } else { None };
        let bytes = bytes.ok_or_else(|| DecodeError::new::<T>(CUT))?;
        if let Some(unit) = plain::unit().filter(|_| bytes.is_empty()) {
            return Ok(unit);
        }
        codec::decode_message(bytes)
    }

    /// Takes the item that is all of the packet, with the packet's memory if that is hardly longer.
    #[cold]
    fn lone_item<T: Message>(&mut self) -> Result<T, DecodeError> {
        let bytes = std::mem::take(self.bytes);
        *self.at = 0;
        let fits = bytes.capacity() / 2 <= bytes.len();
        let vector = if fits { plain::into_vector(bytes) } else { plain::get_vector(&bytes) };
        vector
            .ok_or_else(|| DecodeError::new::<T>("it is no vector of numbers"))?
            .ok_or_else(codec::cut_short::<T>)
    }

    /// Reads `count` items of a fixed width to the end of `numbers`; whether they were
    /// there. If not, nothing is read.
    pub fn numbers<T: Message>(&mut self, count: usize, numbers: &mut Vec<T>) -> bool {
        let len = plain::item_width::<T>().and_then(|width| width.checked_mul(count));
        let Some(bytes) = len.and_then(|len| self.bytes.get(*self.at..)?.get(..len)) else { return false };
        *self.at += bytes.len();
        plain::get_numbers(bytes, numbers);
        true
    }

    /// The next `len` bytes; with fewer left, none, and the packet is at its end.
    fn take(&mut self, len: usize) -> Option<&[u8]> {
        let start = *self.at;
        let bytes = start.checked_add(len).and_then(|end| self.bytes.get(start..end));
        *self.at = bytes.map_or(self.bytes.len(), |bytes| start + bytes.len());
        bytes
    }
}

const CUT: &str = "the packet is cut short";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Packet;

    #[test]
    fn a_long_item_has_a_longer_length() {
        let mut bytes = Buffer::new();
        bytes.extend_from_slice(b"before\0\0\0\0seven");
        // As if four bytes were too short for it.
        write_length(&mut bytes, 6, 5);
        assert_eq!(&bytes[6..], b"\xff\xff\xff\xff\x05\0\0\0\0\0\0\0seven");
        assert_eq!(read_length(&bytes[6..]), Some((12, 5)));
        assert_eq!(skip_item(&bytes[6..]), Some(&[][..]));
        bytes.extend_from_slice(b"behind");
        assert_eq!(skip_item(&bytes[6..]), Some(&b"behind"[..]));
        bytes.truncate(6);
        bytes.extend_from_slice(b"\0\0\0\0seven");
        write_length(&mut bytes, 6, 6);
        assert_eq!(&bytes[6..], b"\x05\0\0\0seven");
    }

    #[test]
    fn a_long_item_is_read_as_any_other() {
        let mut packet = Packet::new();
        packet.append_item(&"text".to_owned()).unwrap();
        write_length(&mut packet.bytes, 0, 0);
        packet.append_item(&"next".to_owned()).unwrap();
        assert_eq!(packet.read_item::<String>().unwrap(), "text");
        assert_eq!(packet.read_item::<String>().unwrap(), "next");
        assert!(packet.is_at_end());
    }

    /// Lengths that nothing can have, and half of one.
    #[test]
    fn a_long_items_length_is_not_trusted() {
        for len in [u64::MAX, u64::MAX - 11, 1 << 63, 1 << 32, 5] {
            let mut packet = Packet::new();
            packet.extend_bytes(&LONG.to_le_bytes());
            packet.extend_bytes(&len.to_le_bytes());
            packet.extend_bytes(b"four");
            assert_eq!(skip_item(packet.bytes()), None, "{len}");
            assert!(packet.read_item::<String>().is_err(), "{len}");
            assert!(packet.is_at_end());
        }
        let mut packet = Packet::new();
        packet.extend_bytes(&[0xff; 11]);
        assert!(skip_item(packet.bytes()).is_none() && packet.read_item::<String>().is_err());
        assert!(packet.is_at_end());
    }

    #[test]
    fn a_long_vector_goes_in_its_own_memory() {
        let alone =
            |packet: &mut Packet, value: &mut Vec<f64>| packet.writing(|writer| writer.lone_item(value));
        let (mut packet, mut numbers) = (Packet::new(), vec![0.5_f64; LONE / 8]);
        let start = numbers.as_ptr();
        assert!(alone(&mut packet, &mut numbers) && packet.is_lone());
        assert!(numbers.is_empty() && packet.bytes().as_ptr() == start.cast());
        let back: Vec<f64> = packet.read_item().unwrap();
        assert!(back == [0.5; LONE / 8] && back.as_ptr() == start && packet.is_at_end());
        packet.clear();
        // A short one, one that hardly fills its memory, and one that is not the first.
        let mut roomy = Vec::with_capacity(LONE);
        roomy.resize(LONE / 8, 0.5);
        assert!(!alone(&mut packet, &mut vec![0.5; LONE / 8 - 1]) && !alone(&mut packet, &mut roomy));
        // One that is taken back.
        assert!(alone(&mut packet, &mut back.clone()));
        packet.writing(|writer| writer.truncate(0));
        packet.append_item(&back).unwrap();
        assert!(!alone(&mut packet, &mut roomy) && roomy.len() == LONE / 8 && !packet.is_lone());
        assert!(packet.read_item::<Vec<f64>>().unwrap() == back);
        assert!(!Packet::new().writing(|writer| writer.lone_item(&mut "x".repeat(LONE))));
    }

    #[test]
    fn an_items_bytes_stand_behind_its_length() {
        for len in [0, 5, u32::MAX as usize, usize::MAX] {
            let mut packet = Packet::new();
            packet.writing(|writer| writer.item_length(len));
            assert_eq!(read_length(packet.bytes()), Some((packet.bytes().len(), len)));
        }
        let mut packet = Packet::new();
        packet.append_item(&vec![7_u8; 5]).unwrap();
        assert_eq!(item_bytes(packet.bytes()), Some(&[7; 5][..]));
        assert_eq!(item_bytes(&packet.bytes()[..8]), None);
    }

    /// As it comes over a link: in memory for bytes, and from anybody.
    #[test]
    fn a_lone_item_that_came_is_read_as_others_are() {
        let came = |bytes: &[u8]| {
            let mut packet = Packet::new();
            packet.extend_bytes(bytes);
            packet.mark_lone();
            packet
        };
        assert_eq!(came(&[1, 0, 2, 0]).read_item::<Vec<u16>>().unwrap(), [1, 2]);
        assert_eq!(came(&[1, 2, 3]).read_item::<Vec<u8>>().unwrap(), [1, 2, 3]);
        assert!(came(&[1, 2, 3]).read_item::<Vec<u16>>().is_err());
        assert!(came(&[1, b'x']).read_item::<String>().is_err());
        let mut again = came(&[1]);
        assert!(again.read_item::<Vec<u8>>().is_ok() && again.read_item::<Vec<u8>>().unwrap().is_empty());
        // Also where something was read before it was said, and where it is taken back.
        let mut begun = came(&[1, 2]);
        assert!(begun.read_bytes(1).is_some() && begun.read_item::<Vec<u8>>().is_ok());
        assert!(begun.is_at_end() && begun.unread().is_empty());
        let mut back = came(&[1, 2]);
        back.truncate(0);
        back.append_item(&"text".to_owned()).unwrap();
        assert_eq!(back.read_item::<String>().unwrap(), "text");
    }

    #[test]
    fn nothing_is_an_item_as_well() {
        let mut packet = Packet::new();
        packet.append_item(&()).unwrap();
        packet.append_item(&7u32).unwrap();
        packet.append_item(&"text".to_owned()).unwrap();
        packet.append_item(&()).unwrap();
        packet.read_item::<()>().unwrap();
        assert_eq!(packet.read_item::<u32>().unwrap(), 7);
        assert_eq!(packet.read_item::<String>().unwrap(), "text");
        packet.read_item::<()>().unwrap();
        assert!(packet.is_at_end());
        assert!(packet.read_item::<()>().is_err(), "it is cut short");
    }
}
