//! The log of a server's durable objects, and the file that it lies in.
//!
//! Whoever changes an object appends the change while the object is its alone, and answers
//! afterwards; so the log has each object's changes in their order, and all that was answered.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fs4::fs_std::FileExt;

use super::frame::{FORMAT, Frame, Frames, HEAD, MAGIC, Place, ReadError, Tells};
use super::{Kinds, StateError};
use crate::client::lock;
use crate::error::{Fault, FaultKind};
use crate::server::table::Table;
use crate::server::{HeldAnswer, NotRead};

/// What a server knows of its folder.
pub(crate) struct Store {
    folder: PathBuf,
    /// Whether answers wait until the disk has what they tell of.
    syncs: bool,
    pub(super) kinds: Kinds,
    pub(super) table: OnceLock<Weak<Table>>,
    pub(super) log: Mutex<Log>,
    /// How many bytes were ever appended, and how many of them the disk has.
    appended: AtomicU64,
    synced: AtomicU64,
    /// Why the disk has refused what was to be brought to it.
    refused: OnceLock<String>,
    /// Where a test has the disk wait.
    #[cfg(test)]
    pub(super) gate: Mutex<()>,
    held: Mutex<Held>,
    wake: Condvar,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Answers that wait for the disk.
#[derive(Debug, Default)]
struct Held {
    answers: Vec<HeldAnswer>,
    ends: bool,
}

pub(super) struct Log {
    pub(super) file: File,
    pub(super) len: u64,
    /// How long it was when it was last written anew.
    pub(super) base: u64,
    pub(super) names: HashMap<String, u64>,
    /// The durable objects, and where the last whole value of those of users' types lies.
    pub(super) objects: HashMap<u64, Option<Place>>,
    /// The log that is to take the place of this one.
    pub(super) next: Option<Next>,
    pub(super) is_renewed: bool,
    /// Why nothing can be appended any more.
    pub(super) broken: Option<String>,
    bytes: Vec<u8>,
    /// Held as long as the file is open: nobody else has the folder.
    folder: File,
}

/// A log that is being written anew, while the old one goes on.
pub(super) struct Next {
    pub(super) file: File,
    pub(super) len: u64,
    /// The objects that stand in it: what happens to them goes there too.
    pub(super) objects: HashMap<u64, Option<Place>>,
}

/// What a log says when a server begins.
pub(super) struct Found {
    /// Objects, with what is to be read of those of users' types.
    pub(super) objects: HashMap<u64, Option<Place>>,
    pub(super) names: HashMap<String, u64>,
}

/// A shorter log is never written anew.
const SHORT: u64 = 4 << 20;
/// A server that was killed just now may still hold the folder.
const PARTING: Duration = Duration::from_secs(1);

impl Store {
    /// Takes the folder, and looks at the log in it.
    pub(super) fn open(folder: &Path, syncs: bool, kinds: Kinds) -> Result<(Self, Found), StateError> {
        let failed = |error| StateError::io(folder, error);
        fs::create_dir_all(folder).map_err(failed)?;
        let holder = hold(folder)?;
        let path = folder.join(LOG);
        if !path.try_exists().map_err(failed)? {
            drop(create(folder, LOG).map_err(failed)?);
        }
        let mut file = File::options().read(true).append(true).open(&path).map_err(failed)?;
        check_head(&mut file, folder)?;
        let (found, len) = look(&file, folder)?;
        let log = Log {
            file,
            len,
            base: 0,
            names: found.names.clone(),
            objects: found.objects.clone(),
            next: None,
            is_renewed: false,
            broken: None,
            bytes: Vec::new(),
            folder: holder,
        };
        let store = Self {
            folder: folder.to_owned(),
            syncs,
            kinds,
            table: OnceLock::new(),
            log: Mutex::new(log),
            appended: AtomicU64::new(len),
            synced: AtomicU64::new(0),
            refused: OnceLock::new(),
            #[cfg(test)]
            gate: Mutex::default(),
            held: Mutex::default(),
            wake: Condvar::new(),
            threads: Mutex::default(),
        };
        Ok((store, found))
    }

    /// The frames of the log, from the first on.
    pub(super) fn frames(&self) -> io::Result<Frames> {
        Frames::of(File::open(self.folder.join(LOG))?)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Begins to serve: starts what brings the log to the disk, if answers are to wait for that.
    pub(super) fn start(self: &Arc<Self>, table: &Arc<Table>) -> io::Result<()> {
        let _ = self.table.set(Arc::downgrade(table));
        if self.syncs {
            let store = Arc::clone(self);
            let thread = std::thread::Builder::new().name("mp-manager-sync".into());
            lock(&self.threads).push(thread.spawn(move || store.bring_to_disk())?);
        }
        Ok(())
    }

    /// Ends: nothing is appended any more, and the folder is free when this returns.
    pub(crate) fn close(&self) {
        lock(&self.log).broken.get_or_insert_with(|| "the manager ends".to_owned());
        lock(&self.held).ends = true;
        self.wake.notify_all();
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            // A thread of this kind does not panic.
            let _ = thread.join();
        }
        let mut log = lock(&self.log);
        log.next = None;
        // It is given back with the file at the latest.
        let _ = FileExt::unlock(&log.folder);
    }

