//! Proxies inside values.
//!
//! While a value is encoded for a manager, the proxies of that manager in it put
//! the numbers of their objects on this thread's list; while one that came from
//! a manager is decoded, they take their references from it. In all other
//! messages a proxy carries what it takes to reach its manager.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use crate::lease::Lease;
use crate::server::Server;

/// Where the proxies of a value get their references.
pub(crate) enum Arriving {
    /// From an answer, which came with one for each.
    Answer(Vec<Lease>),
    /// From the server's own table, in whose process this is.
    Home(Weak<Server>),
}

struct Collecting {
    epoch: u128,
    leases: Vec<Arc<Lease>>,
}

thread_local! {
    // Stacks, because a user's serde code may itself call a manager.
    static WRITING: RefCell<Vec<Collecting>> = const { RefCell::new(Vec::new()) };
    static READING: RefCell<Vec<Arriving>> = const { RefCell::new(Vec::new()) };
}

/// Runs `write`, and brings the references to the objects of the manager `epoch` that
/// stand in what it wrote: they hold until the receiver has references of its own.
pub(crate) fn collecting<R>(epoch: u128, write: impl FnOnce() -> R) -> (R, Vec<Arc<Lease>>) {
    struct Scope;
    impl Drop for Scope {
        fn drop(&mut self) {
            // Dropped outside of the borrow: giving back may drop objects.
            drop(WRITING.with_borrow_mut(Vec::pop));
        }
    }
    WRITING.with_borrow_mut(|stack| stack.push(Collecting { epoch, leases: Vec::new() }));
    let scope = Scope;
    let result = write();
    let leases = WRITING
        .with_borrow_mut(|stack| stack.last_mut().map(|top| std::mem::take(&mut top.leases)))
        .unwrap_or_default();
    drop(scope);
    (result, leases)
}

/// Whether a value for the manager `epoch` is being written; notes the object if so.
pub(crate) fn collect(epoch: u128, lease: &Arc<Lease>) -> bool {
    WRITING.with_borrow_mut(|stack| match stack.last_mut() {
        Some(top) if top.epoch == epoch => {
            top.leases.push(Arc::clone(lease));
            true
        }
        _ => false,
    })
}

/// Whether what is being written, if anything, is for the manager `epoch`.
pub(crate) fn is_for(epoch: u128) -> bool {
    WRITING.with_borrow(|stack| stack.last().is_none_or(|top| top.epoch == epoch))
}

/// Runs `read`; references that it leaves are given back.
pub(crate) fn arriving<R>(from: Arriving, read: impl FnOnce() -> R) -> R {
    struct Scope;
    impl Drop for Scope {
        fn drop(&mut self) {
            // Dropped outside of the borrow: giving back may drop objects.
            drop(READING.with_borrow_mut(Vec::pop));
        }
    }
    READING.with_borrow_mut(|stack| stack.push(from));
    let _scope = Scope;
    read()
}

/// The reference to `object` that came with the value being read.
pub(crate) fn arrived(object: u64) -> Result<Arc<Lease>, String> {
    let home = READING.with_borrow_mut(|stack| match stack.last_mut() {
        Some(Arriving::Answer(leases)) => {
            let place = leases.iter().position(|lease| lease.object() == object);
            place.map(|place| Ok(leases.swap_remove(place)))
        }
        Some(Arriving::Home(server)) => Some(Err(server.clone())),
        None => None,
    });
    match home {
        Some(Ok(lease)) => Ok(Arc::new(lease)),
        Some(Err(server)) => {
            Lease::at_home(&server, object).map(Arc::new).ok_or_else(|| NO_OBJECT.to_owned())
        }
        None => Err("a proxy came without its reference".to_owned()),
    }
}

pub(crate) const NO_OBJECT: &str = "the object of a proxy is no more";

/// The numbers of the objects.
pub(crate) fn numbers(leases: &[Arc<Lease>]) -> Vec<u64> {
    leases.iter().map(|lease| lease.object()).collect()
}
