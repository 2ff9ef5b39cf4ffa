//! Items put together into tasks.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ipc_core::{EncodeError, Message, Packet, Writer, item_width};

use crate::core::Advice;

use crate::progress::length;

/// A task's items are no more bytes than this, so that several fit a link.
const CHUNK_BYTES: usize = 24 << 10;

/// Items that take longer to come by are not put together.
const SLOW_BUNDLE: Duration = Duration::from_micros(50);

/// A task of a map has at the most so many times the items of the one before.
const GROWTH: usize = 8;

/// Makes tasks of an iterator's items.
#[derive(Debug)]
pub(crate) struct Chunks<I> {
    items: I,
    /// How many items the next task has.
    size: usize,
    sizing: Sizing,
    next_index: usize,
    /// What comes after the items that it was taken from the input behind.
    alone: Option<Chunk>,
    /// What the input panicked with, behind the items that it gave before.
    panic: Option<Box<Mutex<Box<dyn Any + Send>>>>,
}

/// What is in a packet that is being filled.
#[derive(Debug, Default)]
struct Filled {
    /// Items that were taken from the input.
    taken: usize,
    /// Those of them that lie in the packet, and how many bytes they have.
    count: usize,
    len: usize,
}

/// How a task's number of items comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sizing {
    /// It was asked for.
    Fixed,
    /// Each item goes by itself, as far as anybody can see: of quick ones some go together.
    Bundles,
    /// By what items take, and how many there are.
    Measured,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Chunk {
    Items { index: usize, items: u32, packet: Packet },
    Refused { index: usize, error: EncodeError },
}

impl<A: Message, I: Iterator<Item = A>> Chunks<I> {
    pub(crate) fn new(items: I, size: usize) -> Self {
        Self { items, size: size.max(1), sizing: Sizing::Fixed, next_index: 0, alone: None, panic: None }
    }

    /// For items that each go by itself, as far as anybody can see: of quick ones the
    /// pool may have some put together.
    pub(crate) fn bundles(items: I) -> Self {
        Self { sizing: Sizing::Bundles, ..Self::new(items, 1) }
    }

    /// For items that are waited for together: of how many a task is made follows from
    /// what the first ones take.
    pub(crate) fn measured(items: I) -> Self {
        Self { sizing: Sizing::Measured, ..Self::new(items, 1) }
    }

    /// What is known now of the items; how many go together is come to step by step.
    pub(crate) fn heed(&mut self, advice: Advice) {
        match self.sizing {
            Sizing::Fixed => {}
            Sizing::Bundles => self.size = self.size.min(advice.bundle),
            Sizing::Measured => {
                // Towards the end tasks get smaller, so that workers end together.
                let fair = match self.items.size_hint().0 {
                    0 => advice.most,
                    left => (left / (2 * advice.workers.max(1))).max(advice.least),
                };
                self.size = self.size.min(advice.most).min(fair).max(1);
            }
        }
    }
}

impl<I: Iterator> Chunks<I> {
    /// How many items have not been taken, if the input knows.
    pub(crate) fn left(&self) -> Option<usize> {
        length(&self.items)
    }
}

impl<I> Chunks<I> {
    /// How many items a task has from now on.
    pub(crate) fn set_size(&mut self, size: usize) {
        self.size = size.max(1);
        self.sizing = Sizing::Fixed;
    }

    /// How many items go together that were not asked to.
    pub(crate) fn bundle(&self) -> usize {
        if self.sizing == Sizing::Bundles { self.size } else { 1 }
    }

    /// The next task may be larger, unless the items came slowly: then the first of
    /// them waited for the last.
    fn resize(&mut self, began: Option<Instant>) {
        let Some(began) = began else { return };
        let is_slow = began.elapsed() > SLOW_BUNDLE;
        self.size = match self.sizing {
            Sizing::Fixed => self.size,
            Sizing::Bundles if is_slow => 1,
            Sizing::Bundles => self.size.saturating_mul(2),
            Sizing::Measured if is_slow => self.size.div_ceil(2),
            Sizing::Measured => self.size.saturating_mul(GROWTH),
        };
    }

    /// How many items have been taken.
    pub(crate) fn taken(&self) -> usize {
        self.next_index
    }
}

impl Chunk {
    /// One item by itself.
    pub(crate) fn one<A: Message>(item: A) -> Self {
        Self::single(0, &item)
    }

    fn single<A: Message>(index: usize, item: &A) -> Self {
        let mut packet = Packet::new();
        // A `Serialize` is anybody's code.
        let written = mp_process::catch_panic(|| packet.append_item(item)).unwrap_or_else(|panic| {
            Err(EncodeError::new::<A>(format_args!("its encoding panicked: {panic}")))
        });
        match written {
            Ok(()) => Self::Items { index, items: 1, packet },
            Err(error) => Self::Refused { index, error },
        }
    }

