//! Lists of simple values in named memory, in the layout of CPython's `ShareableList`.
//!
//! ```text
//! i64 count | (count + 1) i64 offsets | slots | count * 8 bytes of format | count * 1 byte of code
//! ours alone, behind it: padding to 8 | magic | count * (u64 length, u64 hash)
//! ```
//!
//! CPython pads texts with zeros and takes all zeros at their end away when it
//! reads, so that a text which ends in one comes back shorter. The lengths
//! behind its layout, where it does not look, tell us how long each text was; a
//! hash beside each says whether CPython has written over the text since.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use super::item::{Item, code};
use crate::SharedMemory;

const MAGIC: [u8; 8] = *b"mp exact";
/// The format of a text is at most eight bytes long, the `s` included.
const LONGEST: usize = 9_999_999;

/// A list of fixed length of whole numbers, numbers, truth values, texts, bytes
/// and nothings, which any process, and CPython, finds by name.
///
/// An item can be exchanged for one of another kind; a text or bytes must fit
/// where the item before was: into its bytes, rounded up to the next multiple of
/// eight, with at least one to spare. Texts and bytes come back exactly as they
/// were, zeros at the end included; CPython alone takes those away.
///
/// Nothing keeps two processes from changing one item at one time: use a lock.
///
/// # Examples
/// ```
/// use ipc_core::{Item, ShareableList};
///
/// let list = ShareableList::create_auto([Item::from(1), "two".into(), 3.0.into(), Item::None])?;
/// let same = ShareableList::open(list.name())?;
/// list.set(0, "one")?;
/// assert_eq!(same.get(0)?, Item::from("one"));
/// assert_eq!(same.index(&Item::from(3.0))?, Some(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ShareableList {
    memory: SharedMemory,
    layout: Layout,
}

