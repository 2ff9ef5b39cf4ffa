//! Shared memory that any program finds by name.

use std::io;

use crate::memory::with_reason;
use crate::sys::Handle;
use crate::sys::memory::{Segment, random_id};
use crate::sys::named::Name;
use crate::{SharedMemory, decoding_from_own_tree};

mod item;
mod list;

pub use item::Item;
pub use list::{ListError, ShareableList};

/// Memory with a name, which other programs reach too: CPython's
/// `multiprocessing.shared_memory` for one, both ways. The feature `named`.
///
/// Whoever makes it removes its name by dropping it; those who opened it never
/// do. All of it is set aside when it is made, so that memory which is short is an
/// error then, and not the end of a process that writes to it. A process that may
/// use the name may also cut the memory short, which ends those who touch what is
/// gone: give names only to memory that you share with programs you trust.
impl SharedMemory {
    /// Makes memory of `size` bytes under `name`, zeroed, for this user alone.
    ///
    /// The name goes when the value returned is dropped, in this process; the
    /// memory stays as long as anybody has it. After a process that is killed, or
    /// leaves without dropping it, a janitor removes the name, if it has one: so do
    /// programs that call `mp_process::init`. With this crate alone it stays, and
    /// can be opened, and [unlinked](Self::unlink).
    ///
    /// # Errors
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) if the name is taken,
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if the size is zero or the
    /// name no name, [`StorageFull`](io::ErrorKind::StorageFull) if there is not
    /// so much memory.
    ///
    /// # Examples
    /// ```
    /// use ipc_core::SharedMemory;
    ///
    /// let name = format!("doc-{}", std::process::id());
    /// let made = SharedMemory::create(&name, 100)?;
    /// let opened = SharedMemory::open(&name)?;
    /// made.write(10, b"hello");
    /// let mut bytes = [0; 5];
    /// opened.read(10, &mut bytes);
    /// assert_eq!(&bytes, b"hello");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn create(name: &str, size: usize) -> io::Result<Self> {
        check_name(name)?;
        check_size(size)?;
        let (name, segment) = Name::create(name, size).map_err(|error| not_made(name, size, error))?;
        Self::with_name(segment, Some(name))
    }

    /// As [`create`](Self::create), under a name that nobody else has. A janitor knows of it
    /// before it is made, so that a kill at no moment leaves it behind.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_auto(size: usize) -> io::Result<Self> {
        // As long as CPython's names, which systems with short ones take.
        check_size(size)?;
        let name = format!("psm_{:016x}", random_id()? as u64);
        let made = Name::create_unique(&name, size);
        let (name, segment) = made.map_err(|error| not_made(&name, size, error))?;
        Self::with_name(segment, Some(name))
    }

    /// Opens the memory that some program made under `name`, with its size.
    ///
    /// # Errors
    /// [`NotFound`](io::ErrorKind::NotFound) if there is none.
    pub fn open(name: &str) -> io::Result<Self> {
        check_name(name)?;
        let (name, segment) = Name::open(name).map_err(|error| not_found(name, error))?;
        Self::with_name(segment, Some(name))
    }

    /// Takes over memory that came in a message. It is not sealed as memory
    /// without a name is, so a stranger could end this process with it.
    pub(crate) fn receive(handle: Handle, name: String) -> io::Result<Self> {
        if !decoding_from_own_tree() {
            return Err(io::Error::other("memory with a name comes from a stranger: open it by its name"));
        }
        let segment = Segment::import_unsealed(handle)?;
        let name = Name::received(name, &segment)?;
        Self::with_name(segment, Some(name))
    }

    /// The name, without a slash; `None` for memory that has none.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_ref().map(Name::text)
    }

    /// Removes the name now, whoever made it: nobody can open the memory any more,
    /// and those who have it keep it. Nothing happens if the name has gone, or is
    /// other memory's by now.
    ///
    /// # Errors
    /// What the system says.
    pub fn unlink(&self) -> io::Result<()> {
        self.name.as_ref().map_or(Ok(()), Name::unlink)
    }

    /// Leaves the name, and with it the memory, to whoever unlinks it or has
    /// [adopted](SharedName::adopt) it: dropping this value does so no more.
    pub fn leave_name(&mut self) {
        if let Some(name) = &mut self.name {
            name.disown();
        }
    }

    /// Whether dropping this value, in this process, removes the name.
    #[must_use]
    pub fn removes_name(&self) -> bool {
        self.name.as_ref().is_some_and(Name::is_ours)
    }
}

/// Holds a name of shared memory, and not the memory: the name goes when this is dropped.
///
/// So a process keeps the names of memory that others have made, however many. As with memory
/// that it made itself, a janitor removes the name after a process that is killed. The feature `named`.
///
/// # Examples
/// ```
/// use ipc_core::{SharedMemory, SharedName};
///
/// // In one process:
/// let mut made = SharedMemory::create_auto(100)?;
/// let name = made.name().unwrap_or_default().to_owned();
/// // In another one:
/// let adopted = SharedName::adopt(&name)?;
/// // Then, in the first one:
/// made.leave_name();
/// drop(made);
///
/// assert!(SharedMemory::open(&name).is_ok());
/// drop(adopted);
/// assert!(SharedMemory::open(&name).is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct SharedName(Name);

impl SharedName {
    /// Takes a name over. Whoever has it from making the memory is to
    /// [leave](SharedMemory::leave_name) it then.
    ///
    /// # Errors
    /// [`NotFound`](io::ErrorKind::NotFound) if there is none such.
    pub fn adopt(name: &str) -> io::Result<Self> {
        check_name(name)?;
        Name::adopt(name).map(Self).map_err(|error| not_found(name, error))
    }

    /// The name, without a slash.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.text()
    }
}

fn not_made(name: &str, size: usize, error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::AlreadyExists {
        let what = format!("shared memory named `{name}` is there already: open it, or choose another name");
        return io::Error::new(error.kind(), what);
    }
    with_reason(format_args!("no shared memory of {size} bytes can be had"), error)
}

fn not_found(name: &str, error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::NotFound {
        let what = format!("no shared memory is named `{name}`: its maker has not made it, or removed it");
        return io::Error::new(error.kind(), what);
    }
    with_reason(format_args!("the shared memory `{name}` cannot be opened"), error)
}

fn check_size(size: usize) -> io::Result<()> {
    let error = || io::Error::new(io::ErrorKind::InvalidInput, "shared memory has at least one byte");
    if size == 0 { Err(error()) } else { Ok(()) }
}

fn check_name(name: &str) -> io::Result<()> {
    let is_name = !matches!(name, "" | "." | "..") && !name.contains(['/', '\0']) && name.len() < 255;
    let error = || {
        let what = format!("`{name}` is no name for shared memory: it is a file's, without slashes");
        io::Error::new(io::ErrorKind::InvalidInput, what)
    };
    if is_name { Ok(()) } else { Err(error()) }
}
