//! A set of things to wait for, between threads.

use std::collections::HashMap;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::link::{Link, PipeLink, RingLink, RingOptions, SocketLink};
use ipc_core::{Arm, Handle, Packet, Receiver, RecvError, Room, Sender, WaitSet, Waitable, pipe};

/// Long enough for a busy machine; a wait that takes so long has slept over something.
const LATE: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_millis(20);

type Ends<T> = (Sender<T>, Arc<Receiver<T>>);

fn each<T: ipc_core::Message>() -> Vec<(&'static str, Ends<T>)> {
    fn over<T: ipc_core::Message>((tx, rx): (impl Link + 'static, impl Link + 'static)) -> Ends<T> {
        (Sender::over(tx), Arc::new(Receiver::over(rx)))
    }
    vec![
        ("ring", over(RingLink::pipe(RingOptions::default()).unwrap())),
        ("smallest ring", over(RingLink::pipe(RingOptions::default().capacity(0)).unwrap())),
        ("pipe", over(PipeLink::pair().unwrap())),
        ("socket", over(SocketLink::pair().unwrap())),
    ]
}

fn now(set: &WaitSet) -> Vec<u64> {
    set.wait(Some(Duration::ZERO)).unwrap()
}

fn null() -> Handle {
    OwnedFd::from(File::open("/dev/null").unwrap()).into()
}

#[test]
fn what_is_ready_is_told_until_it_is_seen_to() {
    for (name, (tx, rx)) in each::<u8>() {
        let set = WaitSet::new().unwrap();
        set.add(7, Arc::clone(&rx)).unwrap();
        assert_eq!(set.len(), 1);
        for _ in 0..3 {
            let begun = Instant::now();
            assert!(set.wait(Some(SOON)).unwrap().is_empty(), "{name}");
            assert!(begun.elapsed() >= SOON, "{name}");
            tx.send(&1).unwrap();
            tx.send(&2).unwrap();
            for _ in 0..3 {
                assert_eq!(set.wait(Some(LATE)).unwrap(), [7], "{name}");
            }
            assert_eq!(rx.try_recv().unwrap(), 1, "{name}: a wait ate it");
            assert_eq!(set.wait(Some(LATE)).unwrap(), [7], "{name}");
            assert_eq!(rx.try_recv().unwrap(), 2);
        }
        drop(tx);
        assert_eq!(set.wait(Some(LATE)).unwrap(), [7], "{name}: an end is something to see");
        assert!(matches!(rx.recv(), Err(RecvError::Closed)));
        assert!(set.remove(7) && !set.remove(7));
        assert!(now(&set).is_empty() && set.is_empty());
    }
}

#[test]
fn what_was_there_before_it_was_added_is_told() {
    for (name, (tx, rx)) in each::<u8>() {
        tx.send(&1).unwrap();
        let set = WaitSet::new().unwrap();
        set.add(1, Arc::clone(&rx)).unwrap();
        assert_eq!(set.wait(Some(LATE)).unwrap(), [1], "{name}");
    }
}

#[test]
fn a_key_is_given_once_and_again_after_it_was_taken() {
    let set = WaitSet::new().unwrap();
    let (old_tx, old) = pipe::<u8>().unwrap();
    let (new_tx, new) = pipe::<u8>().unwrap();
    let (old, new) = (Arc::new(old), Arc::new(new));
    set.add(1, Arc::clone(&old)).unwrap();
    let error = set.add(1, Arc::clone(&new)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    old_tx.send(&1).unwrap();
    assert_eq!(set.wait(Some(LATE)).unwrap(), [1]);
    assert!(set.remove(1));
    set.add(1, Arc::clone(&new)).unwrap();
    assert!(now(&set).is_empty(), "it is the old one that has something");
    new_tx.send(&2).unwrap();
    assert_eq!(set.wait(Some(LATE)).unwrap(), [1]);
    drop(set);
    assert_eq!((Arc::strong_count(&old), Arc::strong_count(&new)), (1, 1), "the set let them go");
}

#[test]
fn things_come_and_go_while_others_wait() {
    for (name, (tx, rx)) in each::<u8>() {
        let set = WaitSet::new().unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| set.wait(Some(LATE)).unwrap());
            thread::sleep(SOON);
            set.add(3, Arc::clone(&rx)).unwrap();
            thread::sleep(SOON);
            tx.send(&1).unwrap();
            assert_eq!(waiting.join().unwrap(), [3], "{name}");
            let waiting = scope.spawn(|| set.wait(Some(SOON * 10)).unwrap());
            rx.recv().unwrap();
            set.remove(3);
            tx.send(&1).unwrap();
            let _ = waiting.join().unwrap();
            assert!(now(&set).is_empty(), "{name}: it was taken out");
        });
    }
}

