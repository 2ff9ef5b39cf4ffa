//! The ways to make a process, side by side.

use std::sync::Arc;

use ipc_core::Handle;

use crate::start::StartMethod;

pub(crate) use super::fork::{fork, threads_of_the_program};
pub(crate) use super::server::{Server, Told, discard, tend};
pub(crate) use super::spawn::spawn;

pub(crate) const AVAILABLE: &[StartMethod] =
    &[StartMethod::Spawn, StartMethod::ForkServer, StartMethod::Fork];

/// A new process.
#[derive(Debug)]
pub(crate) struct Born {
    pub(crate) pid: u32,
    /// Becomes ready when it ends; `None` if it had ended and was collected by others
    /// before it could be opened.
    pub(crate) end: Option<Handle>,
    /// The end of the process that collects it, if that is not this one.
    pub(crate) relay: Option<Arc<Handle>>,
    /// Kept until it is collected, if a server has made it.
    pub(crate) told: Option<Told>,
}
