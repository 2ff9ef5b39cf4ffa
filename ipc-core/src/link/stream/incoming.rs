//! What comes out of a stream of the kernel, and how it is waited for.

use std::time::{Duration, Instant};

use crate::deadline;
use crate::error::RecvError;
use crate::link::patience::Patience;
use crate::sys::poll::poll_one;
use crate::sys::stream::{NAP, Stream};
use crate::sys::{Handle, cpu};

/// How long a wait looks again and again before it sleeps: longer than a wake-up takes,
/// so that two sides that sleep by turns come to meet awake.
const LOOK_FOR: Duration = Duration::from_micros(50);

/// Where a reading comes from, and how long it may take.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) stream: &'a Stream,
    pub(super) deadline: Option<Instant>,
    /// Whether a wait may look for some time before it sleeps.
    pub(super) polls: bool,
}

impl Source<'_> {
    /// Whether a wait may be the very call that reads.
    fn may_sleep_reading(&self) -> bool {
        if self.stream.disturbs_readers() {
            return false;
        }
        let Some(deadline) = self.deadline else { return true };
        deadline.saturating_duration_since(Instant::now()) > NAP && self.stream.naps()
    }
}

/// What came beside the bytes, and what earlier waits were like.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    pub(super) handles: Vec<Handle>,
    /// Handles came along that found no room in this process.
    pub(super) lost_handles: bool,
    /// On which CPU the peer sent its last message, as far as sixteen bits tell.
    pub(super) peer_cpu: Option<u16>,
    patience: Patience,
    /// So many more waits sleep before they look: what was waited for was not there before.
    late: u8,
}

/// After a look in vain, how many waits sleep before they look.
const LATE: u8 = 16;

impl Incoming {
    /// Waits until something can be read and reads it: how much, and nothing at the end.
    pub(super) fn read(&mut self, source: &Source<'_>, into: &mut [u8]) -> Result<usize, RecvError> {
        // Where the peer was last seen on this CPU, or not yet seen, looking might only keep it from running.
        let is_elsewhere = self.peer_cpu.is_some_and(|seen| seen != cpu::current() as u16);
        let looks = source.polls && self.patience.looks() && is_elsewhere;
        // One that neither looks nor has a deadline soon sleeps in the very call that reads.
        let sleeps_reading = source.may_sleep_reading();
        if (looks || !sleeps_reading)
            && !self.expects_to_sleep(source, looks)
            && let Some(read) = self.look(source, into, looks)?
        {
            return Ok(read);
        }
        loop {
            // The deadline may have come near.
            if source.may_sleep_reading()
                && let Some(read) =
                    source.stream.read_waiting(into, &mut self.handles, &mut self.lost_handles)?
            {
                return Ok(read);
            }
            if !poll_one(source.stream.readable(), source.deadline)? {
                return Err(RecvError::Timeout);
            }
            if let Some(read) = self.try_read(source, into)? {
                return Ok(read);
            }
        }
    }

    /// Whether a look would most likely be in vain, and so a call of the system too many.
    fn expects_to_sleep(&mut self, source: &Source<'_>, looks: bool) -> bool {
        let expects = !looks && self.late > 0 && !deadline::expired(source.deadline);
        self.late -= u8::from(expects);
        expects
    }

    /// Reads what is there or comes soon.
    fn look(
        &mut self,
        source: &Source<'_>,
        into: &mut [u8],
        for_long: bool,
    ) -> Result<Option<usize>, RecvError> {
        if let Some(read) = self.try_read(source, into)? {
            return Ok(Some(read));
        }
        if deadline::expired(source.deadline) {
            return Ok(None);
        }
        if !for_long {
            self.late = LATE;
            return Ok(None);
        }
        let until = Instant::now() + LOOK_FOR;
        let until = source.deadline.map_or(until, |deadline| deadline.min(until));
        while Instant::now() < until {
            if let Some(read) = self.try_read(source, into)? {
                self.patience.was_rewarded();
                return Ok(Some(read));
            }
        }
        self.patience.was_in_vain();
        Ok(None)
    }

    fn try_read(&mut self, source: &Source<'_>, into: &mut [u8]) -> Result<Option<usize>, RecvError> {
        Ok(source.stream.try_read(into, &mut self.handles, &mut self.lost_handles)?)
    }
}
