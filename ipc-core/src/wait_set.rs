//! Waiting for many again and again, at a cost that does not grow with their number.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::deadline;
use crate::link::Link;
use crate::raw::fork_generation;
use crate::sys::set::{Place, Set};
use crate::sys::stream::Stream;
use crate::wait::{Arm, Waitable};

/// Things to wait for that stay, each under a key.
///
/// [`wait`](crate::wait) is told anew each time what to wait for, and looks at all of
/// it. A set keeps it: a wait costs what is ready, not what is watched, so that one
/// thread may watch ten thousand clients. What is ready and not seen to is told again
/// by the next wait. Threads may share a set, and add and remove while others wait.
///
/// The set holds what is in it. A channel end is taken out before it moves to another
/// process. A fork of the process must not use its parent's set.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use ipc_core::{WaitSet, pipe};
///
/// let set = WaitSet::new()?;
/// let (to_a, a) = pipe::<u32>()?;
/// let (_to_b, b) = pipe::<u32>()?;
/// let a = Arc::new(a);
/// set.add(10, Arc::clone(&a))?;
/// set.add(11, Arc::new(b))?;
/// assert!(set.wait(Some(Duration::ZERO))?.is_empty());
/// to_a.send(&7)?;
/// assert_eq!(set.wait(None)?, [10]);
/// assert_eq!(set.wait(None)?, [10], "waiting takes nothing");
/// assert_eq!(a.recv()?, 7);
/// assert!(set.wait(Some(Duration::ZERO))?.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "epoll")]
#[doc(alias = "selectors")]
pub struct WaitSet {
    kernel: Set,
    shared: Arc<Shared>,
    state: RwLock<State>,
    /// What is not armed, and is looked at by the next wait: new things, and what was ready.
    unarmed: Mutex<Vec<u64>>,
    waiting: AtomicUsize,
    generation: u32,
}

/// Something to wait for that is ready when a link has room for more to be sent.
///
/// A pipe or socket tells of it; a ring does not, and there is none of it.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use ipc_core::link::PipeLink;
/// use ipc_core::{Room, Sender, WaitSet};
///
/// let (link, _rx) = PipeLink::pair()?;
/// let link = Arc::new(link);
/// let tx = Sender::<u32>::over(Arc::clone(&link));
/// let set = WaitSet::new()?;
/// let room = Room::of(link).expect("a pipe tells when it has room");
/// set.add(1, Arc::new(room))?;
/// assert_eq!(set.wait(None)?, [1]);
/// tx.try_send(&7)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Room<L>(L);

impl<L: Link> Room<L> {
    /// That of `link`, if the link tells when there is some ([`Link::arm_room`]).
    pub fn of(link: L) -> Option<Self> {
        let tells = link.arm_room(&mut Arm::default());
        tells.then_some(Self(link))
    }

    /// The link.
    pub fn link(&self) -> &L {
        &self.0
    }
}

impl<L: Link> Waitable for Room<L> {
    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        self.0.arm_room(arm);
    }
}

/// Something to wait for that is ready when a link's peer has ended the connection, and not when
/// it has said something.
///
/// A connection over TCP tells of it.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use ipc_core::link::TcpLink;
/// use ipc_core::{Handle, Packet, PeerEnd, wait};
/// use ipc_core::link::Link;
///
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let far = std::net::TcpStream::connect(listener.local_addr()?)?;
/// let link = TcpLink::from_handle(Handle::from(std::os::fd::OwnedFd::from(far)));
/// let near = TcpLink::from_handle(Handle::from(std::os::fd::OwnedFd::from(listener.accept()?.0)));
/// let end = PeerEnd::of(Arc::new(link)).expect("a connection over TCP tells");
/// near.send(&mut Packet::new(), None)?;
/// assert!(wait(&[&end], Some(Duration::ZERO))?.is_empty(), "a message is no end");
/// drop(near);
/// assert_eq!(wait(&[&end], None)?, [0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct PeerEnd<L>(L);

impl<L: Link> PeerEnd<L> {
    /// That of the peer of `link`, if the link tells of it ([`Link::arm_end`]).
    pub fn of(link: L) -> Option<Self> {
        let tells = link.arm_end(&mut Arm::default());
        tells.then_some(Self(link))
    }
}

impl<L: Link> Waitable for PeerEnd<L> {
    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        self.0.arm_end(arm);
    }
}

/// Numbers are given to things in the order in which they come, and never again.
#[derive(Default)]
struct State {
    last_number: u64,
    numbers: HashMap<u64, u64>,
    entries: HashMap<u64, Arc<Entry>>,
}

struct Entry {
    key: u64,
    item: Arc<dyn Waitable + Send + Sync>,
    watch: Mutex<Watch>,
}

#[derive(Default)]
struct Watch {
    places: Vec<Place>,
    armed: Option<Arc<Nudge>>,
    is_removed: bool,
}

/// What others than the set's own threads reach.
struct Shared {
    bell: Stream,
    ear: Stream,
    nudged: Mutex<Vec<u64>>,
}