/// A shareable list could not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// There is no such item.
    #[error("there is no item {index} in a list of {len}")]
    Index {
        /// The one asked for.
        index: usize,
        /// How many there are.
        len: usize,
    },
    /// The text or the bytes are longer than the slot.
    #[error("{len} bytes do not fit where there is room for {room}")]
    TooLong {
        /// How many there are.
        len: usize,
        /// For how many there is room.
        room: usize,
    },
    /// What is in the memory is no such list, or none any more.
    #[error("the memory does not hold a shareable list: {0}")]
    Layout(&'static str),
    /// The system refused.
    #[error("the memory of a shareable list: {0}")]
    Io(#[from] io::Error),
}

/// Where everything is.
#[derive(Debug)]
struct Layout {
    /// Of the slots, one more than there are items; from the beginning of the memory.
    offsets: Vec<usize>,
    formats: usize,
    codes: usize,
    /// Where the lengths begin, if there are any.
    lengths: Option<usize>,
}

impl ShareableList {
    /// Makes a list under `name`; see [`SharedMemory::create`].
    ///
    /// # Errors
    /// [`ListError::TooLong`] if a text is longer than CPython's layout can say,
    /// [`ListError::Io`] as [`SharedMemory::create`].
    pub fn create(name: &str, items: impl IntoIterator<Item = Item>) -> Result<Self, ListError> {
        Self::fill(items, |size| SharedMemory::create(name, size))
    }

    /// As [`create`](Self::create), under a name that nobody else has.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_auto(items: impl IntoIterator<Item = Item>) -> Result<Self, ListError> {
        Self::fill(items, SharedMemory::create_auto)
    }

    /// Opens the list that some program made under `name`.
    ///
    /// # Errors
    /// [`ListError::Io`] as [`SharedMemory::open`], [`ListError::Layout`] if what
    /// is there is no list.
    pub fn open(name: &str) -> Result<Self, ListError> {
        Self::over(SharedMemory::open(name)?)
    }

    fn over(memory: SharedMemory) -> Result<Self, ListError> {
        let layout = Layout::read(&memory)?;
        Ok(Self { memory, layout })
    }

    fn fill(
        items: impl IntoIterator<Item = Item>,
        make: impl FnOnce(usize) -> io::Result<SharedMemory>,
    ) -> Result<Self, ListError> {
        let items: Vec<Item> = items.into_iter().collect();
        let rooms: Result<Vec<usize>, ListError> = items.iter().map(room_for).collect();
        let layout = Layout::of(&rooms?);
        let memory = make(layout.end())?;
        layout.write(&memory);
        let list = Self { memory, layout };
        items.iter().enumerate().for_each(|(index, item)| list.put(index, item));
        Ok(list)
    }

    /// How many items there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.layout.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name by which other processes [`open`](Self::open) it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.memory.name().unwrap_or_default()
    }

    /// Leaves the name, and with it the list, to whoever unlinks it: see
    /// [`SharedMemory::leave_name`].
    pub fn leave_name(&mut self) {
        self.memory.leave_name();
    }

    /// The memory in which it is.
    #[doc(alias = "shm")]
    #[must_use]
    pub fn memory(&self) -> &SharedMemory {
        &self.memory
    }

    /// A copy of the item at `index`.
    ///
    /// # Errors
    /// [`ListError::Index`] if there is none, [`ListError::Layout`] if what is
    /// there is no item.
    pub fn get(&self, index: usize) -> Result<Item, ListError> {
        let mut code = [0];
        let format = self.format(index)?;
        self.memory.read(self.layout.codes + index, &mut code);
        match (code[0], format.as_str()) {
            (code::NONE, _) => Ok(Item::None),
            (code::PLAIN, "q") => Ok(Item::Int(i64::from_ne_bytes(self.word(index)))),
            (code::PLAIN, "d") => Ok(Item::Float(f64::from_ne_bytes(self.word(index)))),
            (code::PLAIN, "xxxxxxx?") => Ok(Item::Bool(self.word(index)[7] != 0)),
            (code::STR, _) => {
                let text = String::from_utf8(self.text(index, &format)?);
                Ok(Item::Str(text.map_err(|_| ListError::Layout("a text is not UTF-8"))?))
            }
            (code::BYTES, _) => Ok(Item::Bytes(self.text(index, &format)?)),
            _ => Err(ListError::Layout("an item of an unknown kind")),
        }
    }

    /// Exchanges the item at `index`.
    ///
    /// # Errors
    /// [`ListError::Index`] if there is none, [`ListError::TooLong`] if the text or
    /// the bytes do not fit; the item is then as it was.
    pub fn set(&self, index: usize, item: impl Into<Item>) -> Result<(), ListError> {
        let item = item.into();
        self.check(index)?;
        let room = self.layout.room(index);
        match item.text() {
            Some(text) if text.len() > room => Err(ListError::TooLong { len: text.len(), room }),
            _ => {
                self.put(index, &item);
                Ok(())
            }
        }
    }

    /// Copies of the items in order.
    pub fn iter(&self) -> impl Iterator<Item = Result<Item, ListError>> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }

    /// How many items equal `item`.
    ///
    /// # Errors
    /// [`ListError::Layout`] as [`get`](Self::get).
    pub fn count(&self, item: &Item) -> Result<usize, ListError> {
        self.iter().try_fold(0, |count, found| Ok(count + usize::from(found? == *item)))
    }

    /// The place of the first item that equals `item`.
    ///
    /// # Errors
    /// [`ListError::Layout`] as [`get`](Self::get).
    pub fn index(&self, item: &Item) -> Result<Option<usize>, ListError> {
        for (index, found) in self.iter().enumerate() {
            if found? == *item {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// How the item at `index` is written, as a format of Python's `struct`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn format(&self, index: usize) -> Result<String, ListError> {
        self.check(index)?;
        let mut format = [0; 8];
        self.memory.read(self.layout.formats + 8 * index, &mut format);
        let len = format.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let text = std::str::from_utf8(&format[..len]);
        text.map(str::to_owned).map_err(|_| ListError::Layout("a format is no text"))
    }

    fn check(&self, index: usize) -> Result<(), ListError> {
        let len = self.len();
        if index < len { Ok(()) } else { Err(ListError::Index { index, len }) }
    }

    fn word(&self, index: usize) -> [u8; 8] {
        let mut word = [0; 8];
        self.memory.read(self.layout.offsets[index], &mut word);
        word
    }

    fn text(&self, index: usize, format: &str) -> Result<Vec<u8>, ListError> {
        let len: Option<usize> = format.strip_suffix('s').and_then(|len| len.parse().ok());
        let len = len.filter(|len| *len <= self.layout.room(index));
        let mut text = vec![0; len.ok_or(ListError::Layout("a text longer than its slot"))?];
        self.memory.read(self.layout.offsets[index], &mut text);
        text.truncate(self.exact_len(index, &text).unwrap_or_else(|| padded_len(&text)));
        Ok(text)
    }

    /// How long the text was when it was written, if nobody else wrote it since.
    fn exact_len(&self, index: usize, text: &[u8]) -> Option<usize> {
        let mut entry = [0; 16];
        self.memory.read(self.layout.lengths? + 16 * index, &mut entry);
        let (len, hash) = entry.split_at(8);
        let len = usize::try_from(u64::from_ne_bytes(*len.first_chunk()?)).ok()?;
        let is_same = hash_of(text.get(..len)?).to_ne_bytes() == *hash && padded_len(text) <= len;
        is_same.then_some(len)
    }

    /// Writes an item that fits.
    fn put(&self, index: usize, item: &Item) {
        let room = self.layout.room(index);
        let mut format = [0; 8];
        let text = item.format(room);
        format[..text.len()].copy_from_slice(text.as_bytes());
        self.memory.write(self.layout.formats + 8 * index, &format);
        self.memory.write(self.layout.codes + index, &[item.code()]);
        match item.text() {
            None => self.memory.write(self.layout.offsets[index], &item.word()),
            Some(text) => self.put_text(index, text, room),
        }
    }

    fn put_text(&self, index: usize, text: &[u8], room: usize) {
        let mut padded = text.to_vec();
        padded.resize(room, 0);
        self.memory.write(self.layout.offsets[index], &padded);
        if let Some(lengths) = self.layout.lengths {
            self.memory.write(lengths + 16 * index, &(text.len() as u64).to_ne_bytes());
            self.memory.write(lengths + 16 * index + 8, &hash_of(text).to_ne_bytes());
        }
    }
}

impl Layout {
    fn of(rooms: &[usize]) -> Self {
        let first = 8 * (rooms.len() + 2);
        let mut offsets = vec![first];
        offsets.extend(rooms.iter().scan(first, |end, room| {
            *end += room;
            Some(*end)
        }));
        Self::behind(offsets, true)
    }

    fn behind(offsets: Vec<usize>, has_lengths: bool) -> Self {
        let len = offsets.len() - 1;
        let formats = offsets[len];
        let codes = formats + 8 * len;
        let lengths = has_lengths.then(|| (codes + len).next_multiple_of(8) + MAGIC.len());
        Self { offsets, formats, codes, lengths }
    }

    fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    fn room(&self, index: usize) -> usize {
        self.offsets[index + 1] - self.offsets[index]
    }

    fn end(&self) -> usize {
        self.lengths.map_or(self.codes + self.len(), |lengths| lengths + 16 * self.len())
    }

    fn write(&self, memory: &SharedMemory) {
        memory.write(0, &(self.len() as i64).to_ne_bytes());
        for (place, offset) in self.offsets.iter().enumerate() {
            let offset = (offset - self.offsets[0]) as i64;
            memory.write(8 * (place + 1), &offset.to_ne_bytes());
        }
        if let Some(lengths) = self.lengths {
            memory.write(lengths - MAGIC.len(), &MAGIC);
        }
    }

    /// Reads it from memory that anybody may have written.
    fn read(memory: &SharedMemory) -> Result<Self, ListError> {
        let cut = ListError::Layout("it is too short");
        let size = memory.size();
        let Some(len) = number(memory, 0).filter(|len| *len < size / 8) else { return Err(cut) };
        let first = 8 * (len + 2);
        let mut offsets = Vec::with_capacity(len + 1);
        for place in 0..=len {
            let offset = number(memory, 8 * (place + 1)).and_then(|offset| offset.checked_add(first));
            let least = offsets.last().map_or(first, |last| last + 8);
            match offset {
                Some(offset) if (least..=size).contains(&offset) => offsets.push(offset),
                _ => return Err(ListError::Layout("its slots lie outside, or over each other")),
            }
        }
        let bare = Self::behind(offsets, false);
        if bare.end() > size {
            return Err(cut);
        }
        let exact = Self::behind(bare.offsets.clone(), true);
        Ok(if exact.has_magic(memory) { exact } else { bare })
    }

    fn has_magic(&self, memory: &SharedMemory) -> bool {
        let Some(lengths) = self.lengths.filter(|_| self.end() <= memory.size()) else { return false };
        let mut magic = [0; MAGIC.len()];
        memory.read(lengths - MAGIC.len(), &mut magic);
        magic == MAGIC
    }
}

/// A number that is not negative, if there is one at `offset`.
fn number(memory: &SharedMemory, offset: usize) -> Option<usize> {
    let mut word = [0; 8];
    if offset + 8 > memory.size() {
        return None;
    }
    memory.read(offset, &mut word);
    usize::try_from(i64::from_ne_bytes(word)).ok()
}

/// As much as CPython gives it, by the length in bytes and not in letters.
fn room_for(item: &Item) -> Result<usize, ListError> {
    let len = item.text().map_or(0, <[u8]>::len);
    let room = 8 * (len / 8 + 1);
    if room <= LONGEST { Ok(room) } else { Err(ListError::TooLong { len, room: LONGEST / 8 * 8 - 1 }) }
}

/// Without the zeros at the end.
fn padded_len(text: &[u8]) -> usize {
    text.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

fn hash_of(text: &[u8]) -> u64 {
    crate::codec::fnv1a(text)
}

impl fmt::Debug for ShareableList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShareableList").field("name", &self.name()).field("len", &self.len()).finish()
    }
}

impl Serialize for ShareableList {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.memory.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ShareableList {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::over(SharedMemory::deserialize(deserializer)?).map_err(crate::transfer::deserialize_error)
    }
}