#[test]
fn one_handle_under_two_keys() {
    let set = WaitSet::new().unwrap();
    let (a, b) = SocketLink::pair().unwrap();
    let (a, b) = (Arc::new(a), Arc::new(b));
    set.add(1, Arc::new(Arc::clone(&a))).unwrap();
    set.add(2, Arc::new(Room::of(Arc::clone(&a)).unwrap())).unwrap();
    assert_eq!(now(&set), [2]);
    b.send(&mut Packet::new(), None).unwrap();
    assert_eq!(set.wait(Some(LATE)).unwrap(), [1, 2]);
    set.remove(2);
    assert_eq!(now(&set), [1]);
    set.add(2, Arc::new(Room::of(Arc::clone(&a)).unwrap())).unwrap();
    set.remove(1);
    assert_eq!(now(&set), [2]);
}

#[test]
fn room_is_told_when_there_is_some() {
    let ring = RingLink::pipe(RingOptions::default()).unwrap();
    assert!(Room::of(ring.0).is_none(), "a ring does not tell");
    let (tx, rx) = PipeLink::pair().unwrap();
    let link = Arc::new(tx);
    let (tx, rx) = (Sender::<Vec<u8>>::over(Arc::clone(&link)), Receiver::<Vec<u8>>::over(rx));
    while tx.try_send(&vec![0; 1000]).is_ok() {}
    let set = WaitSet::new().unwrap();
    set.add(9, Arc::new(Room::of(link).unwrap())).unwrap();
    assert!(set.wait(Some(SOON)).unwrap().is_empty());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| set.wait(Some(LATE)).unwrap());
        thread::sleep(SOON);
        for _ in 0..30 {
            rx.recv().unwrap();
        }
        assert_eq!(waiting.join().unwrap(), [9]);
    });
}

#[test]
fn a_regular_file_is_ready_at_any_time() {
    let file: Handle = OwnedFd::from(File::open("/proc/self/exe").unwrap()).into();
    let set = WaitSet::new().unwrap();
    set.add(1, Arc::new(file)).unwrap();
    assert_eq!(now(&set), [1]);
    assert_eq!(now(&set), [1]);
}

/// Something that arms and disarms in step, or says so.
struct Counted(AtomicUsize, Handle);

impl Waitable for Counted {
    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        assert_eq!(self.0.fetch_add(1, Ordering::SeqCst), 0);
        arm.readable(&self.1);
    }

    fn disarm(&self) {
        assert_eq!(self.0.fetch_sub(1, Ordering::SeqCst), 1);
    }
}

#[test]
fn what_is_armed_is_disarmed_once() {
    let set = WaitSet::new().unwrap();
    let item = Arc::new(Counted(AtomicUsize::new(0), null()));
    set.add(1, Arc::clone(&item)).unwrap();
    assert_eq!(now(&set), [1]);
    assert_eq!(now(&set), [1]);
    set.remove(1);
    assert_eq!(item.0.load(Ordering::SeqCst), 0);
    set.add(1, Arc::clone(&item)).unwrap();
    drop(set);
    assert_eq!(item.0.load(Ordering::SeqCst), 0);
}

/// Many ends, senders at random, waiters that take what they are told of: a message that
/// no wait tells of keeps the test from ending.
fn storm(links: usize, senders: usize, waiters: usize, each: u64, handles: bool, direct: bool) {
    let (txs, rxs): (Vec<_>, Vec<_>) = (0..links)
        .map(|_| pipe::<(u64, Option<Handle>)>().unwrap())
        .map(|(tx, rx)| (tx, Arc::new(rx)))
        .unzip();
    let set = WaitSet::new().unwrap();
    for (key, rx) in rxs.iter().enumerate() {
        set.add(key as u64, Arc::clone(rx)).unwrap();
    }
    let (total, sum) = (AtomicU64::new(0), AtomicU64::new(0));
    let all = senders as u64 * each;
    let take = |rx: &Receiver<(u64, Option<Handle>)>| match rx.try_recv() {
        Ok((number, handle)) => {
            assert_eq!(handle.is_some(), handles && number % 3 == 0);
            sum.fetch_add(number, Ordering::SeqCst);
            total.fetch_add(1, Ordering::SeqCst);
        }
        Err(RecvError::Timeout) => {}
        Err(error) => panic!("{error}"),
    };
    let goes_on = || total.load(Ordering::SeqCst) < all;
    let begun = Instant::now();
    thread::scope(|scope| {
        for sender in 0..senders as u64 {
            let txs = &txs;
            scope.spawn(move || {
                let mut random = sender + 1;
                for number in sender * each..(sender + 1) * each {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    let handle = (handles && number % 3 == 0).then(null);
                    txs[(random >> 33) as usize % txs.len()].send(&(number, handle)).unwrap();
                    if random >> 60 == 0 {
                        thread::sleep(Duration::from_micros(random >> 50 & 0xff));
                    }
                }
            });
        }
        if direct {
            // Somebody receives without asking the set.
            scope.spawn(|| {
                while goes_on() {
                    rxs.iter().for_each(|rx| take(rx));
                    thread::sleep(Duration::from_micros(30));
                }
            });
        }
        for _ in 0..waiters {
            scope.spawn(|| {
                while goes_on() {
                    for key in set.wait(Some(SOON)).unwrap() {
                        take(&rxs[key as usize]);
                    }
                    assert!(begun.elapsed() < 4 * LATE, "{} of {all} came", total.load(Ordering::SeqCst));
                }
            });
        }
    });
    assert_eq!(sum.into_inner(), (0..all).sum());
}