/// How a link says that it has taken a bell from the kernel which the set was to see.
pub(crate) struct Nudge {
    number: u64,
    is_armed: AtomicBool,
    shared: Arc<Shared>,
}

/// The number under which the kernel reports the set's own bell.
const BELL: u64 = 0;

impl WaitSet {
    /// An empty set. It takes three handles of the system.
    ///
    /// # Errors
    /// What the system says: no descriptors.
    pub fn new() -> io::Result<Self> {
        let (ear, bell) = Stream::pipe_pair()?;
        let shared = Arc::new(Shared { bell, ear, nudged: Mutex::default() });
        let kernel = Set::new()?;
        kernel.keep(shared.ear.readable(), BELL)?;
        Ok(Self {
            kernel,
            shared,
            state: RwLock::new(State { last_number: BELL, ..State::default() }),
            unarmed: Mutex::default(),
            waiting: AtomicUsize::new(0),
            generation: fork_generation(),
        })
    }

    /// Watches `item` from now on, also in waits that are under way.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if there is something under `key`, or what the
    /// system says.
    pub fn add<W: Waitable + Send + Sync + 'static>(&self, key: u64, item: Arc<W>) -> io::Result<()> {
        self.check_process()?;
        let entry = Arc::new(Entry { key, item, watch: Mutex::default() });
        let number = {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            if state.numbers.contains_key(&key) {
                let text = "there is something under this key: remove it first, or choose another one";
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
            }
            state.last_number += 1;
            let number = state.last_number;
            state.numbers.insert(key, number);
            state.entries.insert(number, Arc::clone(&entry));
            number
        };
        // Armed here for the sake of the error, and looked at by the next wait.
        let armed = self.arm(number, &entry);
        armed.inspect_err(|_| {
            self.remove(key);
        })?;
        self.look_again([number]);
        Ok(())
    }

    /// Watches what is under `key` no more; `false` if there is nothing. A wait under
    /// way in another thread may still name it.
    pub fn remove(&self, key: u64) -> bool {
        if self.check_process().is_err() {
            return false;
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let entry = state.numbers.remove(&key).and_then(|number| state.entries.remove(&number));
        drop(state);
        let Some(entry) = entry else { return false };
        self.let_go(&entry);
        true
    }

    /// How many things it watches.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.read().unwrap_or_else(PoisonError::into_inner).entries.len()
    }

    /// Whether it watches nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until at least one thing is ready, and says the keys of those that are, in
    /// no order: of many that are ready a part, and of the others the next time.
    ///
    /// With a timeout, the list is empty if it passed first; a timeout of zero looks
    /// without waiting, and `None` waits for ever, also while the set is empty.
    ///
    /// # Errors
    /// What the system says, for one that memory is short.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<Vec<u64>> {
        self.wait_deadline(timeout.and_then(deadline::after))
    }

    /// As [`wait`](Self::wait), until an instant: for loops that wait again and again.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_deadline(&self, deadline: Option<Instant>) -> io::Result<Vec<u64>> {
        self.check_process()?;
        let _waiting = Waiting::begin(self);
        loop {
            let ready = self.look(deadline)?;
            if !ready.is_empty() || deadline::expired(deadline) {
                return Ok(ready);
            }
        }
    }

    /// One round: arm what is not armed, ask the kernel, and disarm what is ready.
    fn look(&self, deadline: Option<Instant>) -> io::Result<Vec<u64>> {
        let mut ready = self.arm_the_unarmed()?;
        let fired = self.kernel.wait(if ready.is_empty() { deadline } else { deadline::now() });
        let fired = fired.inspect_err(|_| lock(&self.unarmed).extend(&ready))?;
        if fired.contains(&BELL) {
            self.hear();
        }
        // A thing may be known to be ready and told of by the kernel too, and by two handles.
        ready.extend(fired.into_iter().filter(|number| *number != BELL));
        ready.sort_unstable();
        ready.dedup();
        let mut keys = Vec::with_capacity(ready.len());
        for number in &ready {
            let Some(entry) = self.entry(*number) else { continue };
            // A bell that rang for an item which knows its own state is only a reason to look.
            if entry.item.is_ready() != Some(false) {
                keys.push(entry.key);
            }
            entry.disarm();
        }
        lock(&self.unarmed).extend(ready);
        Ok(keys)
    }

    /// Arms what the last wait found ready and what is new; those that are ready now.
    fn arm_the_unarmed(&self) -> io::Result<Vec<u64>> {
        let mut unarmed = std::mem::take(&mut *lock(&self.unarmed));
        unarmed.sort_unstable();
        unarmed.dedup();
        let mut ready = Vec::new();
        for number in &unarmed {
            let Some(entry) = self.entry(*number) else { continue };
            let armed = self.arm(*number, &entry);
            if armed.inspect_err(|_| lock(&self.unarmed).extend(&unarmed))? {
                ready.push(*number);
            }
        }
        Ok(ready)
    }

    /// Has the kernel, or the peer, tell of the entry from now on; whether it is ready already.
    fn arm(&self, number: u64, entry: &Entry) -> io::Result<bool> {
        let mut watch = lock(&entry.watch);
        if watch.is_removed {
            return Ok(false);
        }
        if watch.armed.is_none() {
            let nudge = Arc::new(Nudge::new(number, &self.shared));
            watch.armed = Some(Arc::clone(&nudge));
            let mut arm = Arm::nudged_by(nudge);
            entry.item.arm(&mut arm);
            self.keep(number, &mut watch, arm)?;
        }
        // Looked at after arming, so that what came in between is seen here or rings.
        let is_always_ready = watch.places.iter().any(Place::is_always_ready);
        Ok(is_always_ready || entry.item.is_ready() == Some(true))
    }

    /// Most things name the same handles each time, and then the kernel need not be told.
    fn keep(&self, number: u64, watch: &mut Watch, arm: Arm<'_>) -> io::Result<()> {
        let interests: Vec<_> = arm.interests().collect();
        let places = &mut watch.places;
        places.retain(|place| {
            let is_named = interests.iter().any(|interest| place.is_of(*interest));
            if !is_named {
                self.kernel.forget(place);
            }
            is_named
        });
        for interest in interests {
            if !places.iter().any(|place| place.is_of(interest)) {
                places.push(self.kernel.keep(interest, number)?);
            }
        }
        Ok(())
    }

    fn let_go(&self, entry: &Entry) {
        entry.disarm();
        let mut watch = lock(&entry.watch);
        watch.is_removed = true;
        watch.places.drain(..).for_each(|place| self.kernel.forget(&place));
    }

    /// Takes the bell off, and with it the numbers for which it rang.
    fn hear(&self) {
        let mut bytes = [0; 64];
        while let Ok(Some(1..)) = self.shared.ear.try_read(&mut bytes, &mut Vec::new(), &mut false) {}
        let nudged = std::mem::take(&mut *lock(&self.shared.nudged));
        for number in &nudged {
            if let Some(entry) = self.entry(*number) {
                entry.disarm();
            }
        }
        lock(&self.unarmed).extend(nudged);
    }

    /// Has the next wait look at these, and one that is under way.
    fn look_again(&self, numbers: impl IntoIterator<Item = u64>) {
        lock(&self.unarmed).extend(numbers);
        // ORDERING: a waiter counts itself before it looks at the list.
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.shared.ring();
        }
    }

    fn entry(&self, number: u64) -> Option<Arc<Entry>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).entries.get(&number).cloned()
    }

    fn check_process(&self) -> io::Result<()> {
        if self.generation == fork_generation() {
            return Ok(());
        }
        Err(io::Error::other("a wait set is its process's own: a fork makes one for itself"))
    }
}

