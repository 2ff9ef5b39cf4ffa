//! The value of a call by name, put together.

use ipc_core::{EncodeError, Packet};

use crate::wire::Raw;

/// What a signature tells, written as a value of the caller's type is.
pub(super) trait Told {
    fn write(&self, packet: &mut Packet) -> Result<(), EncodeError>;
}

/// It is encoded already.
impl Told for Raw {
    fn write(&self, packet: &mut Packet) -> Result<(), EncodeError> {
        packet.extend_bytes(&self.bytes.0);
        Ok(())
    }
}

impl<V: Told> Told for Option<V> {
    fn write(&self, packet: &mut Packet) -> Result<(), EncodeError> {
        packet.append(&self.is_some())?;
        self.iter().try_for_each(|value| value.write(packet))
    }
}

impl<V: Told> Told for Vec<V> {
    fn write(&self, packet: &mut Packet) -> Result<(), EncodeError> {
        packet.append(&self.len())?;
        self.iter().try_for_each(|value| value.write(packet))
    }
}

impl<A: Told, B: Told> Told for (A, B) {
    fn write(&self, packet: &mut Packet) -> Result<(), EncodeError> {
        self.0.write(packet)?;
        self.1.write(packet)
    }
}

macro_rules! as_it_is {
    ($($of:ty),*) => {$(
        impl Told for $of {
            fn write(&self, packet: &mut Packet) -> Result<(), EncodeError> {
                packet.append(self)
            }
        }
    )*};
}

as_it_is!((), bool, usize, String);
