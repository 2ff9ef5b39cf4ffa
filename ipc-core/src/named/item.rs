//! What a shareable list holds.

/// An item of a [`ShareableList`](crate::ShareableList).
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// Nothing.
    None,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A text.
    Str(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// Which kind of text or bytes an item is read back as; CPython's numbers.
pub(super) mod code {
    pub(in crate::named) const PLAIN: u8 = 0;
    pub(in crate::named) const STR: u8 = 1;
    pub(in crate::named) const BYTES: u8 = 2;
    pub(in crate::named) const NONE: u8 = 3;
}

impl Item {
    /// The bytes of a text or of bytes, whose length differs from item to item.
    pub(super) fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Str(text) => Some(text.as_bytes()),
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The eight bytes of an item that always has eight.
    pub(super) fn word(&self) -> [u8; 8] {
        match self {
            Self::Int(number) => number.to_ne_bytes(),
            Self::Float(number) => number.to_ne_bytes(),
            // CPython's format is seven bytes of nothing before it.
            Self::Bool(truth) => [0, 0, 0, 0, 0, 0, 0, u8::from(*truth)],
            Self::None | Self::Str(_) | Self::Bytes(_) => [0; 8],
        }
    }

    /// The text of the `struct` format of an item in a slot of `room` bytes.
    pub(super) fn format(&self, room: usize) -> String {
        match self {
            Self::Int(_) => "q".into(),
            Self::Float(_) => "d".into(),
            Self::Bool(_) => "xxxxxxx?".into(),
            Self::None => "xxxxxx?x".into(),
            Self::Str(_) | Self::Bytes(_) => format!("{room}s"),
        }
    }

    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Int(_) | Self::Float(_) | Self::Bool(_) => code::PLAIN,
            Self::Str(_) => code::STR,
            Self::Bytes(_) => code::BYTES,
            Self::None => code::NONE,
        }
    }
}

macro_rules! from {
    ($($type:ty => $make:expr),+ $(,)?) => {
        $(impl From<$type> for Item {
            fn from(value: $type) -> Self {
                $make(value)
            }
        })+
    };
}

from! {
    bool => Item::Bool,
    i64 => Item::Int,
    i32 => |number| Item::Int(i64::from(number)),
    u32 => |number| Item::Int(i64::from(number)),
    f64 => Item::Float,
    String => Item::Str,
    &str => |text: &str| Item::Str(text.to_owned()),
    Vec<u8> => Item::Bytes,
    &[u8] => |bytes: &[u8]| Item::Bytes(bytes.to_vec()),
    () => |()| Item::None,
}

impl<T: Into<Item>> From<Option<T>> for Item {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}
