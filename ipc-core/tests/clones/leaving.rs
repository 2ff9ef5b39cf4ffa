//! Clones leave for other processes while others, or they themselves, are in use.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ipc_core::link::{Link, RingLink, RingOptions, SocketLink};
use ipc_core::{Address, ConnectOptions, Listener, ListenerOptions, connect_link};
use ipc_core::{Connection, Packet, Receiver, RecvError, SendError, Sender, duplex, pipe};
use mp_process::StartMethod;
use mp_testkit::chaos;
use serde::ser::{Serialize, SerializeTuple, Serializer};
use serde::{Deserialize, Deserializer};

use crate::{Ends, LONG, Numbered, SHORT, chatter, each, end, over, spawn};

pub(crate) fn a_moved_clone_is_gone_and_the_others_are_not() {
    for (name, (tx, rx)) in each::<u64>() {
        let (mover, moved) = pipe::<Sender<u64>>().unwrap();
        let clone = tx.clone();
        mover.send(&clone).unwrap();
        assert!(matches!(clone.send(&0), Err(SendError::Moved)), "{name}");
        assert!(matches!(clone.clone().send(&0), Err(SendError::Moved)), "{name}");
        assert!(mover.send(&clone).is_err(), "{name}");
        tx.send(&1).unwrap();
        let there = moved.recv().unwrap();
        there.send(&2).unwrap();
        let another = there.clone();
        mover.send(&another).unwrap();
        let third = moved.recv().unwrap();
        third.send(&3).unwrap();
        assert_eq!([(); 3].map(|()| rx.recv().unwrap()), [1, 2, 3], "{name}");
        drop((tx, there));
        assert!(matches!(rx.recv_timeout(SHORT), Err(RecvError::Timeout)), "{name}: one is left");
        // The husks of those that moved keep nothing open.
        mover.send(&third).unwrap();
        drop(moved.recv().unwrap());
        assert!(matches!(rx.recv_timeout(LONG), Err(RecvError::Closed)), "{name}");
        drop((clone, another, third));
    }
}

pub(crate) fn a_clone_made_while_the_only_sender_leaves_goes_with_it() {
    for (name, (tx, rx)) in each::<u64>() {
        let (mover, moved) = over(RingLink::pipe(RingOptions::default().capacity(4096)).unwrap());
        // More than the ring takes at once: the sender is on its way until somebody receives.
        let parcel = (vec![0u8; 100_000], tx);
        let clone = std::thread::scope(|scope| {
            let sending = scope.spawn(|| mover.send(&parcel).unwrap());
            assert!(moved.poll(LONG).unwrap());
            let clone = parcel.1.clone();
            let (_, there): (Vec<u8>, Sender<u64>) = moved.recv().unwrap();
            sending.join().unwrap();
            assert!(matches!(clone.send(&0), Err(SendError::Moved)), "{name}");
            there.send(&1).unwrap();
            clone
        });
        assert_eq!(rx.recv_timeout(LONG).unwrap(), 1, "{name}");
        assert!(matches!(clone.send(&0), Err(SendError::Moved)), "{name}");
    }
}

pub(crate) fn a_clone_waits_for_the_only_sender_that_leaves() {
    for (name, (tx, rx)) in each::<u64>() {
        let (mover, moved) = over(RingLink::pipe(RingOptions::default().capacity(4096)).unwrap());
        let (other, others) = pipe::<Sender<u64>>().unwrap();
        let parcel = (vec![0u8; 100_000], tx);
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| mover.send(&parcel).unwrap());
            assert!(moved.poll(LONG).unwrap());
            // Were it to leave too, two would send who know nothing of each other.
            let clone = parcel.1.clone();
            let cloned = scope.spawn(move || other.send(&clone));
            assert!(!others.poll(SHORT).unwrap(), "{name}");
            let (_, there): (Vec<u8>, Sender<u64>) = moved.recv().unwrap();
            sending.join().unwrap();
            let refused = cloned.join().unwrap();
            assert!(matches!(refused, Err(SendError::Encode(_))), "{name}: {refused:?}");
            there.send(&1).unwrap();
        });
        assert_eq!(rx.recv_timeout(LONG).unwrap(), 1, "{name}");
        assert!(matches!(others.recv_timeout(LONG), Err(RecvError::Closed)), "{name}");
    }
}

