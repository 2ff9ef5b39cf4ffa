//! Who a process and a thread are, also after a fork.

use std::cell::Cell;
use std::fmt;
use std::io;

use crate::sys::{Handle, identity, process};

/// A process, for ever: its id, which is given out again, with its time of birth.
///
/// It fits a word of shared memory; zero is nobody.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProcessId(u64);

impl ProcessId {
    /// This process.
    ///
    /// # Errors
    /// What the system says, for one that `/proc` is not there.
    pub fn current() -> io::Result<Self> {
        let thread = ThreadId::current();
        match PROCESS.get() {
            (known, id) if known == thread => Ok(id),
            _ => {
                let id = Self::new(thread.process(), process::start_time(thread.process())?);
                PROCESS.set((thread, id));
                Ok(id)
            }
        }
    }

    fn new(id: u32, started: u64) -> Self {
        // The low half of the start time repeats after more than a year.
        Self((u64::from(id) << 32) | (started & 0xffff_ffff))
    }

    /// As one word.
    #[must_use]
    pub fn to_word(self) -> u64 {
        self.0
    }

    /// From the word that [`to_word`](Self::to_word) made; `None` for zero.
    #[must_use]
    pub fn from_word(word: u64) -> Option<Self> {
        (word != 0).then_some(Self(word))
    }

    /// The system's id of it.
    #[must_use]
    pub fn id(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Whether it has not ended. One that has ended and waits to be reaped does not
    /// live; one of which that cannot be told, for want of a descriptor, does.
    #[must_use]
    pub fn is_alive(self) -> bool {
        self.watch().map_or_else(|_| self.exists(), |watch| watch.is_some())
    }

    /// Whether it has ended, quickly: one whose id has been given out again meanwhile
    /// counts as living.
    #[must_use]
    pub fn has_ended(self) -> bool {
        match process::Watch::open(self.id()) {
            Ok(watch) => has_fired(&watch),
            Err(_) => !self.exists(),
        }
    }

    /// A handle that names it, whoever has its id later, and becomes readable at its end; `None` if it has
    /// ended.
    ///
    /// # Errors
    /// What the system says, for one that this process has no descriptor left.
    pub fn open(self) -> io::Result<Option<Handle>> {
        Ok(self.watch()?.map(process::Watch::into_handle))
    }

    /// A watch on it, if it lives.
    pub(super) fn watch(self) -> io::Result<Option<process::Watch>> {
        let watch = match process::Watch::open(self.id()) {
            Ok(watch) => watch,
            Err(error) => return if self.exists() { Err(error) } else { Ok(None) },
        };
        if has_fired(&watch) {
            return Ok(None);
        }
        // The id may have been given to another process meanwhile.
        match process::start_time(self.id()) {
            Ok(started) if Self::new(self.id(), started) == self => Ok(Some(watch)),
            Ok(_) => Ok(None),
            Err(_) if has_fired(&watch) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether there is such a process, if only one that waits to be reaped.
    fn exists(self) -> bool {
        identity::thread_exists(self.id(), self.id())
    }
}

pub(super) fn has_fired(watch: &process::Watch) -> bool {
    crate::sys::poll::poll_one(watch.interest(), crate::deadline::now()).is_ok_and(|has_fired| has_fired)
}

impl fmt::Debug for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.id())
    }
}

/// A thread of a process of this machine; it fits a word, and zero is nobody.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ThreadId(u64);

impl ThreadId {
    /// This thread.
    #[inline]
    #[must_use]
    pub fn current() -> Self {
        THREAD.with(|own| {
            if own.generation.get() != fork_generation() {
                own.renew();
            }
            own.id.get()
        })
    }

    /// As one word.
    #[inline]
    #[must_use]
    pub fn to_word(self) -> u64 {
        self.0
    }

    /// From the word that [`to_word`](Self::to_word) made; `None` for zero.
    #[must_use]
    pub fn from_word(word: u64) -> Option<Self> {
        (word != 0).then_some(Self(word))
    }

    /// The system's id of its process.
    #[must_use]
    pub fn process(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The system's id of it.
    #[must_use]
    pub fn thread(self) -> u32 {
        self.0 as u32
    }

    /// Whether such a thread runs now.
    #[must_use]
    pub fn is_alive(self) -> bool {
        identity::thread_exists(self.process(), self.thread())
    }
}

impl fmt::Debug for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}, thread {}", self.process(), self.thread())
    }
}

/// A number that changes in the child of every fork, so that what belongs to a
/// process can tell that it is not in that process any more.
#[inline]
#[must_use]
pub fn fork_generation() -> u32 {
    identity::generation()
}

/// A number that changes in parent and child with every fork: what was made under
/// another one may be in use by both.
#[must_use]
pub fn fork_epoch() -> u32 {
    identity::epoch()
}

/// To be called first in a process that was forked by other means than the C
/// library's `fork`, which tells of it by itself.
pub fn note_fork() {
    identity::note_fork();
}

/// What a thread knows of itself.
struct Own {
    generation: Cell<u32>,
    id: Cell<ThreadId>,
    /// How many robust mutexes it holds.
    held: Cell<u32>,
}

impl Own {
    #[cold]
    fn renew(&self) {
        // The forked child of a thread that held mutexes holds none.
        self.held.set(0);
        let (process, thread) = (process::current_id(), identity::current_thread());
        self.id.set(ThreadId((u64::from(process) << 32) | u64::from(thread)));
        self.generation.set(fork_generation());
    }
}

thread_local! {
    static THREAD: Own = const {
        Own { generation: Cell::new(0), id: Cell::new(ThreadId(0)), held: Cell::new(0) }
    };
    static PROCESS: Cell<(ThreadId, ProcessId)> = const { Cell::new((ThreadId(0), ProcessId(0))) };
}

/// One mutex more; how many that makes.
#[inline]
pub(super) fn raise_held() -> u32 {
    THREAD.with(|own| {
        if own.generation.get() != fork_generation() {
            own.renew();
        }
        own.held.set(own.held.get() + 1);
        own.held.get()
    })
}

/// One mutex less.
#[inline]
pub(super) fn lower_held() {
    THREAD.with(|own| own.held.set(own.held.get().saturating_sub(1)));
}
