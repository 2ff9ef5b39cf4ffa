//! A thread for one message that waits for room in a ring.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::ends::End;
use crate::error::SendError;
use crate::{Packet, deadline, raw};

/// After so long the thread asks whether anybody still wants it: at first, and at most.
const ASK: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));

/// What the thread has to say, and whom to wake for it.
#[derive(Debug, Default)]
struct Slot {
    result: Option<Result<(), SendError>>,
    waker: Option<Waker>,
}

#[derive(Debug, Default)]
struct Errand {
    slot: Mutex<Slot>,
    is_unwanted: AtomicBool,
}

/// Tells the thread when the future is dropped.
struct Wanted(Arc<Errand>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.is_unwanted.store(true, Ordering::Relaxed);
    }
}

/// Sends the message on a thread of its own.
pub(super) async fn send(end: Arc<End>, packet: Packet) -> Result<(), SendError> {
    let wanted = Wanted(Arc::default());
    let errand = Arc::clone(&wanted.0);
    let thread = std::thread::Builder::new().name("ipc-core-send".into()).stack_size(128 * 1024);
    raw::start_thread(thread, move || errand.finish(try_long(&errand, &end, packet)))?;
    poll_fn(|context| wanted.0.poll(context)).await
}

/// A ring begins a long message anew after each deadline, so they grow.
fn try_long(errand: &Errand, end: &End, mut packet: Packet) -> Result<(), SendError> {
    let mut patience = ASK.0;
    while !errand.is_unwanted.load(Ordering::Relaxed) {
        match end.link().send(&mut packet, deadline::after(patience)) {
            Err(SendError::Timeout) => patience = (patience * 2).min(ASK.1),
            other => return other,
        }
    }
    Err(SendError::Timeout)
}

impl Errand {
    fn finish(&self, result: Result<(), SendError>) {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.result = Some(result);
        if let Some(waker) = slot.waker.take() {
            drop(slot);
            waker.wake();
        }
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        match slot.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                slot.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
