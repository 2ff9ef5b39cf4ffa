//! Which files there are.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::{fmt, io};

#[derive(Debug, Default)]
pub(crate) struct Found {
    /// In the order of the paths given, each directory's entries by name.
    pub(crate) files: Vec<InputFile>,
    pub(crate) skipped: Vec<(PathBuf, io::Error)>,
}

#[derive(Debug)]
pub(crate) struct InputFile {
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
}

impl Found {
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

/// A path of the command line that is not there.
#[derive(Debug)]
pub(crate) struct Missing {
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.error)
    }
}

/// Finds all files under the paths. Symbolic links are followed where the user names them, and
/// nowhere else, so that a tree with a loop has an end.
pub(crate) fn walk(paths: &[PathBuf]) -> Result<Found, Missing> {
    let mut found = Found::default();
    for path in paths {
        match fs::metadata(path) {
            Ok(metadata) => found.add_tree(path.clone(), &metadata),
            Err(error) => {
                return Err(Missing { path: path.clone(), error });
            }
        }
    }
    Ok(found)
}

impl Found {
    fn add_tree(&mut self, path: PathBuf, metadata: &Metadata) {
        if !metadata.is_dir() {
            return self.add(path, metadata);
        }
        // A stack of our own: a tree may be deeper than the thread's stack.
        let mut rest = vec![Todo::Directory(path)];
        while let Some(todo) = rest.pop() {
            match todo {
                Todo::File(path, metadata) => match metadata {
                    Ok(metadata) => self.add(path, &metadata),
                    Err(error) => self.skipped.push((path, error)),
                },
                Todo::Directory(path) => match entries(&path) {
                    Ok(entries) => rest.extend(entries),
                    Err(error) => self.skipped.push((path, error)),
                },
            }
        }
    }

    fn add(&mut self, path: PathBuf, metadata: &Metadata) {
        if metadata.is_file() {
            self.files.push(InputFile { path, size: metadata.len() });
        } else {
            // Opening a named pipe would wait for a writer, perhaps for ever.
            let error = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
            self.skipped.push((path, error));
        }
    }
}

enum Todo {
    File(PathBuf, io::Result<Metadata>),
    Directory(PathBuf),
}

/// The entries of a directory that are not symbolic links, the last name first.
fn entries(directory: &Path) -> io::Result<impl Iterator<Item = Todo> + use<>> {
    let mut entries: Vec<(OsString, Option<io::Result<Metadata>>)> = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if !kind.is_symlink() {
            // Asked of the directory that is open: by its path each file would be looked for from the root on.
            let metadata = (!kind.is_dir()).then(|| entry.metadata());
            entries.push((entry.file_name(), metadata));
        }
    }
    entries.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
    let directory = directory.to_owned();
    Ok(entries.into_iter().map(move |(name, metadata)| {
        let path = directory.join(name);
        match metadata {
            Some(metadata) => Todo::File(path, metadata),
            None => Todo::Directory(path),
        }
    }))
}
