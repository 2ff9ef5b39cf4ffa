//! The store under all queues: items in shared memory, put and got by any process.
//!
//! Who puts holds one robust mutex, who gets another. An item is there once the
//! count of puts has changed, and gone once the count of gets has; positions are
//! written before, into the place for the new count, so that a process killed in
//! between has changed nothing. Each count is a word that the other side sleeps
//! on: where somebody sleeps, the kernel changes it and wakes in one step, so that
//! nobody sleeps beside an item whose producer was killed before it could wake.
//! Only the holder of a mutex sleeps, so a wake-up given to one who is then killed
//! passes on with the mutex.
//!
//! # Safety
//! Bytes are copied between private buffers and parts of the slot that the
//! protocol gives to one process at a time: a free part to the holder of the
//! putting mutex, a filled one to the holder of the getting mutex.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::io;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ipc_core::link::Outgoing;
use ipc_core::raw::{LockFailure, Post, PostError, cpu_count};
use ipc_core::{Arm, Packet};
use serde::{Deserialize, Serialize};

use super::bell::Bells;
use super::layout::{self, Place, UNIT, frame_len, largest_frame};
use crate::memory::{Kind, Slot, allocate, shared_words};
use crate::protocol::count::{self, ASLEEP, CLOSED, FAR, between, count, raise};
use crate::protocol::robust::{Patience, try_briefly};
use crate::protocol::words::{AtomicU32, wait_on, wake};
use crate::sleep::look;
use crate::timeout;

shared_words! {
    struct StoreWords {
        /// The count of puts, from bit 2 on, with `ASLEEP` for a consumer and `CLOSED`.
        puts: AtomicU32,
        /// How many items there may be; zero for as many as fit.
        limit: AtomicU32,
        /// Where the newest item ends, for even and odd counts of puts.
        written: [AtomicU64; 2],
        capacity: AtomicU64,
        unused: [AtomicU64; 4],
        /// The count of gets, from bit 2 on, with `ASLEEP` for a producer and `CLOSED`.
        gets: AtomicU32,
        unused_too: AtomicU32,
        /// Where the oldest item begins, for even and odd counts of gets.
        read: [AtomicU64; 2],
        /// How many items are done with, from bit 2 on, with `ASLEEP` for those who join.
        done: AtomicU32,
        unused_three: AtomicU32,
    }
}

/// Where the items lie in the body.
const ITEMS: usize = 192;

/// The head of a frame is its length, and which batch of handles travels beside it.
const HEAD_BATCH: u64 = 8;
/// Not a length: the next frame is at the beginning.
const MARK: u64 = u64::MAX;
/// Not a batch: no process has that id.
const NO_BATCH: u64 = u64::MAX;

/// How much of the memory is kept when a queue has grown and shrinks.
const KEPT: u64 = 1 << 20;

/// How large a packet may be and still be kept by its thread for the next item: new
/// memory costs more, page by page, than the copying.
const LARGEST_SPARE: usize = 4 << 20;

/// How long one listens who may have missed that nobody wants that any more.
const LISTEN_FOR: Duration = Duration::from_secs(1);

/// A handle to a store.
#[derive(Clone)]
pub(crate) struct Store {
    slot: Slot,
    getting: Side,
    finishing: Side,
    post: Arc<Post>,
    bells: Arc<Bells>,
}

/// What those know who listen for items: the slot alone.
#[derive(Clone)]
pub(super) struct Ear(Slot);

impl Ear {
    /// Whether getting would find something: an item, or the end.
    pub(super) fn is_ready(&self) -> bool {
        let words = self.0.words::<StoreWords>();
        words.len() > 0 || words.is_closed()
    }

    /// To be called before one looks whether it is ready.
    pub(super) fn listen(&self) -> u32 {
        self.0.words::<StoreWords>().puts.load(Ordering::SeqCst)
    }

    /// Sleeps unless something has been put since; returns for no reason at times.
    pub(super) fn sleep(&self, seen: u32) {
        let deadline = timeout::after(LISTEN_FOR);
        sleep(&self.0.words::<StoreWords>().puts, seen, Patience::Until(deadline));
    }

    /// Has all who sleep look again.
    pub(super) fn disturb(&self) {
        wake(&self.0.words::<StoreWords>().puts, u32::MAX);
    }
}

impl StoreWords {
    fn len(&self) -> u32 {
        loop {
            let gets = count(self.gets.load(Ordering::SeqCst));
            let puts = count(self.puts.load(Ordering::SeqCst));
            if count(self.gets.load(Ordering::SeqCst)) == gets {
                return between(gets, puts);
            }
        }
    }

    fn is_closed(&self) -> bool {
        self.puts.load(Ordering::SeqCst) & CLOSED != 0
    }
}