impl Drop for WaitSet {
    fn drop(&mut self) {
        // What a fork copied is watched by its parent.
        if self.check_process().is_err() {
            return;
        }
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let entries = std::mem::take(&mut state.entries);
        entries.values().for_each(|entry| self.let_go(entry));
    }
}

impl fmt::Debug for WaitSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitSet").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Entry {
    fn disarm(&self) {
        let armed = lock(&self.watch).armed.take();
        if armed.is_some_and(|nudge| nudge.withdraw()) {
            self.item.disarm();
        }
    }
}

impl Shared {
    fn ring(&self) {
        // A full pipe rings as well.
        let _ = self.bell.try_write(&[0], &[]);
    }
}

impl Nudge {
    fn new(number: u64, shared: &Arc<Shared>) -> Self {
        Self { number, is_armed: AtomicBool::new(true), shared: Arc::clone(shared) }
    }

    /// Ends the arming, for one of both sides: `true` for whoever is first.
    pub(crate) fn withdraw(&self) -> bool {
        // ORDERING: the two sides have locks for all else.
        self.is_armed.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn is_armed(&self) -> bool {
        self.is_armed.load(Ordering::Acquire)
    }

    /// Has the set look at the thing again; it counts as disarmed if this is `true`.
    pub(crate) fn tell(&self) -> bool {
        if !self.withdraw() {
            return false;
        }
        lock(&self.shared.nudged).push(self.number);
        self.shared.ring();
        true
    }
}

impl fmt::Debug for Nudge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nudge").field("number", &self.number).finish_non_exhaustive()
    }
}

/// A thread in `wait`. When it leaves, what it disarmed is looked at by the others.
struct Waiting<'a>(&'a WaitSet);

impl<'a> Waiting<'a> {
    fn begin(set: &'a WaitSet) -> Self {
        // ORDERING: see `WaitSet::look_again`.
        set.waiting.fetch_add(1, Ordering::SeqCst);
        Self(set)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let others = self.0.waiting.fetch_sub(1, Ordering::SeqCst) - 1;
        if others > 0 && !lock(&self.0.unarmed).is_empty() {
            self.0.shared.ring();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
