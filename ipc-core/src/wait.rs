//! Waiting for the first of many: messages, ends of processes, handles.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::deadline;
use crate::sys::Handle;
use crate::sys::poll::{Interest, poll};
use crate::wait_set::Nudge;

/// Something that [`wait`] can wait for.
///
/// A channel end is ready when there is something to receive or it has ended, a
/// process's sentinel when the process has ended, a handle when it can be read.
pub trait Waitable {
    /// Whether it is ready, as far as can be told without asking the kernel.
    fn is_ready(&self) -> Option<bool> {
        None
    }

    /// Names the handles to wait for.
    fn arm<'a>(&'a self, arm: &mut Arm<'a>);

    /// The wait is over.
    fn disarm(&self) {}
}

/// Collects what the kernel is to wait for.
#[derive(Debug, Default)]
pub struct Arm<'a> {
    interests: Vec<(usize, Interest<'a>)>,
    current: usize,
    nudge: Option<Arc<Nudge>>,
}

impl<'a> Arm<'a> {
    /// Waits for `handle` to become readable, or its other end to go.
    pub fn readable(&mut self, handle: &'a Handle) {
        self.push(Interest::readable(handle));
    }

    /// Waits for room to write to `handle`, or its other end to go; for
    /// [`Link::arm_room`](crate::link::Link::arm_room).
    pub fn writable(&mut self, handle: &'a Handle) {
        self.push(Interest::writable(handle));
    }

    /// For a set that stays armed.
    pub(crate) fn nudged_by(nudge: Arc<Nudge>) -> Self {
        Self { nudge: Some(nudge), ..Self::default() }
    }

    /// Whom to tell if the kernel's word is taken before the one who arms has seen it.
    pub(crate) fn nudge(&self) -> Option<&Arc<Nudge>> {
        self.nudge.as_ref()
    }

    /// What was named so far.
    pub(crate) fn interests(self) -> impl Iterator<Item = Interest<'a>> {
        self.interests.into_iter().map(|(_, interest)| interest)
    }

    pub(crate) fn push(&mut self, interest: Interest<'a>) {
        self.interests.push((self.current, interest));
    }
}

impl Waitable for Handle {
    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        arm.readable(self);
    }
}

/// Waits until at least one of `items` is ready, and says which are: their
/// places, in order.
///
/// With a timeout, the list is empty if it passed first; a timeout of zero looks
/// without waiting, and `None` waits for ever. Being ready takes nothing: a
/// message is still there to be received.
///
/// # Errors
/// What the system says, for one that memory is short.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use ipc_core::{pipe, wait};
///
/// let (to_a, a) = pipe::<u32>()?;
/// let (_to_b, b) = pipe::<u32>()?;
/// assert!(wait(&[&a, &b], Some(Duration::ZERO))?.is_empty());
/// to_a.send(&1)?;
/// assert_eq!(wait(&[&a, &b], None)?, [0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn wait(items: &[&dyn Waitable], timeout: Option<Duration>) -> io::Result<Vec<usize>> {
    wait_deadline(items, timeout.and_then(deadline::after))
}

/// As [`wait`], until an instant: for loops that wait again and again.
///
/// # Errors
/// As [`wait`].
pub fn wait_deadline(items: &[&dyn Waitable], deadline: Option<Instant>) -> io::Result<Vec<usize>> {
    loop {
        let ready = look(items, deadline)?;
        if !ready.is_empty() || deadline::expired(deadline) {
            return Ok(ready);
        }
    }
}

/// One round: arm everything, sleep unless something is ready, disarm.
fn look(items: &[&dyn Waitable], deadline: Option<Instant>) -> io::Result<Vec<usize>> {
    let mut arm = Arm::default();
    let mut armed = Armed(&[]);
    for (place, item) in items.iter().enumerate() {
        armed.0 = &items[..=place];
        arm.current = place;
        item.arm(&mut arm);
    }
    // Looked at after arming, so that what came in between is seen here or rings.
    let mut ready: Vec<bool> = items.iter().map(|item| item.is_ready() == Some(true)).collect();
    let sleep_until = if ready.contains(&true) { deadline::now() } else { deadline };
    let interests = arm.interests.iter().map(|(_, interest)| *interest);
    let interests: Vec<Interest<'_>> = interests.collect();
    let fired = poll(&interests, sleep_until)?;
    for ((place, _), fired) in arm.interests.iter().zip(fired) {
        // A bell that rang for an item which knows its own state is only a reason to look.
        ready[*place] |= fired && items[*place].is_ready() != Some(false);
    }
    Ok((0..items.len()).filter(|place| ready[*place]).collect())
}

/// Items to disarm, also when one of the others panics.
struct Armed<'a>(&'a [&'a dyn Waitable]);

impl Drop for Armed<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|item| item.disarm());
    }
}
