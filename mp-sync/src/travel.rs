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
                ($made)(slot).map_err(ipc_core::raw::deserialize_error)
            }
        }
    };
}

pub(crate) use travels;

#[cfg(test)]
mod tests {
    use ipc_core::Packet;

    use crate::{Array, Event, Latch};

    #[test]
    fn what_names_an_object_of_another_kind_is_told_so() {
        let mut packet = Packet::new();
        packet.append(&Latch::new(1).unwrap()).unwrap();
        let of_latch = [packet.read::<Event>().map(drop), packet.read::<Array<u8>>().map(drop)];
        for refused in of_latch {
            let error = refused.unwrap_err().to_string();
            assert!(error.ends_with(": the message names an object that is not there"), "{error}");
        }
        assert!(packet.read::<Latch>().is_ok());
    }
}
