//! Channel ends as things that move: what an end is made of, and how it travels.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use crate::Packet;
use crate::buffer::Buffer;
use crate::channel::{Connection, Receiver, Sender};
use crate::codec::Message;
use crate::error::ExportError;
use crate::link::{self, Export, ExportKind, Link};
use crate::raw::{PerProcess, Region, fork_generation, is_handing_over};
use crate::sys::Handle;
use crate::transfer::{self, Moves, deserialize_error, serialize_error};

/// A link and whether it is still here.
#[derive(Debug)]
pub(crate) struct End {
    link: Box<dyn Link>,
    moved: AtomicBool,
    /// How many clones of a sender use it here.
    clones: AtomicUsize,
    /// Other processes use it too.
    shared: AtomicBool,
    /// The process that knows whether it has the end, as its number among forks.
    known_in: AtomicU32,
}

impl End {
    pub(crate) fn new(link: Box<dyn Link>) -> Self {
        let (moved, shared) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { link, moved, clones: AtomicUsize::new(0), shared, known_in: AtomicU32::new(fork_generation()) }
    }

    pub(crate) fn link(&self) -> &dyn Link {
        &*self.link
    }

    /// Whether another process has it: one that it moved to, or the parent of this fork.
    pub(crate) fn has_moved(&self) -> bool {
        // ORDERING: pairs with `look`.
        if self.known_in.load(Ordering::Acquire) != fork_generation() {
            self.look();
        }
        self.moved.load(Ordering::Relaxed)
    }

    /// In a fork, before its first use of a copy: the end is this process's if its parent
    /// has let go of it.
    #[cold]
    fn look(&self) {
        static ONE_AT_A_TIME: PerProcess<Mutex<()>> = PerProcess::new(Mutex::new(()), |_| Mutex::new(()));
        let _one = ONE_AT_A_TIME.here().lock().unwrap_or_else(PoisonError::into_inner);
        let here = fork_generation();
        if self.known_in.load(Ordering::Relaxed) == here {
            return;
        }
        if !self.moved.load(Ordering::Relaxed) && !self.link.inherit() {
            self.moved.store(true, Ordering::Relaxed);
        }
        // ORDERING: other threads see what was found.
        self.known_in.store(here, Ordering::Release);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if is_handing_over() {
            self.link.detach();
        }
    }
}

impl Moves for End {
    fn hold(&self) -> Result<(), ExportError> {
        self.link.hold()?;
        if self.has_moved() {
            self.link.let_go();
            return Err(ExportError::Moved);
        }
        Ok(())
    }

    fn let_go(&self) {
        self.link.let_go();
    }

    fn moved(&self) {
        self.moved.store(true, Ordering::Relaxed);
        self.link.detach();
    }

    fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

/// One clone of a sender: it moves by itself, and the link goes with the last one.
#[derive(Debug)]
pub(crate) struct Own {
    end: Arc<End>,
    moved: AtomicBool,
}

impl Own {
    pub(crate) fn new(end: &Arc<End>) -> Arc<Self> {
        end.clones.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { end: Arc::clone(end), moved: AtomicBool::new(false) })
    }

    pub(crate) fn has_moved(&self) -> bool {
        self.moved.load(Ordering::Relaxed)
    }

    /// A clone of one that has moved has moved as well.
    pub(crate) fn another(&self) -> Arc<Self> {
        if self.has_moved() {
            return Arc::new(Self { end: Arc::clone(&self.end), moved: AtomicBool::new(true) });
        }
        Self::new(&self.end)
    }