    /// Adds frames, as one step.
    ///
    /// When this returns, the kernel has them: they outlive this process.
    pub(super) fn append(self: &Arc<Self>, frames: &[Frame<'_>]) -> Result<(), Fault> {
        let mut log = lock(&self.log);
        log.append(frames)?;
        // ORDERING: whoever finds the length finds the bytes in the file.
        self.appended.fetch_add(log.bytes.len() as u64, Ordering::Release);
        if log.len > SHORT + 2 * log.base && !log.is_renewed && log.broken.is_none() {
            log.is_renewed = true;
            let store = Arc::clone(self);
            let thread = std::thread::Builder::new().name("mp-manager-log".into());
            match thread.spawn(move || store.renew()) {
                Ok(thread) => {
                    let mut threads = lock(&self.threads);
                    threads.retain(|thread| !thread.is_finished());
                    threads.push(thread);
                }
                // It is tried again when the log has grown as much once more.
                Err(_) => {
                    log.base = log.len;
                    log.is_renewed = false;
                }
            }
        }
        Ok(())
    }

    /// Says under which name an object is to be found, or `None` that it has no durable one.
    pub(crate) fn name(self: &Arc<Self>, name: &str, object: Option<u64>) -> Result<(), Fault> {
        let (tells, before) = {
            let log = lock(&self.log);
            let object = object.filter(|object| log.objects.contains_key(object));
            let tells = object.map_or((Tells::Unnamed, 0), |object| (Tells::Named, object));
            (tells, log.names.contains_key(name))
        };
        let (tells, object) = tells;
        if tells == Tells::Unnamed && !before {
            return Ok(());
        }
        self.append(&[Frame { tells, object, name, rest: &[] }])
    }

    /// Whether the log says that the name is the object's.
    pub(crate) fn has_name(&self, name: &str, object: u64) -> bool {
        lock(&self.log).names.get(name) == Some(&object)
    }

    /// The last value of an object of a user's type that the log has.
    pub(super) fn last_whole(&self, object: u64) -> io::Result<Vec<u8>> {
        let log = lock(&self.log);
        let place = log.objects.get(&object).copied().flatten().ok_or(io::ErrorKind::NotFound)?;
        self.read(place)
    }

    /// Reads a frame of the log, which nobody changes meanwhile.
    pub(super) fn read(&self, place: Place) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(place.len).map_err(io::Error::other)?];
        let mut file = File::open(self.folder.join(LOG))?;
        file.seek(SeekFrom::Start(place.at))?;
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Whether all of these objects are durable; if not, what the caller is told.
    pub(super) fn check(&self, objects: &[u64]) -> Result<(), Fault> {
        self.check_all_but(0, objects)
    }

    /// As [`check`](Self::check), where one of them is about to be.
    pub(super) fn check_all_but(&self, one: u64, objects: &[u64]) -> Result<(), Fault> {
        let log = lock(&self.log);
        if objects.iter().all(|object| *object == one || log.objects.contains_key(object)) {
            return Ok(());
        }
        Err(Fault::refused(
            "a durable object can refer to durable ones only: make what you put into it durable first",
        ))
    }

    /// An object is no more.
    pub(super) fn forget(&self, object: u64) {
        let mut log = lock(&self.log);
        log.objects.remove(&object);
        if let Some(next) = &mut log.next {
            next.objects.remove(&object);
        }
    }

    /// How long the log is, and how many objects it has.
    pub(crate) fn info(&self) -> (u64, usize) {
        let log = lock(&self.log);
        (log.len, log.objects.len())
    }

    /// Whether an answer that is given now has to wait for the disk.
    pub(crate) fn holds_back(&self) -> bool {
        // ORDERING: see `append`.
        self.syncs && self.synced.load(Ordering::Acquire) < self.appended.load(Ordering::Acquire)
    }

    /// Whether the disk has refused, and nothing is brought to it any more.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.get().is_some()
    }

    /// Keeps an answer until the disk has all that was appended before; gives it back if the
    /// manager ends.
    pub(crate) fn hold(&self, answer: HeldAnswer) -> Option<HeldAnswer> {
        let mut held = lock(&self.held);
        if held.ends {
            return Some(answer);
        }
        held.answers.push(answer);
        // Who takes them takes all.
        let is_first = held.answers.len() == 1;
        drop(held);
        if is_first {
            self.wake.notify_one();
        }
        None
    }

