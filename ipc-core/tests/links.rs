//! Each link keeps the promises of the trait.

use ipc_core::link::{Link, PipeLink, RingLink, RingOptions, SocketLink};
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
