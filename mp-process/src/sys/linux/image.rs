//! This program in memory, as `dl_iterate_phdr(3)` tells: where it was loaded,
//! where its code lies, and the build id that the linker gave it.
//!
//! # Safety
//! The callback reads only the first entry, the main program, whose headers and
//! note segments stay mapped and unchanged as long as the process lives.

#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::{fs, slice};

use ipc_core::raw::Settled;
use libc::{PF_X, PT_LOAD, PT_NOTE, dl_phdr_info, size_t};

/// The main program: neither its plug-ins nor its shared libraries.
#[derive(Debug)]
pub(crate) struct Image {
    base: usize,
    /// Where the code lies, relative to `base`.
    code: Vec<Range<usize>>,
    identity: Vec<u8>,
}

impl Image {
    pub(crate) fn current() -> &'static Self {
        static IMAGE: Settled<Image> = Settled::new();
        IMAGE.get_or_make(Self::read)
    }

    fn read() -> Self {
        let mut found = Self { base: 0, code: Vec::new(), identity: Vec::new() };
        let place: *mut Self = &mut found;
        // SAFETY: `visit` has the signature asked for and gets back the pointer given
        // here, to a value that outlives the call.
        unsafe { libc::dl_iterate_phdr(Some(visit), place.cast()) };
        if found.identity.is_empty() {
            found.identity = file_identity();
        }
        found
    }

    /// What tells two builds apart: the build id, or else the file.
    pub(crate) fn identity(&self) -> &[u8] {
        &self.identity
    }

    /// How far `address` is from where the program was loaded; `None` for code of
    /// a library, which another process has elsewhere.
    pub(crate) fn offset_of(&self, address: usize) -> Option<usize> {
        let offset = address.checked_sub(self.base)?;
        self.is_code(offset).then_some(offset)
    }

    /// The address of the code at `offset`; `None` if no code lies there.
    pub(crate) fn address_of(&self, offset: usize) -> Option<usize> {
        if self.is_code(offset) { self.base.checked_add(offset) } else { None }
    }

    fn is_code(&self, offset: usize) -> bool {
        self.code.iter().any(|range| range.contains(&offset))
    }
}

unsafe extern "C" fn visit(info: *mut dl_phdr_info, _size: size_t, data: *mut c_void) -> c_int {
    // SAFETY: libc passes a valid entry, and `data` is the pointer of `Image::read`.
    let (info, image) = unsafe { (&*info, &mut *data.cast::<Image>()) };
    image.base = info.dlpi_addr as usize;
    // SAFETY: the entry's headers stay mapped as long as its program is loaded.
    let headers = unsafe { slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    for header in headers {
        let range = header.p_vaddr as usize..(header.p_vaddr + header.p_memsz) as usize;
        if header.p_type == PT_LOAD && header.p_flags & PF_X != 0 {
            image.code.push(range);
        } else if header.p_type == PT_NOTE && image.identity.is_empty() {
            let start = (image.base + range.start) as *const u8;
            // SAFETY: a note segment lies inside a loaded segment of the program.
            let notes = unsafe { slice::from_raw_parts(start, header.p_memsz as usize) };
            image.identity = build_id(notes, header.p_align as usize).unwrap_or_default().to_vec();
        }
    }
    // The main program is the first entry; the others are not looked at.
    1
}

const NT_GNU_BUILD_ID: u32 = 3;

/// Finds the build id among the notes of a segment (elf(5), "Notes").
fn build_id(mut notes: &[u8], align: usize) -> Option<&[u8]> {
    let align = align.max(4);
    let word = |notes: &[u8], at: usize| Some(u32::from_ne_bytes(notes.get(at..at + 4)?.try_into().ok()?));
    loop {
        let (name_len, len) = (word(notes, 0)? as usize, word(notes, 4)? as usize);
        let name = notes.get(12..12usize.checked_add(name_len)?)?;
        let body = (12 + name_len).next_multiple_of(align);
        let content = notes.get(body..body.checked_add(len)?)?;
        if word(notes, 8)? == NT_GNU_BUILD_ID && name == b"GNU\0" {
            return Some(content);
        }
        notes = notes.get((body + len).next_multiple_of(align)..)?;
    }
}

/// For programs linked without a build id: the file and when it was written.
fn file_identity() -> Vec<u8> {
    let Ok(file) = fs::metadata("/proc/self/exe") else { return b"unknown".to_vec() };
    format!("{}:{}:{}:{}.{}", file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec())
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_of_the_program_has_an_offset_and_is_found_again() {
        let image = Image::current();
        let address = file_identity as fn() -> Vec<u8> as usize;
        let offset = image.offset_of(address).unwrap();
        assert_eq!(image.address_of(offset), Some(address));
        assert!(!image.identity().is_empty());
    }

    #[test]
    fn a_function_of_a_library_and_data_have_none() {
        let image = Image::current();
        assert_eq!(image.offset_of(libc::getpid as *const () as usize), None);
        static DATA: u32 = 7;
        assert_eq!(image.offset_of(&raw const DATA as usize), None);
        assert_eq!(image.address_of(usize::MAX), None);
    }
}
