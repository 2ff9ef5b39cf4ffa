//! The bytes of a message, in memory that may become a vector of numbers.
//!
//! A `Vec<f64>` cannot be made of a `Vec<u8>`, because the allocator must be told the
//! same alignment when memory goes as when it came. A [`Buffer`] knows the alignment
//! that its memory has, so that what a link has filled becomes the receiver's vector
//! without another copy. Memory that nobody took is kept, within bounds, for the
//! thread's next buffer: new memory costs the system a fault for each page.
//!
//! # Safety
//! A `Buffer` owns one allocation of `capacity` bytes with the alignment `align`, or
//! none if `capacity` is zero, and its first `len` bytes are initialised. Only numbers
//! are taken out of it and put into it, for which all bytes are values.

#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::cell::RefCell;
use std::fmt;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};

use crate::plain::Number;
use crate::sys::memory::prefer_large_pages;

/// Capacities are multiples of it, and so of the size of every number.
const UNIT: usize = 16;
/// From here on memory is asked for in large pages, as it is about to be filled.
const LARGE: usize = 4 << 20;
/// What a thread keeps: memory of this size, so much of it, in so many pieces.
const SPARE: std::ops::RangeInclusive<usize> = 16 << 10..=4 << 20;
const SPARE_IN_ALL: usize = 8 << 20;
const SPARES: usize = 8;

/// A growing run of bytes.
pub(crate) struct Buffer {
    start: NonNull<u8>,
    len: usize,
    capacity: usize,
    align: usize,
    /// Its memory comes from the thread's spares and goes there.
    recycles: bool,
}

// SAFETY: it owns its memory, as a `Vec<u8>` does.
unsafe impl Send for Buffer {}
// SAFETY: as above; `&Buffer` only reads.
unsafe impl Sync for Buffer {}

thread_local! {
    static KEPT: RefCell<Vec<Buffer>> = const { RefCell::new(Vec::new()) };
}

impl Buffer {
    /// An empty one, for bytes that are decoded or sent and then not needed any more.
    pub(crate) const fn new() -> Self {
        Self { start: NonNull::dangling(), len: 0, capacity: 0, align: 1, recycles: true }
    }

    /// An empty one whose memory is to become a vector of `N`.
    pub(crate) fn of<N: Number>() -> Self {
        Self { start: NonNull::dangling(), len: 0, capacity: 0, align: align_of::<N>(), recycles: false }
    }

    /// The memory of a vector, for bytes that will be taken out as such a vector again.
    pub(crate) fn reusing<N: Number>(vector: Vec<N>) -> Self {
        let mut vector = ManuallyDrop::new(vector);
        Self {
            // SAFETY: a vector's pointer is never null.
            start: unsafe { NonNull::new_unchecked(vector.as_mut_ptr().cast()) },
            len: 0,
            capacity: vector.capacity() * size_of::<N>(),
            align: align_of::<N>(),
            recycles: false,
        }
    }

    /// The bytes of a vector, in its memory, which is the thread's for its next buffers once it is not
    /// needed any more.
    pub(crate) fn holding<N: Number>(vector: Vec<N>) -> Self {
        let len = size_of_val(vector.as_slice());
        let mut buffer = Self::reusing(vector);
        (buffer.len, buffer.recycles) = (len, true);
        buffer
    }

    /// The bytes as numbers in this machine's order, in the same memory if it fits them;
    /// `None` if the last number is cut short.
    pub(crate) fn into_vector<N: Number>(self) -> Option<Vec<N>> {
        if !self.len.is_multiple_of(size_of::<N>()) {
            return None;
        }
        let count = self.len / size_of::<N>();
        let fits = self.align == align_of::<N>() && self.capacity.is_multiple_of(size_of::<N>());
        if self.capacity == 0 || !fits {
            return Some(copied(&self));
        }
        let this = ManuallyDrop::new(self);
        // SAFETY: the memory was allocated with this alignment and a size of whole numbers,
        // the first `count` of them are initialised, and `this` lets go of it.
        Some(unsafe {
            Vec::from_raw_parts(this.start.as_ptr().cast(), count, this.capacity / size_of::<N>())
        })
    }

    /// How many bytes fit without new memory.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Makes room for `more` bytes, and at least doubles what there is.
    pub(crate) fn reserve(&mut self, more: usize) {
        if self.capacity - self.len < more {
            self.grow(more, self.capacity.saturating_mul(2));
        }
    }

