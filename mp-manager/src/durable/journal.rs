//! What an object of this crate logs of itself, and how it is written down whole.

use std::fmt;
use std::sync::Arc;

use ipc_core::{Message, Packet};
use serde::Serialize;

use super::frame::{Frame, Tells};
use super::store::Store;
use crate::error::Fault;
use crate::wire::Raw;

/// Where the changes of one object go; nowhere, unless it is durable.
#[derive(Debug, Default)]
pub(crate) struct Journal(Option<Entry>);

struct Entry {
    store: Arc<Store>,
    object: u64,
}

/// A call of an object of this crate.
///
/// Those that change what the object keeps go into logs as they are encoded: a kind of call may
/// be added at the end, and none may be changed.
pub(crate) trait Verb: Message {
    /// Whether it changes what the object keeps, and does so in the same way when it is done
    /// again.
    fn changes(&self) -> bool;

    /// The values that it brings.
    fn values(&self) -> Vec<&Raw> {
        Vec::new()
    }
}

impl Journal {
    pub(super) fn new(store: &Arc<Store>, object: u64) -> Self {
        Self(Some(Entry { store: Arc::clone(store), object }))
    }

    /// It is not this one that tells of the object's end.
    pub(crate) fn leave(mut self) {
        if let Some(entry) = &mut self.0 {
            entry.object = 0;
        }
    }

    pub(crate) fn store(&self) -> Option<&Arc<Store>> {
        self.0.as_ref().map(|entry| &entry.store)
    }

    /// Whether there is a log.
    pub(crate) fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Logs a call before it is done, if it changes anything. An error: it is not to be done.
    pub(crate) fn log<V: Verb>(&self, verb: &V) -> Result<(), Fault> {
        if self.0.is_some() && verb.changes() { self.write(verb) } else { Ok(()) }
    }

    /// As [`log`](Self::log), of what is made only if there is a log.
    pub(crate) fn log_with<V: Verb>(&self, verb: impl FnOnce() -> V) -> Result<(), Fault> {
        if self.0.is_some() { self.log(&verb()) } else { Ok(()) }
    }

    /// As [`log_with`](Self::log_with), for what is a change at this moment.
    pub(crate) fn write_with<V: Verb>(&self, verb: impl FnOnce() -> V) -> Result<(), Fault> {
        if self.0.is_some() { self.write(&verb()) } else { Ok(()) }
    }

    fn write<V: Verb>(&self, verb: &V) -> Result<(), Fault> {
        let Some(Entry { store, object }) = &self.0 else { return Ok(()) };
        let objects: Vec<u64> =
            verb.values().into_iter().flat_map(|raw| raw.objects.iter().copied()).collect();
        if !objects.is_empty() {
            store.check(&objects)?;
        }
        let mut packet = Packet::new();
        packet.append(verb).map_err(Fault::arguments)?;
        store.append(&[Frame { tells: Tells::Changed, object: *object, name: "", rest: packet.bytes() }])
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.store.forget(self.object);
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("object", &self.object).finish_non_exhaustive()
    }
}

/// An object of this crate as it is: what it was made with, and what is to be done then.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    made: Packet,
    changes: Vec<Packet>,
    objects: Vec<u64>,
}

/// How many bytes of values one step brings.
const CHUNK: usize = 64 * 1024;

impl Snapshot {
    /// An object that is made with `args`, of which `values` are a part.
    pub(crate) fn of<'a, A: Serialize>(args: &A, values: impl IntoIterator<Item = &'a Raw>) -> Self {
        let mut snapshot = Self::default();
        snapshot.objects.extend(values.into_iter().flat_map(|raw| raw.objects.iter().copied()));
        // Nothing in it can refuse to be encoded.
        let _ = snapshot.made.append(args);
        snapshot
    }

    /// And then this is done.
    pub(crate) fn then<V: Verb>(&mut self, verb: &V) {
        self.objects.extend(verb.values().into_iter().flat_map(|raw| raw.objects.iter().copied()));
        let mut packet = Packet::new();
        let _ = packet.append(verb);
        self.changes.push(packet);
    }

    /// And then `verb` is done with all of the values, many at a time.
    pub(crate) fn then_all<T, V: Verb>(
        &mut self,
        values: impl Iterator<Item = T>,
        len: impl Fn(&T) -> usize,
        verb: impl Fn(Vec<T>) -> V,
    ) {
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        for value in values {
            bytes += len(&value);
            chunk.push(value);
            if bytes > CHUNK {
                self.then(&verb(std::mem::take(&mut chunk)));
                bytes = 0;
            }
        }
        if !chunk.is_empty() {
            self.then(&verb(chunk));
        }
    }

    /// What the object refers to.
    pub(super) fn objects(&self) -> &[u64] {
        &self.objects
    }

    pub(super) fn frames<'a>(&'a self, object: u64, name: &'a str) -> Vec<Frame<'a>> {
        let made = Frame { tells: Tells::Made, object, name, rest: self.made.bytes() };
        let changed =
            |packet: &'a Packet| Frame { tells: Tells::Changed, object, name: "", rest: packet.bytes() };
        std::iter::once(made).chain(self.changes.iter().map(changed)).collect()
    }
}
