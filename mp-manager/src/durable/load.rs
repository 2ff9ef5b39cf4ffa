//! Bringing back what a log tells.
//!
//! Objects get the numbers back that they had, because those stand in each other's values. All of
//! them have their places before the first has a value: so they may refer to each other in rings.
//! In the end those that nothing refers to fall, as they would have.

use std::path::Path;
use std::sync::{Arc, Mutex};

use ipc_core::Packet;

use super::frame::{Frame, Place, Tells};
use super::journal::Journal;
use super::store::{self, Found, Store};
use super::{Kinds, StateError, StoredKind};
use crate::builtin::{self, Args};
use crate::client::lock;
use crate::server::{Hosted, Object, Server, Shelf, Shelved};

/// A folder that was taken, and what is in it.
pub(crate) struct Opened {
    pub(crate) store: Arc<Store>,
    found: Found,
}

/// Takes the folder.
pub(crate) fn open(folder: &Path, syncs: bool, kinds: Vec<StoredKind>) -> Result<Opened, StateError> {
    let (store, found) = Store::open(folder, syncs, Kinds::new(kinds)?)?;
    Ok(Opened { store: Arc::new(store), found })
}

impl Opened {
    /// Gives a server that serves nobody yet its objects and names.
    pub(crate) fn restore(self, server: &Arc<Server>) -> Result<(), StateError> {
        let Self { store, found } = self;
        let restoring = Restoring { server, store: &store, found: &found };
        found.objects.keys().for_each(|number| server.table().reserve(*number));
        restoring.run()?;
        for number in found.objects.keys() {
            restoring.attach(*number);
        }
        for (name, number) in &found.names {
            server.restore_name(name, *number);
        }
        found.objects.keys().for_each(|number| server.table().lower(*number));
        store.start(server.table()).map_err(|error| StateError::io(store.folder(), error))
    }
}

struct Restoring<'a> {
    server: &'a Arc<Server>,
    store: &'a Arc<Store>,
    found: &'a Found,
}

impl Restoring<'_> {
    fn run(&self) -> Result<(), StateError> {
        let failed = |error| StateError::io(self.store.folder(), error);
        let mut frames = self.store.frames().map_err(failed)?;
        let unread = |error| store::unread(self.store.folder(), error);
        while let Some((place, frame)) = frames.next().map_err(unread)? {
            match frame.tells {
                Tells::Made => self.make(&frame)?,
                Tells::Changed => self.change(&frame, place)?,
                Tells::Whole => self.decode(&frame, place)?,
                Tells::Named | Tells::Unnamed => {}
            }
        }
        Ok(())
    }

    fn make(&self, frame: &Frame<'_>) -> Result<(), StateError> {
        let args = &mut Args::Stored(packet(frame.rest));
        let made = builtin::make(frame.name, args, self.server.table());
        let made = made.map_err(|fault| self.undecodable(frame.name, fault))?;
        let made = made.ok_or_else(|| self.undecodable(frame.name, "this version does not know it"))?;
        self.fill(frame.object, Object::BuiltIn(Shelf::of(made)));
        Ok(())
    }

    /// Only what succeeded is logged, and so it succeeds again.
    fn change(&self, frame: &Frame<'_>, place: Place) -> Result<(), StateError> {
        let damaged = |why: String| store::damaged(self.store.folder(), place.at, why);
        let object = self.server.table().get(frame.object);
        let Some(Object::BuiltIn(shelf)) = object.as_deref() else {
            return Err(damaged(format!(
                "it changes object {}, of which nothing stands before it",
                frame.object
            )));
        };
        let changed = lock(&shelf.object).replay(self.server.table(), &mut packet(frame.rest));
        changed
            .map_err(|fault| damaged(format!("a change of the `{}` {}: {fault}", shelf.name, frame.object)))
    }

    /// The last value is the one that counts.
    fn decode(&self, frame: &Frame<'_>, place: Place) -> Result<(), StateError> {
        if self.found.objects.get(&frame.object) != Some(&Some(place)) {
            return Ok(());
        }
        let unknown = || StateError::UnknownType(self.store.folder().to_owned(), frame.name.to_owned());
        let kind = self.store.kinds.named(frame.name).ok_or_else(unknown)?;
        let made = self.server.in_object(0, || (kind.load)(packet(frame.rest)));
        let made = made.map_err(|fault| self.undecodable(frame.name, fault))?;
        self.fill(frame.object, Object::Hosted(Hosted::new(made.0)));
        Ok(())
    }

    fn fill(&self, number: u64, object: Object) {
        // What stood in its place is dropped here.
        drop(self.server.table().fill(number, object));
    }

    fn attach(&self, number: u64) {
        let journal = Journal::new(self.store, number);
        match self.server.table().get(number).as_deref() {
            Some(Object::BuiltIn(shelf)) => lock(&shelf.object).journal = journal,
            Some(Object::Hosted(hosted)) => hosted.set_journal(journal),
            None => {}
        }
    }

    fn undecodable(&self, name: &str, why: impl ToString) -> StateError {
        StateError::Undecodable(self.store.folder().to_owned(), name.to_owned(), why.to_string())
    }
}

impl Shelf {
    /// An object of this crate that is not durable yet.
    pub(crate) fn of(built_in: Box<dyn crate::server::builtin::BuiltIn>) -> Self {
        let (name, is_held) = (built_in.name(), built_in.is_held());
        let object = Mutex::new(Shelved { built_in, journal: Journal::default() });
        Self { name, is_held, object, queue: Default::default() }
    }
}

pub(super) fn packet(bytes: &[u8]) -> Packet {
    let mut packet = Packet::new();
    packet.extend_bytes(bytes);
    packet
}
