//! Links of the user's that are slow, or panic.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::link::{Capabilities, Link, Outgoing};
use ipc_core::{Address, Arm, Listener, Packet, RecvError, SendError};
use mp_pool::{Pool, PoolError, Transport};
use mp_process::StartMethod;

use super::common::square;
use super::{Local, STAYS, STUCK, WORKS, connect, until};

/// A link whose first message after the key takes until the end of the pool.
#[derive(Debug)]
struct Slow {
    link: Box<dyn Link>,
    sent: AtomicU8,
    mood: Arc<AtomicU8>,
}

impl Link for Slow {
    fn capabilities(&self) -> Capabilities {
        self.link.capabilities()
    }

    fn send(&self, message: &mut dyn Outgoing, deadline: Option<Instant>) -> Result<(), SendError> {
        if self.sent.fetch_add(1, Ordering::SeqCst) == 1 {
            let _ = self.mood.compare_exchange(STAYS, STUCK, Ordering::SeqCst, Ordering::SeqCst);
            while self.mood.load(Ordering::SeqCst) == STUCK {
                thread::sleep(Duration::from_millis(1));
            }
        }
        self.link.send(message, deadline)
    }

    fn recv_at_most(
        &self,
        packet: &mut Packet,
        most: usize,
        deadline: Option<Instant>,
    ) -> Result<(), RecvError> {
        self.link.recv_at_most(packet, most, deadline)
    }

    fn poll(&self, deadline: Option<Instant>) -> Result<bool, RecvError> {
        self.link.poll(deadline)
    }

    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        self.link.arm(arm);
    }

    fn flush(&self, deadline: Option<Instant>) -> Result<(), SendError> {
        self.link.flush(deadline)
    }
}

#[derive(Debug)]
struct Slowly {
    local: Local,
    mood: Arc<AtomicU8>,
}

impl Transport for Slowly {
    fn address(&self) -> io::Result<String> {
        self.local.address()
    }

    fn accept(&self, deadline: Instant) -> io::Result<Option<Box<dyn Link>>> {
        let link = self.local.accept(deadline)?;
        let slow = |link| Slow { link, sent: AtomicU8::new(0), mood: Arc::clone(&self.mood) };
        Ok(link.map(|link| Box::new(slow(link)) as _))
    }
}

pub(super) fn who_comes_after_the_end_is_turned_away(method: StartMethod) {
    let local = Local(Listener::bind(&Address::auto_file().unwrap()).unwrap());
    let mood = Arc::new(AtomicU8::new(WORKS));
    let transport = Slowly { local, mood: Arc::clone(&mood) };
    let builder = Pool::builder().processes(1).start_method(method).state(|()| 7u64, ());
    let pool = builder.transport(transport, connect).build().unwrap();
    assert_eq!(pool.apply_state(|seven, x: u64| *seven + x, 1).unwrap(), 8);
    mood.store(STAYS, Ordering::SeqCst);
    thread::scope(|scope| {
        let resized = scope.spawn(|| pool.resize(2));
        until(|| mood.load(Ordering::SeqCst) == STUCK);
        pool.terminate();
        assert!(resized.join().unwrap().unwrap_err().is_closed());
    });
    assert!(pool.pids().is_empty());
    mood.store(WORKS, Ordering::SeqCst);
    // Its thread has been and gone.
    until(|| Arc::strong_count(&mood) == 2);
    assert!(pool.pids().is_empty(), "it was let in");
    drop(pool);
    until(|| Arc::strong_count(&mood) == 1);
}

/// A link that panics once, where it is told to.
#[derive(Debug)]
struct Brittle {
    link: Box<dyn Link>,
    breaks: Arc<AtomicU8>,
}

const READ: u8 = 1;
const WAITED_FOR: u8 = 2;

impl Brittle {
    fn is_at(&self, place: u8) {
        let breaks = self.breaks.compare_exchange(place, WORKS, Ordering::SeqCst, Ordering::SeqCst);
        assert!(breaks.is_err(), "it breaks");
    }
}

