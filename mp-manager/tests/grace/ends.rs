//! Clients and managers that do not come back, and who is not waited for.

use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use ipc_core::Address;
use mp_manager::{BarrierProxy, EventProxy, ListProxy, LockProxy, Manager};
use mp_process::Process;

use super::scene::{KEY, LONG, Tally, policy, scene_with, soon};

pub(super) fn a_client_that_ends_is_not_waited_for() {
    // A grace that no test waits for.
    let scene = scene_with(Duration::from_secs(3600));
    let (near, far) = scene.lock();
    let other = Manager::connect(&scene.cable.address(), KEY).unwrap().reconnect(policy());
    let its: LockProxy = other.find("lock").unwrap();
    std::mem::forget(its.lock().unwrap());
    drop(far);
    assert!(near.try_lock().unwrap().is_none());
    drop((its, other));
    // The forgotten guard keeps the connection: only its process can end it.
    let lives = |address: Address| {
        let far = Manager::connect(&address, KEY).unwrap().reconnect(policy());
        let list: ListProxy<u8> = far.list().unwrap();
        list.push(&1).unwrap();
    };
    Process::spawn(lives, scene.cable.address()).unwrap().join().unwrap();
    soon("references stay", || scene.near.object_count().unwrap() == 1);
}

pub(super) fn without_a_policy_nobody_is_waited_for() {
    let scene = scene_with(Duration::from_secs(3600));
    let (near, _) = scene.lock();
    let plain = Manager::connect(&scene.cable.address(), KEY).unwrap();
    let its: LockProxy = plain.find("lock").unwrap();
    let guard = its.lock().unwrap();
    scene.cable.cut();
    drop(near.lock_timeout(LONG).unwrap().expect("it is waited for"));
    assert!(its.is_locked().unwrap_err().is_gone());
    drop(guard);
}

pub(super) fn without_a_grace_nobody_is_waited_for() {
    let scene = scene_with(Duration::ZERO);
    let (near, far) = scene.lock();
    let guard = far.lock().unwrap();
    scene.cable.cut();
    drop(near.lock_timeout(LONG).unwrap().expect("it is waited for"));
    while let Err(error) = far.is_locked() {
        assert!(error.is_gone(), "{error}");
    }
    drop(guard);
    drop(far.lock_timeout(LONG).unwrap().unwrap());
}

pub(super) fn a_manager_in_the_place_of_the_one_before_is_another_one() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let start = || {
        let builder = Manager::builder().address(Address::tcp("127.0.0.1", port)).authkey(KEY);
        builder.register::<Tally>().start().unwrap()
    };
    let server = start();
    let far = Manager::connect(server.address(), KEY).unwrap().reconnect(policy());
    let list: ListProxy<u8> = far.list().unwrap();
    server.publish("event", &server.event().unwrap()).unwrap();
    let event: EventProxy = far.find("event").unwrap();
    server.publish("barrier", &server.barrier(2).unwrap()).unwrap();
    let barrier: BarrierProxy = far.find("barrier").unwrap();
    let waits = barrier.clone();
    let waiter = thread::spawn(move || waits.wait());
    soon("nobody waits", || barrier.waiting().unwrap() == 1);
    server.shutdown(LONG).unwrap();
    let server = start();
    server.publish("event", &server.event().unwrap()).unwrap();
    // What was under way is not asked again, and says why.
    let error = waiter.join().unwrap().unwrap_err();
    assert!(error.may_have_run() && error.to_string().contains("another manager"), "{error}");
    let error = list.len().unwrap_err();
    assert!(error.is_gone() && !error.may_have_run(), "{error}");
    assert!(!event.is_set().unwrap());
}

pub(super) fn a_manager_that_ends_waits_for_nobody() {
    let scene = scene_with(Duration::from_secs(3600));
    let (_, far) = scene.lock();
    std::mem::forget(far.lock().unwrap());
    scene.cable.tear();
    thread::sleep(Duration::from_millis(100));
    assert!(scene.server.shutdown(LONG));
}
