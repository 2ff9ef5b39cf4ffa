//! The typed ends over a ring, between threads.

use std::collections::BTreeMap;
use std::time::Duration;
use std::{fmt, thread};

use ipc_core::link::{PipeLink, SocketLink};
use ipc_core::{Connection, Handle, Packet, Receiver, RecvError, SendError, Sender, duplex, pipe, wait};
use serde::de::{self, Deserializer, Visitor};
use serde::ser::{Error as _, SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};

#[test]
fn values_arrive_in_order() {
    let (tx, rx) = pipe::<u64>().unwrap();
    let writer = thread::spawn(move || (0..200_000).for_each(|i| tx.send(&i).unwrap()));
    for expected in 0..200_000 {
        assert_eq!(rx.recv().unwrap(), expected);
    }
    writer.join().unwrap();
    assert!(matches!(rx.recv(), Err(RecvError::Closed)));
}

#[test]
fn every_size_arrives_whole() {
    let (tx, rx) = pipe::<Vec<u8>>().unwrap();
    let sizes: Vec<usize> = (0..24).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 1]).collect();
    let expected = sizes.clone();
    let writer = thread::spawn(move || {
        for size in sizes {
            let bytes: Vec<u8> = (0..size).map(|i| (i * 31 + size) as u8).collect();
            tx.send_bytes(&bytes).unwrap();
        }
    });
    let mut buffer = Vec::new();
    for size in expected {
        rx.recv_bytes(&mut buffer).unwrap();
        assert_eq!(buffer.len(), size);
        assert!(buffer.iter().enumerate().all(|(i, byte)| *byte == (i * 31 + size) as u8));
    }
    writer.join().unwrap();
}

#[test]
fn a_question_gets_its_answer() {
    let (client, server) = duplex::<String, usize>().unwrap();
    let serving = thread::spawn(move || {
        while let Ok(question) = server.recv() {
            server.send(&question.len()).unwrap();
        }
    });
    for len in [0, 1, 70_000, 3] {
        client.send(&"x".repeat(len)).unwrap();
        assert_eq!(client.recv().unwrap(), len);
    }
    drop(client);
    serving.join().unwrap();
}

#[test]
fn a_full_channel_and_an_empty_one_keep_their_deadlines() {
    let (tx, rx) = pipe::<Vec<u8>>().unwrap();
    assert!(matches!(rx.try_recv(), Err(RecvError::Timeout)));
    assert!(matches!(rx.recv_timeout(Duration::from_millis(5)), Err(RecvError::Timeout)));
    let value = vec![7; 10_000];
    let mut sent = 0;
    while tx.try_send(&value).is_ok() {
        sent += 1;
    }
    assert!(sent > 10);
    assert!(matches!(tx.send_timeout(&value, Duration::from_millis(5)), Err(SendError::Timeout)));
    for _ in 0..sent {
        assert_eq!(rx.recv().unwrap(), value);
    }
    tx.send(&value).unwrap();
    assert_eq!(rx.recv().unwrap(), value);
}

#[test]
fn a_message_given_up_half_way_is_withdrawn() {
    let (tx, rx) = pipe::<Vec<u8>>().unwrap();
    let huge = vec![1; 4_000_000];
    assert!(matches!(tx.send_timeout(&huge, Duration::from_millis(20)), Err(SendError::Timeout)));
    let reader = thread::spawn(move || rx.recv().unwrap());
    tx.send(&vec![2; 3]).unwrap();
    assert_eq!(reader.join().unwrap(), vec![2; 3]);
}

#[test]
fn the_end_is_seen_by_both() {
    let (tx, rx) = pipe::<u8>().unwrap();
    drop(rx);
    assert!(matches!(tx.send(&1), Err(SendError::Closed)));
    let (tx, rx) = pipe::<u8>().unwrap();
    let waiting = thread::spawn(move || rx.recv());
    thread::sleep(Duration::from_millis(50));
    drop(tx);
    assert!(matches!(waiting.join().unwrap(), Err(RecvError::Closed)));
}

#[test]
fn another_type_is_an_error_and_the_next_message_is_fine() {
    let (tx, rx) = pipe::<u32>().unwrap();
    tx.send_bytes(b"raw").unwrap();
    tx.send(&5).unwrap();
    assert!(matches!(rx.recv(), Err(RecvError::Decode(_))));
    assert_eq!(rx.recv().unwrap(), 5);
}