impl Link for Brittle {
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
        self.is_at(READ);
        self.link.recv_at_most(packet, most, deadline)
    }

    fn poll(&self, deadline: Option<Instant>) -> Result<bool, RecvError> {
        self.link.poll(deadline)
    }

    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        self.is_at(WAITED_FOR);
        self.link.arm(arm);
    }

    fn flush(&self, deadline: Option<Instant>) -> Result<(), SendError> {
        self.link.flush(deadline)
    }
}

#[derive(Debug)]
struct Brittles {
    local: Local,
    breaks: Arc<AtomicU8>,
}

impl Transport for Brittles {
    fn address(&self) -> io::Result<String> {
        self.local.address()
    }

    fn accept(&self, deadline: Instant) -> io::Result<Option<Box<dyn Link>>> {
        let link = self.local.accept(deadline)?;
        Ok(link.map(|link| Box::new(Brittle { link, breaks: Arc::clone(&self.breaks) }) as _))
    }
}

/// Of several callers one sleeps for all, and it is on its stack that the link panics.
fn a_link_that_panics_costs_its_worker(place: u8) {
    let local = Local(Listener::bind(&Address::auto_file().unwrap()).unwrap());
    let breaks = Arc::new(AtomicU8::new(WORKS));
    let transport = Brittles { local, breaks: Arc::clone(&breaks) };
    let pool = Pool::builder().processes(1).transport(transport, connect).build().unwrap();
    let pids = pool.pids();
    let nap = |()| thread::sleep(Duration::from_millis(100));
    thread::scope(|scope| {
        let callers: Vec<_> = (0..4).map(|_| scope.spawn(|| pool.apply(nap, ()))).collect();
        breaks.store(place, Ordering::SeqCst);
        let ends: Vec<_> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
        // What the worker held may be lost with it, and each of them is told so.
        let mut errors = ends.iter().flat_map(|end| end.as_ref().err());
        assert!(errors.all(|error| error.is_worker_died()), "{ends:?}");
    });
    until(|| {
        let _ = pool.apply(square, 1);
        breaks.load(Ordering::SeqCst) == WORKS && pool.pids() != pids
    });
    assert_eq!((pool.apply(square, 3).unwrap(), pool.pids().len()), (9, 1));
}

pub(super) fn a_link_that_panics_when_it_is_read_costs_its_worker() {
    a_link_that_panics_costs_its_worker(READ);
}

pub(super) fn a_link_that_panics_when_it_is_waited_for_costs_its_worker() {
    a_link_that_panics_costs_its_worker(WAITED_FOR);
}

/// A link of which the worker's end takes so many messages.
#[derive(Debug)]
struct Short {
    link: Box<dyn Link>,
    left: AtomicU8,
}

impl Link for Short {
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
        assert!(self.left.fetch_sub(1, Ordering::SeqCst) > 0, "it breaks");
        self.link.recv_at_most(packet, most, deadline)
    }

    fn poll(&self, deadline: Option<Instant>) -> Result<bool, RecvError> {
        self.link.poll(deadline)
    }

    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        self.link.arm(arm);
    }

    fn flush(&self, deadline: Option<Instant>) -> Result<(), SendError> {
        self.link.flush(deadline)
    }
}

fn short(path: String, messages: u8) -> io::Result<Box<dyn Link>> {
    Ok(Box::new(Short { link: connect(path)?, left: AtomicU8::new(messages) }))
}

/// It breaks behind the key, or where the initializer has run and what is done at the end is to come.
pub(super) fn a_link_that_panics_in_the_worker_is_not_its_initializer(method: StartMethod) {
    let builder = || Pool::builder().processes(1).start_method(method);
    let local = || Local(Listener::bind(&Address::auto_file().unwrap()).unwrap());
    let failure = |pool: Result<Pool, PoolError>| match pool {
        Err(error) => error.to_string(),
        Ok(pool) => pool.apply(square, 1).unwrap_err().to_string(),
    };
    let keyed = builder().transport(local(), |path| short(path, 1)).build();
    let set_up = builder().initializer(|()| (), ()).at_exit(|_, ()| (), ());
    let set_up = set_up.transport(local(), |path| short(path, 2)).build();
    for error in [failure(keyed), failure(set_up)] {
        assert!(error.contains("it breaks") && !error.contains("initializer"), "{error}");
    }
}
