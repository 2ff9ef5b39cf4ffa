//! Who has a turn beside one that never stops, told by what was answered in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::Address;

use super::Server;
use super::alarms::Alarm;
use super::helm::{CHORES, LOOKS};
use crate::{AsyncReply, Manager, ManagerServer, SemaphoreProxy};

/// So many calls of one client lie there at once.
const FLOOD: usize = 600;

/// A server, and two clients of it.
struct Scene {
    server: ManagerServer,
    calls: SemaphoreProxy,
    others: SemaphoreProxy,
}

impl Scene {
    fn at(address: Option<Address>) -> Self {
        let builder = Manager::builder().authkey("turns");
        let server = address.into_iter().fold(builder, crate::Builder::address).serve().unwrap();
        let connect = || Manager::connect(server.address(), "turns").unwrap();
        let first = connect();
        first.publish("calls", &first.semaphore(0).unwrap()).unwrap();
        let [calls, others] = [first, connect()].map(|manager| manager.find("calls").unwrap());
        Self { server, calls, others }
    }

    fn inner(&self) -> &Arc<Server> {
        self.server.server()
    }

    /// Whoever is at the helm stops as soon as it sees to more than requests.
    fn stop(&self) {
        self.inner().set_alarm(Instant::now(), Alarm::Hold);
        self.inner().ring();
        self.meet();
    }

    /// The same when it has gone on, and taken no more requests than it may before that.
    fn stop_again(&self) {
        self.inner().set_alarm(Instant::now(), Alarm::Hold);
        self.go_on();
        self.meet();
    }

    fn meet(&self) {
        self.inner().holds[0].wait();
    }

    fn go_on(&self) {
        self.inner().holds[1].wait();
    }

    /// How many of a flood of calls are answered until another client is that asks in the middle of it.
    fn answered_before_another(&self) -> usize {
        self.stop();
        let flood: Vec<AsyncReply<()>> = (0..FLOOD).map(|_| self.calls.release_async(1).unwrap()).collect();
        let at_first = self.others.available_async().unwrap();
        self.stop_again();
        let another = self.others.available_async().unwrap();
        self.go_on();
        let answered = another.get().unwrap();
        assert!(at_first.get().unwrap() <= answered);
        flood.into_iter().for_each(|reply| reply.get().unwrap());
        assert_eq!(self.calls.available().unwrap() % FLOOD, 0);
        answered
    }
}

/// Calls until there is a way through shared memory.
fn heat_up(server: &Arc<Server>, calls: &SemaphoreProxy) {
    let before = server.ring_count();
    while server.ring_count() == before {
        calls.available().unwrap();
    }
}

/// Those that are taken until the second stop, and those of as many looks as there are in a row.
const BESIDE_A_RING: usize = (2 * CHORES + LOOKS) as usize;

#[test]
fn a_client_over_a_socket_has_its_turn_beside_a_ring_that_is_never_empty() {
    let scene = Scene::at(None);
    heat_up(scene.inner(), &scene.calls);
    let answered = scene.answered_before_another();
    assert!(answered <= BESIDE_A_RING, "{answered} calls of another were answered before");
}

#[test]
fn rings_have_their_turns_beside_one_that_is_never_empty() {
    let scene = Scene::at(None);
    heat_up(scene.inner(), &scene.calls);
    heat_up(scene.inner(), &scene.others);
    let answered = scene.answered_before_another();
    assert!(answered <= 2 * CHORES as usize, "{answered} calls of another were answered before");
}

#[test]
fn sockets_have_their_turns_beside_one_over_which_more_and_more_comes() {
    let scene = Scene::at(Some(Address::tcp("127.0.0.1", 0)));
    let answered = scene.answered_before_another();
    assert!(answered <= 2 * CHORES as usize, "{answered} calls of another were answered before");
}

#[test]
fn one_that_calls_now_and_then_over_a_ring_does_not_hold_up_others() {
    let scene = Scene::at(None);
    heat_up(scene.inner(), &scene.calls);
    let (done, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                scene.calls.release(1).unwrap();
                done.fetch_add(1, Ordering::SeqCst);
                thread::sleep(Duration::from_micros(500));
            }
        });
        let mut between: Vec<usize> = (0..9)
            .map(|_| {
                // So that it is not thought of any more.
                thread::sleep(Duration::from_millis(40));
                let before = done.load(Ordering::SeqCst);
                scene.others.available().unwrap() - before
            })
            .collect();
        is_over.store(true, Ordering::SeqCst);
        between.sort_unstable();
        // The time in which this thread does not run is among it.
        assert!(between[4] <= 4, "so many calls of another were answered before: {between:?}");
    });
}
