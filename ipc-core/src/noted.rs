//! Errors of values whose text is kept.
//!
//! postcard's error has no room for what a value's own `Serialize` or `Deserialize` says. So such code
//! meets, in the place of postcard's error, one of the same size that notes the text for this thread when it
//! is made: a value that is well takes no more than before.

use std::cell::RefCell;
use std::fmt::{self, Display, Write};

use postcard::Error::{SerdeDeCustom, SerdeSerCustom};
use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};
use serde::{Serialize, Serializer, de, ser};

thread_local! {
    /// What was said last.
    static NOTE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// An error whose text is noted.
#[derive(Debug)]
pub(crate) struct Noted<E>(pub(crate) E);

impl<E> Noted<E> {
    pub(crate) fn into_inner(self) -> E {
        self.0
    }
}

/// No more of a text is kept, because it waits in memory for somebody who asks.
const LONGEST: usize = 16 << 10;

fn note(text: impl Display) -> String {
    // Made before: the text is anybody's code, whose failure costs what it has not said. At the thread's end
    // the note is gone, and with it only the better text.
    let mut short = Short(String::new());
    let _ = write!(short, "{text}");
    let Short(text) = short;
    let _ = NOTE.try_with(|note| note.replace(Some(text.clone())));
    text
}

/// The beginning of a text.
struct Short(String);

impl Write for Short {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = part.len().min(LONGEST - self.0.len());
        let fits = (0..=room).rev().find(|&end| part.is_char_boundary(end)).unwrap_or(0);
        self.0.push_str(&part[..fits]);
        if fits == part.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

/// The text that was noted last.
pub(crate) fn take_note() -> Option<String> {
    NOTE.try_with(RefCell::take).ok().flatten()
}

/// For code that says more and passes it on.
impl<E: Display> Display for Noted<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let is_bare = |error: postcard::Error| error.to_string() == text;
        let note = NOTE.try_with(|note| note.borrow().clone()).ok().flatten();
        match note {
            Some(note) if is_bare(SerdeSerCustom) || is_bare(SerdeDeCustom) => f.write_str(&note),
            _ => f.write_str(&text),
        }
    }
}

impl<E: std::error::Error> std::error::Error for Noted<E> {}

impl<E: ser::Error> ser::Error for Noted<E> {
    #[cold]
    fn custom<T: Display>(text: T) -> Self {
        Self(E::custom(note(text)))
    }
}

impl<E: de::Error> de::Error for Noted<E> {
    #[cold]
    fn custom<T: Display>(text: T) -> Self {
        Self(E::custom(note(text)))
    }
}

/// A value, or a serializer, in which errors are noted.
pub(crate) struct Noting<T>(pub(crate) T);

impl<T: Serialize + ?Sized> Serialize for Noting<&T> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(Noting(serializer)).map_err(Noted::into_inner)
    }
}

macro_rules! leaves {
    ($($method:ident($($name:ident: $type:ty),*))*) => {
        $(#[inline]
        fn $method(self, $($name: $type),*) -> Result<S::Ok, Self::Error> {
            self.0.$method($($name),*).map_err(Noted)
        })*
    };
}

macro_rules! compounds {
    ($($method:ident($($name:ident: $type:ty),*) -> $compound:ident)*) => {
        $(#[inline]
        fn $method(self, $($name: $type),*) -> Result<Self::$compound, Self::Error> {
            self.0.$method($($name),*).map(Noting).map_err(Noted)
        })*
    };
}

impl<S: Serializer> Serializer for Noting<S> {
    type Ok = S::Ok;
    type Error = Noted<S::Error>;
    type SerializeSeq = Noting<S::SerializeSeq>;
    type SerializeTuple = Noting<S::SerializeTuple>;
    type SerializeTupleStruct = Noting<S::SerializeTupleStruct>;
    type SerializeTupleVariant = Noting<S::SerializeTupleVariant>;
    type SerializeMap = Noting<S::SerializeMap>;
    type SerializeStruct = Noting<S::SerializeStruct>;
    type SerializeStructVariant = Noting<S::SerializeStructVariant>;

    leaves! {
        serialize_bool(value: bool)
        serialize_i8(value: i8) serialize_i16(value: i16) serialize_i32(value: i32)
        serialize_i64(value: i64) serialize_i128(value: i128)
        serialize_u8(value: u8) serialize_u16(value: u16) serialize_u32(value: u32)
        serialize_u64(value: u64) serialize_u128(value: u128)
        serialize_f32(value: f32) serialize_f64(value: f64)
        serialize_char(value: char) serialize_str(value: &str) serialize_bytes(value: &[u8])
        serialize_none() serialize_unit() serialize_unit_struct(name: &'static str)
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str)
    }

    compounds! {
        serialize_seq(len: Option<usize>) -> SerializeSeq
        serialize_tuple(len: usize) -> SerializeTuple
        serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct
        serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, len: usize)
            -> SerializeTupleVariant
        serialize_map(len: Option<usize>) -> SerializeMap
        serialize_struct(name: &'static str, len: usize) -> SerializeStruct
        serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, len: usize)
            -> SerializeStructVariant
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, Self::Error> {
        self.0.serialize_some(&Noting(value)).map_err(Noted)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, Self::Error> {
        self.0.serialize_newtype_struct(name, &Noting(value)).map_err(Noted)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, Self::Error> {
        self.0.serialize_newtype_variant(name, index, variant, &Noting(value)).map_err(Noted)
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, Self::Error> {
        self.0.collect_str(value).map_err(Noted)
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

/// What consists of parts one after the other; those of a struct have names.
macro_rules! parts {
    ($($compound:ident: $method:ident($($name:ident)?))*) => {
        $(impl<S: $compound> $compound for Noting<S> {
            type Ok = S::Ok;
            type Error = Noted<S::Error>;

            #[inline]
            fn $method<T: Serialize + ?Sized>(
                &mut self,
                $($name: &'static str,)?
                part: &T,
            ) -> Result<(), Self::Error> {
                self.0.$method($($name,)? &Noting(part)).map_err(Noted)
            }

            #[inline]
            fn end(self) -> Result<S::Ok, Self::Error> {
                self.0.end().map_err(Noted)
            }
        })*
    };
}

parts! {
    SerializeSeq: serialize_element()
    SerializeTuple: serialize_element()
    SerializeTupleStruct: serialize_field()
    SerializeTupleVariant: serialize_field()
    SerializeStruct: serialize_field(name)
    SerializeStructVariant: serialize_field(name)
}

impl<S: SerializeMap> SerializeMap for Noting<S> {
    type Ok = S::Ok;
    type Error = Noted<S::Error>;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Self::Error> {
        self.0.serialize_key(&Noting(key)).map_err(Noted)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Self::Error> {
        self.0.serialize_value(&Noting(value)).map_err(Noted)
    }

    #[inline]
    fn end(self) -> Result<S::Ok, Self::Error> {
        self.0.end().map_err(Noted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_up_to_a_bound() {
        assert_eq!(note("ü".repeat(LONGEST)), "ü".repeat(LONGEST / 2));
        assert_eq!(take_note().unwrap().len(), LONGEST);
    }

    #[test]
    fn a_text_that_fails_is_kept_as_far_as_it_goes() {
        struct Fails;
        impl Display for Fails {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("too ")?;
                Err(fmt::Error)
            }
        }
        assert_eq!(note(Fails), "too ");
    }
}
