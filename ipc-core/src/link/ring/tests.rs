//! Private machinery against peers that write nonsense.

use std::time::{Duration, Instant};

use super::frame::{Frame, HEAD, Kind};
use super::*;
use crate::deadline;

fn pair() -> (RingLink, RingLink) {
    RingLink::pipe(RingOptions::default().capacity(4096)).unwrap()
}

fn sender(link: &RingLink) -> &End {
    &link.sending.as_ref().unwrap().end
}

/// Writes a frame as a peer that keeps to no rule could.
fn forge(link: &RingLink, at: &mut u64, frame: Frame, payload: &[u8]) {
    let lane = &sender(link).lane;
    lane.fill(*at, HEAD + payload.len(), |space| {
        space[..HEAD].copy_from_slice(&frame.to_bytes());
        space[HEAD..].copy_from_slice(payload);
    });
    *at = at.wrapping_add(Frame::room(payload.len()) as u64);
    lane.header().head.0.store(*at, std::sync::atomic::Ordering::Release);
}

fn frame(kind: Kind, len: u32) -> Frame {
    Frame { len, kind, handles: 0 }
}

fn recv(link: &RingLink, within: Duration) -> Result<Vec<u8>, RecvError> {
    let mut packet = Packet::new();
    link.recv(&mut packet, deadline::after(within))?;
    Ok(packet.bytes().to_vec())
}

const SOON: Duration = Duration::from_millis(50);

#[test]
fn counters_may_pass_their_largest_value() {
    let (tx, rx) = pair();
    let near_the_end = u64::MAX - 255;
    let header = sender(&tx).lane.header();
    header.head.0.store(near_the_end, std::sync::atomic::Ordering::Relaxed);
    header.tail.0.store(near_the_end, std::sync::atomic::Ordering::Relaxed);
    let again = |link: &RingLink, roles| {
        let segment = Segment::import(link.segment.handle().try_clone().unwrap()).unwrap();
        let companion = Companion::from_handle(link.common.companion.handle().try_clone().unwrap());
        RingLink::new(segment, companion, roles, None).unwrap()
    };
    let (tx, rx) = (again(&tx, tx.roles), again(&rx, rx.roles));
    for number in 0..100u8 {
        let mut packet = Packet::new();
        packet.extend_bytes(&[number; 100]);
        tx.send(&mut packet, None).unwrap();
        assert_eq!(recv(&rx, SOON).unwrap(), [number; 100]);
    }
}

#[test]
fn parts_without_end_do_not_stretch_the_deadline() {
    for stray in [frame(Kind::Next, 0), frame(Kind::Next, 8), frame(Kind::Withdrawn, 0)] {
        let (tx, rx) = pair();
        let begun = Instant::now();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut at = 0;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    forge(&tx, &mut at, stray, &[0; 8][..stray.len as usize]);
                    // Never more than the ring holds: a counter outside it is another matter.
                    while at - sender(&tx).lane.header().tail.0.load(std::sync::atomic::Ordering::Acquire)
                        > 2048
                        && !done.load(std::sync::atomic::Ordering::Relaxed)
                    {
                        std::hint::spin_loop();
                    }
                }
            });
            let result = recv(&rx, SOON);
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(matches!(result, Err(RecvError::Timeout | RecvError::Protocol(_))), "{result:?}");
        });
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}

#[test]
fn a_part_of_nothing_is_against_the_protocol() {
    let (tx, rx) = pair();
    forge(&tx, &mut 0, frame(Kind::Next, 8), &[0; 8]);
    assert!(matches!(recv(&rx, SOON), Err(RecvError::Protocol(_))));
    assert!(matches!(recv(&rx, SOON), Err(RecvError::Protocol(_))), "for good");
}

