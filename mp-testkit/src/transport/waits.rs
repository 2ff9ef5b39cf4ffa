//! Waiting for a message, and for the end of the peer.

use std::thread;
use std::time::{Duration, Instant};

use ipc_core::link::Link;
use ipc_core::{Arm, Packet, RecvError, SendError, Waitable, wait};

use super::tools::{LATE, SOON, after, in_past, packet, pattern, recv, send, try_recv};

pub(super) fn poll(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
    let begun = Instant::now();
    assert!(!receiver.poll(after(SOON)).unwrap(), "it saw a message before one was sent");
    assert!(begun.elapsed() >= SOON, "it did not wait until its deadline");
    for round in 0..100u32 {
        send(&*sender, &round.to_le_bytes());
        for _ in 0..3 {
            assert!(receiver.poll(after(LATE)).unwrap(), "it did not see a message");
            assert_ne!(Link::is_ready(&*receiver), Some(false), "a message waits");
        }
        assert_eq!(try_recv(&*receiver).unwrap(), round.to_le_bytes(), "a poll ate it");
        assert!(!receiver.poll(in_past()).unwrap(), "it saw a message that was taken");
        assert_ne!(Link::is_ready(&*receiver), Some(true), "the message was taken");
    }
}

/// A link as something to wait for.
struct One<'a>(&'a dyn Link);

impl Waitable for One<'_> {
    fn is_ready(&self) -> Option<bool> {
        Link::is_ready(self.0)
    }

    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        Link::arm(self.0, arm);
    }

    fn disarm(&self) {
        Link::disarm(self.0);
    }
}

pub(super) fn waiting(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
    let one = One(&*receiver);
    assert!(wait(&[&one], Some(SOON)).unwrap().is_empty(), "ready before anything was sent");
    for round in 0..200u32 {
        thread::scope(|scope| {
            let waiter = scope.spawn(|| wait(&[&one], Some(LATE)).unwrap());
            // At times before the other sleeps, at times after.
            thread::sleep(Duration::from_micros(u64::from(round % 5) * 50));
            send(&*sender, &round.to_le_bytes());
            assert_eq!(waiter.join().unwrap(), [0], "a waiter was not woken by a message");
        });
        assert_eq!(try_recv(&*receiver).unwrap(), round.to_le_bytes());
    }
    drop(sender);
    assert_eq!(wait(&[&one], Some(LATE)).unwrap(), [0], "an end is something to see");
}

pub(super) fn end_of_sender(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
    send(&*sender, b"first");
    send(&*sender, b"");
    drop(sender);
    assert_eq!(recv(&*receiver), b"first");
    assert_eq!(recv(&*receiver), b"");
    for _ in 0..3 {
        assert!(receiver.poll(after(LATE)).unwrap(), "an end is something to see");
        let result = receiver.recv(&mut Packet::new(), after(LATE));
        assert!(matches!(result, Err(RecvError::Closed)), "{result:?}");
    }
}

pub(super) fn end_of_receiver(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
    let error = thread::scope(|scope| {
        let filling = scope.spawn(|| {
            let mut message = packet(&pattern(10_000));
            loop {
                if let Err(error) = sender.send(&mut message, after(LATE)) {
                    return error;
                }
            }
        });
        thread::sleep(SOON);
        drop(receiver);
        filling.join().unwrap()
    });
    assert!(matches!(error, SendError::Closed), "{error:?}");
}
