//! Bytes over channel ends, as they are: nothing is encoded, and no message is joined or split.

use std::time::{Duration, Instant};

use crate::buffer::Buffer;
use crate::channel::{Connection, Receiver, Sender};
use crate::codec::{EncodeError, Message};
use crate::ends::{End, with_packet};
use crate::error::{RecvError, SendError};
use crate::link::Outgoing;
use crate::sys::Handle;
use crate::{Packet, deadline};

/// What sends bytes.
macro_rules! sends {
    ($type:ident<$($parameter:ident),+>) => {
        impl<$($parameter: Message),+> $type<$($parameter),+> {
            /// Sends bytes as they are, for [`Receiver::recv_bytes`]; also none at all,
            /// which is a message too. Waits while the channel is full.
            ///
            /// # Errors
            /// As [`send`](Self::send).
            pub fn send_bytes(&self, bytes: &[u8]) -> Result<(), SendError> {
                self.here()?.send_bytes(bytes, None)
            }

            /// As [`send_bytes`](Self::send_bytes), if the channel has room now.
            ///
            /// # Errors
            /// As [`try_send`](Self::try_send).
            pub fn try_send_bytes(&self, bytes: &[u8]) -> Result<(), SendError> {
                self.here()?.send_bytes(bytes, deadline::now())
            }

            /// As [`send_bytes`](Self::send_bytes); waits for room up to `timeout`.
            ///
            /// # Errors
            /// As [`send_timeout`](Self::send_timeout).
            pub fn send_bytes_timeout(&self, bytes: &[u8], timeout: Duration) -> Result<(), SendError> {
                self.here()?.send_bytes(bytes, deadline::after(timeout))
            }
        }
    };
}

/// What receives bytes; `$make` makes a channel whose other end is a `$type`.
macro_rules! receives {
    ($type:ident<$($parameter:ident),+>, $make:literal) => {
        impl<$($parameter: Message),+> $type<$($parameter),+> {
            /// Receives the bytes of the next message into `buffer`, which is emptied
            /// first; waits while there is none.
            ///
            /// # Errors
            /// As [`recv`](Self::recv).
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let (tx, rx) = ipc_core::", $make, "?;")]
            /// tx.send_bytes(b"")?;
            /// tx.send_bytes(b"as they are")?;
            /// let mut buffer = Vec::new();
            /// rx.recv_bytes(&mut buffer)?;
            /// assert!(buffer.is_empty());
            /// rx.recv_bytes(&mut buffer)?;
            /// assert_eq!(buffer, b"as they are");
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn recv_bytes(&self, buffer: &mut Vec<u8>) -> Result<(), RecvError> {
                self.end.recv_bytes(buffer, None)
            }

            /// As [`recv_bytes`](Self::recv_bytes), if there is a message now.
            ///
            /// # Errors
            /// As [`try_recv`](Self::try_recv).
            pub fn try_recv_bytes(&self, buffer: &mut Vec<u8>) -> Result<(), RecvError> {
                self.end.recv_bytes(buffer, deadline::now())
            }

            /// As [`recv_bytes`](Self::recv_bytes); waits for the message up to `timeout`,
            /// also for the rest of one that has begun to arrive.
            ///
            /// # Errors
            /// As [`recv_timeout`](Self::recv_timeout).
            pub fn recv_bytes_timeout(&self, buffer: &mut Vec<u8>, timeout: Duration) -> Result<(), RecvError> {
                self.end.recv_bytes(buffer, deadline::after(timeout))
            }

            /// Receives the bytes of the next message into the beginning of `buffer`, and says
            /// how many they are; waits while there is none.
            ///
            /// # Errors
            /// As [`recv`](Self::recv), and [`RecvError::BufferTooShort`] for a message that is
            /// longer than `buffer`. The message stays, and the next call receives it.
            ///
            /// # Examples
            /// ```
            /// use ipc_core::RecvError;
            ///
            #[doc = concat!("let (tx, rx) = ipc_core::", $make, "?;")]
            /// tx.send_bytes(b"five!")?;
            /// let mut buffer = [0; 8];
            /// let result = rx.recv_bytes_into(&mut buffer[..4]);
            /// assert!(matches!(result, Err(RecvError::BufferTooShort { needed: 5 })));
            /// assert_eq!(rx.recv_bytes_into(&mut buffer)?, 5);
            /// assert_eq!(&buffer[..5], b"five!");
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn recv_bytes_into(&self, buffer: &mut [u8]) -> Result<usize, RecvError> {
                self.end.recv_bytes_into(buffer, None)
            }

            /// As [`recv_bytes_into`](Self::recv_bytes_into), if there is a message now.
            ///
            /// # Errors
            /// As there, and [`RecvError::Timeout`] if there is none.
            pub fn try_recv_bytes_into(&self, buffer: &mut [u8]) -> Result<usize, RecvError> {
                self.end.recv_bytes_into(buffer, deadline::now())
            }

            /// As [`recv_bytes_into`](Self::recv_bytes_into); waits for the message up to
            /// `timeout`, also for the rest of one that has begun to arrive.
            ///
            /// # Errors
            /// As there, and [`RecvError::Timeout`].
            pub fn recv_bytes_into_timeout(
                &self,
                buffer: &mut [u8],
                timeout: Duration,
            ) -> Result<usize, RecvError> {
                self.end.recv_bytes_into(buffer, deadline::after(timeout))
            }
        }
    };
}