#[test]
fn a_length_that_nobody_could_send_sets_nothing_aside() {
    let (tx, rx) = pair();
    let mut at = 0;
    forge(&tx, &mut at, frame(Kind::First, 16), &[0xff; 16]);
    assert!(matches!(recv(&rx, SOON), Err(RecvError::Timeout)));
    let held = rx.receiving.as_ref().unwrap().turn.take(None).unwrap().set_aside();
    assert!(held <= 2 << 20, "{held} bytes are set aside");
    forge(&tx, &mut at, frame(Kind::First, 8), &[0; 8]);
    assert!(matches!(recv(&rx, SOON), Err(RecvError::Protocol(_))), "shorter than itself");
}

#[test]
fn a_counter_outside_the_ring_is_against_the_protocol() {
    for head in [4, 8192, u64::MAX, 1 << 63] {
        let (tx, rx) = pair();
        sender(&tx).lane.header().head.0.store(head, std::sync::atomic::Ordering::Release);
        assert!(matches!(recv(&rx, SOON), Err(RecvError::Protocol(_))), "{head}");
    }
}

#[test]
fn a_cut_message_is_told_once() {
    let (tx, rx) = pair();
    let part = [9, 0, 0, 0, 0, 0, 0, 0, 1];
    forge(&tx, &mut 0, frame(Kind::First, 9), &part);
    drop(tx);
    assert!(rx.poll(deadline::after(SOON)).unwrap());
    assert!(matches!(recv(&rx, SOON), Err(RecvError::Cut)));
    assert!(matches!(recv(&rx, SOON), Err(RecvError::Closed)));
}

#[test]
fn handles_that_never_came_are_against_the_protocol() {
    let (tx, rx) = pair();
    forge(&tx, &mut 0, Frame { len: 0, kind: Kind::Whole, handles: 3 }, &[]);
    assert!(matches!(recv(&rx, SOON), Err(RecvError::Protocol(_))));
}

#[test]
fn a_bell_that_another_thread_waits_for_is_left_to_it() {
    let (tx, rx) = pair();
    let end = &rx.receiving.as_ref().unwrap().end;
    end.arm(None);
    let mut plain = Packet::new();
    tx.send(&mut plain, None).unwrap();
    let mut with_handle = Packet::new();
    with_handle.append(tx.segment.handle()).unwrap();
    tx.send(&mut with_handle, None).unwrap();
    let within = Duration::from_secs(20);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| recv(&rx, within).and_then(|_| recv(&rx, within)).map(drop));
        std::thread::sleep(SOON);
        assert!(rx.common.companion.has_bell(), "the reader took it");
        end.disarm();
        reader.join().unwrap().unwrap();
    });
    assert!(!rx.common.companion.has_bell());
}

#[test]
fn what_is_not_hurried_wakes_once_the_ring_is_half_full() {
    let (tx, rx) = RingLink::pipe(RingOptions::default().capacity(4096)).unwrap();
    rx.set_polling(Polling::Off);
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let mut packet = Packet::new();
            rx.recv(&mut packet, None).unwrap();
            packet.read::<u64>().unwrap()
        });
        // It sleeps; were it never woken, the test would not end.
        std::thread::sleep(Duration::from_millis(20));
        for number in 0..200u64 {
            tx.send_unhurried(&mut packet_of(number), None).unwrap();
        }
        assert_eq!(receiver.join().unwrap(), 0);
    });
}

#[test]
fn what_is_not_hurried_is_found_with_what_is_and_at_the_deadline() {
    let (tx, rx) = RingLink::pipe(RingOptions::default()).unwrap();
    rx.set_polling(Polling::Off);
    let mut packet = Packet::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            tx.send_unhurried(&mut packet_of(1), None).unwrap();
            tx.send(&mut packet_of(2), None).unwrap();
        });
        for expected in 1..=2u64 {
            rx.recv(&mut packet, None).unwrap();
            assert_eq!(packet.read::<u64>().unwrap(), expected);
        }
    });
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            tx.send_unhurried(&mut packet_of(3), None).unwrap();
        });
        rx.recv(&mut packet, crate::deadline::after(Duration::from_secs(2))).unwrap();
        assert_eq!(packet.read::<u64>().unwrap(), 3);
    });
}

