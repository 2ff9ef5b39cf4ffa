//! Writing and reading many values of one packet.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::buffer::Buffer;
use crate::codec::{self, DecodeError, EncodeError, Message};
use crate::plain;
use crate::transfer;

/// How many bytes stand in front of an item and say how long it is.
const ITEM_HEAD: usize = 4;

/// Writes values behind one another; lent by [`Packet::writing`](crate::Packet::writing).
#[derive(Debug)]
pub struct Writer<'a> {
    pub(crate) bytes: &'a mut Buffer,
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
        transfer::packed().0
    }

    /// Writes one byte.
    pub fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// Takes back all but the first `len` bytes. Handles written since stay.
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// Writes a value.
    ///
    /// # Errors
    /// [`EncodeError`] if its `Serialize` refuses; what was there stays as it was.
    pub fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        let (before, packed) = (self.bytes.len(), transfer::packed());
        codec::append(value, self.bytes).inspect_err(|_| {
            self.bytes.truncate(before);
            transfer::unpack_to(packed);
        })
    }

    /// Writes a value that a reader can skip: with its length in front, or of a
    /// fixed width ([`item_width`](crate::item_width)).
    ///
    /// # Errors
    /// As [`value`](Self::value), and for an item of 4 GiB and more.
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

    fn item_with_length<T: Message>(&mut self, value: &T) -> Result<(), EncodeError> {
        let head = self.bytes.len();
        self.bytes.extend_from_slice(&[0; ITEM_HEAD]);
        let written = codec::append_message(value, self.bytes).and_then(|()| {
            u32::try_from(self.bytes.len() - head - ITEM_HEAD)
                .map_err(|_| EncodeError::new::<T>("one item is limited to 4 GiB"))
        });
        match written {
            Ok(len) => self.bytes[head..head + ITEM_HEAD].copy_from_slice(&len.to_le_bytes()),
            Err(_) => self.bytes.truncate(head),
        }
        written.map(drop)
    }
}

/// Reads values one after the other; lent by [`Packet::reading`](crate::Packet::reading).
#[derive(Debug)]
pub struct Reader<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) at: &'a mut usize,
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
        let head = self.take(ITEM_HEAD).and_then(|head| head.try_into().ok());
        let len = head.map(u32::from_le_bytes).ok_or_else(|| DecodeError::new::<T>(CUT))?;
        let bytes = self.take(len as usize).ok_or_else(|| DecodeError::new::<T>(CUT))?;
        if let Some(unit) = plain::unit().filter(|_| bytes.is_empty()) {
            return Ok(unit);
        }
        codec::decode_message(bytes)
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
    use crate::Packet;

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
