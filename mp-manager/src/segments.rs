//! Shared memory with names, which lives as long as a manager: the feature `named`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ipc_core::raw::fork_generation;
use ipc_core::{AuthKey, Item, ShareableList, SharedMemory};
use serde::{Deserialize, Serialize};

use crate::error::{Fault, ManagerError};
use crate::manager::Manager;

/// Makes shared memory that any program finds by its name, and that goes with the manager.
///
/// Every process that has a clone makes some, and everybody opens it by its name. The names go
/// with [`shutdown`](Self::shutdown), with the server, or with the last clone in the process that
/// started it; the memory stays as long as somebody has it. Only if that process and the server
/// are both killed are names left.
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
    segments: SegmentsProxy,
    // After the proxy and before the broom: its server ends with the last one.
    manager: Manager,
    #[serde(skip)]
    broom: Option<Arc<Broom>>,
}

impl SharedMemoryManager {
    /// Starts a server in a child process.
    ///
    /// # Errors
    /// See [`Manager::start`].
    pub fn start() -> Result<Self, ManagerError> {
        let broom = Broom::new().map_err(Fault::refused)?;
        let manager = Manager::start()?;
        let segments = SegmentsProxy::create(&manager, broom.family, broom.count.clone())?;
        Ok(Self { segments, manager, broom: Some(Arc::new(broom)) })
    }

    /// Makes memory of `size` bytes, zeroed.
    ///
    /// # Errors
    /// [`ManagerError`], which says so if there is not so much memory.
    #[doc(alias = "SharedMemory")]
    pub fn memory(&self, size: usize) -> Result<SharedMemory, ManagerError> {
        let mut memory = SharedMemory::create(&self.segments.reserve()?, size).map_err(Fault::refused)?;
        memory.leave_name();
        Ok(memory)
    }

    /// Makes a list of simple values.
    ///
    /// # Errors
    /// As [`memory`](Self::memory).
    #[doc(alias = "ShareableList")]
    pub fn list(&self, items: impl IntoIterator<Item = Item>) -> Result<ShareableList, ManagerError> {
        let mut list = ShareableList::create(&self.segments.reserve()?, items).map_err(Fault::refused)?;
        list.leave_name();
        Ok(list)
    }

    /// The id of the server's process, in the process that started it.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.manager.pid()
    }

    /// Ends the server as [`Manager::shutdown`], and takes all names away.
    ///
    /// # Errors
    /// See [`Manager::shutdown`].
    pub fn shutdown(&self, timeout: Duration) -> Result<(), ManagerError> {
        self.manager.shutdown(timeout)?;
        self.broom.iter().for_each(|broom| broom.sweep());
        Ok(())
    }
}

impl fmt::Debug for SharedMemoryManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemoryManager").field("manager", &self.manager).finish_non_exhaustive()
    }
}

/// The names that were given out. They go with it when the server ends by itself.
struct Segments {
    family: u64,
    count: Count,
}

#[crate::object(crate = crate)]
impl Segments {
    pub fn new(family: u64, count: Count) -> Self {
        Self { family, count }
    }

    /// A name that nobody has.
    pub fn reserve(&mut self) -> String {
        name(self.family, self.count.0.atomic_u64(0).fetch_add(1, Ordering::Relaxed))
    }
}

impl Drop for Segments {
    fn drop(&mut self) {
        sweep(self.family, &self.count);
    }
}

/// Where the server was started: takes the names away that one that was killed has left.
struct Broom {
    family: u64,
    /// How many names were given out; the server counts.
    count: Count,
    generation: u32,
}

impl Broom {
    fn new() -> std::io::Result<Self> {
        let key = AuthKey::random()?;
        let bytes = key.bytes().first_chunk().ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let count = Count(Arc::new(SharedMemory::anonymous(8)?));
        Ok(Self { family: u64::from_le_bytes(*bytes), count, generation: fork_generation() })
    }

    fn sweep(&self) {
        // What a fork copied is its parent's.
        if self.generation == fork_generation() {
            sweep(self.family, &self.count);
        }
    }
}

impl Drop for Broom {
    fn drop(&mut self) {
        self.sweep();
    }
}

fn sweep(family: u64, count: &Count) {
    for number in 0..count.0.atomic_u64(0).load(Ordering::Relaxed) {
        // One that nobody made, or that is gone, is as good as one removed.
        let _ = SharedMemory::open(&name(family, number)).and_then(|memory| memory.unlink());
    }
}

fn name(family: u64, number: u64) -> String {
    format!("psm_{family:016x}_{number}")
}

/// A number in shared memory.
#[derive(Clone)]
struct Count(Arc<SharedMemory>);

impl Serialize for Count {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SharedMemory::deserialize(deserializer).map(|memory| Self(Arc::new(memory)))
    }
}
