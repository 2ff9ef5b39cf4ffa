//! State that survives the server.
//!
//! The server's memory has all objects. What is durable beside it is a log: what each durable
//! object was made with, and what has changed since. When a server begins, it does all of that
//! again. See the folder's README for what is promised, and why it is so.

use std::any::{Any, TypeId};
use std::cell::Cell;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use ipc_core::{Message, Packet};

use crate::error::{Fault, FaultKind};
use crate::hosted::{Host, Made, Object};

mod frame;
mod journal;
mod keep;
mod load;
mod renew;
mod store;
#[cfg(test)]
mod tests;

pub(crate) use journal::{Journal, Snapshot, Verb};
pub(crate) use load::{Opened, open};
pub(crate) use store::{Store, not_kept};

/// The method by which an object is made durable.
pub(crate) const KEEP: u64 = 6;

/// Why a server cannot have its state.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize, thiserror::Error)]
pub(crate) enum StateError {
    #[error(
        "another server has the state in {}: end it first, or give this one a folder of its own",
        .0.display()
    )]
    Locked(PathBuf),
    #[error("{} has a log that is not a manager's: give the manager a folder of its own", .0.display())]
    Foreign(PathBuf),
    #[error(
        "the state in {} was written in format {}, which this version does not read: use the version that wrote it",
        .0.display(), .1
    )]
    Format(PathBuf, u32),
    #[error("the state in {} has a `{}`: say `durable::<{}>()` where the manager is built", .0.display(), .1, .1)]
    UnknownType(PathBuf, String),
    #[error("two types with the name `{0}` are to be durable: give one of them another name")]
    SameName(String),
    #[error("the state in {}: a `{}` cannot be brought back: {}", .0.display(), .1, .2)]
    Undecodable(PathBuf, String, String),
    #[error(
        "{} is damaged: what stands at byte {} cannot be done again: {}; what stands before it is whole: to go on \
         with that, keep a copy of the file and cut it off at this byte",
        .0.display(), .1, .2
    )]
    Damaged(PathBuf, u64, String),
    #[error("the state in {}: {}", .0.display(), .1)]
    Io(PathBuf, String),
}

impl StateError {
    fn io(folder: &Path, error: io::Error) -> Self {
        Self::Io(folder.to_owned(), error.to_string())
    }
}

/// A type of a user's whose objects can be durable.
#[derive(Clone, Copy)]
pub(crate) struct StoredKind {
    name: &'static str,
    id: TypeId,
    save: fn(&dyn Any) -> Result<Packet, Fault>,
    load: fn(Packet) -> Result<Made, Fault>,
    restore: fn(&dyn Any, Packet) -> Result<(), Fault>,
}

impl StoredKind {
    /// How objects of the type are written and read.
    pub(crate) fn of<T: Object + Message>((): ()) -> Self {
        Self {
            name: T::NAME,
            id: TypeId::of::<Host<T>>(),
            save: save::<T>,
            load: load::<T>,
            restore: restore::<T>,
        }
    }
}

fn save<T: Object + Message>(object: &dyn Any) -> Result<Packet, Fault> {
    let host: &Host<T> = object.downcast_ref().ok_or(Fault(FaultKind::NoMethod))?;
    let mut packet = Packet::new();
    packet.append(&*host.look()).map_err(Fault::refused)?;
    if packet.handle_count() > 0 {
        return Err(Fault::refused("handles, channel ends and locks do not survive their process"));
    }
    Ok(packet)
}

fn load<T: Object + Message>(mut packet: Packet) -> Result<Made, Fault> {
    let object: T = packet.read().map_err(Fault::refused)?;
    if packet.is_at_end() { Ok(Made::new(object)) } else { Err(Fault::refused("its type has changed")) }
}

fn restore<T: Object + Message>(object: &dyn Any, mut packet: Packet) -> Result<(), Fault> {
    let host: &Host<T> = object.downcast_ref().ok_or(Fault(FaultKind::NoMethod))?;
    host.replace(packet.read().map_err(Fault::refused)?);
    Ok(())
}

/// All that were named.
#[derive(Debug, Default)]
pub(crate) struct Kinds(Vec<StoredKind>);

impl Kinds {
    fn new(kinds: Vec<StoredKind>) -> Result<Self, StateError> {
        for (place, kind) in kinds.iter().enumerate() {
            if kinds[..place].iter().any(|other| other.name == kind.name && other.id != kind.id) {
                return Err(StateError::SameName(kind.name.to_owned()));
            }
        }
        Ok(Self(kinds))
    }

    fn of(&self, object: &dyn Any) -> Option<&StoredKind> {
        self.0.iter().find(|kind| kind.id == object.type_id())
    }

    fn named(&self, name: &str) -> Option<&StoredKind> {
        self.0.iter().find(|kind| kind.name == name)
    }
}

impl fmt::Debug for StoredKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoredKind").field(&self.name).finish()
    }
}

thread_local! {
    static STORING: Cell<bool> = const { Cell::new(false) };
}

/// Runs what writes an object down for a log.
fn storing<R>(write: impl FnOnce() -> R) -> R {
    struct Scope(bool);
    impl Drop for Scope {
        fn drop(&mut self) {
            STORING.set(self.0);
        }
    }
    let _scope = Scope(STORING.replace(true));
    write()
}

/// Whether what this thread encodes goes into a log: a way to another manager is not kept there.
pub(crate) fn is_storing() -> bool {
    STORING.get()
}