#[test]
fn an_end_moves_inside_a_message() {
    let (outer_tx, outer_rx) = pipe::<(Sender<String>, u8)>().unwrap();
    let (tx, rx) = pipe::<String>().unwrap();
    let message = (tx, 9);
    outer_tx.send(&message).unwrap();
    assert!(matches!(message.0.send(&String::new()), Err(SendError::Moved)));
    let (moved, nine) = outer_rx.recv().unwrap();
    assert_eq!(nine, 9);
    moved.send(&"through the moved end".into()).unwrap();
    drop(message);
    moved.send(&"the husk's drop tells nobody".into()).unwrap();
    assert_eq!(rx.recv().unwrap(), "through the moved end");
    assert_eq!(rx.recv().unwrap(), "the husk's drop tells nobody");
    drop(moved);
    assert!(matches!(rx.recv(), Err(RecvError::Closed)));
}

#[test]
fn an_end_moves_when_its_message_is_sent_and_not_before() {
    let (tx, _rx) = pipe::<u8>().unwrap();
    let mut packet = ipc_core::Packet::new();
    packet.append(&tx).unwrap();
    drop(packet);
    let cloned = tx.clone();
    let mut packet = ipc_core::Packet::new();
    packet.append(&cloned).unwrap();
    drop(packet);
    let (outer, _keep) = pipe::<Sender<u8>>().unwrap();
    outer.send(&tx).unwrap();
    assert!(matches!(tx.send(&1), Err(SendError::Moved)));
    cloned.send(&1).unwrap();
}

#[test]
fn wait_names_those_that_are_ready() {
    let (tx_a, a) = pipe::<u8>().unwrap();
    let (tx_b, b) = pipe::<u8>().unwrap();
    assert!(wait(&[&a, &b], Some(Duration::from_millis(1))).unwrap().is_empty());
    let later = thread::spawn(move || {
        thread::sleep(Duration::from_millis(30));
        tx_b.send(&1).unwrap();
        tx_b
    });
    assert_eq!(wait(&[&a, &b], None).unwrap(), [1]);
    assert_eq!(wait(&[&a, &b], None).unwrap(), [1], "waiting takes nothing");
    assert_eq!(b.recv().unwrap(), 1);
    drop(tx_a);
    assert_eq!(wait(&[&a, &b], None).unwrap(), [0], "an end is something to see");
    drop(later.join().unwrap());
}

#[test]
fn many_threads_share_both_ends() {
    let (tx, rx) = pipe::<u64>().unwrap();
    let total: u64 = thread::scope(|scope| {
        for part in 0..4 {
            let tx = tx.clone();
            scope.spawn(move || (0..5_000).for_each(|i| tx.send(&(part * 5_000 + i)).unwrap()));
        }
        drop(tx);
        let readers: Vec<_> =
            (0..3).map(|_| scope.spawn(|| (&rx).into_iter().map(Result::unwrap).sum::<u64>())).collect();
        readers.into_iter().map(|reader| reader.join().unwrap()).sum()
    });
    assert_eq!(total, (0..20_000).sum());
}

fn open_handles() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn one_waiter_that_leaves_does_not_deafen_another() {
    let (tx, rx) = pipe::<u8>().unwrap();
    thread::scope(|scope| {
        let patient = scope.spawn(|| wait(&[&rx], Some(Duration::from_secs(20))).unwrap());
        thread::sleep(Duration::from_millis(20));
        assert!(wait(&[&rx], Some(Duration::from_millis(20))).unwrap().is_empty());
        let sent = std::time::Instant::now();
        tx.send(&1).unwrap();
        assert_eq!(patient.join().unwrap(), [0]);
        assert!(sent.elapsed() < Duration::from_secs(10), "woken by its deadline only");
    });
}

#[test]
fn waiters_and_receivers_share_an_end() {
    let (tx, rx) = pipe::<Vec<Handle>>().unwrap();
    let file: Handle = std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null").unwrap()).into();
    const COUNT: usize = 3_000;
    let got = std::sync::atomic::AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while got.load(std::sync::atomic::Ordering::SeqCst) < COUNT {
                    let ready = wait(&[&rx], Some(Duration::from_secs(20))).unwrap();
                    assert_eq!(ready, [0], "a wait slept over a message");
                    match rx.try_recv() {
                        Ok(_) => got.fetch_add(1, std::sync::atomic::Ordering::SeqCst),
                        Err(RecvError::Timeout) => continue,
                        Err(RecvError::Closed) => return,
                        Err(error) => panic!("{error}"),
                    };
                }
            });
        }
        for number in 0..COUNT {
            let handles = (0..number % 3).map(|_| file.try_clone().unwrap()).collect();
            tx.send(&handles).unwrap();
            if number % 7 == 0 {
                thread::yield_now();
            }
        }
        while got.load(std::sync::atomic::Ordering::SeqCst) < COUNT {
            thread::sleep(Duration::from_millis(1));
        }
        drop(tx);
    });
}

#[test]
fn handles_sent_before_a_close_arrive_though_the_peer_left_things_unread() {
    let (a, b) = duplex::<Handle, Handle>().unwrap();
    let file: Handle = std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null").unwrap()).into();
    b.send(&file).unwrap();
    a.send(&file).unwrap();
    drop(a);
    b.recv().unwrap();
    assert!(matches!(b.recv(), Err(RecvError::Closed)));
}

