//! Calls that want no answer: their number is bounded here, as that of the others is by their answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Session;

/// Such a call, until it has ended.
pub(in crate::server) struct Quiet(Arc<Session>);

impl Quiet {
    pub(in crate::server) fn of(session: &Arc<Session>) -> Self {
        session.quiet.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(session))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        self.0.quiet.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Session {
    /// How many of its calls that want no answer have not ended.
    pub(in crate::server) fn quiet(&self) -> usize {
        self.quiet.load(Ordering::Relaxed)
    }
}
