//! What lies where in a ring's shared memory.
//!
//! A segment holds one lane for each direction. A lane is a page of header and
//! a power of two of data, and the data is mapped twice back to back, so that
//! every frame is contiguous.
//!
//! # Safety
//! `Lane` hands out its header as atomics and its data as raw pointers that
//! stay within the mapping for every possible value of the counters, because
//! they are masked and a span is never longer than the data area. The peer may
//! write anything at any time: what is read is copied out before it is used.

#![allow(unsafe_code)]

use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::buffer::Buffer;
use crate::sys::memory::{Mapping, Mirrored, PAGE, Segment};
use crate::sys::{cpu, process};
use crate::watch::Name;

/// "ipc-ring" and the version of this layout.
const MAGIC: u64 = u64::from_le_bytes(*b"ipcring2");

/// The most data a lane holds, so that every length fits a frame's 32 bits.
pub(super) const LARGEST: usize = 1 << 30;

/// Two cache lines: neighbours are fetched in pairs.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub(super) struct Line<T>(pub(super) T);

/// The first page of a lane.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Header {
    identity: Line<Identity>,
    /// Bytes ever written; the producer's.
    pub(super) head: Line<AtomicU64>,
    /// Bytes ever freed; the consumer's.
    pub(super) tail: Line<AtomicU64>,
    pub(super) producer: Line<Side>,
    pub(super) consumer: Line<Side>,
    pub(super) senders: Line<Senders>,
}

/// Counters move in steps of this many bytes.
pub(super) const FRAME_UNIT: u64 = 8;

const _: () = assert!(size_of::<Header>() <= PAGE);

#[repr(C)]
#[derive(Debug)]
struct Identity {
    magic: AtomicU64,
    capacity: AtomicU64,
}

/// What one side tells the other about itself.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct Side {
    /// `ASLEEP_*` bits: how this side wants to be woken. A futex word.
    pub(super) sleep: AtomicU32,
    /// The CPU this side was last seen on.
    pub(super) cpu: AtomicU32,
    /// Not zero once this side has closed.
    pub(super) closed: AtomicU32,
    /// The process that holds this side; zero while it travels.
    pub(super) pid: AtomicU32,
    /// When that process started.
    pub(super) started: AtomicU64,
    /// In which space the process id counts.
    pub(super) id_space: AtomicU64,
}

impl Side {
    /// Says that this process holds the side.
    pub(super) fn claim(&self) {
        let (pid, started) = process::current();
        self.started.store(started, Ordering::Relaxed);
        self.id_space.store(process::id_space(), Ordering::Relaxed);
        self.cpu.store(cpu::UNKNOWN, Ordering::Relaxed);
        // ORDERING: whoever sees the id sees the rest.
        self.pid.store(pid, Ordering::Release);
    }

    /// Says that the side is on its way to another process, unless one that got it by
    /// a fork says already that it holds it.
    pub(super) fn release(&self) {
        // ORDERING: as in `claim`.
        let _ = self.pid.compare_exchange(process::current_id(), 0, Ordering::Release, Ordering::Relaxed);
    }

    /// The process that holds the side; unknown while it travels, and where ids
    /// of its space mean nothing here.
    pub(super) fn holder(&self) -> Name {
        // ORDERING: pairs with `claim`.
        let id = self.pid.load(Ordering::Acquire);
        if self.id_space.load(Ordering::Relaxed) != process::id_space() {
            return Name::default();
        }
        let started = self.started.load(Ordering::Relaxed);
        Name { id, started }
    }

    /// Publishes the CPU of this thread, if it changed.
    pub(super) fn publish_cpu(&self) -> u32 {
        let now = cpu::current();
        if self.cpu.load(Ordering::Relaxed) != now {
            self.cpu.store(now, Ordering::Relaxed);
        }
        now
    }
}

/// How many senders in other processes a lane has room for.
pub(super) const SENDERS: usize = 384;

/// Who sends, where several processes do: the consumer wakes up when one of them ends.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Senders {
    /// Zero as long as there is one; grows with every name. Only senders write here.
    version: AtomicU32,
    /// Words of [`Name`]s; zero is a free place.
    names: [AtomicU64; SENDERS],
}

impl Senders {
    /// Zero if the producer is one process.
    pub(super) fn version(&self) -> u32 {
        // ORDERING: the names of that version are visible.
        self.version.load(Ordering::Acquire)
    }

    /// From now on there may be several.
    pub(super) fn open(&self) {
        let _ = self.version.compare_exchange(0, 1, Ordering::Release, Ordering::Relaxed);
    }

    /// Adds a name; its place, or none if so many senders live already. The caller has
    /// the senders' turn.
    pub(super) fn add(&self, name: u64, has_ended: impl Fn(Name) -> bool) -> Option<usize> {
        let is_free = |place: &AtomicU64| place.load(Ordering::Relaxed) == 0;
        let is_left = |place: &AtomicU64| has_ended(Name::from_word(place.load(Ordering::Relaxed)));
        let free = self.names.iter().position(is_free);
        let place = free.or_else(|| self.names.iter().position(is_left))?;
        self.names[place].store(name, Ordering::Relaxed);
        // ORDERING: whoever sees the version sees the name.
        self.version.fetch_add(1, Ordering::Release);
        Some(place)
    }