/// A mutex of its own.
#[derive(Clone)]
struct Side {
    slot: Slot,
}

crate::travel::travels!(Side, Kind::Lock, 0, |slot| Ok::<_, String>(Side { slot }));

/// A mutex, held.
struct Turn<'a>(&'a Slot);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.mutex().unlock();
    }
}

/// Why nothing was put or got.
#[derive(Debug)]
pub(crate) enum Refusal {
    Timeout,
    Closed,
    TooLarge { len: usize, largest: usize },
    Handles(PostError),
    Io(io::Error),
}

impl From<LockFailure> for Refusal {
    fn from(failure: LockFailure) -> Self {
        match failure {
            LockFailure::Timeout => Self::Timeout,
            LockFailure::Io(error) => Self::Io(error),
            _ => Self::Io(io::Error::other(
                "this thread holds too many locks, or is inside this queue already",
            )),
        }
    }
}

impl Store {
    pub(crate) fn new(limit: u32, memory: usize) -> io::Result<Self> {
        let capacity = memory.clamp(4096, 1 << 40).next_multiple_of(4096);
        let slot = allocate(Kind::Queue, ITEMS + capacity)?;
        let words = slot.words::<StoreWords>();
        words.limit.store(limit, Ordering::Relaxed);
        words.capacity.store(capacity as u64, Ordering::Relaxed);
        let side = || allocate(Kind::Lock, 0).map(|slot| Side { slot });
        Ok(Self {
            slot,
            getting: side()?,
            finishing: side()?,
            post: Arc::new(Post::new()?),
            bells: Arc::default(),
        })
    }

    fn words(&self) -> &StoreWords {
        self.slot.words()
    }

    /// How many items there may be.
    pub(crate) fn limit(&self) -> Option<u32> {
        Some(self.words().limit.load(Ordering::Relaxed)).filter(|limit| *limit != 0)
    }

    /// How many items there are.
    pub(crate) fn len(&self) -> u32 {
        self.words().len()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.words().is_closed()
    }

    /// Whether getting would find something: an item, or the end.
    pub(crate) fn is_ready(&self) -> bool {
        let ear = Ear(self.slot.clone());
        ear.is_ready() || self.bells.is_mute(&ear)
    }

