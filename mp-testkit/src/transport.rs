//! What every link must do: a suite for transports of one's own.
//!
//! ```ignore
//! #[test]
//! fn my_link_conforms() {
//!     mp_testkit::transport::conformance(|| {
//!         let (a, b) = MyLink::pair();
//!         (Box::new(a), Box::new(b))
//!     });
//! }
//! ```

use std::any::Any;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::link::{Link, Outgoing};
use ipc_core::{Arm, EncodeError, Handle, Packet, RecvError, SendError, Waitable, wait};

use crate::Watchdog;

/// Two ends of a link.
pub type Ends = (Box<dyn Link>, Box<dyn Link>);

/// How long a check may take on a busy machine before it counts as a hang.
const LIMIT: Duration = Duration::from_secs(120);
/// A deadline that is meant to pass.
const SOON: Duration = Duration::from_millis(20);
/// A deadline that is not.
const LATE: Duration = Duration::from_secs(60);

/// Runs the suite over links that `make` supplies: what the first end sends, the
/// second receives. Where the second can send as well, it is tried both ways. `make` is
/// called for each check, and both of its ends stay in this process.
///
/// It takes some seconds. A check that hangs is ended after two minutes, and the whole
/// test with it: what each thread waits for is printed then. Peers that die, and that
/// write nonsense, are left to tests of the link's own.
///
/// # Panics
/// If the link breaks one of the promises of [`Link`]: the text says which.
pub fn conformance(make: impl Fn() -> Ends) {
    for check in CHECKS {
        let _watchdog = Watchdog::arm(check.0, LIMIT);
        let (sender, receiver) = make();
        let both_ways = receiver.capabilities().sends && sender.capabilities().receives;
        run(check, "from the first end to the second", sender, receiver);
        if both_ways {
            let (receiver, sender) = make();
            run(check, "from the second end to the first", sender, receiver);
        }
    }
}

/// Runs one check, and says which promise it was about if it fails.
fn run((name, promise, check): &Check, way: &str, sender: Box<dyn Link>, receiver: Box<dyn Link>) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(sender, receiver))) {
        panic!(
            "the link breaks a promise of `Link`, in the check \"{name}\", {way}\n  promised: {promise}\n  seen: {}",
            text(&*panic)
        );
    }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text")
}

/// Its name, the promise that it is about, and how it is tried.
type Check = (&'static str, &'static str, fn(Box<dyn Link>, Box<dyn Link>));

const CHECKS: &[Check] = &[
    (
        "capabilities",
        "the link does what its `capabilities` say, and answers `WrongDirection` to the rest",
        capabilities,
    ),
    ("order", "messages arrive in order, each once", order),
    (
        "boundaries",
        "messages arrive whole, neither joined nor split, and an empty one is a message too",
        boundaries,
    ),
    ("sizes", "messages of every length arrive unchanged", sizes),
    (
        "short buffers",
        "a message longer than `recv_at_most` is to take is `BufferTooShort` with its length, and stays",
        short_buffers,
    ),
    (
        "receive deadlines",
        "a receive waits until its deadline, then it is `Timeout`; one in the past looks once",
        receive_deadlines,
    ),
    (
        "messages that arrive bit by bit",
        "what has come of a message at a receive's deadline is kept for the next receive",
        slow_arrival,
    ),
    (
        "send deadlines",
        "a send waits while the link is full, until its deadline; its message then has not begun, is \
         completed by the next send, or is withdrawn",
        send_deadlines,
    ),
    (
        "flush",
        "`flush` completes a message that a deadline cut: pools and managers send without waiting, and \
         finish by it",
        flushing,
    ),
    ("poll", "`poll` waits for a message and takes nothing, and `is_ready` does not contradict it", poll),
    ("wait", "what `arm` names becomes ready with a message, and with the end of the peer", waiting),
    (
        "refused messages",
        "a message that refuses to be encoded is `SendError::Encode`, and the link is as it was",
        refused,
    ),
    (
        "what a message is told",
        "a message is told `sent` once if the link has taken it, also one that a deadline cut and that \
         is to be completed, and `unsent` if the link has not",
        told,
    ),
    (
        "the sender's end",
        "everything that was sent arrives, then every receive is `Closed`, and `poll` sees that",
        end_of_sender,
    ),
    (
        "the receiver's end",
        "a send is `Closed` once the receiver has gone, also one that waits for room",
        end_of_receiver,
    ),
    ("threads", "threads may share an end: no message is lost, doubled or mixed with another", threads),
    (
        "handles",
        "handles arrive with their message, in order; where the link passes none, they are `NoHandles`",
        handles,
    ),
];