pub(crate) fn a_sender_stays_while_a_thread_is_in_the_middle_of_a_message() {
    // Each waits for a second.
    std::thread::scope(|scope| {
        for (name, ends) in each() {
            scope.spawn(move || stays(name, ends));
        }
    });
}

fn stays(name: &str, (tx, rx): Ends<Vec<u8>>) {
    let (mover, moved) = pipe::<Sender<Vec<u8>>>().unwrap();
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| tx.send(&vec![7; 2_500_000]).unwrap());
        assert!(rx.poll(LONG).unwrap());
        assert!(mover.send(&tx).is_err(), "{name}");
        assert_eq!(rx.recv_timeout(LONG).unwrap(), [7; 2_500_000], "{name}");
        sending.join().unwrap();
    });
    mover.send(&tx).unwrap();
    moved.recv_timeout(LONG).unwrap().send(&vec![1]).unwrap();
    assert_eq!(rx.recv_timeout(LONG).unwrap(), [1], "{name}");
}

/// A message with an end waits no longer than it may, also where a thread is in the middle of another
/// one on that end, and its receiver does not go on.
pub(crate) fn a_move_waits_to_the_deadline_of_its_message() {
    // So many seconds, were each to wait as long as one without a deadline.
    const TRIES: u32 = 60;
    for with_clone in [false, true] {
        for (name, (tx, rx)) in each::<Vec<u8>>() {
            let (mover, moved) = pipe::<Sender<Vec<u8>>>().unwrap();
            let clone = with_clone.then(|| tx.clone());
            std::thread::scope(|scope| {
                let sending = scope.spawn(|| tx.send(&vec![7; 2_500_000]).unwrap());
                assert!(rx.poll(LONG).unwrap());
                let begun = Instant::now();
                for _ in 0..TRIES / 2 {
                    assert!(matches!(mover.try_send(&tx), Err(SendError::Encode(_))), "{name}");
                    let refused = mover.send_timeout(&tx, Duration::from_millis(1));
                    assert!(matches!(refused, Err(SendError::Encode(_))), "{name}");
                }
                assert!(begun.elapsed() < LONG, "{name}");
                assert_eq!(rx.recv_timeout(LONG).unwrap(), [7; 2_500_000], "{name}");
                sending.join().unwrap();
            });
            mover.try_send(&tx).unwrap();
            moved.recv_timeout(LONG).unwrap().send(&vec![1]).unwrap();
            assert_eq!(rx.recv_timeout(LONG).unwrap(), [1], "{name}");
            drop(clone);
        }
    }
}

fn go_on((moved, sender, count): (Receiver<Sender<Numbered>>, u64, u64)) {
    for tx in moved.iter() {
        chatter((tx.unwrap(), sender, count));
    }
}

pub(crate) fn a_sender_leaves_between_two_messages_of_its_threads(method: StartMethod) {
    const COUNT: u64 = 30;
    const ROUNDS: usize = 5;
    let (mover, moved) = pipe::<Sender<Numbered>>().unwrap();
    let child = spawn(method, go_on, (moved, 9, COUNT)).unwrap();
    let mut random = chaos::Rng::new(11);
    for (name, (tx, rx)) in (0..ROUNDS).flat_map(|_| each()) {
        let mut expected = HashMap::new();
        let (tx, mover) = (&tx, &mover);
        let pause = random.pause(Duration::from_micros(500));
        let sent: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..2)
                .map(|sender| {
                    scope.spawn(move || {
                        let all = 0..;
                        let sent = |number: &u64| match tx.send(&Numbered::new(sender, *number, None)) {
                            Ok(()) => true,
                            Err(SendError::Moved) => false,
                            Err(error) => panic!("{name}: {error}"),
                        };
                        all.take_while(sent).count() as u64
                    })
                })
                .collect();
            scope.spawn(move || {
                std::thread::sleep(pause);
                while let Err(error) = mover.send(tx) {
                    assert!(matches!(error, SendError::Encode(_)), "{name}: {error}");
                }
            });
            for message in rx.iter() {
                message.unwrap_or_else(|error| panic!("{name}: {error}")).check(&mut expected);
            }
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let came = |sender: u64| expected.get(&sender).copied().unwrap_or(0);
        assert_eq!([came(0), came(1), came(9)], [sent[0], sent[1], COUNT], "{name}");
    }
    drop(mover);
    child.join().unwrap();
}

