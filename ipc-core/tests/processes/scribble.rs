//! Writes what it likes into the memory of a ring.
//!
//! # Safety
//! Each call is one of the C library that needs no promise, or says which it keeps.

#![allow(unsafe_code)]

use std::fs::{self, OpenOptions};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ipc_core::{Receiver, Sender};

const PAGE: usize = 4096;
/// The header's words that are used lie in its first lines.
const HEADER: usize = 128 * 5;

/// The ring's memory, which this process finds among its handles.
fn ring() -> &'static [AtomicU64] {
    let names = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    let is_ring = |path: &std::path::PathBuf| {
        fs::read_link(path).is_ok_and(|target| target.to_string_lossy().contains("memfd:"))
    };
    let path = names.into_iter().find(is_ring).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let len = file.metadata().unwrap().len() as usize;
    // SAFETY: a new mapping that is never removed, of words that any bytes make.
    unsafe {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let base = libc::mmap(std::ptr::null_mut(), len, access, libc::MAP_SHARED, file.as_raw_fd(), 0);
        assert_ne!(base, libc::MAP_FAILED);
        std::slice::from_raw_parts(base.cast::<AtomicU64>(), len / 8)
    }
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// A word of the kind that does harm: near what is right, or far from it.
fn word(state: &mut u64, old: u64) -> u64 {
    match random(state) % 8 {
        0 => random(state),
        1 => u64::MAX,
        2 => 0,
        3 => old.wrapping_add(8),
        4 => old.wrapping_sub(8),
        5 => old ^ (1 << (random(state) % 64)),
        6 => random(state) % 70_000,
        _ => old.wrapping_add(random(state) % 4096 * 8),
    }
}

fn scribble(ring: &[AtomicU64], state: &mut u64) {
    let place = match random(state) % 4 {
        0 => random(state) as usize % (HEADER / 8),
        // Lengths and kinds of the first frames.
        1 | 2 => PAGE / 8 + random(state) as usize % 64,
        _ => random(state) as usize % ring.len(),
    };
    let word = word(state, ring[place].load(Ordering::Relaxed));
    ring[place].store(word, Ordering::Relaxed);
}

pub(crate) fn scribble_as_sender(tx: &Sender<Vec<u8>>, seed: u64) {
    let ring = ring();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for round in 0u64.. {
        let size = random(&mut state) as usize % 100_000;
        let _ = tx.send_timeout(&vec![1; size], Duration::from_micros(200));
        // At first rarely, so that good frames stand before bad ones.
        for _ in 0..random(&mut state) % (round + 1) {
            scribble(ring, &mut state);
        }
    }
}

pub(crate) fn scribble_as_receiver(rx: &Receiver<Vec<u8>>, seed: u64) {
    let ring = ring();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for round in 0u64.. {
        let _ = rx.recv_timeout(Duration::from_micros(200));
        for _ in 0..random(&mut state) % (round + 1) {
            scribble(ring, &mut state);
        }
    }
}
