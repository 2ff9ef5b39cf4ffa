//! What a message is asked and told, and the handles in it.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::thread;

use ipc_core::link::{Link, Outgoing};
use ipc_core::{EncodeError, Handle, Packet, SendError};

use super::tools::{LATE, Told, after, in_past, pattern, recv, send};

pub(super) fn refused(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
    for _ in 0..10 {
        let result = sender.send(&mut Refuses, after(LATE));
        assert!(matches!(result, Err(SendError::Encode(_))), "{result:?}");
        send(&*sender, b"as if nothing had been");
        assert_eq!(recv(&*receiver), b"as if nothing had been");
    }
}

/// Ends that stand in a message are out of use until it is told what became of it.
pub(super) fn told(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
    let mut message = Told { refuses: true, ..Told::default() };
    sender.send(&mut message, after(LATE)).unwrap_err();
    assert!(message.sent == 0 && message.unsent > 0, "one that refused is not told that it was not sent");
    for size in [0, 10_000] {
        let mut message = Told { bytes: pattern(size), ..Told::default() };
        thread::scope(|scope| {
            let receiving = scope.spawn(|| recv(&*receiver));
            sender.send(&mut message, after(LATE)).unwrap();
            assert!(receiving.join().unwrap() == pattern(size));
        });
        assert_eq!((message.sent, message.unsent), (1, 0), "one that was sent");
    }
    let last = (0..1 << 20).find_map(|_| {
        let mut message = Told { bytes: pattern(10_000), ..Told::default() };
        sender.send(&mut message, in_past()).is_err().then_some(message)
    });
    let last = last.expect("the link is never full");
    assert!(
        last.sent < 2 && (last.sent + last.unsent > 0 || !last.was_asked),
        "one for which there was no room"
    );
    drop(receiver);
    let mut message = Told { bytes: pattern(10), ..Told::default() };
    sender.send(&mut message, after(LATE)).unwrap_err();
    assert!(message.sent == 0 && (message.unsent > 0 || !message.was_asked), "one that nobody takes");
}

pub(super) fn handles(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
    let file: Handle = OwnedFd::from(File::open("/proc/self/exe").unwrap()).into();
    let with_handles = |count: usize| {
        let mut packet = Packet::new();
        (0..count).for_each(|_| packet.append(&file).unwrap());
        packet
    };
    if !sender.capabilities().passes_handles {
        let result = sender.send(&mut with_handles(2), after(LATE));
        assert!(matches!(result, Err(SendError::NoHandles { count: 2 })), "{result:?}");
        send(&*sender, b"fine");
        assert_eq!(recv(&*receiver), b"fine");
        return;
    }
    for count in [1, 0, 3, 2, 100, 0, 1] {
        sender.send(&mut with_handles(count), after(LATE)).unwrap();
        let mut packet = Packet::new();
        receiver.recv(&mut packet, after(LATE)).unwrap();
        assert_eq!(packet.handle_count(), count);
        // At times they are taken, at times they are not.
        for _ in 0..count / 2 {
            let handle: Handle = packet.read().unwrap();
            assert!(File::from(OwnedFd::from(handle)).metadata().unwrap().len() > 0);
        }
    }
}

/// A message that refuses.
struct Refuses;

impl Outgoing for Refuses {
    fn write_into(&mut self, space: &mut [u8]) -> Result<Option<usize>, EncodeError> {
        space.fill(0xff);
        Err(EncodeError::new::<Self>("on purpose"))
    }

    fn bytes(&mut self) -> Result<&[u8], EncodeError> {
        Err(EncodeError::new::<Self>("on purpose"))
    }

    fn handles(&self) -> &[Handle] {
        &[]
    }

    fn sent(&mut self) {
        panic!("it was not sent");
    }
}
