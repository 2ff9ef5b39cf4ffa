//! Counts one piece of a file so that all pieces together give what the whole would.
//!
//! A piece is a range of bytes, cut anywhere. A character belongs to the piece in which it starts,
//! and so does a word. Two neighbours see the same bytes around their cut, so they agree about it
//! without a word between them; and every byte is looked at by one of them, so a file that is not
//! text has a piece that is not.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use super::words::{Table, count_words, is_word_char};

/// The longest encoding of a character.
const CHAR: usize = 4;

/// Enough to find the end of nearly every word.
const LOOKAHEAD: usize = 64;

#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(crate) struct Size {
    pub(crate) bytes: u64,
    pub(crate) words: u64,
}

/// Counts the words that start in the range into `table`. `buffer` is scratch space.
pub(crate) fn count_range(
    source: &mut (impl Read + Seek),
    range: Range<u64>,
    buffer: &mut Vec<u8>,
    table: &mut Table,
) -> io::Result<Size> {
    let before = range.start.min(CHAR as u64);
    let cut = (range.end - range.start + before) as usize;
    buffer.clear();
    source.seek(SeekFrom::Start(range.start - before))?;
    fill(source, buffer, cut + LOOKAHEAD)?;

    let start = if range.start == 0 { 0 } else { char_start(buffer, before as usize) };
    let end = char_start(buffer, cut);
    let mut own = text(&buffer[start..end])?;
    if last_char(&buffer[..start]).is_some_and(is_word_char) {
        own = own.trim_start_matches(is_word_char);
    }
    let bytes = (end - start) as u64;
    if !own.ends_with(is_word_char) {
        return Ok(Size { bytes, words: count_words(own, table) });
    }
    let start = end - own.len();
    let end = word_end(source, buffer, end)?;
    Ok(Size { bytes, words: count_words(text(&buffer[start..end])?, table) })
}

/// The bytes as text, if that is what they are.
pub(crate) fn text(bytes: &[u8]) -> io::Result<&str> {
    match str::from_utf8(bytes) {
        Ok(text) if !bytes.contains(&0) => Ok(text),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "not UTF-8 text")),
    }
}

fn fill(source: &mut impl Read, buffer: &mut Vec<u8>, most: usize) -> io::Result<usize> {
    buffer.reserve(most);
    source.by_ref().take(most as u64).read_to_end(buffer)
}

/// The first place from `at` on where a character may start.
///
/// In what is not UTF-8 there may be none near; both neighbours then take the same place, and the
/// one that begins there finds it wrong.
fn char_start(bytes: &[u8], at: usize) -> usize {
    let at = at.min(bytes.len());
    let rest = bytes[at..].iter().take(CHAR - 1);
    at + rest.take_while(|&&byte| is_continuation(byte)).count()
}

fn last_char(bytes: &[u8]) -> Option<char> {
    let start = bytes.iter().rposition(|&byte| !is_continuation(byte))?;
    str::from_utf8(&bytes[start..]).ok()?.chars().next_back()
}

fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

/// Where the word that goes on at `from` ends; reads on as far as it must.
///
/// What is not UTF-8 ends the word too: the file will not count, another piece sees to that.
fn word_end(source: &mut impl Read, buffer: &mut Vec<u8>, from: usize) -> io::Result<usize> {
    loop {
        let tail = &buffer[from..];
        let (valid, goes_on) = match str::from_utf8(tail) {
            Ok(text) => (text.len(), true),
            Err(error) => (error.valid_up_to(), error.error_len().is_none()),
        };
        let word = text_or_nothing(&tail[..valid]).find(|char| !is_word_char(char));
        if let Some(len) = word {
            return Ok(from + len);
        }
        // Each time twice as much, so that a very long word is read in linear time.
        let more = tail.len().max(LOOKAHEAD);
        if !goes_on || fill(source, buffer, more)? == 0 {
            return Ok(from + valid);
        }
    }
}