    /// Makes room for `more` bytes and hardly more.
    pub(crate) fn reserve_exact(&mut self, more: usize) {
        if self.capacity - self.len < more {
            self.grow(more, 0);
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, byte: u8) {
        self.extend_from_slice(&[byte]);
    }

    #[inline]
    pub(crate) fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        // SAFETY: so much room is reserved; `bytes` is another's memory, as `self` is borrowed
        // mutably; what is copied is initialised.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.as_ptr().add(self.len), bytes.len());
        }
        self.len += bytes.len();
    }

    /// Makes it `len` bytes long; new ones are zero.
    pub(crate) fn resize(&mut self, len: usize) {
        if let Some(more) = len.checked_sub(self.len) {
            self.reserve(more);
            self.room()[..more].fill(MaybeUninit::new(0));
        }
        self.len = len;
    }

    /// The bytes behind the last one, up to the capacity.
    pub(crate) fn room(&mut self) -> &mut [MaybeUninit<u8>] {
        let room = self.capacity - self.len;
        // SAFETY: that much of the allocation lies behind `len`; with none, the pointer is
        // dangling and the length zero.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().add(self.len).cast(), room) }
    }

    /// The first `count` bytes of [`room`](Self::room) are part of it from now on.
    ///
    /// # Safety
    /// They lie inside and have been written.
    pub(crate) unsafe fn advance(&mut self, count: usize) {
        debug_assert!(count <= self.capacity - self.len);
        self.len += count;
    }

    #[cold]
    fn grow(&mut self, more: usize, least: usize) {
        let need = self.len.checked_add(more).and_then(|need| need.max(least).checked_next_multiple_of(UNIT));
        // Longer than memory can be: what a vector does then.
        let need = need.filter(|need| *need <= isize::MAX as usize / 2).expect("capacity overflow");
        let need = if self.recycles { in_steps(need) } else { need };
        // `len + more` did not overflow.
        if self.recycles && self.capacity < *SPARE.start() && self.take_spare(self.len + more) {
            return;
        }
        let layout = |capacity| Layout::from_size_align(capacity, self.align).expect("capacity overflow");
        let new = layout(need);
        let start = if self.capacity == 0 {
            // SAFETY: the size is not zero.
            unsafe { alloc(new) }
        } else {
            // SAFETY: this is the layout that the memory has, and the new size was checked.
            unsafe { realloc(self.start.as_ptr(), layout(self.capacity), need) }
        };
        self.start = NonNull::new(start).unwrap_or_else(|| handle_alloc_error(new));
        self.capacity = need;
        if need >= LARGE {
            prefer_large_pages(self.start, need);
        }
    }

    /// Goes on in memory that another buffer of this thread left, if there is some.
    fn take_spare(&mut self, need: usize) -> bool {
        if need < *SPARE.start() {
            return false;
        }
        let spare = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            let all = kept.iter().map(Self::capacity).enumerate();
            let best = all.filter(|(_, capacity)| *capacity >= need).min_by_key(|(_, capacity)| *capacity);
            best.map(|(place, _)| kept.swap_remove(place))
        });
        let Ok(Some(mut spare)) = spare else { return false };
        spare.extend_from_slice(self);
        *self = spare;
        true
    }
}

/// How much is asked for where so much is needed and the memory will be a spare: a step more, so that
/// it serves messages of about this length, too. What nobody writes to the system does not give.
fn in_steps(need: usize) -> usize {
    if SPARE.contains(&need) { need.next_multiple_of(need.next_power_of_two() / 16) } else { need }
}

/// The numbers that the bytes are, in memory of their own.
fn copied<N: Number>(bytes: &[u8]) -> Vec<N> {
    let count = bytes.len() / size_of::<N>();
    let mut numbers: Vec<N> = Vec::with_capacity(count);
    if size_of_val(bytes) >= LARGE {
        prefer_large_pages(NonNull::from(&mut numbers.spare_capacity_mut()[0]).cast(), bytes.len());
    }
    // SAFETY: `count` numbers fit and lie in no other memory; any bytes are numbers, and
    // after the copy they are initialised.
    unsafe {
        let to = numbers.as_mut_ptr().cast::<u8>();
        ptr::copy_nonoverlapping(bytes.as_ptr(), to, count * size_of::<N>());
        numbers.set_len(count);
    }
    numbers
}

/// Reads numbers in this machine's order out of bytes that lie anywhere; `None` if the
/// last one is cut short.
pub(crate) fn numbers_of<N: Number>(bytes: &[u8]) -> Option<Vec<N>> {
    bytes.len().is_multiple_of(size_of::<N>()).then(|| copied(bytes))
}

