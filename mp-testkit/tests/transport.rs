//! A link that breaks a promise is told which.

use std::panic::catch_unwind;
use std::sync::Mutex;
use std::time::Instant;

use ipc_core::link::{Capabilities, Link, Outgoing, SocketLink};
use ipc_core::{Arm, Packet, RecvError, SendError};
use mp_testkit::transport::conformance;

/// A socket, but for one fault.
#[derive(Debug)]
struct Faulty {
    link: SocketLink,
    fault: Fault,
    /// Whether the last thing received was an empty message.
    last_was_empty: Mutex<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    FlushesNothing,
    JoinsEmptyOnes,
}

impl Link for Faulty {
    fn capabilities(&self) -> Capabilities {
        self.link.capabilities()
    }

    fn send(&self, message: &mut dyn Outgoing, deadline: Option<Instant>) -> Result<(), SendError> {
        self.link.send(message, deadline)
    }

    fn recv_at_most(
        &self,
        packet: &mut Packet,
        most: usize,
        deadline: Option<Instant>,
    ) -> Result<(), RecvError> {
        loop {
            self.link.recv_at_most(packet, most, deadline)?;
            let is_empty = packet.handle_count() == 0 && packet.is_at_end();
            let was_empty = std::mem::replace(&mut *self.last_was_empty.lock().unwrap(), is_empty);
            if self.fault != Fault::JoinsEmptyOnes || !(is_empty && was_empty) {
                return Ok(());
            }
        }
    }

    fn poll(&self, deadline: Option<Instant>) -> Result<bool, RecvError> {
        self.link.poll(deadline)
    }

    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        Link::arm(&self.link, arm);
    }

    fn disarm(&self) {
        Link::disarm(&self.link);
    }

    fn flush(&self, deadline: Option<Instant>) -> Result<(), SendError> {
        if self.fault == Fault::FlushesNothing { Ok(()) } else { self.link.flush(deadline) }
    }
}

/// What the suite says of a link with the fault.
fn verdict(fault: Fault) -> Option<String> {
    let end =
        move |link| Box::new(Faulty { link, fault, last_was_empty: Mutex::new(false) }) as Box<dyn Link>;
    let make = move || {
        let (a, b) = SocketLink::pair().unwrap();
        (end(a), end(b))
    };
    let panic = catch_unwind(|| conformance(make)).err()?;
    Some(*panic.downcast::<String>().expect("a text"))
}

#[test]
fn a_link_without_faults_conforms() {
    assert_eq!(verdict(Fault::None), None);
}

#[test]
fn a_link_that_does_not_flush_is_told_so() {
    let text = verdict(Fault::FlushesNothing).expect("a fault");
    assert!(
        text.contains("in the check \"flush\"") && text.contains("promised: `flush` completes"),
        "{text}"
    );
}

#[test]
fn a_link_that_loses_empty_messages_is_told_so() {
    let text = verdict(Fault::JoinsEmptyOnes).expect("a fault");
    assert!(
        text.contains("in the check \"boundaries\"") && text.contains("neither joined nor split"),
        "{text}"
    );
}
