//! Each link keeps the promises of the trait.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use ipc_core::link::{Link, PipeLink, RingLink, RingOptions, SocketLink};
use ipc_core::{Handle, Packet, RecvError};
use mp_testkit::chaos::Rng;
use mp_testkit::transport::{Ends, conformance};

fn boxed((a, b): (impl Link + 'static, impl Link + 'static)) -> Ends {
    (Box::new(a), Box::new(b))
}

#[test]
fn ring() {
    conformance(|| boxed(RingLink::pipe(RingOptions::default()).unwrap()));
}

#[test]
fn smallest_ring() {
    conformance(|| boxed(RingLink::duplex(RingOptions::default().capacity(0)).unwrap()));
}

#[test]
fn pipe() {
    conformance(|| boxed(PipeLink::pair().unwrap()));
}

#[test]
fn socket() {
    conformance(|| boxed(SocketLink::pair().unwrap()));
}

/// A small frame that comes byte by byte is whole when its last one is there; one that ends
/// before is cut, wherever that is.
#[test]
fn frames_come_in_any_pieces() {
    let mut packet = Packet::new();
    packet.append(&"small").unwrap();
    let frame = SocketLink::frame(&mut packet).unwrap();
    for len in 0..=frame.len() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let link = SocketLink::from_handle(Handle::from(OwnedFd::from(ours)));
        for byte in &frame[..len] {
            assert!(matches!(link.recv(&mut packet, now()), Err(RecvError::Timeout)), "before {len}");
            theirs.write_all(&[*byte]).unwrap();
        }
        if len == frame.len() {
            link.recv(&mut packet, now()).unwrap();
            assert_eq!(packet.read::<String>().unwrap(), "small");
        }
        drop(theirs);
        let end = link.recv(&mut packet, None);
        let is_cut = 0 < len && len < frame.len();
        assert_eq!(matches!(end, Err(RecvError::Cut)), is_cut, "after {len}: {end:?}");
        assert!(matches!(link.recv(&mut packet, None), Err(RecvError::Closed)), "after {len}");
    }
}

/// What a sender among several writes for messages of these lengths.
fn chunks(sizes: &[usize]) -> Vec<u8> {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let link = SocketLink::from_handle(Handle::from(OwnedFd::from(ours)));
    drop(link.share().unwrap());
    for size in sizes {
        let mut packet = Packet::new();
        packet.extend_bytes(&vec![7; *size]);
        link.send(&mut packet, now()).unwrap();
    }
    drop(link);
    let mut bytes = Vec::new();
    theirs.read_to_end(&mut bytes).unwrap();
    bytes
}

/// The lengths of the messages that are received out of these bytes, and the error behind them.
fn received(bytes: &[u8]) -> (Vec<usize>, RecvError) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let link = SocketLink::from_handle(Handle::from(OwnedFd::from(ours)));
    theirs.write_all(bytes).unwrap();
    drop(theirs);
    let (mut packet, mut lengths) = (Packet::new(), Vec::new());
    loop {
        match link.recv(&mut packet, None) {
            Ok(()) => lengths.push(packet.bytes().len()),
            Err(error) => {
                let last = link.recv(&mut packet, None);
                assert!(matches!(last, Err(RecvError::Closed | RecvError::Protocol(_))), "{last:?}");
                return (lengths, error);
            }
        }
    }
}

/// Chunks that a hostile process has changed, cut, doubled or put in another order: whatever comes out is an
/// end or an error, and never more than went in.
#[test]
fn chunks_of_a_hostile_sender() {
    let sizes = [0, 10, 5_000, 3, 20_000, 4_072];
    let right = chunks(&sizes);
    let (lengths, end) = received(&right);
    assert_eq!(lengths, sizes);
    assert!(matches!(end, RecvError::Closed), "{end:?}");
    let mut random = Rng::announced("chunks");
    let (mut cut, mut refused) = (0, 0);
    for _ in 0..3_000 {
        let mut bytes = right.clone();
        for _ in 0..=random.below(3) {
            let (from, to) = (random.below(bytes.len()), random.below(bytes.len()));
            match random.below(5) {
                0 => bytes[from] ^= 1 << random.below(8),
                1 => bytes.truncate(from.max(1)),
                2 => drop(bytes.drain(from.min(to)..from.max(to).min(bytes.len() - 1))),
                3 => bytes.extend_from_within(from.min(to)..from.max(to)),
                // In a header, where it tells most.
                _ => bytes[random.below(16).min(from)] = random.below(256) as u8,
            }
        }
        let (lengths, end) = received(&bytes);
        assert!(lengths.iter().sum::<usize>() <= bytes.len(), "more came than was sent");
        match end {
            RecvError::Closed => {}
            RecvError::Cut => cut += 1,
            RecvError::Protocol(_) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(cut > 0 && refused > 0, "{cut} cut, {refused} refused");
}

/// A chunk of which the second half is missing ends in another one's, whose mark is not its own.
#[test]
fn half_a_chunk_does_not_pass_for_a_whole_one() {
    let (long, next) = (chunks(&[4_000]), chunks(&[4_000, 10]));
    for half in [1, 16, 64, 2_000, long.len() - 8, long.len() - 1] {
        let (lengths, end) = received(&[&long[..half], &next[..]].concat());
        let is_told = matches!(end, RecvError::Cut | RecvError::Protocol(_));
        assert!(lengths.is_empty() && is_told, "after {half} bytes: {lengths:?}, {end:?}");
    }
}

fn now() -> Option<Instant> {
    Some(Instant::now())
}

/// As for the first of several senders.
fn shared((a, b): (impl Link + 'static, impl Link + 'static)) -> Ends {
    drop(a.share().unwrap());
    boxed((a, b))
}

#[test]
fn shared_ring() {
    conformance(|| shared(RingLink::pipe(RingOptions::default()).unwrap()));
}

#[test]
fn smallest_shared_ring() {
    conformance(|| shared(RingLink::pipe(RingOptions::default().capacity(0)).unwrap()));
}

#[test]
fn shared_pipe() {
    conformance(|| shared(PipeLink::pair().unwrap()));
}

#[test]
fn shared_socket() {
    conformance(|| shared(SocketLink::pair().unwrap()));
}