/// Numbers as the bytes that they are in memory.
pub(crate) fn bytes_of<N: Number>(numbers: &[N]) -> &[u8] {
    // SAFETY: numbers have no gaps, and bytes need no alignment.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.capacity == 0 {
            return;
        }
        if self.recycles && SPARE.contains(&self.capacity) {
            let &mut Self { start, capacity, align, recycles, .. } = self;
            // What is not kept is freed below, once.
            let spare = ManuallyDrop::new(Self { start, len: 0, capacity, align, recycles });
            let is_kept = KEPT.try_with(|kept| {
                let mut kept = kept.borrow_mut();
                let held: usize = kept.iter().map(Self::capacity).sum();
                let has_room = kept.len() < SPARES && held + spare.capacity <= SPARE_IN_ALL;
                if has_room {
                    kept.push(ManuallyDrop::into_inner(spare));
                }
                has_room
            });
            // A thread that has ended keeps none.
            if is_kept == Ok(true) {
                return;
            }
        }
        // SAFETY: the memory was allocated with this layout, which was checked then.
        unsafe { dealloc(self.start.as_ptr(), Layout::from_size_align_unchecked(self.capacity, self.align)) };
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        let len = bytes.len();
        let mut buffer = Self::reusing(bytes);
        buffer.len = len;
        buffer
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the first `len` bytes are initialised; with none, any pointer will do.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("len", &self.len).field("capacity", &self.capacity).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_numbers_in_the_same_memory() {
        let mut buffer = Buffer::of::<f64>();
        buffer.extend_from_slice(&1.5f64.to_ne_bytes());
        buffer.extend_from_slice(&(-2f64).to_ne_bytes());
        let start = buffer.as_ptr();
        let numbers: Vec<f64> = buffer.into_vector().unwrap();
        assert_eq!(numbers, [1.5, -2.0]);
        assert_eq!(numbers.as_ptr().cast(), start);
        assert_eq!(Buffer::of::<u32>().into_vector::<u32>(), Some(vec![]));
    }

    #[test]
    fn memory_of_another_alignment_is_copied() {
        let mut buffer = Buffer::new();
        buffer.extend_from_slice(&[7; 24]);
        assert_eq!(buffer.into_vector::<u64>(), Some(vec![0x0707_0707_0707_0707; 3]));
        let mut cut = Buffer::of::<u64>();
        cut.extend_from_slice(&[7; 23]);
        assert_eq!(cut.into_vector::<u64>(), None);
    }

    #[test]
    fn a_vectors_memory_is_used_again() {
        let vector = vec![0u16; 1000];
        let start: *const u8 = vector.as_ptr().cast();
        let mut buffer = Buffer::reusing(vector);
        assert_eq!((buffer.len(), buffer.capacity()), (0, 2000));
        buffer.extend_from_slice(&[1, 0, 2, 0]);
        let vector: Vec<u16> = buffer.into_vector().unwrap();
        assert_eq!((vector.as_ptr().cast(), vector.len(), vector.capacity()), (start, 2, 1000));
    }

    #[test]
    fn it_grows_and_keeps_what_it_holds() {
        let mut buffer = Buffer::new();
        for number in 0..100_000u32 {
            buffer.extend_from_slice(&number.to_ne_bytes());
        }
        let numbers: Vec<u32> = numbers_of(&buffer).unwrap();
        assert_eq!(numbers, (0..100_000).collect::<Vec<u32>>());
        assert_eq!(bytes_of(&numbers), &*buffer);
        buffer.resize(5);
        buffer.resize(9);
        assert_eq!(&*buffer, [0, 0, 0, 0, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn spare_memory_is_taken_by_what_has_begun_to_be_written() {
        std::thread::spawn(|| {
            let vector = vec![7u8; 1 << 20];
            let start = vector.as_ptr();
            drop(Buffer::holding(vector));
            let mut buffer = Buffer::new();
            buffer.extend_from_slice(b"head");
            buffer.extend_from_slice(&[9; 1 << 19]);
            assert!(
                buffer.as_ptr() == start && buffer.starts_with(b"head\x09") && buffer.len() == 4 + (1 << 19)
            );
            assert!(KEPT.with(|kept| kept.borrow().is_empty()));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn spare_memory_serves_what_is_a_little_longer() {
        for (need, steps) in [(5, 5), (16 << 10, 16 << 10), (1_000_000, 1 << 20), (5 << 20, 5 << 20)] {
            assert_eq!(in_steps(need), steps);
        }
        std::thread::spawn(|| {
            let reserved = |len| {
                let mut buffer = Buffer::new();
                buffer.reserve_exact(len);
                buffer.start
            };
            assert_eq!(reserved(1_000_000), reserved(1_000_100));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn spare_memory_is_bounded() {
        std::thread::spawn(|| {
            let buffers: Vec<Buffer> = (0..20)
                .map(|_| {
                    let mut buffer = Buffer::new();
                    buffer.reserve(3 << 20);
                    buffer
                })
                .collect();
            drop(buffers);
            let held = KEPT.with(|kept| kept.borrow().iter().map(Buffer::capacity).sum::<usize>());
            assert_eq!(held, 6 << 20);
            let mut again = Buffer::new();
            again.reserve(1 << 20);
            assert_eq!(again.capacity(), 3 << 20);
        })
        .join()
        .unwrap();
    }
}
