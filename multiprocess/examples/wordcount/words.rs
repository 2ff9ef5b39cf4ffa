//! What a word is, and the table that counts them.
//!
//! A word is a maximal run of letters and digits, in lower case, character by character.

use std::hash::Hasher;

use rustc_hash::FxHasher;
use serde::{Deserialize, Serialize};

/// Counts the words of `text` into `table`, and returns how many there were.
pub(crate) fn count_words(text: &str, table: &mut Table) -> u64 {
    let mut words = 0;
    let mut lower = String::new();
    let mut rest = text;
    while let Some(start) = word_start(rest) {
        let run = ascii_run(&rest[start..]);
        let after = start + run.len;
        if rest.as_bytes().get(after).is_none_or(u8::is_ascii) && !run.has_upper {
            table.add(&rest[start..after], 1);
            rest = &rest[after..];
        } else {
            rest = take_lower(&rest[start..], &mut lower);
            table.add(&lower, 1);
        }
        words += 1;
    }
    words
}

pub(crate) fn is_word_char(char: char) -> bool {
    char.is_alphanumeric()
}

/// What the fast path must know of each byte.
#[derive(Clone, Copy, PartialEq)]
enum Class {
    Between,
    Lower,
    Upper,
    NotAscii,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Between; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' | b'0'..=b'9' => Class::Lower,
            b'A'..=b'Z' => Class::Upper,
            0x80.. => Class::NotAscii,
            _ => Class::Between,
        };
        byte += 1;
    }
    classes
};

fn word_start(text: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let class = |byte: &u8| CLASSES[usize::from(*byte)];
        let at = from + text.as_bytes()[from..].iter().position(|b| class(b) != Class::Between)?;
        if class(&text.as_bytes()[at]) != Class::NotAscii {
            return Some(at);
        }
        let char = text[at..].chars().next()?;
        if is_word_char(char) {
            return Some(at);
        }
        from = at + char.len_utf8();
    }
}

struct AsciiRun {
    len: usize,
    has_upper: bool,
}

/// The letters and digits of ASCII that `text` begins with.
fn ascii_run(text: &str) -> AsciiRun {
    let mut run = AsciiRun { len: 0, has_upper: false };
    for &byte in text.as_bytes() {
        match CLASSES[usize::from(byte)] {
            Class::Lower => {}
            Class::Upper => run.has_upper = true,
            Class::Between | Class::NotAscii => break,
        }
        run.len += 1;
    }
    run
}

/// Puts the word that `text` begins with into `lower`, and returns what follows it.
fn take_lower<'a>(text: &'a str, lower: &mut String) -> &'a str {
    lower.clear();
    let mut chars = text.chars();
    loop {
        let rest = chars.as_str();
        match chars.next() {
            Some(char) if char.is_ascii_alphanumeric() => lower.push(char.to_ascii_lowercase()),
            Some(char) if is_word_char(char) => lower.extend(char.to_lowercase()),
            _ => return rest,
        }
    }
}

/// Words and how often each was seen.
///
/// The words lie in one string, so that a table is sent as three flat fields and read back with
/// three allocations. The index is not sent: a table that is only read needs none.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Table {
    text: String,
    ends: Vec<usize>,
    counts: Vec<u64>,
    /// Open addressing, a power of two long, at most half full.
    #[serde(skip)]
    slots: Vec<Slot>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Slot {
    /// The upper half of the hash, to spare most looks at the words.
    tag: u32,
    /// One more than the word's place in the table; 0 is an empty slot.
    place: u32,
}

impl Table {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        (0..self.len()).map(|place| (self.word(place), self.counts[place]))
    }

    #[inline]
    pub(crate) fn add(&mut self, word: &str, count: u64) {
        if (self.len() + 1) * 2 > self.slots.len() {
            self.grow();
        }
        let hash = hash(word);
        let mut at = hash as usize & (self.slots.len() - 1);
        loop {
            let slot = self.slots[at];
            if slot.place == 0 {
                return self.insert(at, hash, word, count);
            }
            let place = slot.place as usize - 1;
            if slot.tag == tag(hash) && self.word(place) == word {
                self.counts[place] += count;
                return;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    pub(crate) fn merge(&mut self, other: Table) {
        if self.len() == 0 {
            *self = other;
            return;
        }
        for (word, count) in other.iter() {
            self.add(word, count);
        }
    }

    fn word(&self, place: usize) -> &str {
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        &self.text[start..self.ends[place]]
    }

    fn insert(&mut self, at: usize, hash: u64, word: &str, count: u64) {
        self.text.push_str(word);
        self.ends.push(self.text.len());
        self.counts.push(count);
        let place = u32::try_from(self.len()).expect("fewer than 2^32 different words");
        self.slots[at] = Slot { tag: tag(hash), place };
    }

    /// Makes the index anew, with room for twice the words there are.
    #[cold]
    fn grow(&mut self) {
        let len = ((self.len() + 1) * 4).next_power_of_two().max(1024);
        let mut slots = vec![Slot::default(); len];
        for place in 0..self.len() {
            let hash = hash(self.word(place));
            let mut at = hash as usize & (len - 1);
            while slots[at].place != 0 {
                at = (at + 1) & (len - 1);
            }
            slots[at] = Slot { tag: tag(hash), place: place as u32 + 1 };
        }
        self.slots = slots;
    }
}

fn hash(word: &str) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(word.as_bytes());
    hasher.finish()
}

fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn counted(text: &str) -> BTreeMap<String, u64> {
        let mut table = Table::default();
        let words = count_words(text, &mut table);
        assert_eq!(words, table.iter().map(|(_, count)| count).sum::<u64>());
        table.iter().map(|(word, count)| (word.to_owned(), count)).collect()
    }

    /// The definition, word for word.
    fn expected(text: &str) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for word in text.split(|char: char| !char.is_alphanumeric()).filter(|w| !w.is_empty()) {
            let lower = word.chars().flat_map(char::to_lowercase).collect();
            *counts.entry(lower).or_insert(0) += 1;
        }
        counts
    }

    #[test]
    fn counts_what_the_definition_says() {
        for text in [
            "",
            " ",
            "a",
            "The the THE thE",
            "snake_case, kebab-case; camelCase 3.14 x86_64",
            "Öl öl ÖL straße STRASSE",
            "ΟΔΥΣΣΕΥΣ Οδυσσεύς",
            "İstanbul e\u{301}te\u{301} 漢字とかな ٣٤٥ ²³ Ⅻ",
            "aé éa Aé éA a—b “quoted”",
            "🦀crab🦀 a🦀b",
        ] {
            assert_eq!(counted(text), expected(text), "{text:?}");
        }
    }

    #[test]
    fn a_table_grows() {
        let mut table = Table::default();
        for round in 1..=2 {
            for n in 0..50_000 {
                table.add(&n.to_string(), round);
            }
        }
        assert_eq!(table.len(), 50_000);
        assert!(table.iter().enumerate().all(|(n, (word, count))| { word == n.to_string() && count == 3 }));
    }

    #[test]
    fn a_table_without_its_index_can_be_added_to() {
        let table = |words: &[&str]| {
            let mut table = Table::default();
            words.iter().for_each(|word| table.add(word, 1));
            table
        };
        let mut merged = Table::default();
        merged.merge(Table { slots: Vec::new(), ..table(&["a", "b", "a"]) });
        merged.merge(Table { slots: Vec::new(), ..table(&["b", "c"]) });
        assert_eq!(merged.iter().collect::<Vec<_>>(), [("a", 2), ("b", 2), ("c", 1)]);
    }
}
