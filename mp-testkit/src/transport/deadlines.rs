//! What a deadline cuts is not lost.

use std::thread;
use std::time::{Duration, Instant};

use ipc_core::link::Link;
use ipc_core::{Packet, RecvError, SendError};

use super::tools::{LATE, SOON, Told, after, in_past, pattern, recv, send, try_recv};

pub(super) fn receive_deadlines(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
    assert!(matches!(try_recv(&*receiver), Err(RecvError::Timeout)));
    let begun = Instant::now();
    let result = receiver.recv(&mut Packet::new(), after(SOON));
    assert!(matches!(result, Err(RecvError::Timeout)), "{result:?}");
    assert!(begun.elapsed() >= SOON, "it did not wait until its deadline");
    send(&*sender, b"kept");
    assert!(receiver.poll(after(LATE)).unwrap());
    assert_eq!(try_recv(&*receiver).unwrap(), b"kept");
}

pub(super) fn slow_arrival(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
    let long = pattern(3_000_000);
    thread::scope(|scope| {
        scope.spawn(|| {
            send(&*sender, &long);
            send(&*sender, b"next");
        });
        let received = loop {
            match try_recv(&*receiver) {
                Ok(bytes) => break bytes,
                Err(RecvError::Timeout) => thread::sleep(Duration::from_micros(300)),
                Err(error) => panic!("{error}"),
            }
        };
        assert!(received == long, "a part was lost at a deadline");
        assert_eq!(recv(&*receiver), b"next");
    });
}

pub(super) fn send_deadlines(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
    let message = |number: u32| {
        let mut bytes = pattern(10_007);
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        bytes
    };
    let mut sent = 0;
    let (error, last) = loop {
        let begun = Instant::now();
        let mut last = Told { bytes: message(sent), ..Told::default() };
        match sender.send(&mut last, after(SOON)) {
            Ok(()) => sent += 1,
            Err(error) => {
                assert!(begun.elapsed() >= SOON, "it did not wait until its deadline: {error:?}");
                break (error, last);
            }
        }
        assert!(sent < 1 << 20, "the link is never full");
    };
    assert!(matches!(error, SendError::Timeout), "{error:?}");
    thread::scope(|scope| {
        scope.spawn(|| send(&*sender, b"the last"));
        for number in 0..sent {
            assert!(recv(&*receiver) == message(number), "message {number}");
        }
        let mut next = recv(&*receiver);
        // The message that timed out is completed, or withdrawn.
        if next == message(sent) {
            assert!(last.sent > 0, "a message arrives that was not told `sent`");
            next = recv(&*receiver);
        }
        assert_eq!(next, b"the last");
    });
}

pub(super) fn flushing(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
    let mut sent = 0;
    let last = loop {
        let mut message = Told { bytes: pattern(300_000), ..Told::default() };
        match sender.send(&mut message, in_past()) {
            Ok(()) => sent += 1,
            Err(error) => {
                assert!(matches!(error, SendError::Timeout), "a send to a full link: {error:?}");
                break message;
            }
        }
        assert!(sent < 1 << 20, "the link is never full");
    };
    let (arrived, end) = thread::scope(|scope| {
        let (sender, receiver) = (sender, &*receiver);
        let receiving = scope.spawn(move || {
            let mut packet = Packet::new();
            let mut arrived = 0;
            loop {
                match receiver.recv(&mut packet, after(LATE)) {
                    Ok(()) => arrived += 1,
                    Err(error) => return (arrived, error),
                }
            }
        });
        sender.flush(after(LATE)).unwrap();
        // No further send completes it.
        drop(sender);
        receiving.join().unwrap()
    });
    // Of a message that was withdrawn, a part may have gone out.
    let is_cut = last.sent == 0 && matches!(end, RecvError::Cut);
    assert!(is_cut || matches!(end, RecvError::Closed), "after a flush and the sender's end: {end:?}");
    assert!(arrived >= sent + last.sent, "a message that was told `sent` did not arrive");
    assert!(arrived <= sent + 1, "a message arrived twice");
}
