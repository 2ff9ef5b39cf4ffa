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
    objects: Vec<u64>,
}

thread_local! {
    // Stacks, because a user's serde code may itself call a manager.
    static WRITING: RefCell<Vec<Collecting>> = const { RefCell::new(Vec::new()) };
    static READING: RefCell<Vec<Arriving>> = const { RefCell::new(Vec::new()) };
}

/// Runs `write`, and says which objects of the manager `epoch` stand in what it wrote.
pub(crate) fn collecting<R>(epoch: u128, write: impl FnOnce() -> R) -> (R, Vec<u64>) {
    struct Scope;
    impl Drop for Scope {
        fn drop(&mut self) {
            WRITING.with_borrow_mut(Vec::pop);
        }
    }
    WRITING.with_borrow_mut(|stack| stack.push(Collecting { epoch, objects: Vec::new() }));
    let scope = Scope;
    let result = write();
    let objects = WRITING
        .with_borrow_mut(|stack| stack.last_mut().map(|top| std::mem::take(&mut top.objects)))
        .unwrap_or_default();
    drop(scope);
    (result, objects)
}

/// Whether a value for the manager `epoch` is being written; notes the object if so.
pub(crate) fn collect(epoch: u128, object: u64) -> bool {
    WRITING.with_borrow_mut(|stack| match stack.last_mut() {
        Some(top) if top.epoch == epoch => {
            top.objects.push(object);
            true
        }
        _ => false,
    })
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
