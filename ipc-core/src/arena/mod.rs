//! Large values that are built in shared memory and travel by handle.
#![doc = include_str!("README.md")]

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::deadline;
use crate::memory::with_reason;
use crate::plain::Plain;
use crate::raw::{Region, fork_generation};
use crate::sys::memory::PAGE;
use crate::sys::poll::poll;
use crate::sys::stream::Stream;

mod block;
mod room;

#[cfg(test)]
pub(crate) use block::keep_and_hold;
pub use block::{Block, BlockMut};
use room::Room;

/// Shared memory for large values, used again and again.
///
/// [`alloc`](Self::alloc) gives a slice to fill in place. [`share`](BlockMut::share)
/// makes of it a [`Block`], which is read in place by any process of this program's
/// tree that it is sent to, over any channel between processes of this machine, in a
/// queue, as an argument or a result. Sending it costs two handles, however large it
/// is. Once the last holder has dropped it or ended, its memory is used for the next.
///
/// Clones are the same arena. Who has blocks of one needs not have the arena, which
/// may be dropped before them.
///
/// # Limits
/// The arena's size bounds what its blocks take together; memory is taken from the
/// system as it is first filled, and kept until [`trim`](Self::trim). Each block takes
/// whole pages, a descriptor here for as long as somebody holds it, and one at each
/// holder: it is meant for payloads of a hundred kilobytes and more.
///
/// # Examples
/// ```
/// use ipc_core::{Arena, Block};
///
/// let arena = Arena::new(64 << 20)?;
/// let (tx, rx) = ipc_core::pipe::<Block<f64>>()?;
///
/// let mut numbers = arena.alloc::<f64>(1_000_000)?;
/// numbers.fill(0.5);
/// tx.send(&numbers.share())?;
///
/// let numbers = rx.recv()?;
/// assert_eq!(numbers.iter().sum::<f64>(), 500_000.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Arena(Arc<Inner>);

struct Inner {
    region: Region,
    /// In which process, counted by forks, it was made: a child has the memory too, but
    /// must not give it out.
    generation: u32,
    state: Mutex<State>,
}

struct State {
    room: Room,
    lent: Vec<Lent>,
}

/// A block that somebody holds, as far as is known.
struct Lent {
    range: Range<usize>,
    /// Ends when nobody holds the other end any more.
    lifeline: Arc<Stream>,
}

/// Why there is no block.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArenaError {
    /// More than the whole arena.
    #[error("{needed} bytes are wanted of an arena of {size}: make it larger")]
    TooLarge {
        /// What was asked for, in whole pages; as much as can be counted, if it is more.
        needed: usize,
        /// The arena's size.
        size: usize,
    },
    /// The others are in use.
    #[error(
        "{needed} bytes are wanted, and the arena has {largest} in one piece: {blocks} blocks of it are held, here or where they were sent, and must be dropped first"
    )]
    Full {
        /// What was asked for, in whole pages.
        needed: usize,
        /// The most that would fit.
        largest: usize,
        /// How many blocks somebody holds.
        blocks: usize,
    },
    /// This process got the arena by a fork.
    #[error("the arena is the parent's, and this process a fork of it: make one here")]
    Forked,
    /// The system refused.
    #[error("no memory could be shared: {0}")]
    Io(#[from] io::Error),
}

impl Arena {
    /// An arena of `size` bytes, rounded up to whole pages. They are taken from the
    /// system when they are first written.
    ///
    /// # Errors
    /// What the system says: no address space, no descriptors.
    pub fn new(size: usize) -> io::Result<Self> {
        let pages = size.max(1).checked_next_multiple_of(PAGE);
        let whole = pages.and_then(|size| size.checked_add(PAGE)).unwrap_or(usize::MAX);
        let region = Region::create(whole).map_err(|error| {
            with_reason(format_args!("no arena of {size} bytes can be had, a smaller one may"), error)
        })?;
        block::sign(&region);
        let state = Mutex::new(State { room: Room::new(PAGE..whole), lent: Vec::new() });
        Ok(Self(Arc::new(Inner { region, generation: fork_generation(), state })))
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.region.len() - PAGE
    }

    /// A block of `count` items, which hold anything: what an earlier one left, or zeros.
    /// Does not wait, not even for what a process held whose end has just been seen: the
    /// kernel may let go of it a moment later, for which
    /// [`alloc_timeout`](Self::alloc_timeout) waits.
    ///
    /// # Errors
    /// See [`ArenaError`].
    pub fn alloc<T: Plain>(&self, count: usize) -> Result<BlockMut<T>, ArenaError> {
        self.alloc_or_tell(count, |_| ())
    }

