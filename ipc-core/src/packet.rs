//! A message in the form in which it travels.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::buffer::Buffer;
use crate::codec::{self, DecodeError, EncodeError, Message};
use crate::items::{Reader, Writer};
use crate::link::Outgoing;
use crate::plain;
use crate::sys::Handle;
use crate::transfer::{self, Luggage, Slot};

/// How many bytes at the end of a packet say how long its tail is.
const TAIL_LEN: usize = 4;
/// How many bytes in front of a packet in another one say how long it is.
const PACKET_LEN: usize = 8;

/// Bytes, and the handles that travel beside them.
///
/// [`Link::recv`](crate::link::Link::recv) fills one. To send a value that must
/// be kept, for a second try or in a queue, it is written into a packet first,
/// and the packet is sent as often as need be.
///
/// ```
/// use ipc_core::Packet;
///
/// let mut packet = Packet::new();
/// packet.append(&"seven")?;
/// packet.append(&7)?;
/// assert_eq!(packet.read::<String>()?, "seven");
/// assert_eq!(packet.read::<i32>()?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Packet {
    pub(crate) bytes: Buffer,
    pub(crate) luggage: Luggage,
    pub(crate) received: Vec<Slot>,
    read: usize,
    /// It came over a link whose peer is not proven to be of this program's tree.
    foreign: bool,
    /// Its bytes are one item, with no length in front.
    lone: bool,
}