#[test]
fn handles_on_their_way_move_with_the_end() {
    let (tx, rx) = pipe::<Handle>().unwrap();
    let file: Handle = std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null").unwrap()).into();
    tx.send(&file).unwrap();
    let (outer_tx, outer_rx) = pipe::<Receiver<Handle>>().unwrap();
    outer_tx.send(&rx).unwrap();
    outer_rx.recv().unwrap().recv().unwrap();
}

#[test]
fn everything_is_closed_at_the_drop() {
    let once = || {
        let (tx, rx) = pipe::<u8>().unwrap();
        // Long enough to sleep, so that its peer is watched.
        assert!(rx.recv_timeout(Duration::from_millis(1)).is_err());
        let (outer_tx, outer_rx) = pipe::<Receiver<u8>>().unwrap();
        outer_tx.send(&rx).unwrap();
        let moved = outer_rx.recv().unwrap();
        assert!(moved.recv_timeout(Duration::from_millis(1)).is_err());
        drop(tx);
        assert!(wait(&[&moved], None).is_ok());
    };
    once();
    // The other tests of this process open and close handles too.
    let lowest = |_| {
        once();
        open_handles()
    };
    let before = (0..50).map(lowest).min().unwrap();
    let after = (0..200).map(lowest).min().unwrap();
    // One of each round would be more than what those have open.
    assert!(after < before + 100, "{before} handles, and then {after}");
}

#[test]
fn a_receiver_that_waits_cannot_move_away_under_it() {
    let (tx, rx) = pipe::<u8>().unwrap();
    let (outer_tx, _outer_rx) = pipe::<Receiver<u8>>().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            tell.send(std::fs::read_link("/proc/thread-self").unwrap()).unwrap();
            rx.recv()
        });
        // Until it sleeps, of which the state tells that stands behind its name and a bracket.
        let stat = std::path::Path::new("/proc").join(told.recv().unwrap()).join("stat");
        while !std::fs::read_to_string(&stat).unwrap().rsplit(')').next().unwrap().starts_with(" S") {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(30));
        let error = outer_tx.send(&rx).unwrap_err().to_string();
        assert!(error.contains("in use"), "{error}");
        tx.send(&4).unwrap();
        assert_eq!(waiting.join().unwrap().unwrap(), 4);
    });
    outer_tx.send(&rx).unwrap();
}

#[test]
fn a_deadline_covers_a_send_that_is_read_slowly() {
    let (tx, rx) = pipe::<Vec<u8>>().unwrap();
    let huge = vec![1; 64 << 20];
    let reader = thread::spawn(move || while matches!(rx.recv(), Ok(_) | Err(RecvError::Decode(_))) {});
    let result = tx.send_timeout(&huge, Duration::from_millis(2));
    drop(tx);
    reader.join().unwrap();
    assert!(matches!(result, Err(SendError::Timeout)), "{result:?}");
}

#[test]
fn an_iterator_ends_with_its_channel() {
    let (tx, rx) = pipe::<u8>().unwrap();
    tx.send_bytes(b"not a number").unwrap();
    tx.send(&1).unwrap();
    drop(tx);
    let seen: Vec<bool> = rx.iter().take(10).map(|value| value.is_ok()).collect();
    assert_eq!(seen, [false, true]);
    let (outer_tx, _outer_rx) = pipe::<Receiver<u8>>().unwrap();
    outer_tx.send(&rx).unwrap();
    assert_eq!(rx.iter().take(10).count(), 1, "an error that stays is told once");
}

/// Drops the message with an end in it, as a receiver does that is killed before it takes it.
fn lose<T: ipc_core::Message>(end: &T) {
    let (outer_tx, outer_rx) = pipe::<T>().unwrap();
    outer_tx.send(end).unwrap();
    drop(outer_rx);
}