#[test]
fn a_peer_is_woken_for_what_was_not_hurried() {
    let (tx, rx) = pair();
    rx.set_polling(Polling::Off);
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| rx.recv(&mut Packet::new(), None));
        std::thread::sleep(Duration::from_millis(20));
        tx.send_unhurried(&mut packet_of(1), None).unwrap();
        // Without it the test would not end.
        tx.hurry();
        receiver.join().unwrap().unwrap();
    });
}

/// A thread that has the senders' turn and dies: the kernel passes the turn on, as for a process.
fn die_with_the_turn(tx: &RingLink, deeds: impl FnOnce() + Send) {
    tx.share().unwrap();
    let share = tx.common.share().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::mem::forget(share.take(None).unwrap());
            deeds();
        });
    });
}

#[test]
fn handles_of_a_frame_that_never_came_belong_to_no_other() {
    let (tx, rx) = pair();
    let open = |path: &str| Handle::from(std::os::fd::OwnedFd::from(std::fs::File::open(path).unwrap()));
    for round in 0..3 {
        die_with_the_turn(&tx, || {
            let head = sender(&tx).lane.header().head.0.load(std::sync::atomic::Ordering::Acquire);
            tx.common.share().unwrap().set_half(true);
            tx.common.companion.send_handles(head, &[open("/dev/null")], None).unwrap();
        });
        if round == 1 {
            // Somebody waited meanwhile, and has taken them off the socket already.
            rx.receiving.as_ref().unwrap().end.arm(None);
            rx.disarm();
        }
        let mut packet = Packet::new();
        packet.append(&open("/dev/zero")).unwrap();
        tx.send(&mut packet, None).unwrap();
        rx.recv(&mut packet, deadline::after(SOON)).unwrap();
        assert_eq!(packet.handle_count(), 1);
        let file = std::fs::File::from(std::os::fd::OwnedFd::from(packet.read::<Handle>().unwrap()));
        let zero = std::fs::metadata("/dev/zero").unwrap();
        let rdev = std::os::unix::fs::MetadataExt::rdev;
        assert_eq!(rdev(&file.metadata().unwrap()), rdev(&zero), "those of the dead one came");
    }
}

#[test]
fn who_comes_after_a_death_wakes_whom_the_dead_one_was_about_to() {
    let (tx, rx) = pair();
    rx.set_polling(Polling::Off);
    tx.share().unwrap();
    // It says who it is now, and not while the receiver sleeps.
    tx.send(&mut packet_of(0), None).unwrap();
    recv(&rx, SOON).unwrap();
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| recv(&rx, Duration::from_secs(60)).unwrap());
        std::thread::sleep(SOON);
        die_with_the_turn(&tx, || {
            handshake::wake(&sender(&tx).lane.header().consumer.0.sleep);
        });
        tx.send(&mut packet_of(1), None).unwrap();
        let late = Instant::now();
        while !receiver.is_finished() {
            assert!(late.elapsed() < Duration::from_secs(20), "it sleeps on");
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}

