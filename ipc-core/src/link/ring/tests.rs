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
        RingLink::new(segment, companion, roles).unwrap()
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
        rx.recv(&mut packet, crate::deadline::after(Duration::from_millis(200))).unwrap();
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

fn packet_of(number: u64) -> Packet {
    let mut packet = Packet::new();
    packet.append(&number).unwrap();
    packet
}
