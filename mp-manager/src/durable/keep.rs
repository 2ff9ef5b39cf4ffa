//! Making objects durable, and keeping what users' objects have become.

use std::sync::Arc;

use super::frame::{Frame, Tells};
use super::journal::Journal;
use super::store::{Store, not_kept};
use crate::client::lock;
use crate::context;
use crate::error::{Fault, FaultKind};
use crate::server::{Hosted, Server, Shelf};

impl Server {
    fn store_or_fault(&self) -> Result<&Arc<Store>, Fault> {
        self.store().ok_or(Fault(FaultKind::NoState))
    }

    /// From now on the object's changes are logged. Waits for a method that changes it.
    pub(crate) fn keep_built_in(&self, shelf: &Shelf, number: u64) -> Result<(), Fault> {
        let store = self.store_or_fault()?;
        let mut shelved = lock(&shelf.object);
        if shelved.journal.store().is_some() {
            return self.log_names_of(number);
        }
        shelved.built_in.may_be_kept()?;
        let snapshot = shelved.built_in.snapshot();
        store.check_all_but(number, snapshot.objects())?;
        store.append(&snapshot.frames(number, shelf.name))?;
        shelved.journal = Journal::new(store, number);
        self.log_names_of(number)
    }

    /// As [`keep_built_in`](Self::keep_built_in), for an object of a user's type, which nobody
    /// changes meanwhile.
    pub(crate) fn keep_hosted(self: &Arc<Self>, hosted: &Hosted, number: u64) -> Result<(), Fault> {
        let store = self.store_or_fault()?;
        if hosted.store().is_some() {
            return self.log_names_of(number);
        }
        self.write_whole(store, hosted, number)?;
        hosted.set_journal(Journal::new(store, number));
        self.log_names_of(number)
    }

    /// A method has changed an object: what it is now is logged, if it is durable. If the log does
    /// not take it, the object is again as the log has it.
    pub(crate) fn keep_change(self: &Arc<Self>, hosted: &Hosted, number: u64) -> Result<(), Fault> {
        let Some(store) = hosted.store() else { return Ok(()) };
        let Err(fault) = self.write_whole(store, hosted, number) else { return Ok(()) };
        let why = if let Fault(FaultKind::NotKept(why)) = fault { why } else { fault.to_string() };
        Err(not_kept(match self.bring_back(store, hosted, number) {
            Ok(()) => why,
            Err(error) => format!("{why}; and the object cannot be brought back to what was kept: {error}"),
        }))
    }

    fn bring_back(self: &Arc<Self>, store: &Arc<Store>, hosted: &Hosted, number: u64) -> Result<(), Fault> {
        let object = hosted.value().as_any();
        let kind = store.kinds.of(object).ok_or(Fault(FaultKind::NoMethod))?;
        let bytes = store.last_whole(number).map_err(Fault::refused)?;
        let frame = Frame::whole(&bytes).ok_or_else(|| Fault::refused("the log has changed"))?;
        self.in_object(number, || (kind.restore)(object, super::load::packet(frame.rest)))
    }

    fn write_whole(self: &Arc<Self>, store: &Arc<Store>, hosted: &Hosted, number: u64) -> Result<(), Fault> {
        let object = hosted.value();
        let kind = store.kinds.of(object.as_any()).ok_or_else(|| {
            let name = object.name();
            Fault::refused(format!(
                "say `durable::<{name}>()` where the manager is built, to keep a `{name}`"
            ))
        })?;
        let (packet, leases) = self.in_object(number, || {
            let epoch = self.access().epoch;
            let write = || super::storing(|| (kind.save)(object.as_any()));
            let (packet, leases) = context::collecting(epoch, write);
            Ok((packet?, leases))
        })?;
        store.check_all_but(number, &context::numbers(&leases))?;
        let rest = packet.bytes();
        store.append(&[Frame { tells: Tells::Whole, object: number, name: kind.name, rest }])
    }
}
