//! How the batches' counts are put together.

use std::collections::HashMap;

use super::count::{BatchCounts, Tally, count_batch, count_files};
use super::split::Batch;

#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) tally: Tally,
    /// Files of which some pieces are in and some are not, by number.
    held: HashMap<usize, Held>,
}

/// A file's pieces wait here for the last one, which may yet show that the file is not text.
#[derive(Debug)]
struct Held {
    missing: usize,
    tally: Tally,
}

impl Totals {
    pub(crate) fn add(&mut self, counts: BatchCounts) {
        let Some((file, pieces)) = counts.piece_of else {
            return self.tally.merge(counts.tally);
        };
        let new = || Held { missing: pieces, tally: Tally::default() };
        let held = self.held.entry(file).or_insert_with(new);
        held.missing -= 1;
        held.tally.merge(counts.tally);
        if held.missing == 0
            && let Some(held) = self.held.remove(&file)
        {
            self.tally.merge(complete(held.tally));
        }
    }

    /// Counts a batch in this process, whole files straight into the totals.
    pub(crate) fn count(&mut self, batch: Batch) {
        match batch {
            Batch::Files(files) => count_files(&files, &mut self.tally),
            piece => self.add(count_batch(piece)),
        }
    }
}

/// The tally of a file, from that of all its pieces.
fn complete(mut tally: Tally) -> Tally {
    if tally.skipped.is_empty() {
        return Tally { files: 1, ..tally };
    }
    tally.skipped.truncate(1);
    Tally { skipped: tally.skipped, ..Tally::default() }
}

#[cfg(test)]
mod tests {
    use super::super::count::Skipped;
    use super::super::words::Table;
    use super::*;

    fn piece(pieces: usize, word: &str) -> BatchCounts {
        let mut table = Table::default();
        table.add(word, 1);
        let tally = Tally { bytes: 10, words: 1, table, ..Tally::default() };
        BatchCounts { size: 10, tally, piece_of: Some((7, pieces)) }
    }

    fn wrong_piece(pieces: usize) -> BatchCounts {
        let skipped = vec![Skipped { file: 7, why: "not text".into() }];
        let tally = Tally { skipped, ..Tally::default() };
        BatchCounts { size: 10, tally, piece_of: Some((7, pieces)) }
    }

    #[test]
    fn a_file_counts_when_all_its_pieces_are_in() {
        let mut totals = Totals::default();
        totals.add(piece(2, "a"));
        assert_eq!((totals.tally.files, totals.tally.words, totals.tally.table.len()), (0, 0, 0));
        totals.add(piece(2, "a"));
        assert_eq!((totals.tally.files, totals.tally.words, totals.tally.table.len()), (1, 2, 1));
    }

    #[test]
    fn a_file_with_a_wrong_piece_is_skipped_once() {
        let mut totals = Totals::default();
        for counts in [piece(4, "a"), wrong_piece(4), piece(4, "b"), wrong_piece(4)] {
            totals.add(counts);
        }
        let Tally { files, bytes, words, table, skipped } = &totals.tally;
        assert_eq!((*files, *bytes, *words, table.len(), skipped.len()), (0, 0, 0, 0, 1));
    }
}
