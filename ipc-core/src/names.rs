//! Names that go with the process that made them, and who sees to it if that is killed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::sys::names;

/// A file that stands for something of a process: a socket, or shared memory.
///
/// It is known by more than its path, so that another file which has come into its
/// place meanwhile is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedName {
    path: PathBuf,
    identity: [u64; 3],
    has_own_folder: bool,
}

/// Is told of the names that this process makes and removes: for a janitor, which
/// removes those that are left when the process has been killed.
pub trait NameKeeper: Send + Sync {
    /// This process has made `name`.
    fn made(&self, name: &OwnedName);

    /// It has gone, or is left to others.
    fn gone(&self, name: &OwnedName);
}

static KEEPER: OnceLock<&'static dyn NameKeeper> = OnceLock::new();

/// Has `keeper` told of the names that this process makes from now on, in every
/// fork of it too; the first one stays. `false` if there is one.
pub fn keep_names_by(keeper: &'static dyn NameKeeper) -> bool {
    KEEPER.set(keeper).is_ok()
}

impl OwnedName {
    /// What [`to_parts`](Self::to_parts) gave.
    #[must_use]
    pub fn from_parts(path: PathBuf, identity: [u64; 3], has_own_folder: bool) -> Self {
        Self { path, identity, has_own_folder }
    }

    /// Its path, what tells it from others of this path, and whether its folder was made
    /// for it.
    #[must_use]
    pub fn to_parts(&self) -> (&Path, [u64; 3], bool) {
        (&self.path, self.identity, self.has_own_folder)
    }

    /// Removes the file, if it is still the same, and the folder, if it was made for it and
    /// is empty.
    pub fn remove(&self) {
        names::remove(&self.path, self.identity, self.has_own_folder);
    }

    /// Tells the keeper of one that is about to be made, under a path that nobody else makes:
    /// a kill right after the making leaves nothing behind. Whatever is there is removed.
    #[allow(dead_code, reason = "not every platform makes names")]
    pub(crate) fn expected(path: &Path) -> Expected {
        Expected(Self::made(path, names::ANY, false))
    }

    /// As [`expected`](Self::expected), of a folder that is about to be made for the file at
    /// `path`; the file is left alone.
    #[allow(dead_code, reason = "not every platform makes names")]
    pub(crate) fn expected_folder(path: &Path) -> Expected {
        Expected(Self::made(path, names::NONE, true))
    }

    /// Tells the keeper of one that was made.
    #[allow(dead_code, reason = "not every platform makes names")]
    pub(crate) fn made(path: &Path, identity: [u64; 3], has_own_folder: bool) -> Self {
        // A keeper need not stand in the same folder.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let name = Self { path, identity, has_own_folder };
        if let Some(keeper) = KEEPER.get() {
            keeper.made(&name);
        }
        name
    }

    /// Tells the keeper that it has gone.
    #[allow(dead_code, reason = "not every platform makes names")]
    pub(crate) fn gone(&self) {
        if let Some(keeper) = KEEPER.get() {
            keeper.gone(self);
        }
    }
}

/// A name that is about to be made; dropped, it is, or will not be.
pub(crate) struct Expected(OwnedName);

impl Drop for Expected {
    fn drop(&mut self) {
        self.0.gone();
    }
}

impl fmt::Debug for dyn NameKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NameKeeper")
    }
}