pub(crate) fn over_tcp_only_the_last_clone_moves() {
    let everybody = ListenerOptions::new().anyone();
    let listener = Listener::bind_with(&Address::tcp("127.0.0.1", 0), everybody).unwrap();
    let tx: Sender<u8> = Sender::over(connect_link(listener.address(), ConnectOptions::new()).unwrap());
    let (mover, _moved) = pipe::<Sender<u8>>().unwrap();
    let clone = tx.clone();
    let error = mover.send(&tx).unwrap_err().to_string();
    assert!(error.contains("clones"), "{error}");
    drop(clone);
    mover.send(&tx).unwrap();
}

pub(crate) fn a_sender_whose_message_is_refused_stays() {
    for (name, (tx, rx)) in each::<u64>() {
        let (mover, moved) = over(RingLink::pipe(RingOptions::default().capacity(4096)).unwrap());
        // No room is left for any other message.
        while mover.try_send(&(vec![0u8; 100], None::<Sender<u64>>)).is_ok() {}
        let parcel = (vec![0u8; 100], Some(tx));
        assert!(matches!(mover.try_send(&parcel), Err(SendError::Timeout)), "{name}");
        let tx = parcel.1.as_ref().unwrap();
        tx.send_timeout(&1, LONG).unwrap();
        assert_eq!(rx.recv_timeout(LONG).unwrap(), 1, "{name}");
        drop(moved);
    }
}

/// A value that stands in its place as often as it says, as `Arc`s may with serde's `rc`.
struct Again<T>(T, usize);

impl<T: Serialize> Serialize for Again<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(self.1)?;
        (0..self.1).try_for_each(|_| tuple.serialize_element(&self.0))?;
        tuple.end()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Again<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(|value| Self(value, 1))
    }
}

fn is_told_of_two_places(refused: &Result<(), SendError>) -> bool {
    matches!(refused, Err(SendError::Encode(error)) if error.to_string().contains("put it there once"))
}

/// Tries to send `end` in two places, by each way there is; what is left of it then is sent once.
fn refused_in_two_places<T: ipc_core::Message>(name: &str, end: T) -> (T, Again<T>) {
    let (mover, moved) = pipe::<Again<T>>().unwrap();
    let mut again = Again(end, 2);
    assert!(is_told_of_two_places(&mover.send(&again)), "{name}");
    let mut packet = Packet::new();
    packet.append(&again.0).unwrap();
    let len = packet.bytes().len();
    assert!(packet.append(&again.0).is_err(), "{name}: a packet is one message");
    assert_eq!(packet.bytes().len(), len);
    assert!(packet.append_item(&again.0).is_err(), "{name}");
    drop(packet);
    again.1 = 1;
    mover.send(&again).unwrap_or_else(|error| panic!("{name}: {error}"));
    (moved.recv_timeout(LONG).unwrap().0, again)
}

pub(crate) fn an_end_goes_to_one_place_and_stays_where_it_is_sent_to_two() {
    for (name, (tx, rx)) in each::<u64>() {
        let (there, husk) = refused_in_two_places(name, tx);
        there.send(&1).unwrap();
        let (rx, _husk) = refused_in_two_places(name, rx);
        assert_eq!(rx.recv_timeout(LONG).unwrap(), 1, "{name}");
        drop(there);
        assert!(matches!(rx.recv_timeout(LONG), Err(RecvError::Closed)), "{name}");
        assert!(matches!(husk.0.send(&1), Err(SendError::Moved)), "{name}");
    }
    for (name, (tx, rx)) in each::<u64>() {
        let other = tx.clone();
        let (there, _husk) = refused_in_two_places(name, tx);
        there.send(&1).unwrap();
        other.send(&2).unwrap();
        assert_eq!([(); 2].map(|()| rx.recv_timeout(LONG).unwrap()), [1, 2], "{name}");
    }
    let (a, b) = duplex::<u64, u64>().unwrap();
    let (a, _husk): (Connection<u64, u64>, _) = refused_in_two_places("connection", a);
    a.send(&1).unwrap();
    assert_eq!(b.recv_timeout(LONG).unwrap(), 1);
}

/// Sends what it stands for to another place while it is being sent.
struct Elsewhere(Sender<u64>, Sender<Sender<u64>>);

impl Serialize for Elsewhere {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(2)?;
        tuple.serialize_element(&self.0)?;
        for end in [&self.0, &self.0.clone()] {
            assert!(is_told_of_two_places(&self.1.send(end)));
            assert!(is_told_of_two_places(&ipc_core::outside_messages(|| self.1.send(end))));
        }
        tuple.end()
    }
}