    /// Whether an answer waits that the thread below has not taken yet.
    #[cfg(test)]
    pub(super) fn has_held(&self) -> bool {
        !lock(&self.held).answers.is_empty()
    }

    /// The life of a thread: one write to the disk for all answers that have come meanwhile.
    fn bring_to_disk(&self) {
        loop {
            let (answers, ends) = {
                let mut held = lock(&self.held);
                while held.answers.is_empty() && !held.ends {
                    held = self.wake.wait(held).unwrap_or_else(PoisonError::into_inner);
                }
                (std::mem::take(&mut held.answers), held.ends)
            };
            let sent = self.sync();
            let send = |answer: HeldAnswer| match &sent {
                Ok(()) => answer.deliver(),
                Err(fault) => answer.fail(fault.clone()),
            };
            answers.into_iter().filter_map(send).for_each(NotRead::give_back);
            if ends && lock(&self.held).answers.is_empty() {
                return;
            }
        }
    }

    fn sync(&self) -> Result<(), Fault> {
        #[cfg(test)]
        drop(lock(&self.gate));
        // What a failed write to the disk has left out, a later one does not bring.
        if let Some(why) = self.refused.get() {
            return Err(not_kept(why));
        }
        let (file, end) = {
            let log = lock(&self.log);
            (log.file.try_clone(), self.appended.load(Ordering::Acquire))
        };
        match file.and_then(|file| file.sync_data()) {
            Ok(()) => {
                // ORDERING: see `append`.
                self.synced.fetch_max(end, Ordering::Release);
                Ok(())
            }
            Err(error) => {
                let why = format!(
                    "the disk refused ({error}), and may have left out what the manager had written: end it, \
                     and start it again"
                );
                lock(&self.log).broken.get_or_insert_with(|| why.clone());
                Err(not_kept(self.refused.get_or_init(|| why)))
            }
        }
    }

    pub(super) fn syncs(&self) -> bool {
        self.syncs
    }
}

impl Log {
    fn append(&mut self, frames: &[Frame<'_>]) -> Result<(), Fault> {
        if let Some(why) = &self.broken {
            return Err(not_kept(why));
        }
        self.bytes.clear();
        let mut begins = Vec::with_capacity(frames.len());
        for frame in frames {
            begins.push(self.bytes.len());
            if !frame.write(&mut self.bytes) {
                self.bytes.clear();
                return Err(not_kept("it is too long for the log"));
            }
        }
        if let Err(error) = self.file.write_all(&self.bytes) {
            if self.file.set_len(self.len).is_err() {
                self.broken = Some(format!("the log has a part of a write in it: {error}"));
            }
            self.bytes.clear();
            return Err(not_kept(error));
        }
        begins.push(self.bytes.len());
        for (frame, ends) in frames.iter().zip(begins.windows(2)) {
            let place = Place { at: self.len + ends[0] as u64, len: (ends[1] - ends[0]) as u64 };
            note(&mut self.names, &mut self.objects, frame, place);
            if let Some(next) = &mut self.next
                && next.copy(frame, &self.bytes[ends[0]..ends[1]]).is_err()
            {
                // The old log goes on.
                self.next = None;
            }
        }
        self.len += self.bytes.len() as u64;
        Ok(())
    }
}

impl Next {
    /// Takes a frame of the old log over, unless what is yet to be written will contain it.
    fn copy(&mut self, frame: &Frame<'_>, bytes: &[u8]) -> io::Result<()> {
        if frame.tells == Tells::Changed && !self.objects.contains_key(&frame.object) {
            return Ok(());
        }
        let place = Place { at: self.len, len: bytes.len() as u64 };
        self.write(bytes)?;
        note(&mut HashMap::new(), &mut self.objects, frame, place);
        Ok(())
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.len += bytes.len() as u64;
        Ok(())
    }
}

/// What a frame means for those who look for something.
fn note(
    names: &mut HashMap<String, u64>,
    objects: &mut HashMap<u64, Option<Place>>,
    frame: &Frame<'_>,
    place: Place,
) {
    match frame.tells {
        Tells::Made => drop(objects.insert(frame.object, None)),
        Tells::Whole => drop(objects.insert(frame.object, Some(place))),
        Tells::Named => drop(names.insert(frame.name.to_owned(), frame.object)),
        Tells::Unnamed => drop(names.remove(frame.name)),
        Tells::Changed => {}
    }
}

pub(crate) fn not_kept(why: impl fmt::Display) -> Fault {
    FaultKind::NotKept(why.to_string()).into()
}

const LOG: &str = "log";
const NEXT: &str = "log.next";
const LOCK: &str = "lock";
/// What was cut off the end of a log.
const CUT: &str = "log.cut";

/// Makes a log without frames.
pub(super) fn create(folder: &Path, name: &str) -> io::Result<File> {
    let path = folder.join(name);
    let making = folder.join(NEXT);
    // What a server has left that was killed while it made one.
    let _ = fs::remove_file(&making);
    let mut file = File::options().read(true).append(true).create_new(true).open(&making)?;
    file.write_all(MAGIC)?;
    file.write_all(&FORMAT.to_le_bytes())?;
    if path != making {
        file.sync_all()?;
        fs::rename(&making, &path)?;
        sync_folder(folder)?;
    }
    Ok(file)
}

pub(super) fn create_next(folder: &Path) -> io::Result<File> {
    create(folder, NEXT)
}

/// A new log that nobody wants is not to take the room that there is.
pub(super) fn discard_next(folder: &Path) {
    let _ = fs::remove_file(folder.join(NEXT));
}

/// Puts the new log in the place of the old one.
pub(super) fn replace(folder: &Path) -> io::Result<()> {
    fs::rename(folder.join(NEXT), folder.join(LOG))
}

/// Where a folder cannot be opened as a file it needs no such care.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder) {
        Ok(folder) => folder.sync_all(),
        Err(_) => Ok(()),
    }
}

