//! Values over channel ends: each as it is encoded, and behind it what tells its type.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use crate::buffer::Buffer;
use crate::channel::{Connection, Receiver};
use crate::codec::{self, DecodeError, EncodeError, Message};
use crate::ends::{End, with_packet};
use crate::error::{RecvError, SendError};
use crate::link::Outgoing;
use crate::sys::Handle;
use crate::transfer::{self, Luggage};
use crate::{Packet, deadline, plain};

/// How many bytes behind a value tell its type.
const TAIL: usize = 8;

/// What receives into a value that is there; `$make` makes a channel whose other end is a `$type`.
macro_rules! receives_into {
    ($type:ident<$($parameter:ident),+> of $value:ident, $hash:ident, $make:literal) => {
        impl<$($parameter: Message),+> $type<$($parameter),+> {
            /// As [`recv`](Self::recv), in the place of `value`. A vector of numbers of a
            /// fixed width (`Vec<u8>`, `Vec<f64>` and so on) is received into the memory
            /// that `value` has, as far as it is enough: for large ones new memory costs
            /// several times what the copying does.
            ///
            /// # Errors
            /// As [`recv`](Self::recv); `value` is then as it was, or an empty vector.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let (tx, rx) = ipc_core::", $make, "?;")]
            /// let mut numbers = Vec::new();
            /// for round in 1..=3 {
            ///     tx.send(&vec![f64::from(round); 1000])?;
            ///     rx.recv_into(&mut numbers)?;
            ///     assert_eq!(numbers, [f64::from(round); 1000]);
            /// }
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn recv_into(&self, value: &mut $value) -> Result<(), RecvError> {
                self.end.recv_into(self.$hash(), value, None)
            }

            /// As [`recv_into`](Self::recv_into), if there is a value now.
            ///
            /// # Errors
            /// As [`try_recv`](Self::try_recv).
            pub fn try_recv_into(&self, value: &mut $value) -> Result<(), RecvError> {
                self.end.recv_into(self.$hash(), value, deadline::now())
            }

            /// As [`recv_into`](Self::recv_into); waits for the value up to `timeout`, also
            /// for the rest of one that has begun to arrive.
            ///
            /// # Errors
            /// As [`recv_timeout`](Self::recv_timeout).
            pub fn recv_into_timeout(&self, value: &mut $value, timeout: Duration) -> Result<(), RecvError> {
                self.end.recv_into(self.$hash(), value, deadline::after(timeout))
            }
        }
    };
}

receives_into!(Receiver<T> of T, hash, "pipe::<Vec<f64>>()");
receives_into!(Connection<A, B> of B, received_hash, "duplex::<Vec<f64>, Vec<f64>>()");

impl End {
    pub(crate) fn send<T: Message>(
        &self,
        hash: u64,
        value: &T,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        if self.has_moved() {
            return Err(SendError::Moved);
        }
        let mut message = Typed::new(hash, value);
        match deadline {
            None => self.link().send(&mut message, None),
            _ => deadline::within(deadline, || self.link().send(&mut message, deadline)).0,
        }
    }

    pub(crate) fn recv<T: Message>(&self, hash: u64, deadline: Option<Instant>) -> Result<T, RecvError> {
        if let Some(buffer) = plain::buffer_for::<T>() {
            let buffer = self.recv_vector::<T>(hash, buffer, deadline).map_err(|(error, _)| error)?;
            return Ok(vector(buffer)?);
        }
        if self.has_moved() {
            return Err(RecvError::Moved);
        }
        with_packet(|packet| {
            self.link().recv(packet, deadline)?;
            check_type::<T>(packet, hash)?;
            Ok(packet.read_message()?)
        })
    }