impl<'de> Deserialize<'de> for Elsewhere {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Sender::deserialize(deserializer).map(|sender| Self(sender, pipe().unwrap().0))
    }
}

pub(crate) fn an_end_on_its_way_goes_nowhere_else_in_between() {
    for (name, (tx, rx)) in each::<u64>() {
        let (mover, moved) = pipe::<Elsewhere>().unwrap();
        let (other, others) = pipe().unwrap();
        let leaves = Elsewhere(tx, other);
        mover.send(&leaves).unwrap();
        moved.recv_timeout(LONG).unwrap().0.send(&1).unwrap();
        assert_eq!(rx.recv_timeout(LONG).unwrap(), 1, "{name}");
        drop(leaves);
        assert!(matches!(others.recv_timeout(LONG), Err(RecvError::Closed)), "{name}");
        assert!(matches!(rx.recv_timeout(LONG), Err(RecvError::Closed)), "{name}: nobody else has it");
    }
}

/// Two ends, of which the second refuses.
struct Half(Sender<u64>, bool);

impl Serialize for Half {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(2)?;
        tuple.serialize_element(&self.0)?;
        if self.1 {
            // No hook prints it.
            std::panic::resume_unwind(Box::new("on purpose"));
        }
        Err(serde::ser::Error::custom("on purpose"))
    }
}

impl<'de> Deserialize<'de> for Half {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Sender::deserialize(deserializer).map(|sender| Self(sender, false))
    }
}

pub(crate) fn an_end_in_a_value_that_is_refused_half_way_stays() {
    for (name, (tx, rx)) in each::<u64>() {
        let mut half = Half(tx, false);
        let mut packet = Packet::new();
        packet.append_item(&7u64).unwrap();
        assert!(packet.append_item(&half).is_err(), "{name}");
        assert!(packet.append(&half).is_err(), "{name}");
        half.1 = true;
        packet.writing(|writer| {
            assert!(mp_process::catch_panic(|| drop(writer.item(&half))).is_err(), "{name}");
        });
        assert!(!packet.moves_ends() && packet.handle_count() == 0, "{name}");
        // The rest of the packet goes, and the end does not.
        let (a, b) = SocketLink::pair().unwrap();
        a.send(&mut packet, None).unwrap();
        b.recv(&mut packet, None).unwrap();
        assert_eq!(packet.read_item::<u64>().unwrap(), 7);
        half.0.send(&1).unwrap();
        assert_eq!(rx.recv_timeout(LONG).unwrap(), 1, "{name}");
    }
}

type Parcel = (Vec<u8>, Sender<u64>);

fn hold(moved: Receiver<Parcel>) {
    std::thread::sleep(2 * LONG);
    drop(moved);
}

/// An end that leaves is held for as long as its message is on the way: those who use it meanwhile wait to
/// their deadlines, and have it again if the receiver is killed.
pub(crate) fn a_sender_held_for_a_stopped_receiver_comes_back(method: StartMethod) {
    for (name, (tx, rx)) in each::<u64>() {
        let (mover, moved) = over::<Parcel>(RingLink::pipe(RingOptions::default().capacity(4096)).unwrap());
        let child = spawn(method, hold, moved).unwrap();
        chaos::stop(child.pid()).unwrap();
        // More than the ring takes at once.
        let parcel = (vec![0u8; 100_000], tx);
        let tx = &parcel.1;
        assert!(matches!(mover.send_timeout(&parcel, SHORT), Err(SendError::Timeout)), "{name}");
        tx.send_timeout(&1, LONG).unwrap();
        assert_eq!(rx.recv_timeout(LONG).unwrap(), 1, "{name}: given up, it is here");
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| mover.send(&parcel));
            loop {
                match tx.try_send(&2) {
                    Ok(()) => assert_eq!(rx.recv_timeout(LONG).unwrap(), 2, "{name}"),
                    Err(SendError::Timeout) => break,
                    Err(error) => panic!("{name}: {error}"),
                }
            }
            assert!(matches!(tx.send_timeout(&3, SHORT), Err(SendError::Timeout)), "{name}: it is held");
            let patient = scope.spawn(|| tx.send(&4));
            end(child);
            let lost = sending.join().unwrap();
            assert!(matches!(lost, Err(SendError::Closed)), "{name}: {lost:?}");
            patient.join().unwrap().unwrap();
        });
        assert_eq!(rx.recv_timeout(LONG).unwrap(), 4, "{name}");
    }
}
