//! What outlives a worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipc_core::SharedMemory;
use serde::{Deserialize, Serialize};

use super::claims::{self, Begun, mark};
use crate::stats::Times;

/// Memory that pool and worker share: which item the worker has begun and which
/// outcomes it has not sent, which survive it, and which tasks it should skip. Clones
/// are the same memory, and so is what arrives when one is sent.
#[derive(Debug, Clone)]
pub(crate) struct Board {
    memory: Arc<SharedMemory>,
    /// Where it begins there.
    at: usize,
}

impl Serialize for Board {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&*self.memory, self.at).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Board {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (memory, at) = <(SharedMemory, usize)>::deserialize(deserializer)?;
        Ok(Self { memory: Arc::new(memory), at })
    }
}

impl Board {
    pub(crate) fn new() -> std::io::Result<Self> {
        let memory = Arc::new(SharedMemory::anonymous(SIZE)?);
        Ok(Self { memory, at: 0 })
    }

    /// As many as that in one piece of memory, for workers that all have it from the start.
    pub(crate) fn several(count: usize) -> std::io::Result<Vec<Self>> {
        let memory = Arc::new(SharedMemory::anonymous(count * SIZE)?);
        Ok((0..count).map(|place| Self { memory: Arc::clone(&memory), at: place * SIZE }).collect())
    }

    fn word(&self, place: usize) -> &AtomicU64 {
        // What arrived from elsewhere lies in the memory or panics, as `SharedMemory` says.
        self.memory.atomic_u64(self.at + place)
    }

    /// Task number `turn` begins, of those that this worker is given: the first is 1.
    /// `false` if it is to be skipped.
    pub(super) fn start(&self, turn: u32) -> bool {
        claims::start(self.slot(turn), &[self.state(), self.claims()], turn)
    }

    /// Item number `item` of a task begins that cannot be recalled once it is begun.
    pub(super) fn begin(&self, turn: u32, item: u32) {
        // ORDERING: the reader looks after this process has ended.
        self.state().store(mark(turn) | u64::from(item + 1), Ordering::Relaxed);
    }

