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
    /// An item that would not encode, and its place: reported by itself.
    refused: Option<(usize, EncodeError)>,
}

/// What comes next.
pub(crate) enum Chunk {
    Items { index: usize, items: u32, packet: Packet },
    Refused { index: usize, error: EncodeError },
}

impl<A: Message, I: Iterator<Item = A>> Chunks<I> {
    pub(crate) fn new(items: I, size: usize) -> Self {
        Self { items, size: size.max(1), grow_to: 0, bundle: None, next_index: 0, refused: None }
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
        if let Some((index, error)) = self.refused.take() {
            return Some(Chunk::Refused { index, error });
        }
        let mut packet = Packet::new();
        let began = self.bundle.map(|_| Instant::now());
        let (index, mut count) = (self.next_index, 0);
        packet.writing(|writer| {
            if let Some(width) = item_width::<A>() {
                count = writer.numbers(&mut self.items, self.size.min(CHUNK_BYTES / width));
                self.next_index += count;
                return;
            }
            while count < self.size && writer.len() < CHUNK_BYTES && writer.handle_count() == 0 {
                let Some(item) = self.items.next() else { break };
                let place = self.next_index;
                self.next_index += 1;
                if let Err(error) = writer.item(&item) {
                    self.refused = Some((place, error));
                    break;
                }
                count += 1;
            }
        });
        self.resize_bundle(began);
        self.size = self.size.saturating_mul(2).min(self.grow_to).max(self.size);
        if count > 0 {
            return Some(Chunk::Items { index, items: count as u32, packet });
        }
        self.refused.take().map(|(index, error)| Chunk::Refused { index, error })
    }
}
