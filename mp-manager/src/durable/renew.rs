//! Writing a log anew, with what is there in the place of what has happened.
//!
//! The old log goes on meanwhile. Object after object is written into the new one, each while
//! nobody changes it, and from then on what happens to it goes into both; so does what happens to
//! names and what is made. When all stand there, the new log takes the place of the old one.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::frame::{Frame, HEAD, Tells};
use super::store::{self, Next, Store};
use crate::client::lock;
use crate::server::{Object, table::Table};

impl Store {
    /// The life of a thread: writes the log anew. A failure leaves the old one as it is.
    pub(super) fn renew(self: Arc<Self>) {
        let done = self.try_renew();
        let mut log = lock(&self.log);
        log.next = None;
        log.is_renewed = false;
        if done.is_err() {
            store::discard_next(self.folder());
            // It is tried again when the log has grown as much once more.
            log.base = log.len;
        }
    }

    fn try_renew(&self) -> io::Result<()> {
        let table = self.table.get().and_then(std::sync::Weak::upgrade).ok_or_else(ended)?;
        let objects = self.begin(&table)?;
        let written = objects.iter().try_for_each(|(number, object)| self.write_object(*number, object));
        table.bury(objects.into_iter().map(|(_, object)| object));
        drop(table);
        written?;
        // Most of it goes to the disk while others go on.
        let file = lock(&self.log).next.as_ref().map(|next| next.file.try_clone());
        file.ok_or_else(ended)??.sync_all()?;
        let mut log = lock(&self.log);
        let next = log.next.take().ok_or_else(ended)?;
        if self.syncs() {
            next.file.sync_all()?;
        }
        store::replace(self.folder())?;
        (log.file, log.len, log.base, log.objects) = (next.file, next.len, next.len, next.objects);
        store::sync_folder(self.folder())
    }

    /// Makes the new log, with the names in it; the objects that are to be written into it.
    ///
    /// All of them live until they stand there: one that is written may refer to one that is not
    /// yet, and what it refers to must be in the log, even if it lets go of it meanwhile.
    fn begin(&self, table: &Table) -> io::Result<Vec<(u64, Arc<Object>)>> {
        let file = store::create_next(self.folder())?;
        let mut log = lock(&self.log);
        let mut next = Next { file, len: HEAD, objects: HashMap::new() };
        let mut bytes = Vec::new();
        for (name, object) in &log.names {
            Frame { tells: Tells::Named, object: *object, name, rest: &[] }.write(&mut bytes);
        }
        next.write(&bytes)?;
        if log.broken.is_some() {
            return Err(ended());
        }
        log.next = Some(next);
        Ok(log.objects.keys().filter_map(|number| Some((*number, table.get(*number)?))).collect())
    }

    /// Writes one object, unless it was made meanwhile and stands there already.
    fn write_object(&self, number: u64, object: &Object) -> io::Result<()> {
        match object {
            Object::BuiltIn(shelf) => {
                // Nobody changes it until the end of this.
                let shelved = lock(&shelf.object);
                let mut bytes = Vec::new();
                let snapshot = shelved.built_in.snapshot();
                if !snapshot.frames(number, shelf.name).iter().all(|frame| frame.write(&mut bytes)) {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                let mut log = lock(&self.log);
                let log = &mut *log;
                let next = going_on(&log.broken, &mut log.next)?;
                if log.objects.contains_key(&number) && !next.objects.contains_key(&number) {
                    next.write(&bytes)?;
                    next.objects.insert(number, None);
                }
            }
            Object::Hosted(_) => {
                let mut log = lock(&self.log);
                let log = &mut *log;
                let next = going_on(&log.broken, &mut log.next)?;
                if let Some(Some(place)) = log.objects.get(&number)
                    && !next.objects.contains_key(&number)
                {
                    let bytes = self.read(*place)?;
                    let place = super::frame::Place { at: next.len, len: place.len };
                    next.write(&bytes)?;
                    next.objects.insert(number, Some(place));
                }
            }
        }
        Ok(())
    }
}

fn going_on<'a>(broken: &Option<String>, next: &'a mut Option<Next>) -> io::Result<&'a mut Next> {
    next.as_mut().filter(|_| broken.is_none()).ok_or_else(ended)
}

fn ended() -> io::Error {
    io::Error::other("the log goes on as it is")
}
