//! Items put together into tasks.

use std::time::{Duration, Instant};

use ipc_core::{EncodeError, Message, Packet, item_width};

/// A task's items are no more bytes than this, so that several fit a link.
const CHUNK_BYTES: usize = 24 << 10;

/// Items that take longer to come by are not put together.
const SLOW_BUNDLE: Duration = Duration::from_micros(50);

/// How many items a task has at the most when their number is not known.
const LARGEST_GROWN: usize = 1024;

/// Makes tasks of an iterator's items.
#[derive(Debug)]
pub(crate) struct Chunks<I> {
    items: I,
    size: usize,
    /// Tasks grow as more items come, up to this.
    grow_to: usize,
    /// How many items may go together that were not asked to.
    bundle: Option<usize>,
    next_index: usize,
    /// What comes after the items that it was taken from the input behind.
    alone: Option<Chunk>,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Chunk {
    Items { index: usize, items: u32, packet: Packet },
    Refused { index: usize, error: EncodeError },
}

impl<A: Message, I: Iterator<Item = A>> Chunks<I> {
    pub(crate) fn new(items: I, size: usize) -> Self {
        Self { items, size: size.max(1), grow_to: 0, bundle: None, next_index: 0, alone: None }
    }

    /// For items that each go by itself, as far as anybody can see: of quick ones the
    /// pool may have some put together.
    pub(crate) fn bundles(items: I) -> Self {
        Self { bundle: Some(1), ..Self::new(items, 1) }
    }

    /// For items whose number is not known: tasks that grow, up to `most`.
    pub(crate) fn growing(items: I, most: usize) -> Self {
        Self { grow_to: most.min(LARGEST_GROWN), ..Self::new(items, 1) }
    }
}

impl<I> Chunks<I> {
    /// How many items a task has from now on.
    pub(crate) fn set_size(&mut self, size: usize) {
        self.size = size.max(1);
        self.bundle = None;
    }

    /// How many items a bundle may have at the most: it is come to step by step.
    pub(crate) fn set_bundle(&mut self, most: usize) {
        if let Some(bundle) = &mut self.bundle {
            *bundle = (*bundle).min(most);
            self.size = *bundle;
        }
    }

    /// How many items go together that were not asked to.
    pub(crate) fn bundle(&self) -> usize {
        self.bundle.unwrap_or(1)
    }

    /// The next bundle may be larger, unless the items came slowly: then the first of
    /// them waited for the last.
    fn resize_bundle(&mut self, began: Option<Instant>) {
        if let (Some(bundle), Some(began)) = (&mut self.bundle, began) {
            let is_slow = began.elapsed() > SLOW_BUNDLE;
            *bundle = if is_slow { 1 } else { bundle.saturating_mul(2) };
        }
    }

    /// How many items have been taken.
    pub(crate) fn taken(&self) -> usize {
        self.next_index
    }
}

impl<A: Message, I: Iterator<Item = A>> Iterator for Chunks<I> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        if let Some(alone) = self.alone.take() {
            return Some(alone);
        }
        let mut packet = Packet::new();
        let began = self.bundle.map(|_| Instant::now());
        let size = if began.is_some() { self.size.min(self.items.size_hint().0.max(1)) } else { self.size };
        let (index, mut count) = (self.next_index, 0);
        // What brought handles behind other items, and where it begins.
        let mut laden = None;
        packet.writing(|writer| {
            if let Some(width) = item_width::<A>() {
                count = writer.numbers(&mut self.items, size.min(CHUNK_BYTES / width));
                self.next_index += count;
                return;
            }
            while count < size && writer.len() < CHUNK_BYTES && writer.handle_count() == 0 {
                let Some(item) = self.items.next() else { break };
                let (place, before) = (self.next_index, writer.len());
                self.next_index += 1;
                if let Err(error) = writer.item(&item) {
                    self.alone = Some(Chunk::Refused { index: place, error });
                    break;
                }
                if count > 0 && writer.handle_count() > 0 {
                    laden = Some((item, before));
                    break;
                }
                count += 1;
            }
        });
        if let Some((item, before)) = laden {
            // It goes by itself: a task with handles cannot be divided.
            self.alone = Some(Self::single(self.next_index - 1, &item));
            let mut others = Packet::new();
            others.extend_bytes(&packet.bytes()[..before]);
            packet = others;
        }
        self.resize_bundle(began);
        self.size = self.size.saturating_mul(2).min(self.grow_to).max(self.size);
        if count > 0 {
            return Some(Chunk::Items { index, items: count as u32, packet });
        }
        self.alone.take()
    }
}

impl<A: Message, I: Iterator<Item = A>> Chunks<I> {
    /// Whether the input does not say that there is more: it may have to wait for what
    /// the items before bring.
    pub(crate) fn may_wait(&self) -> bool {
        self.items.size_hint().0 == 0
    }

    fn single(index: usize, item: &A) -> Chunk {
        let mut packet = Packet::new();
        match packet.append_item(item) {
            Ok(()) => Chunk::Items { index, items: 1, packet },
            Err(error) => Chunk::Refused { index, error },
        }
    }
}
