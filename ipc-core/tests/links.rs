//! Each link keeps the promises of the trait.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use ipc_core::link::{Link, PipeLink, RingLink, RingOptions, SocketLink};
use ipc_core::{Handle, Packet, RecvError};
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
