//! One thread that notices the end of peers, for those who sleep where the
//! kernel would not tell them: on a word of shared memory.
//!
//! It starts when the first of them goes to sleep, and sleeps in the kernel
//! itself. A peer is gone when every copy of its end of a socket is closed, or
//! when the process that says it holds the end has ended, whatever copies a
//! forked sibling of it may have.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::raw::{self, Settled};
use crate::sys::poll::Interest;
use crate::sys::process;
use crate::sys::set::Set;

/// Somebody whose peer may die.
pub(crate) trait Watched: Send + Sync {
    /// Becomes ready when the peer has closed its last copy of the connection.
    fn hangup(&self) -> Interest<'_>;

    /// The peer is gone: nobody holds its end of the connection any more.
    fn gone(&self);

    /// A process that it followed has ended. Whom it is to follow instead, if that one is
    /// not the peer any more.
    fn ended(&self, name: Name) -> Option<Name>;
}

/// A process for ever: its id and start time. An id of zero is no process known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Name {
    pub(crate) id: u32,
    pub(crate) started: u64,
}

impl Name {
    /// From the word of a [`ProcessId`](crate::raw::ProcessId).
    pub(crate) fn from_word(word: u64) -> Self {
        Self { id: (word >> 32) as u32, started: word & STARTED }
    }

    /// Whether it has ended, as far as can be told.
    pub(crate) fn has_ended(self) -> bool {
        matches!(open(self), Ok(None))
    }
}

/// As much of a start time as a word holds; it comes again after more than a year.
const STARTED: u64 = 0xffff_ffff;

/// A place among the watched; given back with [`Ticket::leave`].
#[derive(Debug)]
pub(crate) struct Ticket {
    watcher: &'static Watcher,
    number: u64,
}

/// Has `entry` told when its peer is gone.
pub(crate) fn add(entry: &Arc<impl Watched + 'static>) -> io::Result<Ticket> {
    let watcher = watcher()?;
    let mut state = watcher.lock();
    let number = state.number();
    watcher.set.add(entry.hangup(), number)?;
    state.entries.insert(number, Entry(Arc::downgrade(entry) as _));
    Ok(Ticket { watcher, number })
}

impl Ticket {
    /// The peer is held by `name` from now on; `false` if that process has ended.
    pub(crate) fn follow(&self, name: Name) -> io::Result<bool> {
        self.watcher.follow(self.number, name, Others::Forget)
    }

    /// As [`follow`](Self::follow), beside those that it follows already.
    pub(crate) fn follow_too(&self, name: Name) -> io::Result<bool> {
        self.watcher.follow(self.number, name, Others::Keep)
    }

    /// Watches no more; `hangup` is what the entry was added with.
    pub(crate) fn leave(self, hangup: Interest<'_>) {
        // A forked child has the ticket, but the place is its parent's.
        if self.watcher.owner != process::current_id() {
            return;
        }
        let mut state = self.watcher.lock();
        self.watcher.set.remove(hangup);
        state.unfollow(&self.watcher.set, self.number);
        state.entries.remove(&self.number);
    }
}

/// Opens a watch; `None` if the process has ended.
fn open(name: Name) -> io::Result<Option<process::Watch>> {
    let watch = match process::Watch::open(name.id) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    // The id may have been given to another process before the watch was opened.
    let differs = |started: u64| (started ^ name.started) & STARTED != 0;
    let is_other = process::start_time(name.id).is_ok_and(differs);
    Ok((!is_other).then_some(watch))
}

/// What becomes of those that somebody followed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Others {
    Forget,
    Keep,
}

#[derive(Debug)]
struct Watcher {
    /// The process whose thread it is: a forked child has none, and begins the next.
    owner: u32,
    set: Set,
    state: Mutex<State>,
    next: Link,
}

type Link = Settled<Watcher>;

#[derive(Debug, Default)]
struct State {
    runs: bool,
    last_number: u64,
    entries: HashMap<u64, Entry>,
    processes: HashMap<Name, Process>,
}

#[derive(Debug)]
struct Process {
    watch: process::Watch,
    number: u64,
    followers: Vec<u64>,
}

struct Entry(Weak<dyn Watched>);

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entry")
    }
}

/// The watcher of this process, with its thread.
fn watcher() -> io::Result<&'static Watcher> {
    static FIRST: Link = Settled::new();
    let mut link = &FIRST;
    let watcher = loop {
        match link.get() {
            Some(watcher) if watcher.owner == process::current_id() => break watcher,
            Some(inherited) => link = &inherited.next,
            None => {
                // Another thread's may get there first, which is as good.
                link.settle(Watcher::new()?);
            }
        }
    };
    watcher.run()?;
    Ok(watcher)
}

impl Watcher {
    fn new() -> io::Result<Self> {
        Ok(Self {
            owner: process::current_id(),
            set: Set::new()?,
            state: Mutex::default(),
            next: Settled::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&'static self) -> io::Result<()> {
        let mut state = self.lock();
        if !state.runs {
            let thread = std::thread::Builder::new().name("ipc-core-watch".into()).stack_size(128 * 1024);
            raw::start_thread(thread, || self.watch())?;
            state.runs = true;
        }
        Ok(())
    }

    fn watch(&self) {
        loop {
            // No error of the kernel here is one that another try could not mend.
            for number in self.set.wait(None).unwrap_or_default() {
                self.fired(number);
            }
        }
    }

    fn fired(&self, number: u64) {
        let mut state = self.lock();
        if let Some(entry) = state.entries.get(&number).and_then(|entry| entry.0.upgrade()) {
            drop(state);
            entry.gone();
            return;
        }
        let Some((name, followers)) = state.end_process(&self.set, number) else {
            return;
        };
        drop(state);
        for (number, entry) in followers {
            if let Some(other) = entry.ended(name) {
                let _ = self.follow(number, other, Others::Forget);
            }
        }
    }

    fn follow(&self, follower: u64, name: Name, others: Others) -> io::Result<bool> {
        let mut state = self.lock();
        if others == Others::Forget {
            state.unfollow(&self.set, follower);
        }
        if name.id == 0 || name.id == process::current_id() {
            return Ok(true);
        }
        if !state.processes.contains_key(&name) {
            let Some(watch) = open(name)? else {
                return Ok(false);
            };
            let number = state.number();
            self.set.add(watch.interest(), number)?;
            let process = Process { watch, number, followers: Vec::new() };
            state.processes.insert(name, process);
        }
        if let Some(process) = state.processes.get_mut(&name)
            && !process.followers.contains(&follower)
        {
            process.followers.push(follower);
        }
        Ok(true)
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Closes the watches that nobody needs any more.
    fn unfollow(&mut self, set: &Set, follower: u64) {
        self.processes.retain(|_, process| {
            let before = process.followers.len();
            process.followers.retain(|number| *number != follower);
            let is_needed = before == 0 || !process.followers.is_empty();
            if !is_needed {
                set.remove(process.watch.interest());
            }
            is_needed
        });
    }

    /// The process whose watch is `number` has ended: who followed it?
    fn end_process(&mut self, set: &Set, number: u64) -> Option<(Name, Vec<Follower>)> {
        let (name, _) = self.processes.iter().find(|(_, one)| one.number == number)?;
        let name = *name;
        let process = self.processes.remove(&name)?;
        set.remove(process.watch.interest());
        let entry = |number: &u64| Some((*number, self.entries.get(number)?.0.upgrade()?));
        Some((name, process.followers.iter().filter_map(entry).collect()))
    }
}

type Follower = (u64, Arc<dyn Watched>);
