//! The ways to make a process, side by side.

use std::sync::Arc;

use ipc_core::Handle;
use ipc_core::link::SocketLink;

use crate::start::StartMethod;

pub(crate) use super::fork::{fork, threads_of_the_program};
pub(crate) use super::server::by_server;
pub(crate) use super::spawn::spawn;

pub(crate) const AVAILABLE: &[StartMethod] =
    &[StartMethod::Spawn, StartMethod::ForkServer, StartMethod::Fork];

/// A process that waits for its orders, and this process's end of its link.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) pid: u32,
    /// Becomes ready when it ends; `None` if it had ended and was collected by others
    /// before it could be opened.
    pub(crate) end: Option<Handle>,
    pub(crate) link: SocketLink,
    /// The end of the process that collects it, if that is not this one.
    pub(crate) relay: Option<Arc<Handle>>,
}
