//! What a client holds, over cuts.

use std::thread;
use std::time::Duration;
use std::time::Instant;

use ipc_core::{Address, Sender, pipe};
use mp_manager::{ListProxy, LockProxy, Manager, SemaphoreProxy};
use mp_process::Process;

use super::scene::{GRACE, KEY, LONG, policy, scene, scene_with, soon};

pub(super) fn a_lock_is_still_held_after_a_cut_and_released_once() {
    let scene = scene_with(GRACE);
    let (near, far) = scene.lock();
    let own: ListProxy<u8> = scene.far.list_from(&[1, 2]).unwrap();
    for _ in 0..2 {
        let guard = far.lock().unwrap();
        scene.cable.cut();
        // Longer than the grace: it has come back by itself, while nobody asked anything.
        assert!(near.lock_timeout(GRACE + Duration::from_millis(500)).unwrap().is_none());
        assert_eq!(own.to_vec().unwrap(), [1, 2]);
        drop(guard);
        let guard = near.lock_timeout(LONG).unwrap().expect("it was released");
        assert!(far.try_lock().unwrap().is_none());
        scene.cable.cut();
        assert!(far.try_lock().unwrap().is_none(), "released twice");
        drop(guard);
    }
    drop(own);
    soon("references stay", || scene.near.object_count().unwrap() == 1);
}

pub(super) fn who_does_not_come_back_has_nothing_after_the_grace_and_not_before() {
    let scene = scene_with(GRACE);
    let (near, far) = scene.lock();
    let own: ListProxy<u8> = scene.far.list_from(&[1, 2]).unwrap();
    let guard = far.lock().unwrap();
    let torn = Instant::now();
    scene.cable.tear();
    thread::sleep(GRACE / 4);
    let seen = (near.try_lock().unwrap().is_none(), scene.near.object_count().unwrap());
    assert!(seen == (true, 2) || torn.elapsed() >= GRACE, "it did not wait");
    drop(near.lock_timeout(LONG).unwrap().expect("it waits for ever"));
    assert!(torn.elapsed() >= GRACE);
    soon("references stay", || scene.near.object_count().unwrap() == 1);
    // It comes too late, which is said in words, and lets go of nothing.
    let held = near.lock().unwrap();
    let late = thread::spawn(move || own.len());
    scene.cable.mend();
    let error = late.join().unwrap().unwrap_err();
    assert!(error.is_gone() && error.to_string().contains("time of grace"), "{error}");
    drop(guard);
    assert!(near.is_locked().unwrap());
    drop(held);
    // What it finds by its name goes on.
    drop(far.lock().unwrap());
}

pub(super) fn each_cut_has_a_grace_of_its_own() {
    let grace = GRACE * 3 / 2;
    let scene = scene_with(grace);
    let (near, far) = scene.lock();
    let guard = far.lock().unwrap();
    scene.cable.tear();
    thread::sleep(grace * 2 / 3);
    scene.cable.mend();
    assert!(far.is_locked().unwrap());
    scene.cable.tear();
    // The time of the first one ends meanwhile.
    thread::sleep(grace * 2 / 3);
    assert!(near.try_lock().unwrap().is_none());
    scene.cable.mend();
    drop(guard);
    soon("the lock stays", || !near.is_locked().unwrap());
}

pub(super) fn what_is_dropped_meanwhile_is_given_back_once() {
    let scene = scene();
    let (near, far) = scene.lock();
    let permits: SemaphoreProxy = scene.far.semaphore(2).unwrap();
    for _ in 0..3 {
        // So many that none may hold up the thread that drops it.
        let own: Vec<ListProxy<u8>> = (0..300).map(|_| scene.far.list().unwrap()).collect();
        let guards = (far.lock().unwrap(), permits.acquire().unwrap(), permits.acquire().unwrap());
        assert_eq!(scene.near.object_count().unwrap(), 302);
        scene.cable.tear();
        soon("the cut is not seen", || scene.near.object_count().is_ok());
        drop((own, guards));
        assert!(near.is_locked().unwrap());
        scene.cable.mend();
        soon("references stay", || scene.near.object_count().unwrap() == 2);
        soon("the lock stays", || !near.is_locked().unwrap());
        assert_eq!(permits.available().unwrap(), 2);
    }
}

pub(super) fn a_killed_client_is_waited_for() {
    let scene = scene_with(GRACE);
    let (near, _) = scene.lock();
    let (tx, rx) = pipe().unwrap();
    let hold = |(address, tx): (Address, Sender<()>)| {
        let far = Manager::connect(&address, KEY).unwrap().reconnect(policy());
        let _guard = far.find::<LockProxy>("lock").unwrap().lock().unwrap();
        let _own: ListProxy<u8> = far.list().unwrap();
        tx.send(&()).unwrap();
        thread::sleep(Duration::from_secs(100));
    };
    let child = Process::spawn(hold, (scene.server.address().clone(), tx)).unwrap();
    rx.recv().unwrap();
    let killed = Instant::now();
    child.kill().unwrap();
    assert!(child.join().is_err());
    assert!(near.try_lock().unwrap().is_none() || killed.elapsed() >= GRACE);
    drop(near.lock_timeout(LONG).unwrap().expect("a dead client holds it for ever"));
    assert!(killed.elapsed() >= GRACE);
    soon("references stay", || scene.near.object_count().unwrap() == 1);
}
