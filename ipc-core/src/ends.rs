//! Channel ends as things that move: what an end is made of, and how it travels.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use crate::Packet;
use crate::buffer::Buffer;
use crate::channel::{Connection, Receiver, Sender};
use crate::codec::Message;
use crate::error::ExportError;
use crate::link::{self, ExportKind, Link};
use crate::sys::Handle;
use crate::transfer::{self, Moves, deserialize_error, serialize_error};

/// A link and whether it is still here.
#[derive(Debug)]
pub(crate) struct End {
    link: Box<dyn Link>,
    moved: AtomicBool,
}

impl End {
    pub(crate) fn new(link: Box<dyn Link>) -> Self {
        Self { link, moved: AtomicBool::new(false) }
    }

    pub(crate) fn link(&self) -> &dyn Link {
        &*self.link
    }

    pub(crate) fn has_moved(&self) -> bool {
        self.moved.load(Ordering::Relaxed)
    }
}

impl Moves for End {
    fn moved(&self) {
        self.moved.store(true, Ordering::Relaxed);
        self.link.detach();
    }
}

/// How large a thread's receive buffer may stay after a message.
const KEEP: usize = 4 << 20;

/// Lends this thread's packet, so that a receive allocates nothing.
pub(crate) fn with_packet<R>(run: impl FnOnce(&mut Packet) -> R) -> R {
    thread_local!(static SPARE: Cell<Option<Box<Packet>>> = const { Cell::new(None) });
    // Taken, not borrowed: decoding runs users' code, which may receive as well.
    let mut packet = SPARE.try_with(Cell::take).ok().flatten().unwrap_or_default();
    let result = run(&mut packet);
    packet.clear();
    if packet.bytes.capacity() > KEEP {
        packet.bytes = Buffer::new();
    }
    // A thread that has ended keeps none.
    let _ = SPARE.try_with(|spare| spare.set(Some(packet)));
    result
}

/// An end in a message: which link it is, and where its handles are.
#[derive(Serialize, Deserialize)]
struct Wire {
    kind: ExportKind,
    places: Vec<u32>,
}

fn pack<S: Serializer>(end: &Arc<End>, serializer: S) -> Result<S::Ok, S::Error> {
    if end.has_moved() {
        return Err(serialize_error(ExportError::Moved));
    }
    let export = end.link.export().map_err(serialize_error)?;
    let places: Result<Vec<u32>, String> = export.handles.iter().map(transfer::give).collect();
    let wire = Wire { kind: export.kind, places: places.map_err(serialize_error)? };
    transfer::on_commit(Arc::clone(end) as Arc<dyn Moves>).map_err(serialize_error)?;
    wire.serialize(serializer)
}

fn unpack<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<End>, D::Error> {
    let wire = Wire::deserialize(deserializer)?;
    let handles: Result<Vec<Handle>, String> = wire.places.into_iter().map(transfer::take).collect();
    let link = link::import(wire.kind, handles.map_err(deserialize_error)?).map_err(deserialize_error)?;
    Ok(Arc::new(End::new(link)))
}

impl<T: Message> Serialize for Sender<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if Arc::strong_count(&self.clones) > 1 {
            return Err(serialize_error(ExportError::Shared));
        }
        pack(&self.end, serializer)
    }
}

impl<'de, T: Message> Deserialize<'de> for Sender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        unpack(deserializer).map(Self::from_end)
    }
}

impl<T: Message> Serialize for Receiver<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        pack(&self.end, serializer)
    }
}

impl<'de, T: Message> Deserialize<'de> for Receiver<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        unpack(deserializer).map(Self::from_end)
    }
}

impl<A: Message, B: Message> Serialize for Connection<A, B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        pack(&self.end, serializer)
    }
}

impl<'de, A: Message, B: Message> Deserialize<'de> for Connection<A, B> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        unpack(deserializer).map(Self::from_end)
    }
}

impl Serialize for Handle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        transfer::give(self).map_err(serialize_error)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Handle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        transfer::take(u32::deserialize(deserializer)?).map_err(deserialize_error)
    }
}