    /// For those who wait for many things.
    pub(crate) fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        self.bells.arm(&Ear(self.slot.clone()), arm);
    }

    /// They wait no more.
    pub(crate) fn disarm(&self) {
        self.bells.disarm(&Ear(self.slot.clone()));
    }

    /// Lets nothing more in; whoever sleeps finds out.
    pub(crate) fn close(&self) {
        let words = self.words();
        [&words.gets, &words.puts].into_iter().for_each(count::close);
    }

    /// Puts a packet in.
    pub(crate) fn put(&self, packet: &mut Packet, patience: Patience) -> Result<(), Refusal> {
        let (len, handles) = (Packet::bytes(packet).len(), packet.handle_count());
        let need = frame_len(len);
        let largest = largest_frame(self.capacity());
        if need > largest {
            return Err(Refusal::TooLarge { len, largest: (largest - UNIT) as usize });
        }
        let _turn = self.turn(&self.slot, patience, || self.is_full(need))?;
        let place = self.await_room(need, patience)?;
        let puts = count(self.words().puts.load(Ordering::SeqCst));
        let mut batch = NO_BATCH;
        if handles > 0 {
            // If this process dies before the item is there, the next one to take its
            // number is another process.
            batch = u64::from(std::process::id()) << 32 | u64::from(puts);
            self.post.put(batch, packet.handles()).map_err(Refusal::Handles)?;
        }
        self.write(place, puts, Packet::bytes(packet), batch);
        // All who sleep: beside the one who is getting there may be those who only listen.
        raise(&self.words().puts, u32::MAX);
        Ok(())
    }

    /// Gets the next packet.
    pub(crate) fn get(&self, packet: &mut Packet, patience: Patience) -> Result<(), Refusal> {
        let _turn = self.turn(&self.getting.slot, patience, || self.len() == 0)?;
        loop {
            self.await_item(patience)?;
            if self.take(packet)? {
                return Ok(());
            }
        }
    }

    /// How many items have been put and are not done with.
    pub(crate) fn unfinished(&self) -> u32 {
        let words = self.words();
        let done = count(words.done.load(Ordering::SeqCst));
        between(done, count(words.puts.load(Ordering::SeqCst)))
    }

    /// One item is done with; `false` if all were.
    pub(crate) fn finish(&self) -> Result<bool, Refusal> {
        let _turn = self.turn(&self.finishing.slot, Patience::Until(None), || false)?;
        if self.unfinished() == 0 {
            return Ok(false);
        }
        raise(&self.words().done, u32::MAX);
        Ok(true)
    }

    /// Waits until all items are done with; `false` at the deadline.
    pub(crate) fn join(&self, deadline: Option<Instant>) -> bool {
        let done = &self.words().done;
        loop {
            if self.unfinished() == 0 {
                return true;
            }
            let seen = done.fetch_or(ASLEEP, Ordering::SeqCst) | ASLEEP;
            if self.unfinished() == 0 {
                return true;
            }
            if timeout::expired(deadline) {
                return false;
            }
            // An error of the kernel here means only that the loop looks again.
            let _ = wait_on(done, seen, deadline);
        }
    }

    /// Takes a mutex. One that is not to wait waits all the same for another one who is
    /// about to leave, unless that would be `hopeless`.
    fn turn<'a>(
        &'a self,
        slot: &'a Slot,
        patience: Patience,
        hopeless: impl Fn() -> bool,
    ) -> Result<Turn<'a>, LockFailure> {
        let Patience::Until(deadline) = patience else {
            return try_briefly(slot.mutex(), hopeless).map(|_| Turn(slot));
        };
        slot.mutex().lock(deadline)?;
        Ok(Turn(slot))
    }

    fn capacity(&self) -> u64 {
        let room = self.slot.body_len().saturating_sub(ITEMS) as u64;
        self.words().capacity.load(Ordering::Relaxed).min(room)
    }

    /// Where the next item may be written, and whether one of `need` bytes finds room.
    fn room(&self, need: u64) -> (u64, Place) {
        let words = self.words();
        loop {
            let gets = count(words.gets.load(Ordering::SeqCst));
            let read = words.read[gets as usize & 1].load(Ordering::SeqCst);
            let puts = count(words.puts.load(Ordering::SeqCst));
            let written = words.written[puts as usize & 1].load(Ordering::SeqCst);
            // The place for a count is used again two gets later.
            if count(words.gets.load(Ordering::SeqCst)) != gets {
                continue;
            }
            let len = between(gets, puts);
            let limit = words.limit.load(Ordering::Relaxed);
            // Half of all numbers, so that more and less can be told apart.
            if (limit != 0 && len >= limit) || len >= FAR {
                return (written, Place::Full);
            }
            return (written, layout::place(len == 0, read, written, self.capacity(), need));
        }
    }

    fn is_full(&self, need: u64) -> bool {
        self.room(need).1 == Place::Full
    }

    /// With the putting mutex, waits until there is room.
    fn await_room(&self, need: u64, patience: Patience) -> Result<(u64, Place), Refusal> {
        let words = self.words();
        let mut looked = matches!(patience, Patience::None);
        loop {
            let seen = words.gets.load(Ordering::SeqCst);
            if (seen | words.puts.load(Ordering::SeqCst)) & CLOSED != 0 {
                return Err(Refusal::Closed);
            }
            let (written, place) = self.room(need);
            if place != Place::Full {
                return Ok((written, place));
            }
            if !std::mem::replace(&mut looked, true) && cpu_count() > 1 {
                look(|| words.gets.load(Ordering::Relaxed) != seen);
            } else if !sleep(&words.gets, seen, patience) {
                return Err(Refusal::Timeout);
            }
        }
    }

    /// With the getting mutex, waits until an item is there.
    fn await_item(&self, patience: Patience) -> Result<(), Refusal> {
        let words = self.words();
        let gets = count(words.gets.load(Ordering::SeqCst));
        let is_there = |puts| count(puts) != gets;
        let mut looked = matches!(patience, Patience::None);
        loop {
            let seen = words.puts.load(Ordering::SeqCst);
            if is_there(seen) {
                return Ok(());
            }
            if seen & CLOSED != 0 {
                return Err(Refusal::Closed);
            }
            if !std::mem::replace(&mut looked, true) && cpu_count() > 1 {
                look(|| is_there(words.puts.load(Ordering::Relaxed)));
            } else if !sleep(&words.puts, seen, patience) {
                return Err(Refusal::Timeout);
            }
        }
    }

    fn write(&self, (written, place): (u64, Place), puts: u32, bytes: &[u8], batch: u64) {
        let at = match place {
            Place::Beginning => {
                if written < self.capacity() {
                    self.head(written).store(MARK, Ordering::Relaxed);
                }
                0
            }
            _ => written,
        };
        self.head(at).store(bytes.len() as u64, Ordering::Relaxed);
        self.head(at + HEAD_BATCH).store(batch, Ordering::Relaxed);
        let to = self.slot.data::<u8>(ITEMS + (at + UNIT) as usize, bytes.len());
        // SAFETY: `place` gave this part of the slot, inside of which `data` has made sure
        // it lies, to the holder of the putting mutex: nobody reads it before the count changes.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to.as_ptr().cast(), bytes.len()) };
        let next = puts.wrapping_add(1) as usize & 1;
        self.words().written[next].store(at + frame_len(bytes.len()), Ordering::Release);
    }

    /// With the getting mutex and an item there: takes it. `false` if it is lost, with
    /// the handles that a process took and died with.
    fn take(&self, packet: &mut Packet) -> Result<bool, Refusal> {
        let words = self.words();
        let gets = count(words.gets.load(Ordering::SeqCst));
        let begin = words.read[gets as usize & 1].load(Ordering::SeqCst);
        let at = if begin >= self.capacity() || self.head(begin).load(Ordering::Relaxed) == MARK {
            0
        } else {
            begin
        };
        let len = self.head(at).load(Ordering::Relaxed) as usize;
        let batch = self.head(at + HEAD_BATCH).load(Ordering::Relaxed);
        let from = self.slot.data::<u8>(ITEMS + (at + UNIT) as usize, len);
        packet.clear();
        // SAFETY: `data` has made sure that the item lies inside the slot; it is the getting
        // mutex's holder's until the count changes, and nobody writes it.
        packet.extend_bytes(unsafe { from.as_ref() });
        // Every process that has this store is of our tree: it came by a trusted message.
        packet.mark_trusted();
        let is_whole = batch == NO_BATCH || self.fetch_handles(batch, packet)?;
        let next = gets.wrapping_add(1) as usize & 1;
        // ORDERING: who finds this place written anew, in `room`, also finds the count changed.
        words.read[next].store(at + frame_len(len), Ordering::Release);
        raise(&words.gets, 1);
        if at != begin && begin > KEPT {
            self.trim(begin);
        }
        Ok(is_whole)
    }

    /// Takes a batch out of the post, and those of items that never came.
    fn fetch_handles(&self, wanted: u64, packet: &mut Packet) -> Result<bool, Refusal> {
        while let Some((batch, handles)) = self.post.take().map_err(Refusal::Io)? {
            if batch == wanted {
                handles.into_iter().for_each(|handle| packet.push_handle(handle));
                return Ok(true);
            }
            let ahead = between(wanted as u32, batch as u32);
            if (1..FAR).contains(&ahead) {
                // That of a later item: this one's was taken by a process that died then.
                let _ = self.post.put(batch, &handles);
                break;
            }
        }
        Ok(false)
    }

    /// Gives memory back to the system, if nobody is putting.
    fn trim(&self, end: u64) {
        if self.slot.mutex().try_lock().is_err() {
            return;
        }
        let _turn = Turn(&self.slot);
        let words = self.words();
        let puts = count(words.puts.load(Ordering::SeqCst));
        let written = words.written[puts as usize & 1].load(Ordering::SeqCst);
        let (region, body) = self.slot.region();
        let page = 4096;
        let from = (body + ITEMS + written.max(KEPT) as usize).next_multiple_of(page);
        let to = (body + ITEMS + end as usize) / page * page;
        if from < to && written < end {
            region.discard(from, to - from);
        }
    }

    fn head(&self, at: u64) -> &AtomicU64 {
        self.slot.word_at(ITEMS + at as usize)
    }
}

