//! Values to bytes and back: postcard, with a hash of the type in front.
//!
//! postcard writes no type information, so a value read as another type would
//! come out as another value without an error. Each message therefore begins
//! with a hash of its type's name, and decoding takes the whole message.

use std::any::type_name;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::buffer::Buffer;
use crate::noted::{Noted, Noting, take_note};
use crate::plain;
use crate::wary::{Budget, Wary};

/// A value that can travel between processes.
///
/// Every `'static` type with serde's `Serialize` and `Deserialize` is one, and
/// nothing else need be done. Attributes that need a self-describing format do
/// not work with the wire format: `untagged`, `flatten`, `skip_serializing_if`,
/// and types such as `serde_json::Value`. Of items that take no bytes, as those of a
/// `Vec<()>`, a message may hold a million; more are refused when it is received.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel between processes",
    label = "not a message",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it; it must own its data (`String`, not `&str`)"
)]
pub trait Message: Serialize + DeserializeOwned + 'static {}

impl<T: Serialize + DeserializeOwned + 'static> Message for T {}

/// A value could not be turned into bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a value of type `{type_name}` could not be encoded: {reason}")]
pub struct EncodeError {
    type_name: &'static str,
    reason: String,
}

impl EncodeError {
    /// An error with a reason of the caller's own.
    pub fn new<T: ?Sized>(reason: impl fmt::Display) -> Self {
        Self { type_name: type_name::<T>(), reason: reason.to_string() }
    }

    fn from_postcard<T: ?Sized>(error: &postcard::Error) -> Self {
        Self::new::<T>(reason(error))
    }
}

/// Bytes could not be turned into a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a message could not be decoded as `{type_name}`: {reason}")]
pub struct DecodeError {
    type_name: &'static str,
    reason: String,
}

impl DecodeError {
    /// An error with a reason of the caller's own.
    pub fn new<T: ?Sized>(reason: impl fmt::Display) -> Self {
        Self { type_name: type_name::<T>(), reason: reason.to_string() }
    }
}

fn reason(error: &postcard::Error) -> String {
    let note = take_note();
    match error {
        postcard::Error::SerdeSerCustom | postcard::Error::SerdeDeCustom => {
            note.unwrap_or_else(|| "its own serde implementation refused".to_owned())
        }
        postcard::Error::WontImplement => {
            "its serde attributes need a self-describing format (`untagged`, `flatten` and the like)"
                .to_owned()
        }
        postcard::Error::SerializeSeqLengthUnknown => "a sequence in it does not know its length".to_owned(),
        postcard::Error::DeserializeUnexpectedEnd => "it ends too early".to_owned(),
        other => other.to_string(),
    }
}

/// A number that tells types apart: FNV-1a over the type's full name.
pub(crate) fn type_hash<T: ?Sized>() -> u64 {
    fnv1a(type_name::<T>().as_bytes())
}

pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Encodes into `space`; `None` if it does not fit.
pub(crate) fn encode_into<T: Serialize + ?Sized>(
    value: &T,
    space: &mut [u8],
) -> Result<Option<usize>, EncodeError> {
    match postcard::to_slice(&Noting(value), space) {
        Ok(used) => Ok(Some(used.len())),
        Err(postcard::Error::SerializeBufferFull) => Ok(None),
        Err(error) => Err(EncodeError::from_postcard::<T>(&error)),
    }
}

/// Encodes to the end of `buffer`.
pub(crate) fn append<T: Serialize + ?Sized>(value: &T, buffer: &mut Buffer) -> Result<(), EncodeError> {
    postcard::serialize_with_flavor(&Noting(value), Growing(buffer))
        .map_err(|error| EncodeError::from_postcard::<T>(&error))
}

/// A postcard flavor over a buffer that is reused.
struct Growing<'a>(&'a mut Buffer);

impl postcard::ser_flavors::Flavor for Growing<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// As [`append`]; vectors of numbers are copied as they are.
pub(crate) fn append_message<T: Message>(value: &T, buffer: &mut Buffer) -> Result<(), EncodeError> {
    let Some(bytes) = plain::vector(value) else { return append(value, buffer) };
    buffer.extend_from_slice(&bytes);
    Ok(())
}

/// As [`encode_into`]; vectors of numbers are copied as they are.
pub(crate) fn message_into<T: Message>(value: &T, space: &mut [u8]) -> Result<Option<usize>, EncodeError> {
    let Some(bytes) = plain::vector(value) else { return encode_into(value, space) };
    let Some(space) = space.get_mut(..bytes.len()) else { return Ok(None) };
    space.copy_from_slice(&bytes);
    Ok(Some(bytes.len()))
}

/// The other half of [`append_message`].
pub(crate) fn decode_message<T: Message>(bytes: &[u8]) -> Result<T, DecodeError> {
    match plain::get_vector(bytes) {
        Some(vector) => vector.ok_or_else(cut_short::<T>),
        None => decode(bytes),
    }
}

/// A vector of numbers has come with the last one incomplete.
pub(crate) fn cut_short<T>() -> DecodeError {
    DecodeError::new::<T>("a number in it is cut short")
}

/// Decodes the whole of `bytes`; a rest is an error.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (value, rest) = decode_prefix(bytes)?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(DecodeError::new::<T>(format_args!("{} bytes are left over", rest.len())))
    }
}

/// Decodes a value from the front of `bytes` and returns the rest.
pub(crate) fn decode_prefix<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), DecodeError> {
    let budget = Budget::of(bytes.len());
    let mut deserializer = postcard::Deserializer::from_bytes(bytes);
    let value = T::deserialize(Wary::new(&mut deserializer, &budget));
    let value = value.map_err(|Noted(error)| DecodeError::new::<T>(reason(&error)))?;
    let rest = deserializer.finalize().map_err(|error| DecodeError::new::<T>(reason(&error)))?;
    Ok((value, rest))
}