    /// What the receiver builds the sender from, and what leaves when the message does.
    fn export(self: &Arc<Self>) -> Result<(Export, Arc<dyn Moves>), ExportError> {
        let end = &self.end;
        if self.has_moved() || end.has_moved() {
            return Err(ExportError::Moved);
        }
        // This very clone, or the only one there was, of which this was made since.
        if transfer::is_leaving(self.key()) || transfer::is_leaving(end.key()) {
            return Err(ExportError::Twice);
        }
        if end.clones.load(Ordering::Relaxed) == 1 && !end.shared.load(Ordering::Relaxed) {
            let only = Only(Arc::clone(self));
            match only.hold() {
                Ok(()) => match end.link.export() {
                    Ok(export) => return Ok((export, Arc::new(only))),
                    Err(error) => {
                        only.let_go();
                        return Err(error);
                    }
                },
                // A clone is leaving as well: they share the end.
                Err(ExportError::Shared) => {}
                Err(error) => return Err(error),
            }
        }
        // Said before: who is about to leave as the only one looks while it holds the end.
        let was_shared = end.shared.swap(true, Ordering::SeqCst);
        let export = end.link.share().map_err(|error| match error {
            ExportError::Unsupported => {
                end.shared.store(was_shared, Ordering::SeqCst);
                ExportError::Shared
            }
            other => other,
        })?;
        Ok((export, Arc::clone(self) as _))
    }

    /// Whether it was the last clone here.
    fn leave(&self) -> bool {
        // ORDERING: the last one comes after whatever the others did.
        self.end.clones.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

impl Moves for Own {
    fn moved(&self) {
        if !self.moved.swap(true, Ordering::Relaxed) && self.leave() {
            self.end.moved();
        }
    }

    fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

/// The only clone there was when it was encoded, whose receiver shares with nobody: those
/// made of it since then go with it.
#[derive(Debug)]
struct Only(Arc<Own>);

impl Moves for Only {
    fn hold(&self) -> Result<(), ExportError> {
        let end = &self.0.end;
        Moves::hold(&**end)?;
        // ORDERING: a clone that says that it shares the end before the link does so either
        // is seen here, or waits for the link until this one has left.
        if self.0.has_moved() || end.shared.load(Ordering::SeqCst) {
            end.link.let_go();
            return Err(if self.0.has_moved() { ExportError::Moved } else { ExportError::Shared });
        }
        Ok(())
    }

    fn let_go(&self) {
        self.0.end.link.let_go();
    }

    fn moved(&self) {
        if !self.0.moved.swap(true, Ordering::Relaxed) {
            self.0.leave();
            self.0.end.moved();
        }
    }

    fn key(&self) -> usize {
        self.0.end.key()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // Clones that have moved may still be here, and must not keep the others' link open.
        if !self.has_moved() && self.leave() && self.end.shared.load(Ordering::Relaxed) {
            self.end.link.detach();
        }
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
    /// Where the processes that send over it take turns.
    share: Option<Region>,
}

fn pack<S: Serializer>(end: &Arc<End>, serializer: S) -> Result<S::Ok, S::Error> {
    if end.has_moved() {
        return Err(serialize_error(ExportError::Moved));
    }
    if transfer::is_leaving(end.key()) {
        return Err(serialize_error(ExportError::Twice));
    }
    end.hold().map_err(serialize_error)?;
    let export = end.link.export().inspect_err(|_| end.link.let_go()).map_err(serialize_error)?;
    write(export, Arc::clone(end) as Arc<dyn Moves>, serializer)
}

fn write<S: Serializer>(export: Export, leaves: Arc<dyn Moves>, serializer: S) -> Result<S::Ok, S::Error> {
    // From here on the message has it, whatever becomes of it.
    transfer::on_commit(leaves).map_err(serialize_error)?;
    let places: Result<Vec<u32>, String> = export.handles.iter().map(transfer::give).collect();
    let share = export.share.map(|share| share.region().clone());
    let wire = Wire { kind: export.kind, places: places.map_err(serialize_error)?, share };
    wire.serialize(serializer)
}

fn unpack<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<End>, D::Error> {
    let wire = Wire::deserialize(deserializer)?;
    let handles: Result<Vec<Handle>, String> = wire.places.into_iter().map(transfer::take).collect();
    let is_shared = wire.share.is_some();
    let link = link::import(wire.kind, handles.map_err(deserialize_error)?, wire.share);
    let end = End::new(link.map_err(deserialize_error)?);
    end.shared.store(is_shared, Ordering::Relaxed);
    Ok(Arc::new(end))
}

impl<T: Message> Serialize for Sender<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Before anything is made for a clone that goes nowhere.
        transfer::check_encoding().map_err(serialize_error)?;
        let (export, leaves) = self.own.export().map_err(serialize_error)?;
        write(export, leaves, serializer)
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
