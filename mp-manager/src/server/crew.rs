//! The threads of a server: they take the helm in turn.
//!
//! A method of a user's object that was quick lately is run by the thread at the helm itself: a
//! *dash*. It lets the helm alone meanwhile, and an idle thread watches. If the dash is not over
//! when that has looked twice, the one that watches takes the helm, and the other goes on with its
//! method as any thread that is not at the helm. So a method that blocks holds up the others for
//! two looks at most, once: it does not count as quick any more.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mp_process::catch_panic;

use super::Server;
use super::helm::Turn;
use super::work::Work;
use crate::client::lock;

/// How often the one that watches looks.
const LOOK: Duration = Duration::from_millis(2);
/// After so many looks without a dash it sleeps until there is one.
const CALM: u32 = 100;

#[derive(Debug, Default)]
pub(super) struct Crew {
    state: Mutex<State>,
    left: Condvar,
    /// The helm is free, or somebody is to watch.
    called: Condvar,
    /// Odd during a dash. Whoever makes it even has the helm.
    dash: AtomicU64,
    /// Somebody watches, or was called to.
    is_watched: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    members: usize,
    /// Those that wait for the helm.
    idle: usize,
    /// Somebody has the helm.
    is_led: bool,
    /// One of those that are idle is to watch.
    wants_watch: bool,
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

    /// Waits until this thread has the helm.
    fn take_helm(&self) {
        let mut state = lock(&self.state);
        state.idle += 1;
        while state.is_led {
            if std::mem::take(&mut state.wants_watch) {
                let has_taken;
                (state, has_taken) = self.watch(state);
                if has_taken {
                    break;
                }
            } else {
                state = self.called.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        state.is_led = true;
        state.idle -= 1;
        // Who was called to watch may find the helm free and take it instead: then nobody watches,
        // and those that sleep were not told to. The next dash calls again.
        if std::mem::take(&mut state.wants_watch) {
            self.is_watched.store(false, Ordering::SeqCst);
        }
    }

    fn leave_helm(&self) {
        lock(&self.state).is_led = false;
        self.called.notify_one();
    }

    /// Looks whether dashes end; whether one did not, so that this thread has the helm now.
    fn watch<'a>(&'a self, mut state: MutexGuard<'a, State>) -> (MutexGuard<'a, State>, bool) {
        let (mut seen, mut calm) = (self.dash.load(Ordering::SeqCst), 0);
        loop {
            state = self.called.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
            if !state.is_led {
                self.is_watched.store(false, Ordering::SeqCst);
                return (state, false);
            }
            let dash = self.dash.load(Ordering::SeqCst);
            if dash != seen {
                (seen, calm) = (dash, 0);
            } else if !dash.is_multiple_of(2) {
                if self.end_dash(dash) {
                    self.is_watched.store(false, Ordering::SeqCst);
                    return (state, true);
                }
            } else {
                calm += 1;
            }
            if calm > CALM {
                self.is_watched.store(false, Ordering::SeqCst);
                // ORDERING: either this sees a dash that began meanwhile, or that sees that nobody watches.
                if self.dash.load(Ordering::SeqCst) == dash {
                    return (state, false);
                }
                self.is_watched.store(true, Ordering::SeqCst);
            }
        }
    }

    /// Makes the dash even; `false` if somebody else has.
    fn end_dash(&self, dash: u64) -> bool {
        self.dash.compare_exchange(dash, dash + 1, Ordering::SeqCst, Ordering::SeqCst).is_ok()
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
fn run(server: &Arc<Server>, work: Work) {
    let _ = catch_panic(|| server.run(work));
}

/// Runs a method that is most likely quick; whether this thread still has the helm.
fn dash(server: &Arc<Server>, work: Work) -> bool {
    let crew = &server.crew;
    // ORDERING: see `Crew::watch`.
    let dash = crew.dash.fetch_add(1, Ordering::SeqCst) + 1;
    if !crew.is_watched.load(Ordering::SeqCst) && !call_watch(server) {
        // Whoever had begun to watch may have taken the helm just now.
        work.queue(server);
        return crew.end_dash(dash);
    }
    run(server, work);
    crew.end_dash(dash)
}

/// Has an idle thread watch; `false` if there is none.
fn call_watch(server: &Arc<Server>) -> bool {
    if !has_relief(server) {
        return false;
    }
    let mut state = lock(&server.crew.state);
    if !server.crew.is_watched.swap(true, Ordering::SeqCst) {
        state.wants_watch = true;
        drop(state);
        server.crew.called.notify_one();
    }
    true
}

/// A thread's life.
fn serve(server: &Arc<Server>) {
    loop {
        // Work may have been laid there by one at the helm who saw nobody idle.
        if !lock(&server.backlog).is_empty() {
            server.ring();
        }
        server.crew.take_helm();
        let goes_on = loop {
            match catch_panic(|| lock(&server.helm).lead(server)) {
                // Whatever it was, the other clients are served on.
                Err(_) => {}
                Ok(None) => break false,
                Ok(Some(Turn::Dash(work))) => {
                    if !dash(server, work) {
                        break true;
                    }
                }
                Ok(Some(Turn::Leave(work))) => {
                    server.crew.leave_helm();
                    run(server, work);
                    break true;
                }
            }
        };
        if !goes_on {
            server.crew.leave_helm();
            break;
        }
        loop {
            let next = lock(&server.backlog).pop_front();
            let Some(work) = next else { break };
            run(server, work);
        }
    }
    let mut state = lock(&server.crew.state);
    if state.members == 1 {
        drop(state);
        // The last one is a member until the objects are gone: nobody sees the end before.
        server.table.clear();
        if let Some(store) = &server.store {
            store.close();
        }
        state = lock(&server.crew.state);
    }
    state.members -= 1;
    drop(state);
    server.crew.left.notify_all();
}

#[cfg(test)]
mod tests {
    use super::super::{alarms::Alarm, homes};
    use super::*;
    use crate::client::{Client, PATIENCE};
    use crate::wire::{Access, Key, Request};

    #[test]
    fn who_takes_the_helm_instead_of_watching_does_not_count_as_watching() {
        let crew = Crew::default();
        lock(&crew.state).wants_watch = true;
        crew.is_watched.store(true, Ordering::SeqCst);
        crew.take_helm();
        assert!(!crew.is_watched.load(Ordering::SeqCst) && !lock(&crew.state).wants_watch);
    }

    #[test]
    fn a_panic_of_whoever_is_at_the_helm_ends_nothing() {
        let serving = crate::Manager::builder().serve().unwrap();
        let access = Access { address: serving.address().clone(), key: Key::None, epoch: 0 };
        let client = Client::connect(access, PATIENCE).unwrap();
        let server = homes::find(client.access().epoch).unwrap();
        let count = || client.call(Request::Count, PATIENCE, |_| Ok(())).map(drop);
        // Over the socket, and over a ring.
        for _ in 0..2 {
            for _ in 0..3 {
                server.set_alarm(Instant::now(), Alarm::Panic);
                count().unwrap();
            }
            (0..500).for_each(|_| count().unwrap());
        }
        assert_eq!(lock(&server.crew.state).members, 1);
    }
}
