//! The arguments of a call by name, taken apart.

use std::fmt;
use std::time::Duration;

use ipc_core::{EncodeError, Message, Packet};
use serde::de::DeserializeOwned;
use serde::ser::{self, Impossible, Serialize, Serializer};

use super::super::raw;
use crate::error::{Kind, ManagerError};
use crate::wire::{Bytes, Raw};

/// What a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A value, which is encoded in one piece.
    One,
    /// Many values, each encoded by itself.
    Many,
    /// Pairs of values.
    Pairs,
}

/// The arguments that are left to be taken.
pub(super) struct Given(std::vec::IntoIter<Vec<Raw>>);

impl Given {
    /// Takes a tuple apart for parameters of these shapes, and encodes what is in it for the manager
    /// `epoch`.
    pub(super) fn of<A: Message>(epoch: u128, shapes: &[Shape], args: &A) -> Result<Self, ManagerError> {
        let level = Level { epoch, step: Step::Arguments(shapes), parts: Vec::new() };
        let parts = args.serialize(level).and_then(|parts| match parts.len() == shapes.len() {
            true => Ok(parts),
            false => Err(Unfit(format!("the method takes {} arguments, not {}", shapes.len(), parts.len()))),
        });
        let parts = parts.map_err(|Unfit(why)| Kind::Encode(EncodeError::new::<A>(why)))?;
        Ok(Self(parts.into_iter()))
    }

    /// The next argument.
    pub(super) fn next<P: Parameter>(&mut self) -> Result<P, ManagerError> {
        P::take(self.0.next().unwrap_or_default())
    }
}

/// The type of a parameter.
pub(super) trait Parameter: Sized {
    const SHAPE: Shape;

    fn take(part: Vec<Raw>) -> Result<Self, ManagerError>;
}

impl Parameter for Raw {
    const SHAPE: Shape = Shape::One;

    fn take(mut part: Vec<Raw>) -> Result<Self, ManagerError> {
        Ok(part.pop().unwrap_or_default())
    }
}

impl Parameter for Vec<Raw> {
    const SHAPE: Shape = Shape::Many;

    fn take(part: Vec<Raw>) -> Result<Self, ManagerError> {
        Ok(part)
    }
}

impl Parameter for Vec<(Raw, Raw)> {
    const SHAPE: Shape = Shape::Pairs;

    fn take(part: Vec<Raw>) -> Result<Self, ManagerError> {
        let mut part = part.into_iter();
        Ok(std::iter::from_fn(|| part.next().zip(part.next())).collect())
    }
}

/// What a call says in the open.
macro_rules! in_the_open {
    ($($of:ty),*) => {$(
        impl Parameter for $of {
            const SHAPE: Shape = Shape::One;

            fn take(part: Vec<Raw>) -> Result<Self, ManagerError> {
                decode(part)
            }
        }
    )*};
}

in_the_open!(usize, bool, String, Duration);

fn decode<P: DeserializeOwned>(mut part: Vec<Raw>) -> Result<P, ManagerError> {
    let Bytes(bytes) = part.pop().unwrap_or_default().bytes;
    let mut packet = Packet::new();
    packet.extend_bytes(&bytes);
    let value = packet.read().map_err(|error| error.to_string());
    let value = value.and_then(|value| match packet.is_at_end() {
        true => Ok(value),
        false => Err("it is a value of another type".to_owned()),
    });
    value.map_err(|why| Kind::Encode(EncodeError::new::<P>(format!("the argument is none: {why}"))).into())
}

/// Why arguments are not those of the method.
#[derive(Debug)]
struct Unfit(String);

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unfit {}

impl ser::Error for Unfit {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self(text.to_string())
    }
}

/// Takes a sequence apart: of what is in it, each part is the values that it has.
struct Level<'a> {
    epoch: u128,
    step: Step<'a>,
    parts: Vec<Vec<Raw>>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Arguments(&'a [Shape]),
    Many,
    Pairs,
}

