//! References to objects: as long as one is held, the object stays.

use std::sync::{Arc, Weak};

use ipc_core::raw::is_handing_over;

use crate::client::Client;
use crate::server::Server;

/// The way to a manager from here.
#[derive(Debug, Clone)]
pub(crate) enum Route {
    Client(Arc<Client>),
    /// The server runs in this process.
    Home(Weak<Server>),
}

/// One reference to an object; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Lease {
    route: Route,
    object: u64,
}

impl Lease {
    /// Takes over a reference that the server has counted already.
    pub(crate) fn counted(route: Route, object: u64) -> Self {
        Self { route, object }
    }

    /// A new reference in the server's own process; `None` if the object is no more.
    pub(crate) fn at_home(server: &Weak<Server>, object: u64) -> Option<Self> {
        server.upgrade()?.table().raise(object).then(|| Self::counted(Route::Home(server.clone()), object))
    }

    pub(crate) fn route(&self) -> &Route {
        &self.route
    }

    pub(crate) fn object(&self) -> u64 {
        self.object
    }

    pub(crate) fn epoch(&self) -> Option<u128> {
        match &self.route {
            Route::Client(client) => Some(client.access().epoch),
            Route::Home(server) => server.upgrade().map(|server| server.access().epoch),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if is_handing_over() {
            // A fork goes on with it, and is not counted: it lives as long as this process.
            return;
        }
        match &self.route {
            Route::Client(client) => client.release(self.object),
            Route::Home(server) => {
                if let Some(server) = server.upgrade() {
                    server.table().lower(self.object);
                }
            }
        }
    }
}
