//! Plain data anywhere in a message, as the bytes that it is in memory.

use std::fmt;
use std::ops::{Deref, DerefMut};

use serde::de::{Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::Plain;
use crate::transfer::{deserialize_error, serialize_error};

/// A vector of plain items that travels as the bytes that it is in memory.
///
/// Serde walks a vector item by item. A message that is a vector of numbers is spared that
/// by itself; vectors inside other values, and those of structures, are by this wrapper:
/// both sides copy the bytes once more, and look at no item.
///
/// The bytes mean the same only to programs that lay the type out in the same way: a peer
/// on a machine with the other order of bytes, or whose items have another size, is told so.
/// Items that take no bytes at all are refused where they are sent.
///
/// # Examples
/// ```
/// use ipc_core::{Bulk, bytemuck};
/// # use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
/// #[bytemuck(crate = "ipc_core::bytemuck")]
/// #[repr(C)]
/// struct Point {
///     x: f32,
///     y: f32,
/// }
///
/// #[derive(Serialize, Deserialize)]
/// struct Drawing {
///     name: String,
///     points: Bulk<Point>,
/// }
///
/// let (tx, rx) = ipc_core::pipe::<Drawing>()?;
/// let points = vec![Point { x: 0.5, y: 2.0 }; 1000];
/// tx.send(&Drawing { name: "dots".to_owned(), points: points.clone().into() })?;
/// assert_eq!(*rx.recv()?.points, points);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Bulk<T>(
    /// The items.
    pub Vec<T>,
);

/// What stands behind the items: how this machine writes it tells its order of bytes.
type Mark = u16;
const MARK: Mark = 0x0102;
/// Behind the items it needs no alignment: the mark, and the size of an item.
const TAIL: usize = 2 * size_of::<Mark>();

impl<T: Plain> Serialize for Bulk<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if size_of::<T>() == 0 && !self.0.is_empty() {
            return Err(serialize_error("its items take no bytes: send their number instead"));
        }
        let width = u16::try_from(size_of::<T>()).unwrap_or(u16::MAX);
        (Bytes(bytemuck::cast_slice(&self.0)), MARK.to_ne_bytes(), width).serialize(serializer)
    }
}

impl<'de, T: Plain> Deserialize<'de> for Bulk<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (items, mark, width) = <(Items<T>, [u8; TAIL / 2], u16)>::deserialize(deserializer)?;
        if mark != MARK.to_ne_bytes() {
            return Err(deserialize_error("the items come from a machine with the other order of bytes"));
        }
        if usize::from(width) != size_of::<T>().min(u16::MAX.into()) {
            return Err(deserialize_error("the items received have another size"));
        }
        Ok(Self(items.0))
    }
}

struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

struct Items<T>(Vec<T>);

impl<'de, T: Plain> Deserialize<'de> for Items<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(Copies(std::marker::PhantomData))
    }
}

struct Copies<T>(std::marker::PhantomData<T>);

impl<T: Plain> Visitor<'_> for Copies<T> {
    type Value = Items<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes of plain items")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Items<T>, E> {
        let width = size_of::<T>();
        if width == 0 {
            return Ok(Items(Vec::new()));
        }
        if !bytes.len().is_multiple_of(width) {
            return Err(deserialize_error("an item is cut short"));
        }
        let mut items = vec![T::zeroed(); bytes.len() / width];
        bytemuck::cast_slice_mut(&mut items).copy_from_slice(bytes);
        Ok(Items(items))
    }
}

impl<T> From<Vec<T>> for Bulk<T> {
    fn from(items: Vec<T>) -> Self {
        Self(items)
    }
}

impl<T> From<Bulk<T>> for Vec<T> {
    fn from(bulk: Bulk<T>) -> Self {
        bulk.0
    }
}

impl<T> Deref for Bulk<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T> DerefMut for Bulk<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Packet;
    use crate::codec::DecodeError;

    fn through<T: Serialize, U: serde::de::DeserializeOwned>(value: &T) -> Result<U, DecodeError> {
        let mut packet = Packet::new();
        packet.append(value).unwrap();
        packet.read()
    }

    #[test]
    fn items_come_back_from_anywhere_in_a_value() {
        let value = ("odd", Bulk(vec![[1.5f32, -2.0], [3.0, 4.0]]), 7u8, Bulk(vec![1u128 << 100]));
        let back: (String, Bulk<[f32; 2]>, u8, Bulk<u128>) = through(&value).unwrap();
        assert_eq!((back.0.as_str(), back.1, back.2, back.3), value);
        assert!(through::<_, Bulk<u64>>(&Bulk::<u64>(Vec::new())).unwrap().is_empty());
    }

    #[test]
    fn they_take_no_more_room_than_in_memory() {
        let mut packet = Packet::new();
        packet.append(&Bulk(vec![u64::MAX; 1000])).unwrap();
        assert!(packet.bytes().len() < 8010, "{}", packet.bytes().len());
    }

    #[test]
    fn items_without_bytes_are_not_lost_in_silence() {
        let error = Packet::new().append(&Bulk(vec![[0u8; 0]; 5])).unwrap_err().to_string();
        assert!(error.contains("send their number"), "{error}");
        assert!(through::<_, Bulk<[u8; 0]>>(&Bulk::<[u8; 0]>(Vec::new())).unwrap().is_empty());
    }

    #[test]
    fn what_is_laid_out_otherwise_is_refused() {
        let error = through::<_, Bulk<u64>>(&Bulk(vec![1u32, 2])).unwrap_err().to_string();
        assert!(error.contains("another size"), "{error}");
        let error = through::<_, Bulk<u64>>(&Bulk(vec![1u32])).unwrap_err().to_string();
        assert!(error.contains("cut short"), "{error}");
        let swapped = (Bytes(&[0; 8]), MARK.swap_bytes().to_ne_bytes(), 8u16);
        assert!(through::<_, Bulk<u64>>(&swapped).is_err());
        // More than there is.
        assert!(through::<_, Bulk<u64>>(&(u64::MAX, [0u8; 4])).is_err());
    }
}
