//! What a worker keeps between its tasks: its state, and values that many tasks look at.

use std::any::Any;
use std::collections::HashMap;

use ipc_core::{EncodeError, Message, Packet, SharedMemory};
use mp_process::{Function, catch_panic};

use crate::wire::{Order, ShareId};

/// Values of more bytes lie in memory that all workers read, instead of in each one's link.
const LARGE: usize = 16 << 10;

/// What a worker keeps.
pub(super) struct Gear {
    pub(super) state: Box<dyn Any>,
    /// Values that tasks share, or why there is none.
    shared: HashMap<ShareId, Kept>,
}

/// A value that was decoded, or why it could not be.
type Kept = Result<Box<dyn Any>, String>;

/// The memory that a value's bytes lie in, and how many they are.
type Place = Option<(SharedMemory, u64)>;

impl Gear {
    pub(super) fn new(state: Box<dyn Any>) -> Self {
        Self { state, shared: HashMap::new() }
    }

    /// Decodes a value and keeps it.
    pub(super) fn keep(&mut self, id: ShareId, packet: Packet) {
        // A user's `Deserialize` runs here, and may panic.
        let value = catch_panic(|| unpack(packet)).unwrap_or_else(|panic| Err(panic.to_string()));
        self.shared.insert(id, value.map_err(|reason| format!("the value that it shares: {reason}")));
    }

    /// Drops a value, which may panic as well.
    pub(super) fn let_go(&mut self, id: ShareId) {
        let value = self.shared.remove(&id);
        let _ = catch_panic(|| drop(value));
    }

    /// A value, or why there is none.
    pub(super) fn shared<T: 'static>(&self, id: ShareId) -> Result<&T, &str> {
        match self.shared.get(&id) {
            Some(Ok(value)) => value.downcast_ref().ok_or(MISSING),
            Some(Err(reason)) => Err(reason),
            None => Err(MISSING),
        }
    }
}

const MISSING: &str = "the value that it shares did not come";

/// Encodes what makes a worker keep `value` under a number: sent to each as it is.
/// Where links pass handles, large ones go `by_memory`.
pub(crate) fn keep_order<T: Message>(id: ShareId, value: &T, by_memory: bool) -> Result<Packet, EncodeError> {
    let mut packet = Packet::new();
    packet.append(&Function::new(decode::<T>))?;
    let head = packet.bytes().len();
    packet.append(&Place::None)?;
    let start = packet.bytes().len();
    packet.append_item(value)?;
    let bytes = &packet.bytes()[start..];
    if by_memory && bytes.len() > LARGE {
        let memory = SharedMemory::anonymous(bytes.len()).map_err(EncodeError::new::<T>)?;
        memory.write(0, bytes);
        let place: Place = Some((memory, bytes.len() as u64));
        // Handles in the value stay with the packet.
        packet.truncate(head);
        packet.append(&place)?;
    }
    packet.append_tail(&Order::Keep(id))?;
    Ok(packet)
}

fn unpack(mut packet: Packet) -> Kept {
    let decode: Function<Packet, Kept> = packet.read().map_err(|error| error.to_string())?;
    if let Some((memory, len)) = packet.read::<Place>().map_err(|error| error.to_string())? {
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(memory.size());
        let mut bytes = vec![0; len];
        memory.read(0, &mut bytes);
        packet.extend_bytes(&bytes);
        // They are the pool's, whose functions were taken above.
        packet.mark_trusted();
    }
    decode(packet)
}

fn decode<T: Message>(mut packet: Packet) -> Kept {
    packet.read_item::<T>().map(|value| Box::new(value) as _).map_err(|error| error.to_string())
}