    /// How many items it has, and bytes, with those of memory that they keep.
    pub(crate) fn load(&self) -> (usize, usize) {
        match self {
            Self::Items { items, packet, .. } => {
                (*items as usize, packet.bytes().len().saturating_add(packet.kept_bytes()))
            }
            Self::Refused { .. } => (1, 0),
        }
    }
}

impl<A: Message, I: Iterator<Item = A>> Iterator for Chunks<I> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        if let Some(alone) = self.alone.take() {
            return Some(alone);
        }
        self.pass_panic_on();
        let mut packet = Packet::new();
        let began = (self.sizing != Sizing::Fixed).then(Instant::now);
        let size = match self.sizing {
            Sizing::Bundles => self.size.min(self.items.size_hint().0.max(1)),
            _ => self.size,
        };
        let (index, mut filled, mut left) = (self.next_index, Filled::default(), None);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            packet.writing(|writer| match item_width::<A>() {
                Some(width) => self.fill_with_numbers(writer, size.min(CHUNK_BYTES / width), &mut filled),
                None => left = self.fill(writer, size, &mut filled),
            });
        }));
        self.next_index += filled.taken;
        if let Err(panic) = caught {
            // The items that came before it are on their way first.
            self.panic = Some(Box::new(Mutex::new(panic)));
            filled.len = item_width::<A>().map_or(filled.len, |width| width * filled.count);
            packet.truncate(filled.len);
        } else if packet.bytes().len() > filled.len && item_width::<A>().is_none() {
            // The last one is refused, or goes by itself: a task with handles cannot be divided.
            let mut others = Packet::new();
            others.extend_bytes(&packet.bytes()[..filled.len]);
            packet = others;
        }
        // Only now: an end in it stood in the packet that was given up.
        if let Some((place, item)) = left {
            self.alone = Some(Chunk::single(place, &item));
        }
        self.resize(began);
        if filled.count > 0 {
            return Some(Chunk::Items { index, items: filled.count as u32, packet });
        }
        let alone = self.alone.take();
        if alone.is_none() {
            self.pass_panic_on();
        }
        alone
    }
}

impl<A: Message, I: Iterator<Item = A>> Chunks<I> {
    fn fill_with_numbers(&mut self, writer: &mut Writer<'_>, most: usize, filled: &mut Filled) {
        let mut items = self.items.by_ref().inspect(|_| filled.count += 1);
        writer.numbers(&mut items, most);
        filled.taken = filled.count;
    }

    /// Fills a packet with up to `size` items. One that is refused goes by itself; one that brings
    /// handles behind others does too, and is given back with its place.
    fn fill(&mut self, writer: &mut Writer<'_>, size: usize, filled: &mut Filled) -> Option<(usize, A)> {
        while filled.count < size && writer.len() < CHUNK_BYTES && writer.handle_count() == 0 {
            let item = self.items.next()?;
            let place = self.next_index + filled.taken;
            filled.taken += 1;
            // A `Serialize` is anybody's code.
            let written = mp_process::catch_panic(|| writer.item(&item)).unwrap_or_else(|panic| {
                Err(EncodeError::new::<A>(format_args!("its encoding panicked: {panic}")))
            });
            if let Err(error) = written {
                self.alone = Some(Chunk::Refused { index: place, error });
                return None;
            }
            if filled.count > 0 && writer.handle_count() > 0 {
                return Some((place, item));
            }
            filled.count += 1;
            filled.len = writer.len();
        }
        None
    }

    /// Panics as the input did, once.
    fn pass_panic_on(&mut self) {
        if let Some(panic) = self.panic.take() {
            resume_unwind(panic.into_inner().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl<A: Message, I: Iterator<Item = A>> Chunks<I> {
    /// Whether the input does not say that there is more: it may have to wait for what
    /// the items before bring.
    pub(crate) fn may_wait(&self) -> bool {
        self.items.size_hint().0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_of_a_map_get_smaller_towards_its_end() {
        let advice = Advice { bundle: 1, least: 4, most: 300, workers: 2, window_bytes: usize::MAX };
        let mut chunks = Chunks::measured(0..4000_u64);
        let mut left = 4000;
        while left > 0 {
            chunks.heed(advice);
            let Some(Chunk::Items { items, .. }) = chunks.next() else { panic!("{left} items are left") };
            let fair = (left / 4).clamp(4, 300);
            assert!(items as usize <= fair, "{items} of {left} items go together");
            left -= items as usize;
        }
        assert!(chunks.next().is_none());
    }
}
