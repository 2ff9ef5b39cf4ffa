//! Items put together into tasks.

use ipc_core::{EncodeError, Message, Packet};

/// A task's items are no more bytes than this, so that several fit a link.
const CHUNK_BYTES: usize = 24 << 10;

/// How many items a task has at the most when their number is not known.
const LARGEST_GROWN: usize = 1024;

/// Makes tasks of an iterator's items.
#[derive(Debug)]
pub(crate) struct Chunks<I> {
    items: I,
    size: usize,
    /// The number of items is not known: tasks grow as more come.
    grows: bool,
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
        Self { items, size: size.max(1), grows: false, next_index: 0, refused: None }
    }

    /// For a map over `workers`: four tasks for each, as the number of items is
    /// known, and else tasks that grow with what has come.
    pub(crate) fn for_map(items: I, workers: usize) -> Self {
        let known = items.size_hint().0;
        Self { grows: known == 0, ..Self::new(items, known.div_ceil(4 * workers)) }
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
        if self.grows {
            self.size = (2 * self.size).min(LARGEST_GROWN);
        }
        if count > 0 {
            return Some(Chunk::Items { index, items: count as u32, packet });
        }
        self.refused.take().map(|(index, error)| Chunk::Refused { index, error })
    }
}
