//! Shared memory with names, which lives as long as a manager: the feature `named`.

use std::fmt;
use std::time::Duration;

use ipc_core::{Item, ShareableList, SharedMemory, SharedName};
use serde::{Deserialize, Serialize};

use crate::error::{Fault, ManagerError};
use crate::manager::Manager;

/// Makes shared memory that any program finds by its name, and that goes with the manager.
///
/// Every process that has a clone makes some, and everybody opens it by its name. The server owns
/// the names: they go with it, when the last clone in the process that started it is dropped, after
/// [`shutdown`](Self::shutdown), and also when that process or the server or both are killed. The
/// memory stays as long as somebody has it.
///
/// # Examples
/// ```
/// # mp_process::init();
/// use ipc_core::SharedMemory;
/// use mp_manager::SharedMemoryManager;
///
/// let manager = SharedMemoryManager::start()?;
/// let memory = manager.memory(100)?;
/// memory.write(0, b"hello");
/// let name = memory.name().unwrap_or_default().to_owned();
/// assert!(SharedMemory::open(&name).is_ok());
/// drop(memory);
/// assert!(SharedMemory::open(&name).is_ok()); // it lives on
/// drop(manager);
/// assert!(SharedMemory::open(&name).is_err());
/// # Ok::<(), mp_manager::ManagerError>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct SharedMemoryManager {
    // Before the manager: its server ends with the last one.
    segments: SegmentsProxy,
    manager: Manager,
}

impl SharedMemoryManager {
    /// Starts a server in a child process.
    ///
    /// # Errors
    /// See [`Manager::start`].
    pub fn start() -> Result<Self, ManagerError> {
        let manager = Manager::start()?;
        let segments = SegmentsProxy::create(&manager)?;
        Ok(Self { segments, manager })
    }

    /// Makes memory of `size` bytes, zeroed.
    ///
    /// # Errors
    /// [`ManagerError`], which says so if there is not so much memory.
    #[doc(alias = "SharedMemory")]
    pub fn memory(&self, size: usize) -> Result<SharedMemory, ManagerError> {
        let mut memory = SharedMemory::create_auto(size).map_err(Fault::refused)?;
        // Until it is adopted it goes with this process.
        self.segments.adopt(memory.name().unwrap_or_default().to_owned())??;
        memory.leave_name();
        Ok(memory)
    }

    /// Makes a list of simple values.
    ///
    /// # Errors
    /// As [`memory`](Self::memory).
    #[doc(alias = "ShareableList")]
    pub fn list(&self, items: impl IntoIterator<Item = Item>) -> Result<ShareableList, ManagerError> {
        let mut list = ShareableList::create_auto(items).map_err(Fault::refused)?;
        self.segments.adopt(list.name().to_owned())??;
        list.leave_name();
        Ok(list)
    }

    /// The id of the server's process, in the process that started it.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.manager.pid()
    }

    /// Ends the server as [`Manager::shutdown`], and with it all names.
    ///
    /// # Errors
    /// See [`Manager::shutdown`].
    pub fn shutdown(&self, timeout: Duration) -> Result<(), ManagerError> {
        self.manager.shutdown(timeout)
    }
}

impl fmt::Debug for SharedMemoryManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemoryManager").field("manager", &self.manager).finish_non_exhaustive()
    }
}

/// The names that were given out: the server's, and after it is killed its janitor's.
struct Segments(Vec<SharedName>);

#[crate::object(crate = crate)]
impl Segments {
    pub fn new() -> Self {
        Self(Vec::new())
    }

    /// Owns a name from now on.
    pub fn adopt(&mut self, name: String) -> Result<(), Fault> {
        self.0.push(SharedName::adopt(&name).map_err(Fault::refused)?);
        Ok(())
    }
}