    /// As [`begin`](Self::begin), for items one after the other.
    #[inline]
    pub(super) fn begins(&self, turn: u32) -> impl Fn(u32) + '_ {
        let (state, mark) = (self.state(), mark(turn));
        // ORDERING: see `begin`.
        move |item| state.store(mark | u64::from(item + 1), Ordering::Relaxed)
    }

    /// The next item begins of the task that was started last; `false` if what is left
    /// of it has been recalled.
    pub(super) fn claim(&self) -> bool {
        claims::claim(self.state(), 1)
    }

    /// So many more items of the task begin that was started last, of those that nobody
    /// waits for one by one; `false` if what is left of it has been recalled.
    pub(super) fn claim_more(&self, items: u32) -> bool {
        claims::claim(self.claims(), items)
    }

    /// The worker has so many bytes of memory.
    pub(super) fn tell_memory(&self, bytes: u64) {
        self.word(MEMORY).store(bytes, Ordering::Relaxed);
    }

    /// How many bytes of memory the worker had when it last measured; zero if it did not.
    pub(crate) fn memory(&self) -> u64 {
        self.word(MEMORY).load(Ordering::Relaxed)
    }

    /// The worker has so many bytes of memory, and is about to start a task.
    pub(super) fn tell_memory_before(&self, bytes: u64) {
        self.word(MEMORY_BEFORE).store(bytes, Ordering::Relaxed);
    }

    /// How many bytes of memory the worker had when it started a task, which is the last it
    /// was given; `None` if it has not started.
    pub(crate) fn memory_before(&self, turn: u32) -> Option<u64> {
        // ORDERING: whoever sees that it has started sees what was told before.
        let is_started = self.slot(turn).load(Ordering::Acquire) == claims::started(turn);
        is_started.then(|| self.word(MEMORY_BEFORE).load(Ordering::Relaxed))
    }

    /// The worker runs what it does first.
    pub(super) fn tell_setting_up(&self) {
        self.word(READY).store(SETTING_UP, Ordering::Relaxed);
    }

    /// It has done that.
    pub(super) fn tell_set_up(&self) {
        self.word(READY).store(0, Ordering::Relaxed);
    }

    /// Whether it does that: not before, and not after.
    pub(crate) fn is_setting_up(&self) -> bool {
        self.word(READY).load(Ordering::Relaxed) == SETTING_UP
    }

    /// The worker waits for its first task.
    pub(super) fn tell_ready(&self) {
        self.word(READY).store(since_epoch(), Ordering::Relaxed);
    }

    /// Whether it waits for tasks, or has.
    pub(crate) fn is_ready(&self) -> bool {
        self.word(READY).load(Ordering::Relaxed) > SETTING_UP
    }

    /// What the worker's time has gone into so far, in nanoseconds.
    #[inline]
    pub(super) fn tell_times(&self, busy: u64, serialising: u64, waiting: u64) {
        let places = [(BUSY, busy), (SERIALISING, serialising), (WAITING, waiting)];
        places.iter().for_each(|(place, nanos)| self.word(*place).store(*nanos, Ordering::Relaxed));
    }

    /// What has been told of the worker's time, which was started at `started`; `None` until
    /// it is ready. The two clocks are different processes', so it is by that of the day.
    pub(crate) fn times(&self, started: SystemTime) -> Option<Times> {
        let read = |place| self.word(place).load(Ordering::Relaxed);
        let ready = Some(read(READY)).filter(|ready| *ready > SETTING_UP)?;
        let started = started.duration_since(UNIX_EPOCH).unwrap_or_default();
        Some(Times {
            busy: Duration::from_nanos(read(BUSY)),
            serialising: Duration::from_nanos(read(SERIALISING)),
            waiting: Duration::from_nanos(read(WAITING)),
            starting: Duration::from_nanos(ready).saturating_sub(started),
        })
    }

    /// How many items of a task have been begun.
    pub(crate) fn begun(&self, turn: u32) -> u32 {
        claims::begun(self.state().load(Ordering::Relaxed), turn)
    }

    /// Has the worker begin nothing more of a task; what it has begun. If `by_burst`, it
    /// claims items several at a time, and those count as begun.
    pub(crate) fn recall(&self, turn: u32, by_burst: bool) -> Begun {
        let word = if by_burst { self.claims() } else { self.state() };
        claims::recall(self.slot(turn), word, turn)
    }

    /// Has the worker not begin a task; `false` if it has begun it.
    pub(crate) fn skip(&self, turn: u32) -> bool {
        claims::skip(self.slot(turn), turn)
    }

    /// Which task the worker is at, whether the rest of it is recalled, and how many
    /// items are begun.
    fn state(&self) -> &AtomicU64 {
        self.word(0)
    }

    /// As [`state`](Self::state), with the items that are claimed ahead, where items are
    /// claimed several at a time.
    fn claims(&self) -> &AtomicU64 {
        self.word(CLAIMS)
    }

    /// Where it stands whether a task has been started or is to be skipped: there are
    /// more places than a worker holds tasks.
    fn slot(&self, turn: u32) -> &AtomicU64 {
        self.word((1 + turn as usize % SKIPS) * size_of::<u64>())
    }

    /// Outcomes are kept from now on that follow the first `from` of a task.
    pub(super) fn keep_from(&self, turn: u32, from: u32) {
        self.word(KEPT_DONE).store(0, Ordering::Relaxed);
        // ORDERING: with the new head nothing counts that was kept under the old one.
        self.word(KEPT_FROM).store(mark(turn) | u64::from(from), Ordering::Release);
    }

    /// Adds `bytes`, which end the first `items` outcomes of those that are kept, at
    /// `at`; `false` if there is no room.
    pub(super) fn keep(&self, items: u32, at: usize, bytes: &[u8]) -> bool {
        let len = at + bytes.len();
        if len > MOST_KEPT {
            return false;
        }
        self.memory.write(self.at + KEPT + at, bytes);
        // ORDERING: the bytes are there before they count.
        self.word(KEPT_DONE).store(u64::from(items) << 32 | len as u64, Ordering::Release);
        true
    }

    /// The outcomes of a task that follow the first `answered`, which the worker, which
    /// has ended, had and did not send: how many, and their bytes.
    pub(crate) fn kept(&self, turn: u32, answered: u32) -> Option<(u32, Vec<u8>)> {
        let from = self.word(KEPT_FROM).load(Ordering::Acquire);
        let done = self.word(KEPT_DONE).load(Ordering::Acquire);
        let (items, len) = ((done >> 32) as u32, done as u32 as usize);
        if from != mark(turn) | u64::from(answered) || items == 0 || len > MOST_KEPT {
            return None;
        }
        let mut bytes = vec![0; len];
        self.memory.read(self.at + KEPT, &mut bytes);
        Some((items, bytes))
    }
}

