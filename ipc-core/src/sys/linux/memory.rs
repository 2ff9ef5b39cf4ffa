//! Anonymous shared memory: a sealed memfd, and windows on it.
//!
//! # Safety
//! A `Mapping` owns its address range from `mmap` to `munmap`. Its memory is
//! shared with other processes, so it is handed out as a raw pointer or as
//! atomics, never as a `&T` or `&[u8]` that another process could change. The
//! seals (no shrinking) make every mapped byte stay backed.

#![allow(unsafe_code)]

use std::io;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::fs::{
    FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate,
    memfd_create,
};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

use super::Handle;

/// The unit in which memory is mapped.
pub(crate) const PAGE: usize = 4096;

/// How often a place is looked for that no other thread takes a part of. One that maps something at
/// the same time may take it; that it does so each time is a kernel that does not keep to its word.
const MIRROR_TRIES: u32 = 1000;

const READ_WRITE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

/// With these a peer can neither cut the memory short under us nor undo it.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// Shared memory of a fixed size without a name.
#[derive(Debug)]
pub(crate) struct Segment {
    handle: Handle,
    len: usize,
}

impl Segment {
    /// Zeroed memory of `len` bytes, which the kernel supplies page by page as it is touched.
    pub(crate) fn create(len: usize) -> io::Result<Self> {
        if len > isize::MAX as usize {
            let reason = "it is more than a process can have: ask for as much as is used at one time";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        let fd = memfd_create(c"ipc-core", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&fd, len as u64)?;
        fcntl_add_seals(&fd, SEALS)?;
        Ok(Self { handle: fd.into(), len })
    }

    /// Takes over memory that a peer made, if it is sealed as ours is.
    pub(crate) fn import(handle: Handle) -> io::Result<Self> {
        if !fcntl_get_seals(&handle)?.contains(SEALS) {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the shared memory received is not sealed against shrinking",
            ));
        }
        let len = usize::try_from(fstat(&handle)?.st_size).map_err(|_| io::ErrorKind::InvalidData)?;
        Ok(Self { handle, len })
    }

    /// Memory with a name, which cannot be sealed.
    #[cfg(feature = "named")]
    pub(super) fn unsealed(handle: Handle, len: usize) -> Self {
        Self { handle, len }
    }

    /// Takes over memory with a name from a process that will not cut it short.
    #[cfg(feature = "named")]
    pub(crate) fn import_unsealed(handle: Handle) -> io::Result<Self> {
        let len = usize::try_from(fstat(&handle)?.st_size).map_err(|_| io::ErrorKind::InvalidData)?;
        if len == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Self { handle, len })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// What of it can be mapped: whole pages, and one at the least.
    fn pages(&self) -> usize {
        self.len.next_multiple_of(PAGE).max(PAGE)
    }

    /// The same memory by another handle; what is known of it need not be asked again.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { handle: self.handle.try_clone()?, len: self.len })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Punches a hole: its pages go back to the system. It is a kindness, so a refusal is none.
    pub(crate) fn discard(&self, offset: usize, len: usize) {
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let _ = fallocate(&self.handle, mode, offset as u64, len as u64);
    }
}

