//! Frames as they come in.

use super::frame::{HEAD, Head, Kind, LARGEST_STEP, MARK, PART, UNIT, mark, parse};
use super::incoming::{Incoming, Source};
use crate::Packet;
use crate::buffer::Buffer;
use crate::deadline;
use crate::error::RecvError;
use crate::link::lost_handles;
use crate::sys::Handle;

/// A frame of which a part has come.
#[derive(Debug)]
pub(super) struct Reading {
    /// Its shortest form, of which so much has come.
    head: [u8; UNIT],
    head_len: usize,
    /// How long the body is when the frame has come, once that has begun to come.
    goal: Option<usize>,
    /// The message that it is a chunk of, if it is.
    partial: Option<Partial>,
    /// Its first `body_len` bytes have come; the others are room for more.
    pub(super) body: Buffer,
    body_len: usize,
    incoming: Incoming,
    /// What was read since the call began.
    read: usize,
    /// A longer message is refused.
    longest: u64,
    broken: Option<&'static str>,
    ended: bool,
}

/// A message that comes in chunks.
#[derive(Debug)]
struct Partial {
    len: usize,
    handles: Vec<Handle>,
    lost_handles: bool,
}

impl Reading {
    pub(super) fn new(longest: u64) -> Self {
        Self {
            head: [0; UNIT],
            head_len: 0,
            goal: None,
            partial: None,
            body: Buffer::new(),
            body_len: 0,
            incoming: Incoming::default(),
            read: 0,
            longest,
            broken: None,
            ended: false,
        }
    }

    /// Whether nothing of a message has come.
    pub(super) fn is_between(&self) -> bool {
        self.head_len == 0 && self.partial.is_none()
    }

    /// Whether something of a message has come beside its header.
    pub(super) fn has_body(&self) -> bool {
        self.goal.is_some() || self.partial.is_some()
    }

    /// Takes the next message if it is in one of the shortest frames, as most are, and these have no
    /// handles; else its header has come.
    pub(super) fn small(&mut self, source: &Source<'_>, packet: &mut Packet) -> Result<bool, RecvError> {
        if self.broken.is_some() {
            return Ok(false);
        }
        self.read = 0;
        self.read_head(source, HEAD, UNIT)?;
        let head = self.check_head()?;
        let body = self.head[HEAD..].get(..head.len);
        let is_whole = self.head_len == UNIT && head.kind == Kind::Whole;
        match body.filter(|_| is_whole && head.handles == 0 && !self.incoming.lost_handles) {
            Some(body) => packet.bytes.extend_from_slice(body),
            None => return Ok(false),
        }
        self.head_len = 0;
        Ok(true)
    }

    /// Reads until `body` holds a whole message.
    pub(super) fn frame(&mut self, source: &Source<'_>, most: usize) -> Result<(), RecvError> {
        if let Some(what) = self.broken {
            return Err(RecvError::Protocol(what));
        }
        self.read = 0;
        loop {
            // One that may be refused keeps its rest in the stream, which so says that it is there.
            self.read_head(source, HEAD, if most == usize::MAX { UNIT } else { HEAD })?;
            let head = self.check_head()?;
            let needed = match (&self.partial, head.kind) {
                (Some(partial), Kind::Next) => partial.len,
                _ => head.len,
            };
            if needed > most {
                return Err(RecvError::BufferTooShort { needed });
            }
            self.read_head(source, UNIT, UNIT)?;
            let goal = self.begin(&head)?;
            self.read_body(source, goal)?;
            self.check_mark()?;
            if self.has_whole_message() {
                return Ok(());
            }
        }
    }

    /// Takes what of the frame lies beside its header; how long the body is when it has come.
    fn begin(&mut self, head: &Head) -> Result<usize, RecvError> {
        if let Some(goal) = self.goal {
            return Ok(goal);
        }
        let here = match head.kind {
            Kind::Whole => {
                self.drop_partial();
                head.len
            }
            Kind::First => {
                self.drop_partial();
                self.partial = Some(Partial { len: head.len, handles: Vec::new(), lost_handles: false });
                head.len.min(PART) + MARK
            }
            Kind::Next => {
                let missing = self.partial.as_ref().map(|partial| partial.len - self.body_len);
                if missing != Some(head.len) {
                    return Err(self.give_up("a part of no message"));
                }
                head.len.min(PART) + MARK
            }
        };
        let beside = &self.head[HEAD..HEAD + here.min(UNIT - HEAD)];
        self.body.truncate(self.body_len);
        self.body.extend_from_slice(beside);
        let goal = self.body_len + here;
        self.body_len += beside.len();
        self.goal = Some(goal);
        Ok(goal)
    }

