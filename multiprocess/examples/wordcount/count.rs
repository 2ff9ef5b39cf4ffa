//! What a worker does with a batch.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::piece::{count_range, text};
use super::split::{Batch, FileRef, Piece};
use super::words::{Table, count_words};

/// How much of a large file is in memory at a time: little enough for the processor's caches.
const BLOCK: u64 = 256 * 1024;

/// What a worker sends back.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BatchCounts {
    /// How many bytes of input this was, counted or not.
    pub(crate) size: u64,
    pub(crate) tally: Tally,
    /// The file this is a piece of, and how many pieces it has.
    pub(crate) piece_of: Option<(usize, usize)>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) words: u64,
    pub(crate) table: Table,
    pub(crate) skipped: Vec<Skipped>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Skipped {
    /// The file's number.
    pub(crate) file: usize,
    pub(crate) why: String,
}

impl Tally {
    pub(crate) fn merge(&mut self, other: Tally) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.words += other.words;
        self.table.merge(other.table);
        self.skipped.extend(other.skipped);
    }

    fn skip(&mut self, file: usize, why: io::Error) {
        self.skipped.push(Skipped { file, why: why.to_string() });
    }
}

/// The task of the pool.
pub(crate) fn count_batch(batch: Batch) -> BatchCounts {
    let size = batch.size();
    match batch {
        Batch::Files(files) => {
            let mut tally = Tally::default();
            count_files(&files, &mut tally);
            BatchCounts { size, tally, piece_of: None }
        }
        Batch::Piece(piece) => {
            let piece_of = Some((piece.file.number, piece.pieces));
            BatchCounts { size, tally: count_piece(&piece), piece_of }
        }
    }
}

pub(crate) fn count_files(files: &[FileRef], tally: &mut Tally) {
    let mut buffer = Vec::new();
    for file in files {
        if let Err(why) = count_file(Path::new(&file.path), &mut buffer, tally) {
            tally.skip(file.number, why);
        }
    }
}

fn count_file(path: &Path, buffer: &mut Vec<u8>, tally: &mut Tally) -> io::Result<()> {
    buffer.clear();
    File::open(path)?.read_to_end(buffer)?;
    tally.words += count_words(text(buffer)?, &mut tally.table);
    tally.bytes += buffer.len() as u64;
    tally.files += 1;
    Ok(())
}

/// The tally of a piece; its file is counted when all pieces are there.
fn count_piece(piece: &Piece) -> Tally {
    let mut tally = Tally::default();
    if let Err(why) = count_blocks(piece, &mut tally) {
        tally = Tally::default();
        tally.skip(piece.file.number, why);
    }
    tally
}

fn count_blocks(piece: &Piece, tally: &mut Tally) -> io::Result<()> {
    let mut file = File::open(&piece.file.path)?;
    let mut buffer = Vec::new();
    let mut start = piece.start;
    while start < piece.end {
        let end = piece.end.min(start + BLOCK);
        let size = count_range(&mut file, start..end, &mut buffer, &mut tally.table)?;
        tally.bytes += size.bytes;
        tally.words += size.words;
        start = end;
    }
    Ok(())
}
