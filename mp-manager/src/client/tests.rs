//! A process that stands still where no test can stop it.

use std::sync::Barrier;
use std::sync::atomic::AtomicBool;
use std::thread;

use ipc_core::link::{Capabilities, Link};
use ipc_core::{Arm, Connection, SendError};

use super::*;
use crate::Manager;
use crate::wire::{Key, RING_UNUSED, Ring};

/// A ring that the server drops while a message is written into it.
#[derive(Debug)]
struct Dropped {
    is_dropped: AtomicBool,
    /// When it is, and when the message is written.
    turns: Arc<Barrier>,
}

impl Link for Dropped {
    fn capabilities(&self) -> Capabilities {
        Capabilities::BYTES
    }

    fn send(&self, message: &mut dyn Outgoing, _: Option<Instant>) -> Result<(), SendError> {
        thread::sleep(RING_UNUSED);
        self.is_dropped.store(true, Ordering::SeqCst);
        self.turns.wait();
        self.turns.wait();
        message.sent();
        Ok(())
    }

    fn recv_at_most(&self, _: &mut Packet, _: usize, _: Option<Instant>) -> Result<(), RecvError> {
        let is_dropped = self.is_dropped.load(Ordering::SeqCst);
        Err(if is_dropped { RecvError::Closed } else { RecvError::Timeout })
    }

    fn poll(&self, _: Option<Instant>) -> Result<bool, RecvError> {
        Ok(self.is_dropped.load(Ordering::SeqCst))
    }

    fn arm<'a>(&'a self, _: &mut Arm<'a>) {}

    fn flush(&self, _: Option<Instant>) -> Result<(), SendError> {
        Ok(())
    }
}

/// Calls over a ring that is dropped before the request lies in it; `meanwhile` runs between.
fn call_late(meanwhile: impl FnOnce(&Client)) -> Result<Reply, ManagerError> {
    call_late_with(|_| Ok(()), meanwhile)
}

fn call_late_with(
    write: impl FnOnce(&mut Packet) -> Result<(), EncodeError> + Send,
    meanwhile: impl FnOnce(&Client),
) -> Result<Reply, ManagerError> {
    let server = Manager::builder().serve().unwrap();
    let access = Access { address: server.address().clone(), key: Key::None, epoch: 0 };
    let client = Client::connect(access, PATIENCE).unwrap();
    let turns = Arc::new(Barrier::new(2));
    let ring = Dropped { is_dropped: AtomicBool::new(false), turns: Arc::clone(&turns) };
    let fast = &client.waiting.fast;
    fast.install(Ring { link: Connection::over(ring), longest: 1 << 20 });
    fast.asked(0, fast.now());
    thread::scope(|scope| {
        let call = scope.spawn(|| client.call(Request::Count, Duration::from_secs(10), write));
        turns.wait();
        meanwhile(&client);
        turns.wait();
        call.join().unwrap()
    })
}

#[test]
fn a_request_written_into_a_dropped_ring_is_sent_again() {
    assert!(call_late(|_| {}).is_ok());
}

#[test]
fn so_it_is_with_a_handle_in_it() {
    let memory = ipc_core::SharedMemory::anonymous(8).unwrap();
    assert!(call_late_with(|packet| packet.append(&memory), |_| {}).is_ok());
}

#[test]
fn so_it_is_when_another_thread_has_seen_the_end_before() {
    let see = |client: &Client| {
        let mut packet = Packet::new();
        assert!(client.read(&mut packet, Some(Instant::now())).is_err());
        assert!(client.waiting.fast.inlet().is_none());
    };
    assert!(call_late(see).is_ok());
}