fn hold(folder: &Path) -> Result<File, StateError> {
    let failed = |error| StateError::io(folder, error);
    let file = File::options().write(true).create(true).truncate(false).open(folder.join(LOCK));
    let file = file.map_err(failed)?;
    let until = Instant::now() + PARTING;
    while !FileExt::try_lock_exclusive(&file).map_err(failed)? {
        if Instant::now() >= until {
            return Err(StateError::Locked(folder.to_owned()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(file)
}

fn check_head(file: &mut File, folder: &Path) -> Result<(), StateError> {
    let mut head = [0; HEAD as usize];
    file.seek(SeekFrom::Start(0)).map_err(|error| StateError::io(folder, error))?;
    match file.read_exact(&mut head) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(StateError::Foreign(folder.to_owned()));
        }
        Err(error) => return Err(StateError::io(folder, error)),
    }
    let (magic, format) = head.split_at(MAGIC.len());
    match format.try_into().map(u32::from_le_bytes) {
        _ if magic != MAGIC => Err(StateError::Foreign(folder.to_owned())),
        Ok(FORMAT) => Ok(()),
        Ok(format) => Err(StateError::Format(folder.to_owned(), format)),
        Err(_) => Err(StateError::Foreign(folder.to_owned())),
    }
}

/// Looks through a log, and cuts off the rest of a write that was not whole.
fn look(file: &File, folder: &Path) -> Result<(Found, u64), StateError> {
    let failed = |error| StateError::io(folder, error);
    let log = File::open(folder.join(LOG)).map_err(failed)?;
    let mut frames = Frames::of(log).map_err(failed)?;
    let (mut names, mut objects) = (HashMap::new(), HashMap::new());
    while let Some((place, frame)) = frames.next().map_err(|error| unread(folder, error))? {
        note(&mut names, &mut objects, &frame, place);
    }
    let end = frames.end();
    cut_off(file, folder, end).map_err(failed)?;
    // A name of an object that is no more is none.
    let known: HashSet<u64> = objects.keys().copied().collect();
    names.retain(|_, object| known.contains(object));
    Ok((Found { objects, names }, end))
}

/// Keeps what stands behind `end` in a file of its own.
fn cut_off(file: &File, folder: &Path, end: u64) -> io::Result<()> {
    if file.metadata()?.len() > end {
        let mut rest = File::open(folder.join(LOG))?;
        rest.seek(SeekFrom::Start(end))?;
        io::copy(&mut rest, &mut File::create(folder.join(CUT))?)?;
        file.set_len(end)?;
        file.sync_all()?;
    }
    Ok(())
}

/// The error of a start that could not read the log.
pub(super) fn unread(folder: &Path, error: ReadError) -> StateError {
    match error {
        ReadError::Io(error) => StateError::io(folder, error),
        ReadError::Unknown(at) => damaged(folder, at, "this version does not know it"),
        ReadError::Broken(at) => damaged(folder, at, "its checksum does not hold, and whole steps follow it"),
    }
}

/// The error of a start that could not do again what the log says.
pub(super) fn damaged(folder: &Path, at: u64, why: impl fmt::Display) -> StateError {
    StateError::Damaged(folder.join(LOG), at, why.to_string())
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("folder", &self.folder).finish_non_exhaustive()
    }
}