sends!(Sender<T>);
sends!(Connection<A, B>);
receives!(Receiver<T>, "pipe::<()>()");
receives!(Connection<A, B>, "duplex::<(), ()>()");

impl End {
    fn send_bytes(&self, bytes: &[u8], deadline: Option<Instant>) -> Result<(), SendError> {
        if self.has_moved() {
            return Err(SendError::Moved);
        }
        self.link().send(&mut Raw(bytes), deadline)
    }

    fn recv_bytes(&self, buffer: &mut Vec<u8>, deadline: Option<Instant>) -> Result<(), RecvError> {
        if self.has_moved() {
            return Err(RecvError::Moved);
        }
        with_packet(|packet| {
            let spare = std::mem::replace(&mut packet.bytes, Buffer::reusing(std::mem::take(buffer)));
            let result = self.link().recv(packet, deadline);
            let bytes = std::mem::replace(&mut packet.bytes, spare);
            *buffer = bytes.into_vector().unwrap_or_default();
            result
        })
    }

    fn recv_bytes_into(&self, buffer: &mut [u8], deadline: Option<Instant>) -> Result<usize, RecvError> {
        if self.has_moved() {
            return Err(RecvError::Moved);
        }
        with_packet(|packet: &mut Packet| {
            self.link().recv_at_most(packet, buffer.len(), deadline)?;
            let bytes = &*packet.bytes;
            // A link that keeps its promise never brings more.
            let place = buffer.get_mut(..bytes.len());
            let place = place.ok_or(RecvError::Protocol("a message longer than was asked for"))?;
            place.copy_from_slice(bytes);
            Ok(bytes.len())
        })
    }
}

/// Bytes on their way out.
struct Raw<'a>(&'a [u8]);

impl Outgoing for Raw<'_> {
    fn write_into(&mut self, space: &mut [u8]) -> Result<Option<usize>, EncodeError> {
        let Some(space) = space.get_mut(..self.0.len()) else {
            return Ok(None);
        };
        space.copy_from_slice(self.0);
        Ok(Some(self.0.len()))
    }

    fn bytes(&mut self) -> Result<&[u8], EncodeError> {
        Ok(self.0)
    }

    fn size(&self) -> Option<usize> {
        Some(self.0.len())
    }

    fn handles(&self) -> &[Handle] {
        &[]
    }

    fn sent(&mut self) {}
}