/// Sleeps while `word` is as seen; `false` if there is no time for that.
fn sleep(word: &AtomicU32, seen: u32, patience: Patience) -> bool {
    let Patience::Until(deadline) = patience else { return false };
    if timeout::expired(deadline) {
        return false;
    }
    count::sleep(word, seen, deadline);
    true
}

/// Lends this thread's packet.
pub(crate) fn with_packet<R>(run: impl FnOnce(&mut Packet) -> R) -> R {
    thread_local!(static SPARE: Cell<Option<Box<Packet>>> = const { Cell::new(None) });
    // Taken, not borrowed: encoding and decoding run users' code, which may use queues too.
    let mut packet = SPARE.take().unwrap_or_default();
    let result = run(&mut packet);
    let is_small = packet.bytes().len() <= LARGEST_SPARE;
    packet.clear();
    if is_small {
        SPARE.set(Some(packet));
    }
    result
}

impl Serialize for Store {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let slot = StoreSlot { slot: self.slot.clone() };
        (slot, &self.getting, &self.finishing, &*self.post).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Store {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (StoreSlot { slot }, getting, finishing, post) = Deserialize::deserialize(deserializer)?;
        Ok(Self { slot, getting, finishing, post: Arc::new(post), bells: Arc::default() })
    }
}

/// The slot alone, as it travels.
struct StoreSlot {
    slot: Slot,
}

crate::travel::travels!(StoreSlot, Kind::Queue, ITEMS, |slot| Ok::<_, String>(StoreSlot { slot }));