impl Packet {
    /// An empty packet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Empties the packet and keeps its memory for the next message.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.luggage = Luggage::default();
        self.received.clear();
        self.read = 0;
        self.foreign = false;
        self.lone = false;
    }

    /// Whether the packet is one item without anything around it: [`Writer::lone_item`] made it so.
    #[must_use]
    pub fn is_lone(&self) -> bool {
        self.lone
    }

    /// Says that the bytes received are one vector of numbers, without anything around it. It is read
    /// as any item, and then in the packet's memory where that fits it.
    ///
    /// # Examples
    /// ```
    /// let mut packet = ipc_core::Packet::new();
    /// packet.extend_bytes(&[7; 1000]);
    /// packet.mark_lone();
    /// assert_eq!(packet.read_item::<Vec<u8>>()?, [7; 1000]);
    /// # Ok::<(), ipc_core::DecodeError>(())
    /// ```
    pub fn mark_lone(&mut self) {
        self.lone = true;
    }

    /// Writes one more value behind what is there.
    ///
    /// # Errors
    /// [`EncodeError`] if its `Serialize` refuses; what was there stays.
    pub fn append<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.writing(|writer| writer.value(value))
    }

    /// Lets `write` write many values. A panic in it loses handles written so far.
    pub fn writing<R>(&mut self, write: impl FnOnce(&mut Writer<'_>) -> R) -> R {
        let luggage = std::mem::take(&mut self.luggage);
        let (result, luggage) = transfer::packing(luggage, || {
            write(&mut Writer { bytes: &mut self.bytes, lone: &mut self.lone })
        });
        self.luggage = luggage;
        // Until it is sent, the ends in it are as usable as ever.
        self.luggage.let_go();
        result
    }

    /// Lets `read` read many values.
    pub fn reading<R>(&mut self, read: impl FnOnce(&mut Reader<'_>) -> R) -> R {
        let handles = self.take_handles();
        let mut reader = Reader { bytes: &mut self.bytes, at: &mut self.read, lone: self.lone };
        let (result, handles) = transfer::unpacking(handles, self.foreign, || read(&mut reader));
        self.received = handles;
        result
    }

    /// As [`append`](Self::append), for [`read_item`](Self::read_item).
    ///
    /// # Errors
    /// See [`Writer::item`].
    pub fn append_item<T: Message>(&mut self, value: &T) -> Result<(), EncodeError> {
        if plain::is_bare::<T>() {
            return Writer { bytes: &mut self.bytes, lone: &mut self.lone }.item(value);
        }
        self.writing(|writer| writer.item(value))
    }

    /// Decodes the next value.
    ///
    /// # Errors
    /// [`DecodeError`] if what comes next is not a `T`; the packet stays where it was.
    pub fn read<T: DeserializeOwned>(&mut self) -> Result<T, DecodeError> {
        self.reading(|reader| reader.value())
    }

    /// Writes one message as a typed end sends it.
    #[cfg(feature = "async")]
    pub(crate) fn write_message<T: Message>(&mut self, value: &T) -> Result<(), EncodeError> {
        let luggage = std::mem::take(&mut self.luggage);
        let bytes = &mut self.bytes;
        let (written, luggage) = transfer::packing(luggage, || codec::append_message(value, bytes));
        self.luggage = luggage;
        self.luggage.let_go();
        written?;
        self.bytes.extend_from_slice(&codec::type_hash::<T>().to_le_bytes());
        Ok(())
    }

    /// Decodes the rest of the packet as one message.
    pub(crate) fn read_message<T: Message>(&mut self) -> Result<T, DecodeError> {
        self.reading(|reader| {
            let bytes = &reader.bytes[*reader.at..];
            *reader.at = reader.bytes.len();
            codec::decode_message(bytes)
        })
    }

    /// Decodes the next item that [`append_item`](Self::append_item) wrote, and
    /// moves behind it whether or not it is a `T`.
    ///
    /// # Errors
    /// See [`Reader::item`].
    pub fn read_item<T: Message>(&mut self) -> Result<T, DecodeError> {
        if plain::is_bare::<T>() {
            return Reader { bytes: &mut self.bytes, at: &mut self.read, lone: false }.item();
        }
        self.reading(|reader| reader.item())
    }

    /// The handles to decode with; those of a packet that was written here move over.
    fn take_handles(&mut self) -> Vec<Slot> {
        let mut handles = std::mem::take(&mut self.received);
        if !self.luggage.handles.is_empty() {
            handles.extend(self.luggage.handles.drain(..).map(Some));
        }
        handles
    }

    /// Takes off the eight bytes of `hash`, if the packet ends with them.
    pub(crate) fn take_hash(&mut self, hash: u64) -> bool {
        let Some((rest, last)) = self.bytes.split_last_chunk() else { return false };
        let (rest, is_there) = (rest.len(), *last == hash.to_le_bytes());
        if is_there {
            self.bytes.truncate(rest);
        }
        is_there
    }

    /// Takes the next `len` bytes as they are; `None` if there are fewer.
    pub fn read_bytes(&mut self, len: usize) -> Option<&[u8]> {
        let end = self.read.checked_add(len)?;
        let bytes = self.bytes.get(self.read..end)?;
        self.read = end;
        Some(bytes)
    }

    /// The bytes that have not been read.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        &self.bytes[self.read..]
    }

    /// Takes back what was written after the first `len` bytes; handles in it stay.
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
        self.read = self.read.min(len);
        self.lone = false;
    }

    /// Writes a value at the end, for a reader that wants it first:
    /// [`read_tail`](Self::read_tail).
    ///
    /// # Errors
    /// As [`append`](Self::append), and for a tail of 4 GiB and more.
    pub fn append_tail<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        let start = self.bytes.len();
        self.append(value)?;
        let Ok(len) = u32::try_from(self.bytes.len() - start) else {
            self.bytes.truncate(start);
            return Err(EncodeError::new::<T>("a packet's tail is limited to 4 GiB"));
        };
        self.bytes.extend_from_slice(&len.to_le_bytes());
        Ok(())
    }

    /// Takes off the value that [`append_tail`](Self::append_tail) wrote.
    ///
    /// # Errors
    /// [`DecodeError`] if the packet does not end with a `T`.
    pub fn read_tail<T: DeserializeOwned>(&mut self) -> Result<T, DecodeError> {
        let cut = || DecodeError::new::<T>("the packet is cut short");
        let (rest, len) = self.bytes.split_last_chunk::<TAIL_LEN>().ok_or_else(cut)?;
        let start = rest.len().checked_sub(u32::from_le_bytes(*len) as usize).ok_or_else(cut)?;
        let value = codec::decode(&rest[start..])?;
        self.bytes.truncate(start);
        Ok(value)
    }

    /// Writes a whole packet, for [`read_packet`](Self::read_packet).
    ///
    /// # Errors
    /// [`EncodeError`] if handles stand in it: they travel with their own packet only.
    ///
    /// # Examples
    /// ```
    /// use ipc_core::Packet;
    ///
    /// let (mut inner, mut outer) = (Packet::new(), Packet::new());
    /// inner.append(&"seven")?;
    /// outer.append_packet(&inner)?;
    /// let mut again = outer.read_packet()?;
    /// assert_eq!(again.read::<String>()?, "seven");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn append_packet(&mut self, packet: &Packet) -> Result<(), EncodeError> {
        if packet.handle_count() > 0 || packet.moves_ends() {
            return Err(EncodeError::new::<Packet>(
                "handles stand in it, which travel with their own packet",
            ));
        }
        self.bytes.extend_from_slice(&(packet.bytes.len() as u64).to_le_bytes());
        self.bytes.extend_from_slice(&packet.bytes);
        Ok(())
    }

    /// Takes the next packet that [`append_packet`](Self::append_packet) wrote; it counts as a
    /// stranger's if this one does.
    ///
    /// # Errors
    /// [`DecodeError`] if what comes next is not a whole packet.
    pub fn read_packet(&mut self) -> Result<Packet, DecodeError> {
        let cut = || DecodeError::new::<Packet>("the packet is cut short");
        let (len, rest) = self.unread().split_first_chunk::<PACKET_LEN>().ok_or_else(cut)?;
        let len = usize::try_from(u64::from_le_bytes(*len)).map_err(|_| cut())?;
        let mut packet = Packet { foreign: self.foreign, ..Packet::default() };
        packet.bytes.extend_from_slice(rest.get(..len).ok_or_else(cut)?);
        self.read += PACKET_LEN + len;
        Ok(packet)
    }

    /// Whether everything has been read.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.read == self.bytes.len()
    }

    /// All the bytes, read or not.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many handles travel with the bytes.
    #[must_use]
    pub fn handle_count(&self) -> usize {
        self.luggage.handles.len() + self.received.len()
    }

    /// How many bytes of shared memory the values written here keep from other use, beside the
    /// packet's own bytes: those of each [`Block`](crate::Block) of which no clone is in this process
    /// besides, in whole pages, and of each [`SharedMemory`](crate::SharedMemory). What stands in it twice
    /// counts twice. A packet that was received does not know.
    ///
    /// # Examples
    /// ```
    /// use ipc_core::{Arena, Packet};
    ///
    /// let arena = Arena::new(1 << 20)?;
    /// let mut packet = Packet::new();
    /// packet.append(&arena.alloc::<u8>(100_000)?.share())?;
    /// assert_eq!(packet.kept_bytes(), 102_400);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.luggage.kept_bytes
    }

    /// Adds bytes as they are; for links that fill a packet. From then on the
    /// packet counts as a stranger's (see [`mark_foreign`](Self::mark_foreign)).
    pub fn extend_bytes(&mut self, bytes: &[u8]) {
        self.foreign = true;
        self.bytes.extend_from_slice(bytes);
    }

    /// Says that the packet came from a peer which is not proven to be a process
    /// of this program's tree: what only such a process may send, a function for
    /// one, is then refused.
    pub fn mark_foreign(&mut self) {
        self.foreign = true;
    }

    /// Takes the word of whoever owns the link that its peer is of this tree.
    pub fn mark_trusted(&mut self) {
        self.foreign = false;
    }

    /// Puts the bytes elsewhere: `store` keeps them and gives the handle to them,
    /// which travels in their stead, as the last one.
    ///
    /// # Errors
    /// What `store` says; the packet is then as it was.
    pub fn swap_bytes_for_handle(
        &mut self,
        store: impl FnOnce(&[u8]) -> std::io::Result<Handle>,
    ) -> std::io::Result<()> {
        self.luggage.handles.push(store(&self.bytes)?);
        self.bytes.clear();
        Ok(())
    }

    /// The other half of [`swap_bytes_for_handle`](Self::swap_bytes_for_handle).
    ///
    /// # Errors
    /// What `load` says, or that there is no handle.
    pub fn swap_handle_for_bytes(
        &mut self,
        load: impl FnOnce(Handle) -> std::io::Result<Vec<u8>>,
    ) -> std::io::Result<()> {
        let handle = self.received.pop().flatten().ok_or(std::io::ErrorKind::InvalidData)?;
        self.bytes = load(handle)?.into();
        Ok(())
    }

    /// Adds a handle that came beside the bytes; for links that fill a packet.
    pub fn push_handle(&mut self, handle: Handle) {
        self.received.push(Some(handle));
    }

    /// Whether a channel end stands in the packet that leaves this process with
    /// the first sending, so that there can be no second one.
    #[must_use]
    pub fn moves_ends(&self) -> bool {
        !self.luggage.moves.is_empty()
    }
}

impl Outgoing for Packet {
    fn write_into(&mut self, space: &mut [u8]) -> Result<Option<usize>, EncodeError> {
        let Some(space) = space.get_mut(..self.bytes.len()) else {
            return Ok(None);
        };
        self.luggage.hold().map_err(EncodeError::new::<Packet>)?;
        space.copy_from_slice(&self.bytes);
        Ok(Some(self.bytes.len()))
    }

    fn bytes(&mut self) -> Result<&[u8], EncodeError> {
        self.luggage.hold().map_err(EncodeError::new::<Packet>)?;
        Ok(&self.bytes)
    }

    fn size(&self) -> Option<usize> {
        Some(self.bytes.len())
    }

    fn handles(&self) -> &[Handle] {
        &self.luggage.handles
    }

    fn sent(&mut self) {
        self.luggage.commit();
    }

    fn unsent(&mut self) {
        self.luggage.let_go();
    }
}
