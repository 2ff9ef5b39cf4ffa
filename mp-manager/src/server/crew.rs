//! The threads of a server: they take the helm in turn.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use mp_process::catch_panic;

use super::Server;
use crate::client::lock;

#[derive(Debug, Default)]
pub(super) struct Crew {
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Debug, Default)]
struct State {
    members: usize,
    /// Those that wait for the helm.
    idle: usize,
}

impl Crew {
    /// Whether no thread is away from the helm and busy, or about to take it.
    pub(super) fn is_calm(&self) -> bool {
        let state = lock(&self.state);
        state.members <= state.idle + 1
    }

    /// Waits until the last has left; `false` at the deadline.
    pub(super) fn wait_empty(&self, deadline: Option<Instant>) -> bool {
        let mut state = lock(&self.state);
        while state.members > 0 {
            state = match deadline {
                None => self.left.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return false;
                    }
                    self.left.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        true
    }
}

/// Whether somebody takes the helm when this thread leaves it.
pub(super) fn has_relief(server: &Arc<Server>) -> bool {
    let (idle, members) = {
        let state = lock(&server.crew.state);
        (state.idle, state.members)
    };
    idle > 0 || (members < server.limits.threads && grow(server).is_ok())
}

/// Adds a thread.
pub(super) fn grow(server: &Arc<Server>) -> io::Result<()> {
    lock(&server.crew.state).members += 1;
    let member = Arc::clone(server);
    let thread = std::thread::Builder::new().name("mp-manager".into());
    let result = thread.spawn(move || serve(&member));
    if result.is_err() {
        lock(&server.crew.state).members -= 1;
    }
    result.map(drop)
}

/// A panic that is left, of an object's `Drop`, is nobody's business any more.
fn run(server: &Arc<Server>, work: super::work::Work) {
    let _ = catch_panic(|| server.run(work));
}

/// A thread's life.
fn serve(server: &Arc<Server>) {
    loop {
        lock(&server.crew.state).idle += 1;
        // Work may have been laid there by one at the helm who saw nobody idle.
        if !lock(&server.backlog).is_empty() {
            server.ring();
        }
        let mut helm = lock(&server.helm);
        lock(&server.crew.state).idle -= 1;
        let work = helm.lead(server);
        drop(helm);
        let Some(work) = work else { break };
        run(server, work);
        loop {
            let next = lock(&server.backlog).pop_front();
            let Some(work) = next else { break };
            run(server, work);
        }
    }
    let mut state = lock(&server.crew.state);
    state.members -= 1;
    if state.members == 0 {
        drop(state);
        // Objects go before whoever waits for the end is told.
        server.table.clear();
        if let Some(store) = &server.store {
            store.close();
        }
    } else {
        drop(state);
    }
    server.crew.left.notify_all();
}