#[test]
fn an_end_lost_on_its_way_is_closed_though_its_old_place_is_kept() {
    const LATE: Duration = Duration::from_secs(20);
    let (tx, rx) = pipe::<u8>().unwrap();
    tx.send(&1).unwrap();
    lose(&tx);
    assert_eq!(rx.recv_timeout(LATE).unwrap(), 1);
    let result = rx.recv_timeout(LATE);
    assert!(matches!(result, Err(RecvError::Closed)), "{result:?}");

    // Also who sleeps already, and whom nobody rings.
    let (tx, rx) = pipe::<u8>().unwrap();
    thread::scope(|scope| {
        let receiving = scope.spawn(|| rx.recv_timeout(LATE));
        thread::sleep(Duration::from_millis(30));
        lose(&tx);
        let result = receiving.join().unwrap();
        assert!(matches!(result, Err(RecvError::Closed)), "{result:?}");
    });
    let (tx, rx) = pipe::<u8>().unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| wait(&[&rx], Some(LATE)).unwrap());
        thread::sleep(Duration::from_millis(30));
        lose(&tx);
        assert_eq!(waiting.join().unwrap(), [0]);
    });

    let (tx, rx) = pipe::<Vec<u8>>().unwrap();
    lose(&rx);
    let mut result = Ok(());
    for _ in 0..1000 {
        result = result.and_then(|()| tx.send_timeout(&vec![0; 1000], LATE));
    }
    assert!(matches!(result, Err(SendError::Closed)), "{result:?}");

    let (a, b) = duplex::<u8, u8>().unwrap();
    lose(&a);
    let result = b.recv_timeout(LATE);
    assert!(matches!(result, Err(RecvError::Closed)), "{result:?}");

    let (a, b) = SocketLink::pair().unwrap();
    let b = Connection::<u8, u8>::over(b);
    lose(&Connection::<u8, u8>::over(a));
    assert!(matches!(b.recv_timeout(LATE), Err(RecvError::Closed)));
    let (a, b) = PipeLink::pair().unwrap();
    let (tx, rx) = (Sender::<u8>::over(a), Receiver::<u8>::over(b));
    lose(&tx);
    assert!(matches!(rx.recv_timeout(LATE), Err(RecvError::Closed)));
}

/// Says what it does not like, however deep it stands in a value, and passes on what its parts say.
#[derive(Debug, PartialEq)]
struct Even(u32);

impl Serialize for Even {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == 5 { Err(S::Error::custom("five is right out")) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Even {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Wanted;
        impl Visitor<'_> for Wanted {
            type Value = Even;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an even number")
            }

            fn visit_u32<E: de::Error>(self, number: u32) -> Result<Even, E> {
                if number.is_multiple_of(2) {
                    Ok(Even(number))
                } else {
                    Err(E::custom(format!("{number} is odd")))
                }
            }
        }
        deserializer.deserialize_u32(Wanted).map_err(|error| de::Error::custom(format!("as a pair: {error}")))
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Holder {
    Alone(Even),
    Within { list: Vec<Option<Even>>, map: BTreeMap<String, (Even, u8)> },
}

#[test]
fn what_a_value_says_of_its_error_arrives() {
    let within = |number| Holder::Within {
        list: vec![None, Some(Even(2))],
        map: [("key".to_owned(), (Even(number), 1))].into(),
    };
    let (tx, rx) = pipe::<Holder>().unwrap();
    tx.send(&within(4)).unwrap();
    assert_eq!(rx.recv().unwrap(), within(4));
    for value in [Holder::Alone(Even(5)), within(5)] {
        let error = tx.send(&value).unwrap_err().to_string();
        assert!(error.contains("could not be encoded: five is right out"), "{error}");
    }
    for value in [Holder::Alone(Even(7)), within(7)] {
        tx.send(&value).unwrap();
        let error = rx.recv().unwrap_err().to_string();
        assert!(error.contains("could not be decoded as"), "{error}");
        assert!(error.ends_with("as a pair: 7 is odd"), "{error}");
    }
    // What serde says by itself.
    let mut packet = Packet::new();
    packet.append(&9u32).unwrap();
    let error = packet.read::<Holder>().unwrap_err().to_string();
    assert!(error.ends_with("invalid value: integer `9`, expected variant index 0 <= i < 2"), "{error}");
}

/// Refuses by itself, or else as a sequence of unknown length in which a value of ours was tried in another
/// format, and nobody passed its error on.
struct Refuses(Option<Sender<u64>>);

impl Serialize for Refuses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(sender) = &self.0 else { return Err(S::Error::custom("not today")) };
        let other = ipc_core::outside_messages(|| postcard::to_stdvec(sender));
        assert!(other.is_err());
        serializer.serialize_seq(None)?.end()
    }
}

#[test]
fn the_reason_of_an_error_that_nobody_passed_on_is_not_that_of_the_next() {
    let (sender, _receiver) = pipe::<u64>().unwrap();
    let outside = postcard::to_stdvec(&sender);
    assert!(outside.is_err(), "it stands in no message");
    let own = Packet::new().append(&Refuses(None)).unwrap_err().to_string();
    assert!(own.ends_with("could not be encoded: not today"), "{own}");
    let unknown = Packet::new().append(&Refuses(Some(sender))).unwrap_err().to_string();
    assert!(unknown.ends_with("a sequence in it does not know its length"), "{unknown}");
    let read = postcard::from_bytes::<Sender<u64>>(&[0; 16]);
    assert!(read.is_err(), "no handle came");
    let mut empty = Packet::new();
    empty.append(&5u8).unwrap();
    let cut = empty.read::<String>().unwrap_err().to_string();
    assert!(cut.ends_with("it ends too early"), "{cut}");
}
