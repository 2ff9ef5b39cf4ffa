//! References of proxies that are on their way in messages.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::client::lock;

/// How long a message may lie unread after its sender has ended.
pub(super) const GRACE: Duration = Duration::from_secs(60);

/// Each holds one reference, until the proxy arrives or is given up for lost.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<u128, Flight>>);

#[derive(Debug)]
struct Flight {
    object: u64,
    session: u64,
}

impl Flights {
    pub(super) fn start(&self, ticket: u128, object: u64, session: u64) {
        lock(&self.0).insert(ticket, Flight { object, session });
    }

    /// The proxy has arrived and takes the reference over; whose it was. `None` if
    /// it has arrived before: a message may be read twice.
    pub(super) fn land(&self, ticket: u128, object: u64) -> Option<u64> {
        let mut flights = lock(&self.0);
        flights.get(&ticket).filter(|flight| flight.object == object)?;
        flights.remove(&ticket).map(|flight| flight.session)
    }

    /// The proxy is lost; its object.
    pub(super) fn lose(&self, ticket: u128) -> Option<u64> {
        lock(&self.0).remove(&ticket).map(|flight| flight.object)
    }

    /// Those that a client has sent.
    pub(super) fn of(&self, session: u64) -> Vec<u128> {
        let flights = lock(&self.0);
        flights.iter().filter(|(_, flight)| flight.session == session).map(|(ticket, _)| *ticket).collect()
    }
}
