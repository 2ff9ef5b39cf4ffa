//! Messages arrive whole and unchanged, in order, each once.

use std::sync::Mutex;
use std::thread;

use ipc_core::link::Link;
use ipc_core::{Packet, RecvError, SendError};

use super::tools::{LATE, Told, after, in_past, pattern, recv, send, try_recv};

pub(super) fn capabilities(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
    assert!(sender.capabilities().sends, "the sender says that it cannot send");
    assert!(receiver.capabilities().receives, "the receiver says that it cannot receive");
    if !receiver.capabilities().sends {
        let result = receiver.send(&mut Packet::new(), in_past());
        assert!(matches!(result, Err(SendError::WrongDirection)), "{result:?}");
    }
    if !sender.capabilities().receives {
        let result = sender.recv(&mut Packet::new(), in_past());
        assert!(matches!(result, Err(RecvError::WrongDirection)), "{result:?}");
    }
}

pub(super) fn order(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
    const COUNT: u32 = 20_000;
    thread::scope(|scope| {
        scope.spawn(|| (0..COUNT).for_each(|number| send(&*sender, &number.to_le_bytes())));
        for number in 0..COUNT {
            assert_eq!(recv(&*receiver), number.to_le_bytes());
        }
    });
}

pub(super) fn boundaries(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
    let messages: [&[u8]; 6] = [b"", b"one", b"", b"", b"three", b""];
    messages.iter().for_each(|message| send(&*sender, message));
    for message in messages {
        assert_eq!(recv(&*receiver), message, "messages are neither joined nor split");
    }
    assert!(matches!(try_recv(&*receiver), Err(RecvError::Timeout)));
}

pub(super) fn sizes(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
    let around = |bit: u32| [(1usize << bit) - 1, 1 << bit, (1 << bit) + 1];
    let sizes = || (0..=20).flat_map(around).chain([(16 << 20) + 1, 64 << 20]);
    thread::scope(|scope| {
        scope.spawn(|| {
            for size in sizes() {
                let mut message = Told { bytes: pattern(size), ..Told::default() };
                sender
                    .send(&mut message, after(LATE))
                    .unwrap_or_else(|error| panic!("{size} bytes: {error}"));
            }
        });
        let mut packet = Packet::new();
        for size in sizes() {
            receiver.recv(&mut packet, after(LATE)).unwrap_or_else(|error| panic!("{size} bytes: {error}"));
            assert!(packet.bytes() == pattern(size), "{size} bytes");
        }
    });
}

pub(super) fn short_buffers(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
    // The last is larger than what a link holds at once.
    const SIZES: [usize; 4] = [0, 1, 100, 3_000_000];
    let at_most = |most: usize| {
        let mut packet = Packet::new();
        receiver.recv_at_most(&mut packet, most, after(LATE)).map(|()| packet.bytes().to_vec())
    };
    let result = receiver.recv_at_most(&mut Packet::new(), 0, in_past());
    assert!(matches!(result, Err(RecvError::Timeout)), "{result:?}");
    thread::scope(|scope| {
        scope.spawn(|| SIZES.map(|size| send(&*sender, &pattern(size))));
        for size in SIZES {
            for most in [0, size / 2, size.saturating_sub(1)].into_iter().filter(|most| *most < size) {
                let result = at_most(most);
                let is_told = matches!(result, Err(RecvError::BufferTooShort { needed }) if needed == size);
                assert!(is_told, "{size} bytes where {most} fit");
                assert!(receiver.poll(after(LATE)).unwrap(), "it stays");
            }
            // At times by a receive that asks for no more than it needs, at times by any.
            let message = if size % 2 == 0 { at_most(size).unwrap() } else { recv(&*receiver) };
            assert!(message == pattern(size), "a short buffer cost something of {size} bytes");
        }
    });
    // A part has come when the buffer proves to be too short.
    thread::scope(|scope| {
        scope.spawn(|| send(&*sender, &pattern(2_000_000)));
        let mut packet = Packet::new();
        let result = loop {
            match receiver.recv_at_most(&mut packet, 2_000_000, in_past()) {
                Err(RecvError::Timeout) => {}
                other => break other,
            }
            let result = receiver.recv_at_most(&mut packet, 1_999_999, in_past());
            let is_told = matches!(result, Err(RecvError::BufferTooShort { needed: 2_000_000 }));
            assert!(is_told || matches!(result, Err(RecvError::Timeout)), "{result:?}");
        };
        result.unwrap();
        assert!(packet.bytes() == pattern(2_000_000), "a part was lost");
    });
    drop(sender);
    assert!(matches!(at_most(0), Err(RecvError::Closed)));
}

pub(super) fn threads(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
    const EACH: u32 = 2_000;
    let seen = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let (sender, receiver, seen) = (sender, &*receiver, &seen);
        for _ in 0..3 {
            scope.spawn(move || {
                let mut packet = Packet::new();
                while receiver.recv(&mut packet, after(LATE)).is_ok() {
                    let (head, body) = packet.bytes().split_at(4);
                    let number = u32::from_le_bytes(head.try_into().unwrap());
                    assert!(body == pattern(number as usize % 3_000), "torn");
                    seen.lock().unwrap().push(number);
                }
            });
        }
        thread::scope(|scope| {
            for part in 0..4 {
                let sender = &sender;
                scope.spawn(move || {
                    for number in part * EACH..(part + 1) * EACH {
                        let body = pattern(number as usize % 3_000);
                        send(&**sender, &[&number.to_le_bytes()[..], &body].concat());
                    }
                });
            }
        });
        drop(sender);
    });
    let mut seen = seen.into_inner().unwrap();
    seen.sort_unstable();
    assert!(seen == (0..4 * EACH).collect::<Vec<_>>(), "each message arrives once");
}
