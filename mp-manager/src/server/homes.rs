//! The servers that run in this process, and the one whose method this thread runs.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, Weak};

use ipc_core::raw::fork_generation;

use super::Server;
use crate::client::lock;

type Homes = Mutex<HashMap<(u32, u128), Weak<Server>>>;
static HOMES: LazyLock<Homes> = LazyLock::new(Mutex::default);

thread_local! {
    /// The objects whose methods this thread runs, the innermost last.
    static RUNNING: RefCell<Vec<(Weak<Server>, u64)>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn enrol(server: &Arc<Server>) {
    let mut homes = lock(&HOMES);
    homes.retain(|_, server| server.strong_count() > 0);
    homes.insert((fork_generation(), server.access().epoch), Arc::downgrade(server));
}

/// The server `epoch`, if it runs here.
pub(crate) fn find(epoch: u128) -> Option<Arc<Server>> {
    lock(&HOMES).get(&(fork_generation(), epoch)).and_then(Weak::upgrade)
}

/// Runs a method of an object, zero for none that exists yet.
pub(crate) fn running<R>(server: &Arc<Server>, object: u64, run: impl FnOnce() -> R) -> R {
    struct Scope;
    impl Drop for Scope {
        fn drop(&mut self) {
            RUNNING.with_borrow_mut(Vec::pop);
        }
    }
    RUNNING.with_borrow_mut(|stack| stack.push((Arc::downgrade(server), object)));
    let _scope = Scope;
    run()
}

/// Whether this thread runs a method of that object.
pub(crate) fn is_running(server: &Arc<Server>, object: u64) -> bool {
    RUNNING.with_borrow(|stack| {
        stack.iter().any(|(home, running)| *running == object && home.as_ptr() == Arc::as_ptr(server))
    })
}

/// The server for whose object this thread runs.
pub(crate) fn current() -> Option<Arc<Server>> {
    RUNNING.with_borrow(|stack| stack.last().and_then(|(server, _)| server.upgrade()))
}