/// A window on a segment in this process's address space.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the range belongs to this value alone and is not tied to a thread;
// what lies in it is reached through raw pointers and atomics only.
unsafe impl Send for Mapping {}
// SAFETY: as above; `&Mapping` gives out atomics and raw pointers.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the whole segment once.
    pub(crate) fn whole(segment: &Segment) -> io::Result<Self> {
        let len = segment.pages();
        Self::map(segment, 0, len, len)
    }

    /// Maps a segment that consists of `count` pieces with `head` bytes and `data` bytes each: of each
    /// piece the head, and after it the data twice, so that a range that runs over the end goes on in the
    /// second copy. Both numbers are multiples of the page.
    pub(crate) fn mirrored(
        segment: &Segment,
        head: usize,
        data: usize,
        count: usize,
    ) -> io::Result<Vec<Mirrored>> {
        let whole = Arc::new(Self::chained(segment, head, data, count)?);
        let piece = |number: usize| {
            // SAFETY: so many lie in the mapping one behind the other.
            let base = unsafe { whole.base.add(number * (head + 2 * data)) };
            Mirrored { base, _whole: Arc::clone(&whole) }
        };
        Ok((0..count).map(piece).collect())
    }

    /// The pieces of [`mirrored`](Self::mirrored), one behind the other. The second copy of one and the first
    /// of the next follow each other in the segment too, so they are one area for the kernel, of which each
    /// fork has to copy one less.
    fn chained(segment: &Segment, head: usize, data: usize, count: usize) -> io::Result<Self> {
        let once = head + data;
        let mut tries = 1..MIRROR_TRIES;
        loop {
            // The kernel finds a place for all of it; what is behind the first copy is given back.
            let mut area = Self::map(segment, 0, count * once, count * (once + data))?;
            area.shorten(once)?;
            let rest = (1..=count).try_for_each(|number| {
                let next = if number < count { once } else { 0 };
                area.map_behind(segment, (number * once - data) as u64, data + next)
            });
            match rest {
                Ok(()) => return Ok(area),
                // Another thread has mapped something there meanwhile, and keeps it.
                Err(Errno::EXIST) if tries.next().is_some() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Gives back what is behind the first `len` bytes.
    fn shorten(&mut self, len: usize) -> io::Result<()> {
        // SAFETY: the bytes are this value's, which forgets them, and nobody has seen them.
        unsafe { munmap(self.base.as_ptr().add(len).cast(), self.len - len)? };
        self.len = len;
        Ok(())
    }

    /// Maps `len` bytes of the segment right behind its own, if nothing is mapped there. It replaces
    /// nothing, not even a placeholder: one that is replaced may be gone also if what was to come in
    /// its place does not, and what another thread maps into the gap would be taken for ours.
    fn map_behind(&mut self, segment: &Segment, offset: u64, len: usize) -> Result<(), Errno> {
        let flags = MapFlags::SHARED | MapFlags::FIXED_NOREPLACE;
        let behind = self.base.as_ptr().wrapping_add(self.len).cast();
        // SAFETY: the flag lets the kernel take only a range that is free.
        let came = unsafe { mmap(behind, len, READ_WRITE, flags, &segment.handle, offset)? };
        if came != behind {
            // One that does not know the flag has found another place.
            // SAFETY: it was mapped just now, and nobody has seen it.
            unsafe { munmap(came, len)? };
            return Err(Errno::EXIST);
        }
        self.len += len;
        Ok(())
    }

    /// A range of `room` bytes, of which the first `len` are those of the segment at `offset`.
    fn map(segment: &Segment, offset: usize, len: usize, room: usize) -> io::Result<Self> {
        if offset + len > segment.pages() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the shared memory is shorter than it must be",
            ));
        }
        // SAFETY: a null hint lets the kernel choose a free range; nothing is replaced.
        let base = unsafe {
            mmap(ptr::null_mut(), room, READ_WRITE, MapFlags::SHARED, &segment.handle, offset as u64)?
        };
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, len: room })
    }

    /// The first byte; valid for `len()` bytes as long as this value lives.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    fn holds(&self, offset: usize, len: usize) -> bool {
        len <= self.len && offset <= self.len - len
    }

    /// Copies from the bytes at `offset`, which must lie inside.
    pub(crate) fn copy_out(&self, offset: usize, bytes: &mut [u8]) {
        assert!(self.holds(offset, bytes.len()), "bytes outside the mapping");
        // SAFETY: inside the mapping, whose bytes any value fits; `bytes` is ours alone.
        // Another process may write meanwhile, and gives a mixture of old and new.
        unsafe {
            ptr::copy_nonoverlapping(self.base.as_ptr().add(offset), bytes.as_mut_ptr(), bytes.len());
        }
    }

    /// Copies to the bytes at `offset`, which must lie inside.
    pub(crate) fn copy_in(&self, offset: usize, bytes: &[u8]) {
        assert!(self.holds(offset, bytes.len()), "bytes outside the mapping");
        // SAFETY: as for `copy_out`; nothing in the mapping is lent out but atomics.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.base.as_ptr().add(offset), bytes.len());
        }
    }

    /// The word at `offset`, which must lie inside and be aligned.
    pub(crate) fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && self.holds(offset, 4), "word outside the mapping");
        // SAFETY: inside the mapping, aligned, and shared memory is valid as an atomic.
        unsafe { &*self.base.as_ptr().add(offset).cast::<AtomicU32>() }
    }

    /// The double word at `offset`, which must lie inside and be aligned.
    pub(crate) fn counter(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && self.holds(offset, 8), "counter outside the mapping");
        // SAFETY: as for `word`.
        unsafe { &*self.base.as_ptr().add(offset).cast::<AtomicU64>() }
    }
}

/// Asks for large pages under private memory of `len` bytes, which is about to be filled.
/// It is a kindness, so a refusal is none.
pub(crate) fn prefer_large_pages(start: NonNull<u8>, len: usize) {
    let first = start.as_ptr().align_offset(PAGE);
    if first < len {
        // SAFETY: the pages lie inside memory of the caller's, and the advice changes none of it.
        let _ = unsafe {
            madvise(start.as_ptr().add(first).cast(), (len - first) & !(PAGE - 1), Advice::LinuxHugepage)
        };
    }
}

/// A number that nobody else will draw.
pub(crate) fn random_id() -> io::Result<u128> {
    random_bytes().map(u128::from_ne_bytes)
}

/// Bytes that nobody guesses.
pub(crate) fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    // So many come at once and whole.
    const { assert!(N <= 256) };
    let mut bytes = [0u8; N];
    // SAFETY: the call writes at most the bytes it is given.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got == bytes.len() as isize { Ok(bytes) } else { Err(io::Error::last_os_error()) }
}

/// A piece of a mapping, which lives as long as any of its pieces.
#[derive(Debug)]
pub(crate) struct Mirrored {
    base: NonNull<u8>,
    _whole: Arc<Mapping>,
}

