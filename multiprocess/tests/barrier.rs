//! `Barrier`: together, or not at all.

mod common;

use std::sync::atomic::Ordering::SeqCst;
use std::thread::sleep;

use common::{LONG, SHORT, spawn, suite};
use multiprocess::sync::BarrierError;
use multiprocess::{Barrier, Process, SharedAtomicU32, StartMethod};

suite! {
    started: [
        parties_go_in_lockstep,
        exactly_one_leads,
        the_action_is_run_once,
        abort_breaks_it_for_all,
        reset_frees_those_who_wait_and_it_works_again,
        a_timeout_breaks_it_for_all,
        a_thousand_passes,
        a_party_killed_while_it_waits_breaks_it,
    ],
    plain: [one_party_does_not_wait],
}

const PARTIES: u32 = 3;

fn one_party_does_not_wait() {
    let barrier = Barrier::new(1).unwrap();
    for _ in 0..10 {
        assert_eq!(barrier.wait().unwrap().index(), 0);
    }
}

/// Has all parties but this process run `work` in children.
fn others<R: multiprocess::Message>(
    method: StartMethod,
    barrier: &Barrier,
    count: &SharedAtomicU32,
    work: fn((Barrier, SharedAtomicU32)) -> R,
) -> Vec<Process<R>> {
    let start = |_| spawn(method, work, (barrier.clone(), count.clone())).unwrap();
    (1..PARTIES).map(start).collect()
}

fn new() -> (Barrier, SharedAtomicU32) {
    (Barrier::new(PARTIES).unwrap(), SharedAtomicU32::new(0).unwrap())
}

/// Passes ten times; between two passes all have counted as often.
fn pass_ten_times((barrier, count): (Barrier, SharedAtomicU32)) {
    for pass in 0..10 {
        count.fetch_add(1, SeqCst);
        barrier.wait_timeout(LONG).unwrap();
        assert_eq!(count.load(SeqCst), (pass + 1) * PARTIES);
        barrier.wait_timeout(LONG).unwrap();
    }
}

fn parties_go_in_lockstep(method: StartMethod) {
    let (barrier, count) = new();
    let others = others(method, &barrier, &count, pass_ten_times);
    pass_ten_times((barrier.clone(), count));
    others.into_iter().for_each(|other| other.join().unwrap());
    assert_eq!((barrier.n_waiting(), barrier.is_broken(), barrier.parties()), (0, false, PARTIES));
}

fn exactly_one_leads(method: StartMethod) {
    let (barrier, count) = new();
    let turn = |(barrier, _): (Barrier, SharedAtomicU32)| barrier.wait_timeout(LONG).unwrap().index();
    let others = others(method, &barrier, &count, turn);
    let mut turns: Vec<u32> = vec![turn((barrier, count))];
    turns.extend(others.into_iter().map(|other| other.join().unwrap()));
    turns.sort_unstable();
    assert_eq!(turns, [0, 1, 2]);
}

fn the_action_is_run_once(method: StartMethod) {
    let (barrier, count) = new();
    let act = |(barrier, count): (Barrier, SharedAtomicU32)| {
        let action = || {
            count.fetch_add(1, SeqCst);
        };
        barrier.wait_with(action).unwrap();
        count.load(SeqCst)
    };
    let others = others(method, &barrier, &count, act);
    assert_eq!(act((barrier, count)), 1);
    others.into_iter().for_each(|other| assert_eq!(other.join().unwrap(), 1));
}

/// Whether a wait ends because the barrier is broken.
fn is_broken((barrier, _): (Barrier, SharedAtomicU32)) -> bool {
    matches!(barrier.wait_timeout(LONG), Err(BarrierError::Broken))
}

/// Waits until so many wait.
fn until_waiting(barrier: &Barrier, count: u32) {
    while barrier.n_waiting() < count {
        sleep(SHORT / 20);
    }
}

fn abort_breaks_it_for_all(method: StartMethod) {
    let (barrier, count) = new();
    let others = others(method, &barrier, &count, is_broken);
    until_waiting(&barrier, PARTIES - 1);
    barrier.abort().unwrap();
    assert!(others.into_iter().all(|other| other.join().unwrap()));
    assert!(barrier.is_broken());
    assert!(is_broken((barrier, count)));
}

fn reset_frees_those_who_wait_and_it_works_again(method: StartMethod) {
    let (barrier, count) = new();
    let freed = others(method, &barrier, &count, is_broken);
    until_waiting(&barrier, PARTIES - 1);
    barrier.reset().unwrap();
    assert!(freed.into_iter().all(|other| other.join().unwrap()));
    assert!(!barrier.is_broken());
    barrier.abort().unwrap();
    barrier.reset().unwrap();
    let others = others(method, &barrier, &count, pass_ten_times);
    pass_ten_times((barrier, count));
    others.into_iter().for_each(|other| other.join().unwrap());
}

fn a_timeout_breaks_it_for_all(method: StartMethod) {
    let (barrier, count) = new();
    let others = others(method, &barrier, &count, is_broken);
    until_waiting(&barrier, PARTIES - 1);
    let late = Barrier::new(2).unwrap();
    assert!(matches!(late.wait_timeout(SHORT), Err(BarrierError::Timeout)));
    assert!(late.is_broken());
    barrier.abort().unwrap();
    assert!(others.into_iter().all(|other| other.join().unwrap()));

    let (barrier, count) = new();
    let waits_briefly = |(barrier, _): (Barrier, SharedAtomicU32)| barrier.wait_timeout(SHORT).is_err();
    let brief = spawn(method, waits_briefly, (barrier.clone(), count.clone())).unwrap();
    assert!(is_broken((barrier, count)), "another one's timeout");
    assert!(brief.join().unwrap());
}

fn a_thousand_passes(method: StartMethod) {
    let (barrier, count) = new();
    let pass = |(barrier, _): (Barrier, SharedAtomicU32)| {
        for _ in 0..1000 {
            barrier.wait_timeout(LONG).unwrap();
        }
    };
    let others = others(method, &barrier, &count, pass);
    pass((barrier, count));
    others.into_iter().for_each(|other| other.join().unwrap());
}

fn a_party_killed_while_it_waits_breaks_it(method: StartMethod) {
    let (barrier, count) = new();
    let mut others = others(method, &barrier, &count, is_broken);
    until_waiting(&barrier, PARTIES - 1);
    let killed = others.remove(0);
    killed.kill().unwrap();
    killed.join().unwrap_err();
    assert!(others.remove(0).join().unwrap());
    assert!(barrier.is_broken());
}