fn capabilities(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
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

fn order(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
    const COUNT: u32 = 20_000;
    thread::scope(|scope| {
        scope.spawn(|| (0..COUNT).for_each(|number| send(&*sender, &number.to_le_bytes())));
        for number in 0..COUNT {
            assert_eq!(recv(&*receiver), number.to_le_bytes());
        }
    });
}

fn boundaries(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
    let messages: [&[u8]; 6] = [b"", b"one", b"", b"", b"three", b""];
    messages.iter().for_each(|message| send(&*sender, message));
    for message in messages {
        assert_eq!(recv(&*receiver), message, "messages are neither joined nor split");
    }
    assert!(matches!(try_recv(&*receiver), Err(RecvError::Timeout)));
}

fn sizes(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
    let around = |bit: u32| [(1usize << bit) - 1, 1 << bit, (1 << bit) + 1];
    let sizes = || (0..=20).flat_map(around).chain([(16 << 20) + 1, 64 << 20]);
    thread::scope(|scope| {
        scope.spawn(|| sizes().for_each(|size| send(&*sender, &pattern(size))));
        sizes().for_each(|size| assert!(recv(&*receiver) == pattern(size), "{size} bytes"));
    });
}

fn short_buffers(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
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

fn receive_deadlines(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
    assert!(matches!(try_recv(&*receiver), Err(RecvError::Timeout)));
    let begun = Instant::now();
    let result = receiver.recv(&mut Packet::new(), after(SOON));
    assert!(matches!(result, Err(RecvError::Timeout)), "{result:?}");
    assert!(begun.elapsed() >= SOON, "it did not wait until its deadline");
    send(&*sender, b"kept");
    assert!(receiver.poll(after(LATE)).unwrap());
    assert_eq!(try_recv(&*receiver).unwrap(), b"kept");
}

fn slow_arrival(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
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

fn send_deadlines(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
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

fn flushing(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
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

fn poll(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
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

fn waiting(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
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

fn refused(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
    for _ in 0..10 {
        let result = sender.send(&mut Refuses, after(LATE));
        assert!(matches!(result, Err(SendError::Encode(_))), "{result:?}");
        send(&*sender, b"as if nothing had been");
        assert_eq!(recv(&*receiver), b"as if nothing had been");
    }
}

/// A message that counts what it is told.
#[derive(Default)]
struct Told {
    bytes: Vec<u8>,
    refuses: bool,
    was_asked: bool,
    sent: u32,
    unsent: u32,
}

impl Outgoing for Told {
    fn write_into(&mut self, space: &mut [u8]) -> Result<Option<usize>, EncodeError> {
        let bytes = self.bytes()?;
        let Some(space) = space.get_mut(..bytes.len()) else { return Ok(None) };
        space.copy_from_slice(bytes);
        Ok(Some(bytes.len()))
    }

    fn bytes(&mut self) -> Result<&[u8], EncodeError> {
        self.was_asked = true;
        if self.refuses { Err(EncodeError::new::<Self>("on purpose")) } else { Ok(&self.bytes) }
    }

    fn handles(&self) -> &[Handle] {
        &[]
    }

    fn sent(&mut self) {
        self.sent += 1;
    }

    fn unsent(&mut self) {
        self.unsent += 1;
    }
}

/// Ends that stand in a message are out of use until it is told what became of it.
fn told(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
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

fn end_of_sender(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
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

fn end_of_receiver(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
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

fn threads(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
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

fn handles(sender: Box<dyn Link>, receiver: Box<dyn Link>) {
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

/// Bytes that differ from place to place.
fn pattern(len: usize) -> Vec<u8> {
    const PERIOD: usize = 1 << 16;
    let begin: Vec<u8> = (0..len.min(PERIOD)).map(|place| (place * 31 + (place >> 8) + len) as u8).collect();
    if len <= PERIOD {
        return begin;
    }
    let mut bytes = begin.repeat(len.div_ceil(PERIOD));
    bytes.truncate(len);
    bytes
}

fn packet(bytes: &[u8]) -> Packet {
    let mut packet = Packet::new();
    packet.extend_bytes(bytes);
    packet
}

#[track_caller]
fn send(link: &dyn Link, bytes: &[u8]) {
    if let Err(error) = link.send(&mut packet(bytes), after(LATE)) {
        panic!("a send of {} bytes: {error:?}", bytes.len());
    }
}

#[track_caller]
fn recv(link: &dyn Link) -> Vec<u8> {
    let mut packet = Packet::new();
    if let Err(error) = link.recv(&mut packet, after(LATE)) {
        panic!("a receive of what was sent: {error:?}");
    }
    packet.bytes().to_vec()
}

fn try_recv(link: &dyn Link) -> Result<Vec<u8>, RecvError> {
    let mut packet = Packet::new();
    link.recv(&mut packet, in_past())?;
    Ok(packet.bytes().to_vec())
}

fn after(time: Duration) -> Option<Instant> {
    Some(Instant::now() + time)
}

fn in_past() -> Option<Instant> {
    Some(Instant::now())
}