// SAFETY: as for `Mapping`, whose memory it gives out.
unsafe impl Send for Mirrored {}
// SAFETY: as above.
unsafe impl Sync for Mirrored {}

impl Mirrored {
    /// The first byte; valid for the head and twice the data as long as this value lives.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `map`, and all that was handed out borrows `self`.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    /// A segment whose pages bear their numbers.
    fn numbered(pages: usize) -> Segment {
        let segment = Segment::create(pages * PAGE).unwrap();
        let mapping = Mapping::whole(&segment).unwrap();
        (0..pages).for_each(|page| mapping.copy_in(page * PAGE, &[page as u8; PAGE]));
        segment
    }

    fn number(mapping: &Mapping, page: usize) -> u8 {
        let mut byte = [0xff];
        mapping.copy_out(page * PAGE, &mut byte);
        byte[0]
    }

    #[test]
    fn the_data_is_there_twice() {
        let mapping = Mapping::chained(&numbered(5), PAGE, 4 * PAGE, 1).unwrap();
        assert_eq!(mapping.len, 9 * PAGE);
        assert_eq!(
            [0, 1, 2, 3, 4, 5, 6, 7, 8].map(|page| number(&mapping, page)),
            [0, 1, 2, 3, 4, 1, 2, 3, 4]
        );
        mapping.copy_in(PAGE, &[77]);
        assert_eq!(number(&mapping, 5), 77);
    }

    #[test]
    fn the_pieces_lie_one_behind_the_other() {
        let segment = numbered(9);
        let mapping = Mapping::chained(&segment, PAGE, 2 * PAGE, 3).unwrap();
        let numbers: Vec<u8> = (0..15).map(|page| number(&mapping, page)).collect();
        assert_eq!(numbers, [0, 1, 2, 1, 2, 3, 4, 5, 4, 5, 6, 7, 8, 7, 8]);
        let pieces = Mapping::mirrored(&segment, PAGE, 2 * PAGE, 3).unwrap();
        let distance = |a: usize, b: usize| pieces[b].base().addr().get() - pieces[a].base().addr().get();
        assert_eq!((pieces.len(), distance(0, 1), distance(1, 2)), (3, 5 * PAGE, 5 * PAGE));
        assert!(Mapping::mirrored(&segment, PAGE, 2 * PAGE, 4).is_err());
    }

    #[test]
    fn a_second_copy_that_fails_takes_nothing_of_others() {
        let segment = numbered(3);
        let (mut front, behind) = loop {
            let mut front = Mapping::map(&segment, 0, 3 * PAGE, 3 * PAGE).unwrap();
            front.shorten(PAGE).unwrap();
            // What another thread may put there at that moment.
            let mut behind = Mapping { base: front.base, len: 0 };
            // SAFETY: one byte behind the mapping at most.
            behind.base = unsafe { front.base.byte_add(PAGE) };
            match behind.map_behind(&segment, PAGE as u64, 2 * PAGE) {
                Ok(()) => break (front, behind),
                Err(error) => assert_eq!(error, Errno::EXIST),
            }
        };
        assert_eq!(front.map_behind(&segment, 0, 2 * PAGE), Err(Errno::EXIST));
        assert_eq!(front.map_behind(&segment, 0, PAGE), Err(Errno::EXIST));
        assert_eq!(front.map_behind(&segment, 1, PAGE), Err(Errno::INVAL));
        assert_eq!((front.len, number(&front, 0)), (PAGE, 0));
        drop(front);
        assert_eq!([0, 1].map(|page| number(&behind, page)), [1, 2]);
    }

    /// Each sees only its own bytes, whoever takes the place that another one has just given back.
    #[test]
    fn threads_that_map_at_the_same_time_keep_their_memory() {
        const ROUNDS: usize = 2000;
        let (segment, ended) = (numbered(5), AtomicBool::new(false));
        thread::scope(|scope| {
            let (segment, ended) = (&segment, &ended);
            for own in 100..102 {
                scope.spawn(move || {
                    while !ended.load(Ordering::Relaxed) {
                        let segment = Segment::create(2 * PAGE).unwrap();
                        let mappings = [(); 8].map(|()| Mapping::whole(&segment).unwrap());
                        mappings[0].copy_in(0, &[own; 2 * PAGE]);
                        assert!(
                            mappings
                                .iter()
                                .all(|mapping| [0, 1].map(|page| number(mapping, page)) == [own; 2])
                        );
                    }
                });
            }
            let mirrors = [(); 2].map(|()| {
                scope.spawn(move || {
                    for _ in 0..ROUNDS {
                        let mapping = Mapping::chained(segment, PAGE, 4 * PAGE, 1).unwrap();
                        assert_eq!([0, 4, 5, 8].map(|page| number(&mapping, page)), [0, 4, 1, 4]);
                    }
                })
            });
            let results = mirrors.map(|mirror| mirror.join());
            ended.store(true, Ordering::Relaxed);
            assert!(results.iter().all(Result::is_ok));
        });
    }
}