fn since_epoch() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Places for orders to skip tasks: more than a worker holds tasks.
const SKIPS: usize = 191;
/// Where it says of which task, and from which item on, outcomes are kept.
const KEPT_FROM: usize = (1 + SKIPS) * size_of::<u64>();
/// Where it says how many are kept, and how many bytes they have.
const KEPT_DONE: usize = KEPT_FROM + size_of::<u64>();
/// Where the worker says how much memory it has.
const MEMORY: usize = KEPT_DONE + size_of::<u64>();
/// Which task the worker is at, and how many items are claimed.
const CLAIMS: usize = MEMORY + size_of::<u64>();
/// Where it says since when it takes tasks, and what its time goes into.
const READY: usize = CLAIMS + size_of::<u64>();
/// No time: the initializer runs.
const SETTING_UP: u64 = 1;
const BUSY: usize = READY + size_of::<u64>();
const SERIALISING: usize = BUSY + size_of::<u64>();
const WAITING: usize = SERIALISING + size_of::<u64>();
/// Where the worker says how much memory it had before its task.
const MEMORY_BEFORE: usize = WAITING + size_of::<u64>();
/// Where the outcomes' bytes lie.
const KEPT: usize = MEMORY_BEFORE + size_of::<u64>();
/// The most bytes that are kept.
const MOST_KEPT: usize = 16 << 10;
/// Whole pages, so that no two workers write to the same line.
const SIZE: usize = (KEPT + MOST_KEPT).next_multiple_of(4 << 10);

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::thread;

    use super::*;

    /// A worker runs tasks of some items while each is recalled once: every item is run
    /// or taken back, and none is both.
    #[test]
    fn each_item_is_run_or_taken_back() {
        each_item_has_one_fate(|board| board.claim(), false);
    }

    #[test]
    fn each_item_of_a_burst_is_run_or_taken_back() {
        each_item_has_one_fate(|board| board.claim_more(1), true);
    }

    fn each_item_has_one_fate(claim: fn(&Board) -> bool, by_burst: bool) {
        const TASKS: u32 = 20_000;
        const ITEMS: u32 = 4;
        let board = Board::new().unwrap();
        // How far each of the two is: neither is far ahead of the other.
        let (recalled, reached) = (AtomicU32::new(0), AtomicU32::new(0));
        let run: Vec<AtomicU32> = (0..=TASKS).map(|_| AtomicU32::new(0)).collect();
        thread::scope(|scope| {
            scope.spawn(|| {
                for turn in 1..=TASKS {
                    while recalled.load(Ordering::Acquire) + 4 < turn {
                        thread::yield_now();
                    }
                    reached.store(turn, Ordering::Release);
                    if !board.start(turn) {
                        continue;
                    }
                    for _ in (0..ITEMS).take_while(|_| claim(&board)) {
                        run[turn as usize].fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            for turn in 1..=TASKS {
                while reached.load(Ordering::Acquire) + 4 < turn {
                    thread::yield_now();
                }
                let begun = match board.recall(turn, by_burst) {
                    Begun::Nothing => 0,
                    Begun::Items(items) => items.min(ITEMS),
                };
                recalled.store(turn, Ordering::Release);
                // What is begun runs on; nothing else ever does.
                while begun > 0 && run[turn as usize].load(Ordering::Relaxed) < begun {
                    thread::yield_now();
                }
                run[turn as usize].fetch_sub(begun, Ordering::Relaxed);
            }
        });
        assert!(
            run.iter().all(|items| items.load(Ordering::Relaxed) == 0),
            "an item was run twice, or not at all"
        );
    }

    #[test]
    fn boards_of_one_piece_of_memory_are_apart() {
        let boards = Board::several(3).unwrap();
        for (number, board) in (1u8..).zip(&boards) {
            assert!(board.start(u32::from(number)) && board.claim());
            board.keep_from(7, 0);
            assert!(board.keep(1, 0, &vec![number; MOST_KEPT]));
        }
        for (number, board) in (1u8..).zip(&boards) {
            assert_eq!(board.begun(u32::from(number)), 1);
            assert_eq!(board.kept(7, 0), Some((1, vec![number; MOST_KEPT])));
        }
    }

    #[test]
    fn turns_may_pass_their_largest_value() {
        let board = Board::new().unwrap();
        assert!(board.start(u32::MAX - 1) && board.start(u32::MAX) && board.claim());
        assert_eq!((board.begun(u32::MAX), board.begun(1), board.begun(u32::MAX - 1)), (1, 0, u32::MAX));
        assert!(board.skip(1) && !board.skip(u32::MAX) && !board.skip(u32::MAX - 1));
        assert_eq!(board.recall(u32::MAX, false), Begun::Items(1));
        assert!(!board.claim());
    }

    #[test]
    fn what_is_kept_is_of_one_answer() {
        let board = Board::new().unwrap();
        board.keep_from(7, 0);
        assert_eq!(board.kept(7, 0), None);
        assert!(board.keep(1, 0, b"one") && board.keep(2, 3, b"two"));
        assert_eq!(board.kept(7, 0), Some((2, b"onetwo".to_vec())));
        assert_eq!((board.kept(7, 2), board.kept(8, 0)), (None, None));
        board.keep_from(7, 2);
        assert_eq!(board.kept(7, 2), None);
        assert!(!board.keep(1, 1, &vec![0; MOST_KEPT]));
    }
}
