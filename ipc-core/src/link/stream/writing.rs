//! Frames on their way out.

use std::io;
use std::time::Instant;

use super::frame::{LARGEST_STEP, UNIT};
use crate::deadline;
use crate::error::SendError;
use crate::sys::Handle;
use crate::sys::companion::rest_until_received;
use crate::sys::poll::{Interest, poll_one};
use crate::sys::stream::Stream;

/// A frame of which a part is on the way: the next send completes it first.
#[derive(Debug, Default)]
pub(super) struct Writing {
    pub(super) rest: Vec<u8>,
    pub(super) done: usize,
    pub(super) broken: bool,
}

impl Writing {
    pub(super) fn begin(&mut self, head: &[u8], body: [&[u8]; 4], mark: &[u8]) {
        self.done = 0;
        self.rest.clear();
        let len = head.len() + body.iter().map(|part| part.len()).sum::<usize>() + mark.len();
        self.rest.reserve_exact(len.max(UNIT));
        self.rest.extend_from_slice(head);
        body.iter().for_each(|part| self.rest.extend_from_slice(part));
        self.rest.extend_from_slice(mark);
        self.rest.resize(len.max(UNIT), 0);
    }

    /// Whether all has left, so that somebody else may go on.
    pub(super) fn is_between(&mut self, stream: &Stream) -> bool {
        self.finish(stream, deadline::now()).is_ok()
    }

    /// Completes a frame that an earlier deadline cut.
    pub(super) fn finish(&mut self, stream: &Stream, deadline: Option<Instant>) -> Result<(), SendError> {
        if self.rest.is_empty() { Ok(()) } else { self.go(stream, &[], deadline) }
    }

    /// Writes a frame of the shortest length, of which nothing is kept if the stream has room, as it mostly has.
    pub(super) fn go_at_once(
        &mut self,
        frame: &[u8; UNIT],
        stream: &Stream,
        handles: &[Handle],
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        let done = match write(stream, frame, handles, deadline) {
            Ok(Some(UNIT)) => return Ok(()),
            Ok(Some(done)) => done,
            // Once more, the slow way, which knows of each reason.
            Ok(None) | Err(_) => 0,
        };
        self.begin(frame, [&[]; 4], &[]);
        self.done = done;
        self.go(stream, if done == 0 { handles } else { &[] }, deadline)
    }

    /// Writes what is left; the handles go with the first bytes.
    pub(super) fn go(
        &mut self,
        stream: &Stream,
        mut handles: &[Handle],
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        let mut written = 0;
        while self.done < self.rest.len() {
            // A peer that takes bit by bit does not stretch the deadline.
            if written > LARGEST_STEP && deadline::expired(deadline) {
                return Err(SendError::Timeout);
            }
            let rest = &self.rest[self.done..];
            match write(stream, rest, handles, deadline) {
                Ok(Some(count)) => {
                    self.done += count;
                    written += count;
                    handles = &[];
                }
                Ok(None) => await_stream(stream.writable(), deadline)?,
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    if !rest_until_received(deadline) {
                        return Err(SendError::Timeout);
                    }
                }
                Err(error) if is_closed(&error) => return Err(SendError::Closed),
                Err(error) => return Err(error.into()),
            }
        }
        self.rest.clear();
        self.rest.shrink_to(LARGEST_STEP);
        Ok(())
    }
}

fn write(
    stream: &Stream,
    bytes: &[u8],
    handles: &[Handle],
    deadline: Option<Instant>,
) -> io::Result<Option<usize>> {
    match deadline {
        None => stream.write_waiting(bytes, handles),
        Some(_) => stream.try_write(bytes, handles),
    }
}

fn await_stream(interest: Interest<'_>, deadline: Option<Instant>) -> Result<(), SendError> {
    if poll_one(interest, deadline)? { Ok(()) } else { Err(SendError::Timeout) }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
    )
}