fn text_or_nothing(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Cursor;

    use super::*;

    type Counts = (Size, BTreeMap<String, u64>);

    fn whole(bytes: &[u8]) -> io::Result<Counts> {
        let mut table = Table::default();
        let words = count_words(text(bytes)?, &mut table);
        Ok((Size { bytes: bytes.len() as u64, words }, sorted(&table)))
    }

    /// Cut after each of `sizes`, the last of which is repeated.
    fn in_pieces(bytes: &[u8], sizes: &[u64]) -> io::Result<Counts> {
        let mut source = Cursor::new(bytes);
        let (mut table, mut buffer, mut total) = Default::default();
        let mut sizes = sizes.iter().copied().peekable();
        let (mut start, len) = (0, bytes.len() as u64);
        let mut size = 1;
        while start < len {
            size = sizes.next().unwrap_or(size);
            let end = (start + size).min(len);
            let piece = count_range(&mut source, start..end, &mut buffer, &mut table)?;
            let Size { bytes, words }: &mut Size = &mut total;
            *bytes += piece.bytes;
            *words += piece.words;
            start = end;
        }
        Ok((total, sorted(&table)))
    }

    fn sorted(table: &Table) -> BTreeMap<String, u64> {
        table.iter().map(|(word, count)| (word.to_owned(), count)).collect()
    }

    /// xorshift64*, enough to draw test cases.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as usize) % bound
        }

        fn pick<T: Copy>(&mut self, from: &[T]) -> T {
            from[self.below(from.len())]
        }

        /// Characters of every length in UTF-8, in runs that are often longer than a piece.
        fn text(&mut self) -> String {
            const KINDS: [&[char]; 6] = [
                &['a', 'B', 'z', 'Z', '0', '9'],
                &[' ', '\n', '_', '-', '.', '\t'],
                &['é', 'Ö', 'Σ', 'ς', 'İ', 'ß', 'Ж', '²', '٣'],
                &['漢', '字', 'か', 'ﬁ', '“', '—', '\u{feff}', 'Ⅻ'],
                &['🦀', '𝒜', '𐐀', '𠀀'],
                &['\u{301}', '\u{308}', '\u{200d}', 'e', 'o'],
            ];
            let mut text = String::new();
            for _ in 0..self.below(30) {
                let kind = self.pick(&KINDS);
                let longest = self.pick(&[2, 5, 40, 200]);
                let run = self.below(longest);
                text.extend((0..run).map(|_| self.pick(kind)));
            }
            text
        }
    }

    #[test]
    fn pieces_of_any_size_count_as_the_whole() {
        let mut random = Random(0x5EED);
        for _ in 0..150 {
            let text = random.text();
            let expected = whole(text.as_bytes()).unwrap();
            for size in 1..=64 {
                let counts = in_pieces(text.as_bytes(), &[size]).unwrap();
                assert_eq!(counts, expected, "pieces of {size} of {text:?}");
            }
            let sizes: Vec<u64> = (0..2000).map(|_| 1 + random.below(64) as u64).collect();
            let counts = in_pieces(text.as_bytes(), &sizes).unwrap();
            assert_eq!(counts, expected, "pieces of {sizes:?} of {text:?}");
        }
    }

    #[test]
    fn what_is_not_text_is_not_text_in_pieces() {
        let mut random = Random(0xBAD);
        let mut wrong = 0;
        for _ in 0..150 {
            let mut bytes = random.text().into_bytes();
            for _ in 0..=random.below(2) {
                let at = random.below(bytes.len() + 1);
                let byte = random.pick(&[0, 0x80, 0xBF, 0xC3, 0xE2, 0xED, 0xF0, 0xFF, b'a']);
                let times = 1 + random.below(5);
                bytes.splice(at..at, std::iter::repeat_n(byte, times));
            }
            let expected = whole(&bytes).ok();
            wrong += usize::from(expected.is_none());
            for size in 1..=64 {
                let counts = in_pieces(&bytes, &[size]).ok();
                assert_eq!(counts, expected, "pieces of {size} of {bytes:?}");
            }
        }
        assert!(wrong > 100, "only {wrong} were not text");
    }

    #[test]
    fn a_word_longer_than_the_lookahead() {
        let text = format!("one {} two", "longword".repeat(10_000));
        assert_eq!(in_pieces(text.as_bytes(), &[7]).unwrap(), whole(text.as_bytes()).unwrap());
    }
}
