//! Items put together into tasks.

use ipc_core::{EncodeError, Message, Packet, item_width};

/// A task's items are no more bytes than this, so that several fit a link.
const CHUNK_BYTES: usize = 24 << 10;

/// How many items a task has at the most when their number is not known.
const LARGEST_GROWN: usize = 1024;

/// Makes tasks of an iterator's items.
#[derive(Debug)]
pub(crate) struct Chunks<I> {
    items: I,
    size: usize,
    /// Tasks grow as more items come, up to this.
    grow_to: usize,
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
        Self { items, size: size.max(1), grow_to: 0, next_index: 0, refused: None }
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
        self.size = self.size.saturating_mul(2).min(self.grow_to).max(self.size);
        if count > 0 {
            return Some(Chunk::Items { index, items: count as u32, packet });
        }
        self.refused.take().map(|(index, error)| Chunk::Refused { index, error })
    }
}