    fn recv_into<T: Message>(
        &self,
        hash: u64,
        value: &mut T,
        deadline: Option<Instant>,
    ) -> Result<(), RecvError> {
        let Some(buffer) = plain::buffer_in(value) else {
            *value = self.recv(hash, deadline)?;
            return Ok(());
        };
        match self.recv_vector::<T>(hash, buffer, deadline) {
            Ok(buffer) => *value = vector(buffer)?,
            Err((error, mut buffer)) => {
                buffer.clear();
                // An empty one, with its memory for the next time.
                *value = vector(buffer)?;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Receives a vector of numbers into the memory in which it will be handed out.
    fn recv_vector<T>(
        &self,
        hash: u64,
        buffer: Buffer,
        deadline: Option<Instant>,
    ) -> Result<Buffer, (RecvError, Buffer)> {
        if self.has_moved() {
            return Err((RecvError::Moved, buffer));
        }
        with_packet(|packet| {
            let spare = std::mem::replace(&mut packet.bytes, buffer);
            let received = self.link().recv(packet, deadline);
            let received = received.and_then(|()| Ok(check_type::<T>(packet, hash)?));
            let buffer = std::mem::replace(&mut packet.bytes, spare);
            match received {
                Ok(()) => Ok(buffer),
                Err(error) => Err((error, buffer)),
            }
        })
    }

    pub(crate) fn poll(&self, deadline: Option<Instant>) -> Result<bool, RecvError> {
        if self.has_moved() { Err(RecvError::Moved) } else { self.link().poll(deadline) }
    }
}

fn vector<T: Message>(buffer: Buffer) -> Result<T, DecodeError> {
    plain::into_vector(buffer).flatten().ok_or_else(codec::cut_short::<T>)
}

fn check_type<T>(packet: &mut Packet, hash: u64) -> Result<(), DecodeError> {
    if packet.take_hash(hash) {
        Ok(())
    } else {
        Err(DecodeError::new::<T>("it is a value of another type, or raw bytes"))
    }
}

/// A value on its way out.
struct Typed<'a, T> {
    value: &'a T,
    /// What tells its type, and goes last: so a vector begins where its memory does.
    tail: [u8; TAIL],
    /// Filled only when the value does not fit where the link wants it.
    bytes: Buffer,
    luggage: Luggage,
}

impl<'a, T: Message> Typed<'a, T> {
    fn new(hash: u64, value: &'a T) -> Self {
        Self { value, tail: hash.to_le_bytes(), bytes: Buffer::new(), luggage: Luggage::default() }
    }
}

impl<T: Message> Outgoing for Typed<'_, T> {
    fn write_into(&mut self, space: &mut [u8]) -> Result<Option<usize>, EncodeError> {
        let Some(room) = space.len().checked_sub(TAIL) else { return Ok(None) };
        let body = &mut space[..room];
        // What an earlier try held is free for this one.
        self.luggage = Luggage::default();
        let (written, luggage) =
            transfer::packing(Luggage::default(), || codec::message_into(self.value, body));
        self.luggage = luggage;
        let Some(len) = written? else { return Ok(None) };
        space[len..len + TAIL].copy_from_slice(&self.tail);
        Ok(Some(len + TAIL))
    }

    fn bytes(&mut self) -> Result<&[u8], EncodeError> {
        if self.bytes.is_empty() {
            self.luggage = Luggage::default();
            let bytes = &mut self.bytes;
            let (written, luggage) =
                transfer::packing(Luggage::default(), || codec::append_message(self.value, bytes));
            self.luggage = luggage;
            written.inspect_err(|_| self.bytes.clear())?;
            self.bytes.extend_from_slice(&self.tail);
        }
        Ok(&self.bytes)
    }

    fn parts(&mut self) -> Result<[&[u8]; 4], EncodeError> {
        match plain::vector(self.value) {
            Some(Cow::Borrowed(numbers)) => Ok([numbers, &self.tail, &[], &[]]),
            _ => Ok([self.bytes()?, &[], &[], &[]]),
        }
    }

    fn size(&self) -> Option<usize> {
        plain::vector_size(self.value).map(|size| size + TAIL)
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
