//! What a process holds: handles, processes below it, names in shared memory.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use crate::chaos::Descendant;
use crate::sys::{handles, names, tag};

/// How often a level is looked for: children are reaped and links closed by threads. Looks are
/// counted and not time, most of which may go by while the machine does something else.
const LOOKS: u32 = 200;
/// For how long it is looked for at least by those for whom a level that does not come is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How long is slept between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// A count of what this process holds, to compare with a later one.
///
/// Processes are all that descend from this one, zombies included, and in a suite also those
/// whose parents are gone. What the census itself opens is left out, and so are names in
/// shared memory that are other programs': those which they hold while it looks, those of
/// other users than run the suite, and those that only one program makes and leaves behind.
#[derive(Debug, Clone)]
pub struct Census {
    handles: Vec<OpenHandle>,
    processes: Vec<Descendant>,
    names: BTreeSet<String>,
}

impl Census {
    /// Counts what is there now.
    pub fn take() -> Census {
        let me = process::id();
        let mut processes = tag::family(me);
        processes.retain(|member| member.pid != me);
        Census { handles: handles::open(), processes, names: names::shared_memory() }
    }

    /// The open handles, by number.
    pub fn handles(&self) -> &[OpenHandle] {
        &self.handles
    }

    /// The processes below this one, zombies and orphans included.
    pub fn processes(&self) -> &[Descendant] {
        &self.processes
    }

    /// The names in shared memory, of this and of all other programs.
    pub fn names(&self) -> &BTreeSet<String> {
        &self.names
    }

    /// What is there now and was not there at this census.
    pub fn diff(&self) -> Leaks {
        let now = Census::take();
        Leaks {
            handles: self.new_handles(now.handles),
            processes: self.new_processes(now.processes),
            names: self.new_names(&now.names),
        }
    }

    /// Waits for the level of this census to come back: for two seconds, or longer on a machine
    /// that is busy.
    ///
    /// # Errors
    ///
    /// What is still there after that and was not there at this census.
    pub fn level(&self) -> Result<(), Leaks> {
        self.level_in(Duration::ZERO)
    }

    /// As [`level`](Census::level), for so long at least.
    pub(crate) fn level_in(&self, at_least: Duration) -> Result<(), Leaks> {
        let begun = Instant::now();
        for _ in (1..).take_while(|look| *look < LOOKS || begun.elapsed() < at_least) {
            if self.diff().is_empty() {
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
        let leaks = self.diff();
        if leaks.is_empty() { Ok(()) } else { Err(leaks) }
    }

    /// As [`level`](Census::level), for tests, and for ten seconds at least.
    ///
    /// # Panics
    ///
    /// When something is left over; the message lists it.
    #[track_caller]
    pub fn assert_level(&self) {
        if let Err(leaks) = self.level_in(PATIENCE) {
            panic!("{leaks}");
        }
    }

    /// Handles of a kind of which there are more than before. The kind is compared and not the
    /// handle, so that a socket that replaced another is no leak.
    fn new_handles(&self, now: Vec<OpenHandle>) -> Vec<OpenHandle> {
        let before = count_by_kind(&self.handles);
        let after = count_by_kind(&now);
        let rose = |kind: &str| after.get(kind) > before.get(kind);
        let is_new = |handle: &OpenHandle| rose(handle.kind()) && !self.handles.contains(handle);
        now.iter().filter(|handle| is_new(handle)).cloned().collect()
    }

    /// Names that are there and were not, but for those that no process of this suite has
    /// made, as far as they tell, and those that a process outside it holds.
    fn new_names(&self, now: &BTreeSet<String>) -> Vec<String> {
        let mut new: Vec<String> = now.difference(&self.names).cloned().collect();
        new.retain(|name| names::may_be_ours(name));
        if !new.is_empty() {
            let strangers = tag::strangers(process::id());
            new.retain(|name| !strangers.iter().any(|stranger| names::is_held_by(name, stranger.pid)));
        }
        new
    }

    fn new_processes(&self, now: Vec<Descendant>) -> Vec<Descendant> {
        let known = |member: &Descendant| self.processes.iter().any(|old| old.is_same(member));
        let lives = |old: &Descendant| now.iter().any(|member| member.is_same(old));
        // A server of forks that took the place of another is no leak.
        let mut replaced = self.processes.iter().filter(|old| is_server(old) && !lives(old)).count();
        let mut takes_a_place = |member: &Descendant| {
            let takes = is_server(member) && replaced > 0;
            replaced -= usize::from(takes);
            takes
        };
        let mut is_new = |member: &Descendant| !known(member) && !is_spare(member) && !takes_a_place(member);
        now.iter().filter(|member| is_new(member)).cloned().collect()
    }
}

/// Whether it is the child that a server of forks keeps ready for this process: each start
/// replaces it by another one.
fn is_spare(member: &Descendant) -> bool {
    member.name == "mp-fork-spare" && member.parent == process::id() && !member.is_zombie()
}

/// Whether it is a server of forks of this process, alive.
fn is_server(member: &Descendant) -> bool {
    member.name == "mp-fork-server" && member.parent == process::id() && !member.is_zombie()
}

/// A handle and what it stands for, as the kernel names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenHandle {
    /// The number of the handle in this process.
    pub number: u32,
    /// A path, or a name like `socket:[4711]`.
    pub target: String,
}

impl OpenHandle {
    /// `socket` of `socket:[4711]`; the whole target where it has no number in it.
    fn kind(&self) -> &str {
        match self.target.split_once(":[") {
            Some((kind, rest)) if rest.starts_with(|c: char| c.is_ascii_digit()) => kind,
            _ => &self.target,
        }
    }
}

/// What was left over between two censuses.
#[derive(Debug, Clone, Default)]
pub struct Leaks {
    /// Handles that are open and were not, of kinds of which there are more than before.
    pub handles: Vec<OpenHandle>,
    /// Processes that are there and were not.
    pub processes: Vec<Descendant>,
    /// Names in shared memory that are there and were not.
    pub names: Vec<String>,
}

impl Leaks {
    /// Whether nothing was left over.
    pub fn is_empty(&self) -> bool {
        self.handles.is_empty() && self.processes.is_empty() && self.names.is_empty()
    }
}

impl fmt::Display for Leaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing is left over");
        }
        f.write_str("left over:")?;
        for handle in &self.handles {
            write!(f, "\n  handle {}: {}", handle.number, handle.target)?;
        }
        for process in &self.processes {
            write!(f, "\n  process {process}")?;
        }
        for name in &self.names {
            write!(f, "\n  shared memory {name}")?;
        }
        Ok(())
    }
}

impl Error for Leaks {}

fn count_by_kind(handles: &[OpenHandle]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for handle in handles {
        *counts.entry(handle.kind()).or_default() += 1;
    }
    counts
}