    /// Its sender died, or gave it up.
    fn drop_partial(&mut self) {
        if self.partial.take().is_some() {
            self.body_len = 0;
        }
    }

    /// Takes the mark off a chunk. If it is not there, the chunk's sender was killed in the middle
    /// of it, and this is what another one sent.
    fn check_mark(&mut self) -> Result<(), RecvError> {
        if self.partial.is_none() {
            return Ok(());
        }
        self.body_len -= MARK;
        if self.body[self.body_len..][..MARK] == mark(&self.head) {
            return Ok(());
        }
        self.give_up("what stands behind a message cut short");
        Err(RecvError::Cut)
    }

    /// Whether the frame that has come was the message's last.
    fn has_whole_message(&mut self) -> bool {
        let Some(partial) = &mut self.partial else { return true };
        partial.handles.append(&mut self.incoming.handles);
        partial.lost_handles |= std::mem::take(&mut self.incoming.lost_handles);
        if self.body_len == partial.len {
            return true;
        }
        (self.head_len, self.goal) = (0, None);
        false
    }

    /// Reads until the first `least` bytes have come, and up to `most` on the way.
    fn read_head(&mut self, source: &Source<'_>, least: usize, most: usize) -> Result<(), RecvError> {
        while self.head_len < least {
            let read = self.incoming.read(source, &mut self.head[self.head_len..most])?;
            self.head_len += self.check(read)?;
        }
        Ok(())
    }

    fn check_head(&mut self) -> Result<Head, RecvError> {
        let head = match parse(&self.head) {
            Ok(head) => head,
            Err(what) => return Err(self.give_up(what)),
        };
        let handles = head.handles;
        self.incoming.peer_cpu = Some(head.cpu);
        if head.len as u64 > self.longest {
            return Err(self.give_up("a message longer than this end takes"));
        }
        let came = self.incoming.handles.len();
        let is_short = self.incoming.lost_handles && came < handles;
        if came == handles || is_short { Ok(head) } else { Err(self.give_up("a frame without its handles")) }
    }

    fn give_up(&mut self, what: &'static str) -> RecvError {
        self.broken = Some(what);
        self.body = Buffer::new();
        self.incoming.handles.clear();
        RecvError::Protocol(what)
    }

    /// The body grows as bytes arrive, whatever length was announced.
    fn read_body(&mut self, source: &Source<'_>, len: usize) -> Result<(), RecvError> {
        let handles = self.incoming.handles.len();
        while self.body_len < len {
            // A peer that sends bit by bit does not stretch the deadline.
            if self.read > LARGEST_STEP && deadline::expired(source.deadline) {
                return Err(RecvError::Timeout);
            }
            if self.body_len == self.body.len() {
                let step = (len - self.body_len).min(LARGEST_STEP.max(self.body_len));
                self.body.resize(self.body_len + step);
            }
            let read = self.incoming.read(source, &mut self.body[self.body_len..])?;
            self.body_len += self.check(read)?;
            if self.incoming.handles.len() > handles {
                return Err(self.give_up("handles in the middle of a frame"));
            }
        }
        Ok(())
    }

    /// How much a reading brought.
    fn check(&mut self, read: usize) -> Result<usize, RecvError> {
        self.read += read;
        if read == 0 { Err(self.end()) } else { Ok(read) }
    }

    /// The end has been reached; a message that it cut is reported once.
    fn end(&mut self) -> RecvError {
        if !self.is_between() && !self.ended {
            self.ended = true;
            RecvError::Cut
        } else {
            RecvError::Closed
        }
    }

    pub(super) fn hand_over(&mut self, packet: &mut Packet) -> Result<(), RecvError> {
        self.body.truncate(self.body_len);
        // The packet's old memory is the next body's.
        std::mem::swap(&mut packet.bytes, &mut self.body);
        self.body.clear();
        (self.head_len, self.body_len, self.goal) = (0, 0, None);
        let partial = self.partial.take();
        let mut is_lost = std::mem::take(&mut self.incoming.lost_handles);
        is_lost |= partial.as_ref().is_some_and(|partial| partial.lost_handles);
        let handles = partial.into_iter().flat_map(|partial| partial.handles);
        handles.chain(self.incoming.handles.drain(..)).for_each(|handle| packet.push_handle(handle));
        if is_lost {
            packet.clear();
            return Err(lost_handles().into());
        }
        Ok(())
    }
}