impl Level<'_> {
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unfit> {
        let shape = match self.step {
            Step::Arguments(shapes) => shapes.get(self.parts.len()).copied().unwrap_or(Shape::One),
            Step::Many => Shape::One,
            Step::Pairs => Shape::Many,
        };
        let below = |step| Level { epoch: self.epoch, step, parts: Vec::new() };
        let part = match shape {
            Shape::One => vec![raw(self.epoch, value).map_err(ser::Error::custom)?],
            Shape::Many => value.serialize(below(Step::Many))?.concat(),
            Shape::Pairs => value.serialize(below(Step::Pairs))?.concat(),
        };
        if matches!(self.step, Step::Pairs) && part.len() != 2 {
            return Err(Unfit("it takes pairs".to_owned()));
        }
        self.parts.push(part);
        Ok(())
    }

    fn unfit(&self) -> Unfit {
        let text = match self.step {
            Step::Arguments(_) => "the arguments are to be a tuple, `(7,)` for one",
            Step::Many => "it takes many values: a `Vec` or an array",
            Step::Pairs => "it takes many pairs: a `Vec` or an array of them",
        };
        Unfit(text.to_owned())
    }
}

macro_rules! sequences {
    ($($of:ident { $push:ident })*) => {$(
        impl ser::$of for Level<'_> {
            type Ok = Vec<Vec<Raw>>;
            type Error = Unfit;

            fn $push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unfit> {
                self.push(value)
            }

            fn end(self) -> Result<Self::Ok, Unfit> {
                Ok(self.parts)
            }
        }
    )*};
}

sequences! {
    SerializeSeq { serialize_element }
    SerializeTuple { serialize_element }
    SerializeTupleStruct { serialize_field }
}

macro_rules! no_sequences {
    ($($method:ident($($of:ty),*))*) => {$(
        fn $method(self, $(_: $of),*) -> Result<Self::Ok, Unfit> {
            Err(self.unfit())
        }
    )*};
}

impl<'a> Serializer for Level<'a> {
    type Ok = Vec<Vec<Raw>>;
    type Error = Unfit;
    type SerializeSeq = Level<'a>;
    type SerializeTuple = Level<'a>;
    type SerializeTupleStruct = Level<'a>;
    type SerializeTupleVariant = Impossible<Self::Ok, Unfit>;
    type SerializeMap = Impossible<Self::Ok, Unfit>;
    type SerializeStruct = Impossible<Self::Ok, Unfit>;
    type SerializeStructVariant = Impossible<Self::Ok, Unfit>;

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Unfit> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Unfit> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Unfit> {
        Ok(self)
    }

    /// No arguments at all.
    fn serialize_unit(self) -> Result<Self::Ok, Unfit> {
        if matches!(self.step, Step::Arguments(_)) { Ok(self.parts) } else { Err(self.unfit()) }
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Self::Ok, Unfit> {
        value.serialize(self)
    }

    no_sequences! {
        serialize_bool(bool)
        serialize_i8(i8)
        serialize_i16(i16)
        serialize_i32(i32)
        serialize_i64(i64)
        serialize_u8(u8)
        serialize_u16(u16)
        serialize_u32(u32)
        serialize_u64(u64)
        serialize_f32(f32)
        serialize_f64(f64)
        serialize_char(char)
        serialize_str(&str)
        serialize_bytes(&[u8])
        serialize_none()
        serialize_unit_struct(&'static str)
        serialize_unit_variant(&'static str, u32, &'static str)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<Self::Ok, Unfit> {
        Err(self.unfit())
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Self::Ok, Unfit> {
        Err(self.unfit())
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Unfit> {
        Err(self.unfit())
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Unfit> {
        Err(self.unfit())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Unfit> {
        Err(self.unfit())
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Unfit> {
        Err(self.unfit())
    }
}