#[test]
fn one_waiter_hears_of_every_message() {
    storm(40, 3, 1, 8_000, false, false);
}

#[test]
fn waiters_share_a_set() {
    storm(10, 3, 3, 4_000, true, false);
}

#[test]
fn receivers_beside_the_set_take_no_word_from_it() {
    storm(3, 2, 2, 4_000, true, true);
}

#[test]
fn no_message_is_slept_over() {
    // One message at a time, and nobody looks unless told: a wait that misses one ends late.
    for (name, (tx, rx)) in each::<Option<Handle>>() {
        let set = WaitSet::new().unwrap();
        set.add(0, Arc::clone(&rx)).unwrap();
        let (back_tx, back) = pipe::<()>().unwrap();
        let handles = tx.capabilities().passes_handles;
        thread::scope(|scope| {
            scope.spawn(move || {
                for round in 0..3_000u64 {
                    // At times before the other sleeps, at times after.
                    thread::sleep(Duration::from_micros(round % 4 * 20));
                    tx.send(&(handles && round % 3 == 0).then(null)).unwrap();
                    back.recv().unwrap();
                }
            });
            for round in 0..3_000 {
                assert_eq!(set.wait(Some(LATE)).unwrap(), [0], "{name}: message {round} was slept over");
                rx.try_recv().unwrap();
                back_tx.send(&()).unwrap();
            }
        });
    }
}

#[test]
fn a_receiver_that_takes_the_bell_tells_the_set() {
    // The receiver finds the bell of the set in front of the handles it wants.
    let (tx, rx) = pipe::<Handle>().unwrap();
    let rx = Arc::new(rx);
    let set = WaitSet::new().unwrap();
    set.add(0, Arc::clone(&rx)).unwrap();
    assert!(now(&set).is_empty());
    for _ in 0..100 {
        tx.send(&null()).unwrap();
        tx.send(&null()).unwrap();
        tx.send(&null()).unwrap();
        rx.recv_timeout(LATE).unwrap();
        // The bell of the first stands in front of this one's handle.
        rx.recv_timeout(LATE).unwrap();
        assert_eq!(set.wait(Some(LATE)).unwrap(), [0], "one is left");
        rx.recv_timeout(LATE).unwrap();
        assert!(now(&set).is_empty());
        tx.send(&null()).unwrap();
        assert_eq!(set.wait(Some(LATE)).unwrap(), [0]);
        rx.recv_timeout(LATE).unwrap();
    }
}

#[test]
fn a_wait_and_a_set_share_an_end() {
    let (tx, rx) = pipe::<u64>().unwrap();
    let rx = Arc::new(rx);
    let set = WaitSet::new().unwrap();
    set.add(0, Arc::clone(&rx)).unwrap();
    let seen = AtomicU64::new(0);
    const COUNT: u64 = 5_000;
    let goes_on = || seen.load(Ordering::SeqCst) < COUNT;
    let take = || {
        if rx.try_recv().is_ok() {
            seen.fetch_add(1, Ordering::SeqCst);
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            while goes_on() {
                if !set.wait(Some(SOON)).unwrap().is_empty() {
                    take();
                }
            }
        });
        scope.spawn(|| {
            while goes_on() {
                if !ipc_core::wait(&[&*rx], Some(SOON)).unwrap().is_empty() {
                    take();
                }
            }
        });
        (0..COUNT).for_each(|number| tx.send(&number).unwrap());
    });
}

#[test]
fn all_of_many_that_are_ready_get_their_turn() {
    let set = WaitSet::new().unwrap();
    let mut ends = HashMap::new();
    for key in 0..600u64 {
        let (tx, rx) =
            PipeLink::pair().map(|(tx, rx)| (Sender::<u64>::over(tx), Receiver::<u64>::over(rx))).unwrap();
        let rx = Arc::new(rx);
        set.add(key, Arc::clone(&rx)).unwrap();
        tx.send(&key).unwrap();
        ends.insert(key, (tx, rx));
    }
    let mut seen = HashMap::new();
    // They stay ready, and a wait names a part of them: none is left out for ever.
    while seen.len() < 600 {
        for key in set.wait(Some(LATE)).unwrap() {
            *seen.entry(key).or_insert(0) += 1;
        }
        assert!(seen.values().all(|count| *count < 100), "some are named again and again, others never");
    }
}