    pub(super) fn remove(&self, place: usize, name: u64) {
        if let Some(word) = self.names.get(place) {
            let _ = word.compare_exchange(name, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Those who send; some of them may have ended.
    pub(super) fn names(&self) -> impl Iterator<Item = Name> + '_ {
        self.names
            .iter()
            .map(|word| word.load(Ordering::Relaxed))
            .filter(|word| *word != 0)
            .map(Name::from_word)
    }
}

/// One direction of a ring in this process.
#[derive(Debug)]
pub(super) struct Lane {
    mapping: Mirrored,
    capacity: usize,
}

impl Lane {
    /// How large the segment of `lanes` directions must be.
    pub(super) fn segment_len(capacity: usize, lanes: usize) -> usize {
        (PAGE + capacity) * lanes
    }

    /// Maps the lanes of a segment made by this process, and signs them.
    pub(super) fn create(segment: &Segment, capacity: usize, lanes: usize) -> io::Result<Vec<Self>> {
        let lanes = Self::map(segment, capacity, lanes)?;
        lanes.iter().for_each(Self::sign);
        Ok(lanes)
    }

    fn sign(&self) {
        let identity = &self.header().identity.0;
        identity.capacity.store(self.capacity as u64, Ordering::Relaxed);
        identity.magic.store(MAGIC, Ordering::Release);
        self.header().producer.0.cpu.store(cpu::UNKNOWN, Ordering::Relaxed);
        self.header().consumer.0.cpu.store(cpu::UNKNOWN, Ordering::Relaxed);
    }

    /// Maps the lanes of a segment that was received.
    pub(super) fn open(segment: &Segment, lanes: usize) -> io::Result<Vec<Self>> {
        let share = segment.len() / lanes.max(1);
        let capacity = share.saturating_sub(PAGE);
        if !capacity.is_power_of_two() || capacity < PAGE || (PAGE + capacity) * lanes != segment.len() {
            return Err(invalid("the shared memory received has not the size of a ring"));
        }
        let lanes = Self::map(segment, capacity, lanes)?;
        if lanes.iter().all(Self::is_signed) {
            Ok(lanes)
        } else {
            Err(invalid("the shared memory received is not a ring of this version"))
        }
    }

    fn is_signed(&self) -> bool {
        let identity = &self.header().identity.0;
        // ORDERING: pairs with `sign`.
        identity.magic.load(Ordering::Acquire) == MAGIC
            && identity.capacity.load(Ordering::Relaxed) == self.capacity as u64
    }

    fn map(segment: &Segment, capacity: usize, lanes: usize) -> io::Result<Vec<Self>> {
        let mappings = Mapping::mirrored(segment, PAGE, capacity, lanes)?;
        Ok(mappings.into_iter().map(|mapping| Self { mapping, capacity }).collect())
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn header(&self) -> &Header {
        // SAFETY: the mapping begins with a whole page, page-aligned, that lives
        // as long as `self`; `Header` is atomics only, valid for any bytes.
        unsafe { self.mapping.base().cast::<Header>().as_ref() }
    }

    /// What the producer or the consumer tells about itself.
    pub(super) fn side(&self, is_producer: bool) -> &Side {
        let header = self.header();
        if is_producer { &header.producer.0 } else { &header.consumer.0 }
    }

    /// The memory for the `len` bytes that begin at counter `at`.
    fn span(&self, at: u64, len: usize) -> NonNull<u8> {
        assert!(len <= self.capacity, "a span never exceeds the ring");
        let offset = PAGE + (at as usize & (self.capacity - 1));
        // SAFETY: `offset` is below `PAGE + capacity`, and as the data lies there
        // twice, `len <= capacity` bytes from it are mapped.
        unsafe { self.mapping.base().add(offset) }
    }

    /// Lets `fill` write into the `len` bytes at counter `at`, which the consumer has freed.
    ///
    /// Only the lane's one producer calls this, and it holds its turn.
    pub(super) fn fill<R>(&self, at: u64, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        // SAFETY: mapped by `span`, and in this process only the producer, who has
        // the turn, makes a slice of it. It is written, not read; what a hostile
        // peer scribbles there it will read itself.
        fill(unsafe { std::slice::from_raw_parts_mut(self.span(at, len).as_ptr(), len) })
    }

    /// Copies the `len` bytes at counter `at` to the end of `into`.
    pub(super) fn copy_out(&self, at: u64, len: usize, into: &mut Buffer) {
        into.reserve(len);
        let to = into.room()[..len].as_mut_ptr().cast();
        // SAFETY: `span` gives `len` mapped bytes and `room` as many free ones;
        // the two do not overlap. The bytes are initialised by the copy. Should a
        // peer change them meanwhile, some mixture arrives, and is checked later.
        unsafe {
            ptr::copy_nonoverlapping(self.span(at, len).as_ptr(), to, len);
            into.advance(len);
        }
    }

    /// Reads the double word at counter `at`, once: what is checked is what is used.
    pub(super) fn read_u64(&self, at: u64) -> u64 {
        let at = at & !(FRAME_UNIT - 1);
        // SAFETY: 8 mapped bytes, aligned because the page and `at` are.
        let word = unsafe { self.span(at, 8).cast::<AtomicU64>().as_ref() };
        u64::from_le(word.load(Ordering::Relaxed))
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
