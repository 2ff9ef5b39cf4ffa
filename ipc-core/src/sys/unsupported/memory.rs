use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

use super::handle::{Handle, Never};
use super::unsupported;

pub(crate) const PAGE: usize = 4096;

#[derive(Debug)]
pub(crate) struct Segment(Handle);

impl Segment {
    pub(crate) fn create(_len: usize) -> io::Result<Self> {
        unsupported()
    }

    pub(crate) fn import(handle: Handle) -> io::Result<Self> {
        handle.never()
    }

    #[cfg(feature = "named")]
    pub(crate) fn import_unsealed(handle: Handle) -> io::Result<Self> {
        handle.never()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.never()
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        self.0.never()
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.0
    }

    pub(crate) fn discard(&self, _offset: usize, _len: usize) {
        self.0.never()
    }
}

#[derive(Debug)]
pub(crate) struct Mapping(Never);

impl Mapping {
    pub(crate) fn whole(_segment: &Segment) -> io::Result<Self> {
        unsupported()
    }

    pub(crate) fn mirrored(
        _segment: &Segment,
        _head: usize,
        _data: usize,
        _count: usize,
    ) -> io::Result<Vec<Mirrored>> {
        unsupported()
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        match self.0 {}
    }

    pub(crate) fn copy_out(&self, _offset: usize, _bytes: &mut [u8]) {
        match self.0 {}
    }

    pub(crate) fn copy_in(&self, _offset: usize, _bytes: &[u8]) {
        match self.0 {}
    }

    pub(crate) fn word(&self, _offset: usize) -> &AtomicU32 {
        match self.0 {}
    }

    pub(crate) fn counter(&self, _offset: usize) -> &AtomicU64 {
        match self.0 {}
    }
}

#[derive(Debug)]
pub(crate) struct Mirrored(Never);

impl Mirrored {
    pub(crate) fn base(&self) -> NonNull<u8> {
        match self.0 {}
    }
}

pub(crate) fn prefer_large_pages(_start: NonNull<u8>, _len: usize) {}

pub(crate) fn random_id() -> io::Result<u128> {
    unsupported()
}

pub(crate) fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    unsupported()
}