/// How another sender dies between a message and the wake-up for it.
fn dies_with_news(rx: &RingLink, tx: &RingLink, receive: impl FnOnce() + Send) {
    rx.set_polling(Polling::Off);
    tx.share().unwrap();
    let mut other = std::process::Command::new("sleep").arg("100").spawn().unwrap();
    let started = crate::sys::process::start_time(other.id()).unwrap() & 0xffff_ffff;
    let word = u64::from(other.id()) << 32 | started;
    let senders = &sender(tx).lane.header().senders.0;
    std::thread::scope(|scope| {
        let receiver = scope.spawn(receive);
        std::thread::sleep(SOON);
        senders.add(word, |_| false).unwrap();
        sender(tx).rouse_peer();
        std::thread::sleep(SOON);
        forge(tx, &mut 0, frame(Kind::Whole, 0), &[]);
        std::thread::sleep(SOON);
        assert!(!receiver.is_finished(), "nobody has told it");
        other.kill().unwrap();
        other.wait().unwrap();
        let late = Instant::now();
        while !receiver.is_finished() {
            assert!(late.elapsed() < Duration::from_secs(20), "it sleeps beside what the dead one sent");
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}

#[test]
fn what_one_of_many_senders_died_with_wakes_a_receiver() {
    let (tx, rx) = pair();
    dies_with_news(&rx, &tx, || assert_eq!(recv(&rx, Duration::from_secs(60)).unwrap(), []));
}

#[test]
fn what_one_of_many_senders_died_with_wakes_a_wait() {
    let (tx, rx) = pair();
    let rx = Arc::new(rx);
    dies_with_news(&rx, &tx, || {
        assert_eq!(crate::wait(&[&rx], Some(Duration::from_secs(60))).unwrap(), [0]);
    });
    let (tx, rx) = pair();
    let (rx, set) = (Arc::new(rx), crate::WaitSet::new().unwrap());
    set.add(3, Arc::new(Arc::clone(&rx))).unwrap();
    dies_with_news(&rx, &tx, || assert_eq!(set.wait(Some(Duration::from_secs(60))).unwrap(), [3]));
}

fn packet_of(number: u64) -> Packet {
    let mut packet = Packet::new();
    packet.append(&number).unwrap();
    packet
}

#[test]
fn what_a_deadline_cuts_leaves_no_sleeper_in_front_of_it() {
    use std::sync::atomic::Ordering;

    let large = vec![7; 4 << 20];
    let mut cut = 0;
    for step in 1..=400 {
        let (tx, _rx) = RingLink::pipe(RingOptions::default()).unwrap();
        let lane = &sender(&tx).lane;
        // The receiver was last seen here, and sleeps.
        let here = lane.side(true).publish_cpu();
        lane.side(false).cpu.store(here, Ordering::Relaxed);
        lane.side(false).sleep.store(handshake::ASLEEP_ON_WORD, Ordering::SeqCst);
        let mut packet = Packet::new();
        packet.extend_bytes(&large);
        let sent = tx.send(&mut packet, deadline::after(Duration::from_micros(step)));
        assert!(matches!(sent, Err(SendError::Timeout)), "{sent:?}");
        if lane.header().head.0.load(Ordering::Acquire) > 0 {
            cut += 1;
            let flags = lane.side(false).sleep.load(Ordering::SeqCst);
            assert_eq!(flags & handshake::ASLEEP_ON_WORD, 0, "it sleeps on after {step} µs");
        }
    }
    assert!(cut > 0);
}

#[test]
fn a_peer_on_this_cpu_is_told_from_one_that_has_not_been_seen() {
    let (a, b) = RingLink::duplex(RingOptions::default()).unwrap();
    assert!(!a.is_peer_here() && !b.is_peer_here());
    // This thread is both sides, and may be moved in between.
    let seen = (0..1000).any(|_| {
        b.send(&mut Packet::new(), None).unwrap();
        a.recv(&mut Packet::new(), None).unwrap();
        a.is_peer_here()
    });
    assert!(seen);
}

#[test]
fn who_learns_of_ends_by_other_means_has_only_its_sends_watched() {
    let (ours, theirs) = RingLink::duplex(RingOptions::default().capacity(4096)).unwrap();
    let is_watched = |link: &RingLink| link.common.is_followed();
    ours.leave_receiving_unwatched();
    assert!(matches!(recv(&ours, SOON), Err(RecvError::Timeout)));
    assert!(!is_watched(&ours));
    assert!(matches!(recv(&theirs, SOON), Err(RecvError::Timeout)));
    assert!(is_watched(&theirs), "and others have all of it watched");
    let mut packet = Packet::new();
    packet.extend_bytes(&[1; 3000]);
    while ours.send(&mut packet, deadline::after(SOON)).is_ok() {}
    assert!(is_watched(&ours));
}
