//! The objects of a server, and how many references there are to each.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use ipc_core::Packet;
use mp_process::catch_panic;

use super::answer::Answer;
use super::builtin::{BuiltIn, Desk};
use super::object::{Object, Shelf};
use crate::client::lock;
use crate::durable::Snapshot;
use crate::error::{Fault, FaultKind};
use crate::info::ObjectInfo;
use crate::wire::{Bytes, Raw};

/// Objects by number. A number is never given out again, so a proxy that is out of
/// date finds nothing, and never another object.
#[derive(Debug)]
pub(crate) struct Table {
    state: Mutex<State>,
    most: usize,
    /// Objects without references, whose `Drop` is yet to run.
    graves: Mutex<Vec<Arc<Object>>>,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<u64, Entry>,
    last: u64,
}

#[derive(Debug)]
struct Entry {
    references: u64,
    object: Arc<Object>,
}

impl Table {
    pub(crate) fn new(most: usize) -> Self {
        Self { state: Mutex::default(), most, graves: Mutex::default() }
    }

    /// Adds an object, with one reference to it.
    pub(crate) fn add(&self, object: Object) -> Result<u64, Fault> {
        let mut state = lock(&self.state);
        if state.entries.len() >= self.most {
            let why = format!("it holds {} objects, as many as it may", self.most);
            return Err(FaultKind::Busy(why).into());
        }
        state.last += 1;
        let number = state.last;
        state.entries.insert(number, Entry { references: 1, object: Arc::new(object) });
        Ok(number)
    }

    /// Gives a number to an object that is about to come back, with one reference to it.
    pub(crate) fn reserve(&self, number: u64) {
        let mut state = lock(&self.state);
        state.last = state.last.max(number);
        let object = Arc::new(Object::BuiltIn(Shelf::of(Box::new(Vacant))));
        state.entries.insert(number, Entry { references: 1, object });
    }

    /// An object has come back; what was in its place.
    pub(crate) fn fill(&self, number: u64, object: Object) -> Option<Arc<Object>> {
        let mut state = lock(&self.state);
        let entry = state.entries.get_mut(&number)?;
        Some(std::mem::replace(&mut entry.object, Arc::new(object)))
    }

    pub(crate) fn get(&self, number: u64) -> Option<Arc<Object>> {
        lock(&self.state).entries.get(&number).map(|entry| Arc::clone(&entry.object))
    }

    /// One reference more; `false` if the object is no more.
    pub(crate) fn raise(&self, number: u64) -> bool {
        let mut state = lock(&self.state);
        let entry = state.entries.get_mut(&number);
        entry.map(|entry| entry.references += 1).is_some()
    }

    /// One reference less; with the last one the object goes.
    pub(crate) fn lower(&self, number: u64) {
        self.lower_by(number, 1);
    }

    pub(crate) fn lower_by(&self, number: u64, count: u64) {
        let mut state = lock(&self.state);
        let Some(entry) = state.entries.get_mut(&number) else { return };
        entry.references = entry.references.saturating_sub(count);
        if entry.references == 0 {
            let entry = state.entries.remove(&number);
            drop(state);
            self.bury(entry.map(|entry| entry.object));
        }
    }

    /// Number, type and count of references of each object.
    pub(crate) fn list(&self) -> Vec<ObjectInfo> {
        let state = lock(&self.state);
        let info = |(number, entry): (&u64, &Entry)| ObjectInfo {
            number: *number,
            type_name: entry.object.name().to_owned(),
            references: entry.references,
        };
        let mut all: Vec<_> = state.entries.iter().map(info).collect();
        drop(state);
        all.sort_by_key(|info| info.number);
        all
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.state).entries.len()
    }

    /// Drops all objects: the server ends.
    pub(crate) fn clear(&self) {
        let entries = std::mem::take(&mut lock(&self.state).entries);
        self.bury(entries.into_values().map(|entry| entry.object));
        self.bury(self.take_graves().into_iter().flatten());
    }

    /// Keeps a value that a client sent, with references to the objects in it.
    pub(crate) fn keep(self: &Arc<Self>, raw: Raw) -> Result<Kept, Fault> {
        Ok(Kept { bytes: raw.bytes, objects: self.hold(raw.objects)? })
    }

    /// References to objects.
    pub(crate) fn hold(self: &Arc<Self>, objects: impl IntoIterator<Item = u64>) -> Result<Vec<Hold>, Fault> {
        let hold = |object| self.raise(object).then(|| Hold { table: Arc::clone(self), object });
        let holds: Option<Vec<Hold>> = objects.into_iter().map(hold).collect();
        holds.ok_or(Fault(FaultKind::NoObject))
    }

    /// Drops objects one after the other, also those that fall with them, so that a
    /// long chain of them does not become a deep recursion.
    ///
    /// Where there is no time for users' code, objects with a `Drop` are laid aside.
    pub(crate) fn bury(&self, objects: impl IntoIterator<Item = Arc<Object>>) {
        let is_outermost = GRAVES.with_borrow_mut(|graves| {
            let is_outermost = graves.is_none();
            graves.get_or_insert_default().extend(objects);
            is_outermost
        });
        if !is_outermost {
            return;
        }
        while let Some(object) = GRAVES.with_borrow_mut(|graves| graves.as_mut().and_then(Vec::pop)) {
            if HASTY.get() && object.runs_code_when_dropped() {
                lock(&self.graves).push(object);
                continue;
            }
            // An object's own `Drop` may panic, which is nobody's business any more.
            let _ = catch_panic(|| drop(object));
        }
        GRAVES.with_borrow_mut(Option::take);
    }

    /// The objects that were laid aside.
    pub(crate) fn take_graves(&self) -> Option<Vec<Arc<Object>>> {
        let graves = std::mem::take(&mut *lock(&self.graves));
        (!graves.is_empty()).then_some(graves)
    }
}

/// Stands in the place of an object that has not come back yet.
struct Vacant;

impl BuiltIn for Vacant {
    fn name(&self) -> &'static str {
        "vacant"
    }

    fn call(&mut self, _desk: &Desk<'_>, _args: &mut Packet, answer: Answer) {
        answer.fail(FaultKind::NoObject);
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::default()
    }
}

thread_local! {
    static GRAVES: RefCell<Option<Vec<Arc<Object>>>> = const { RefCell::new(None) };
    static HASTY: Cell<bool> = const { Cell::new(false) };
}

/// A time in which this thread runs no users' code.
#[derive(Debug)]
pub(crate) struct Hasty;

impl Hasty {
    pub(crate) fn begin() -> Self {
        HASTY.set(true);
        Self
    }

    pub(crate) fn is_now() -> bool {
        HASTY.get()
    }
}

impl Drop for Hasty {
    fn drop(&mut self) {
        HASTY.set(false);
    }
}

/// A reference that a value in the server holds.
#[derive(Debug)]
pub(crate) struct Hold {
    table: Arc<Table>,
    object: u64,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.table.lower(self.object);
    }
}

/// A value in a container of the server.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) bytes: Bytes,
    objects: Vec<Hold>,
}

impl Kept {
    /// A value without objects in it.
    pub(crate) fn plain(bytes: Bytes) -> Self {
        Self { bytes, objects: Vec::new() }
    }

    pub(crate) fn raw(&self) -> Raw {
        let objects = self.objects.iter().map(|hold| hold.object).collect();
        Raw { bytes: self.bytes.clone(), objects, ..Raw::default() }
    }
}