    /// As [`alloc`](Self::alloc); where there is no room, `tell` is shown the blocks that take it.
    fn alloc_or_tell<T: Plain>(
        &self,
        count: usize,
        tell: impl FnOnce(&[Lent]),
    ) -> Result<BlockMut<T>, ArenaError> {
        const { assert!(align_of::<T>() <= PAGE, "blocks begin at pages") };
        if fork_generation() != self.0.generation {
            return Err(ArenaError::Forked);
        }
        let size = self.size();
        let bytes =
            count.checked_mul(size_of::<T>()).and_then(|bytes| bytes.max(1).checked_next_multiple_of(PAGE));
        let needed = bytes.filter(|bytes| *bytes <= size);
        let needed = needed.ok_or(ArenaError::TooLarge { needed: bytes.unwrap_or(usize::MAX), size })?;
        let mut state = self.state();
        state.take_back()?;
        let largest = state.room.largest();
        let Some(range) = state.room.take(needed) else {
            tell(&state.lent);
            return Err(ArenaError::Full { needed, largest, blocks: state.lent.len() });
        };
        match Stream::pipe_pair() {
            Ok((lifeline, held)) => {
                state.lent.push(Lent { range: range.clone(), lifeline: Arc::new(lifeline) });
                Ok(BlockMut::new(self.0.region.clone(), range.start, count, held))
            }
            Err(error) => {
                state.room.put(range);
                Err(error.into())
            }
        }
    }

    /// As [`alloc`](Self::alloc); waits up to `timeout` for others to drop blocks, or to end.
    ///
    /// # Errors
    /// See [`ArenaError`]; `Full` once the time is up.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use ipc_core::{Arena, ArenaError};
    ///
    /// let arena = Arena::new(4096)?;
    /// let block = arena.alloc::<u8>(4096)?;
    /// let late = arena.alloc_timeout::<u8>(1, Duration::from_millis(10));
    /// assert!(matches!(late, Err(ArenaError::Full { .. })));
    /// drop(block);
    /// arena.alloc_timeout::<u8>(1, Duration::from_secs(10))?;
    /// # Ok::<(), ArenaError>(())
    /// ```
    pub fn alloc_timeout<T: Plain>(
        &self,
        count: usize,
        timeout: Duration,
    ) -> Result<BlockMut<T>, ArenaError> {
        let deadline = deadline::after(timeout);
        loop {
            // Those that were in the way when there was no room: another thread may take one of
            // them back before this one waits, and then nobody tells of it any more.
            let mut lifelines = Vec::new();
            let keep = |lent: &[Lent]| {
                lifelines.extend(lent.iter().map(|lent| Arc::clone(&lent.lifeline)));
            };
            match self.alloc_or_tell(count, keep) {
                Err(ArenaError::Full { .. }) if !deadline::expired(deadline) => {
                    let ends: Vec<_> = lifelines.iter().map(|lifeline| lifeline.readable()).collect();
                    poll(&ends, deadline)?;
                }
                other => return other,
            }
        }
    }

    /// A block with a copy of `items`.
    ///
    /// # Errors
    /// See [`ArenaError`].
    ///
    /// # Examples
    /// ```
    /// let arena = ipc_core::Arena::new(1 << 20)?;
    /// let block = arena.copy_of(&[1u16, 2, 3])?;
    /// assert_eq!(*block, [1, 2, 3]);
    /// # Ok::<(), ipc_core::ArenaError>(())
    /// ```
    pub fn copy_of<T: Plain>(&self, items: &[T]) -> Result<Block<T>, ArenaError> {
        let mut block = self.alloc(items.len())?;
        block.copy_from_slice(items);
        Ok(block.share())
    }

    /// How many blocks somebody holds, in whatever process. After the end of a holder that
    /// was killed has been seen, its blocks may be counted for a moment longer.
    ///
    /// # Errors
    /// What the system says.
    pub fn blocks(&self) -> io::Result<usize> {
        let mut state = self.state();
        state.take_back()?;
        Ok(state.lent.len())
    }

    /// Gives the memory that no block is in back to the system.
    ///
    /// # Errors
    /// What the system says.
    pub fn trim(&self) -> io::Result<()> {
        // A fork's idea of what is free is an old one.
        if fork_generation() != self.0.generation {
            return Ok(());
        }
        let mut state = self.state();
        state.take_back()?;
        state.room.ranges().iter().for_each(|range| self.0.region.discard(range.start, range.len()));
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes back the blocks that nobody holds any more.
    fn take_back(&mut self) -> io::Result<()> {
        if self.lent.is_empty() {
            return Ok(());
        }
        let lifelines: Vec<_> = self.lent.iter().map(|lent| lent.lifeline.readable()).collect();
        let mut ended = poll(&lifelines, deadline::now())?.into_iter();
        for lent in self.lent.extract_if(.., |_| ended.next() == Some(true)) {
            self.room.put(lent.range);
        }
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A fork's copy ends nothing.
        if fork_generation() == self.generation {
            block::end(&self.region);
        }
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena").field("size", &self.size()).finish_non_exhaustive()
    }
}
