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
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::fs::{
    FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate,
    memfd_create,
};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

use super::Handle;

/// The unit in which memory is mapped.
pub(crate) const PAGE: usize = 4096;

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

    /// Maps `head` bytes at `offset` and after them the next `data` bytes twice,
    /// so that a range that runs over the end goes on in the second copy.
    /// All three numbers are multiples of the page.
    pub(crate) fn mirrored(segment: &Segment, offset: usize, head: usize, data: usize) -> io::Result<Self> {
        let once = head + data;
        // The room for the second copy comes with the first one, and is replaced.
        let area = Self::map(segment, offset, once, once + data)?;
        // SAFETY: `[once, once + data)` lies inside the range that was mapped above, so `FIXED`
        // replaces nothing but our own placeholder; the bytes are inside the segment, as those
        // before them are.
        unsafe {
            let flags = MapFlags::SHARED | MapFlags::FIXED;
            let copy = area.base.as_ptr().add(once).cast();
            mmap(copy, data, READ_WRITE, flags, &segment.handle, (offset + head) as u64)?;
        }
        Ok(area)
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

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `map`, and all that was handed out borrows `self`.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}
