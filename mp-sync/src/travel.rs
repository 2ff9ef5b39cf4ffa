//! How handles to objects travel: as the slot they name.

/// For a type whose only field that travels is `slot`; `$made` makes it from one.
macro_rules! travels {
    ($type:ident $(<$parameter:ident: $bound:ident>)?, $kind:expr, $least:expr, $made:expr) => {
        impl $(<$parameter: $bound>)? serde::Serialize for $type $(<$parameter>)? {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.slot.serialize(serializer)
            }
        }

        impl<'de $(, $parameter: $bound)?> serde::Deserialize<'de> for $type $(<$parameter>)? {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let slot = crate::memory::Slot::deserialize(deserializer, $kind, $least)?;
                ($made)(slot).map_err(<D::Error as serde::de::Error>::custom)
            }
        }
    };
}

pub(crate) use travels;
