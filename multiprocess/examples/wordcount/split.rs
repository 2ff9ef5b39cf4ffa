//! The work, cut into batches.
//!
//! A batch is either some whole files or one piece of a large file. The batches are large at
//! first, so that there are few tables to put together, and become smaller towards the end, so
//! that the workers finish at about the same time.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

use super::walk::InputFile;

const MIB: u64 = 1 << 20;

/// The size of a batch while much is left to do, and when little is.
const LARGEST: u64 = 16 * MIB;
const SMALLEST: u64 = MIB;

/// Files up to this size are not cut.
const WHOLE: u64 = 2 * MIB;

/// To open a file takes about as long as to count this many bytes.
const PER_FILE: u64 = 4096;

/// A task of the pool.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Batch {
    Files(Vec<FileRef>),
    Piece(Piece),
}

/// A file, by its path and by its number in the list of files.
///
/// The path is an `OsString` because serde refuses a `PathBuf` that is not UTF-8.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FileRef {
    pub(crate) number: usize,
    pub(crate) path: OsString,
    pub(crate) size: u64,
}

/// The bytes from `start` to `end` of a file that is cut into `pieces`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Piece {
    pub(crate) file: FileRef,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) pieces: usize,
}

impl Batch {
    pub(crate) fn size(&self) -> u64 {
        match self {
            Batch::Files(files) => files.iter().map(|file| file.size).sum(),
            Batch::Piece(piece) => piece.end - piece.start,
        }
    }
}

pub(crate) fn batches(files: &[InputFile], workers: usize) -> Vec<Batch> {
    let mut left = files.iter().map(cost).sum();
    let mut batches = Vec::new();
    let mut open = Open::default();
    for (number, file) in files.iter().enumerate() {
        let InputFile { path, size } = file;
        let new = FileRef { number, path: path.into(), size: *size };
        if *size > WHOLE {
            batches.extend(pieces(new, left, workers));
            left -= cost(file);
        } else {
            open.files.push(new);
            open.cost += cost(file);
        }
        if open.cost >= target(left, workers) {
            left -= open.cost;
            batches.extend(open.close());
        }
    }
    batches.extend(open.close());
    batches
}

/// The small files gathered for the next batch.
#[derive(Default)]
struct Open {
    files: Vec<FileRef>,
    cost: u64,
}

impl Open {
    fn close(&mut self) -> Option<Batch> {
        let Open { files, .. } = std::mem::take(self);
        (!files.is_empty()).then_some(Batch::Files(files))
    }
}

fn cost(file: &InputFile) -> u64 {
    file.size + PER_FILE
}

/// How large the next batch should be when `left` bytes are left.
fn target(left: u64, workers: usize) -> u64 {
    (left / (3 * workers as u64)).clamp(SMALLEST, LARGEST)
}

fn pieces(file: FileRef, mut left: u64, workers: usize) -> impl Iterator<Item = Batch> {
    let mut cuts = vec![0];
    let mut at = 0;
    while at < file.size {
        let size = target(left, workers).min(file.size - at);
        at += size;
        left -= size;
        cuts.push(at);
    }
    let pieces = cuts.len() - 1;
    (0..pieces).map(move |piece| {
        let (start, end) = (cuts[piece], cuts[piece + 1]);
        Batch::Piece(Piece { file: file.clone(), start, end, pieces })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(sizes: &[u64]) -> Vec<InputFile> {
        let file = |(number, &size)| InputFile { path: format!("{number}").into(), size };
        sizes.iter().enumerate().map(file).collect()
    }

    /// The parts of all batches as (file, start, end), in order.
    fn parts(batches: &[Batch]) -> Vec<(usize, u64, u64)> {
        let mut parts = Vec::new();
        for batch in batches {
            match batch {
                Batch::Files(files) => {
                    parts.extend(files.iter().map(|file| (file.number, 0, file.size)));
                }
                Batch::Piece(piece) => parts.push((piece.file.number, piece.start, piece.end)),
            }
        }
        parts.sort_unstable();
        parts
    }

    #[test]
    fn every_byte_is_in_one_batch() {
        let sizes = [0, 5, WHOLE, WHOLE + 1, 100 * MIB, 0, 17, 3 * MIB];
        for workers in [1, 2, 64] {
            let parts = parts(&batches(&files(&sizes), workers));
            for (number, size) in sizes.into_iter().enumerate() {
                let mut end = 0;
                for part in parts.iter().filter(|part| part.0 == number) {
                    assert_eq!(part.1, end);
                    end = part.2;
                }
                assert_eq!(end, size);
            }
            assert!((0..sizes.len()).all(|number| parts.iter().any(|part| part.0 == number)));
        }
    }

    #[test]
    fn a_piece_knows_how_many_there_are() {
        let batches = batches(&files(&[100 * MIB]), 2);
        assert!(batches.len() > 6);
        for batch in &batches {
            assert!(matches!(batch, Batch::Piece(piece) if piece.pieces == batches.len()));
        }
    }

    #[test]
    fn small_files_share_a_batch_and_the_last_batches_are_small() {
        let batches = batches(&files(&[10_000; 10_000]), 2);
        assert!(batches.len() < 40, "{} batches", batches.len());
        assert!(batches[0].size() > 10 * MIB);
        assert!(batches.last().unwrap().size() <= SMALLEST + 10_000);
    }

    #[test]
    fn many_empty_files_are_not_one_batch() {
        let batches = batches(&files(&[0; 10_000]), 2);
        assert!(batches.len() > 10, "{} batches", batches.len());
    }

    #[test]
    fn nothing_to_do_is_no_batch() {
        assert!(batches(&[], 4).is_empty());
    }
}
