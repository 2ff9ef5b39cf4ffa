//! Barriers, and those who die, come late, or give them up.

mod common;

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use common::{Child, LONG, Random, SHORT, arrive, child_that, count_handles, eventually, fork, run, seed};
use mp_sync::{Barrier, BarrierError, SharedAtomicU64};

fn a_barrier_lets_all_go_with_one_leader() {
    let barrier = Barrier::new(3).unwrap();
    let (leaders, actions) = (SharedAtomicU64::new(0).unwrap(), SharedAtomicU64::new(0).unwrap());
    let work = || {
        for _ in 0..200 {
            let turn = barrier.wait_with(|| _ = actions.fetch_add(1, SeqCst)).unwrap();
            leaders.fetch_add(u64::from(turn.is_leader()), SeqCst);
        }
    };
    let children = [fork(work), fork(work)];
    work();
    assert!(children.into_iter().all(Child::join));
    assert_eq!((leaders.load(SeqCst), actions.load(SeqCst), barrier.n_waiting()), (200, 200, 0));
}

fn a_barrier_breaks_when_one_who_waits_dies() {
    let barrier = Barrier::new(3).unwrap();
    let victim = fork(|| drop(barrier.wait()));
    let other = fork(|| assert!(matches!(barrier.wait(), Err(BarrierError::Broken))));
    eventually("two wait", || barrier.n_waiting() == 2);
    std::thread::sleep(5 * SHORT);
    victim.kill();
    assert!(other.join());
    assert!(barrier.is_broken());
    assert!(matches!(barrier.wait(), Err(BarrierError::Broken)));
    barrier.reset().unwrap();
    assert!(!barrier.is_broken());
    assert!(matches!(barrier.wait_timeout(SHORT), Err(BarrierError::Timeout)));
    assert!(barrier.is_broken());
}

fn a_barrier_is_not_filled_by_the_dead() {
    for _ in 0..20 {
        let barrier = Barrier::new(2).unwrap();
        let victim = fork(|| drop(barrier.wait()));
        eventually("it waits", || barrier.n_waiting() == 1);
        victim.kill();
        assert!(matches!(barrier.wait(), Err(BarrierError::Broken)));
    }
}

/// Whoever dies, somebody who lives watches one of them.
fn a_barrier_breaks_whoever_of_those_who_wait_die() {
    const WAITING: usize = 4;
    // A bit for each who dies: at least one does, and one does not.
    for dying in 1..(1 << WAITING) - 1 {
        let barrier = Barrier::new(WAITING as u32 + 1).unwrap();
        let wait = |come| {
            let child = fork(|| assert!(matches!(barrier.wait(), Err(BarrierError::Broken))));
            eventually("it waits", || barrier.n_waiting() == come);
            child
        };
        let waiting: Vec<Child> = (1..=WAITING as u32).map(wait).collect();
        // Not all watch yet, or all do.
        if dying % 2 == 0 {
            std::thread::sleep(2 * SHORT);
        }
        (0..WAITING).filter(|waiter| dying >> waiter & 1 != 0).for_each(|waiter| waiting[waiter].signal());
        for (waiter, child) in waiting.into_iter().enumerate() {
            // Of two who die, the second may have been told of the first before.
            match dying >> waiter & 1 {
                0 => assert!(child.join(), "{dying:#b}: {waiter}"),
                _ => _ = child.kill(),
            }
        }
        assert!(barrier.is_broken());
    }
}

/// One barrier again and again: the seats of the dead of one round are those of the next.
fn a_barrier_breaks_whoever_dies_while_others_come() {
    const PARTIES: u32 = 16;
    let barrier = Barrier::new(PARTIES).unwrap();
    let mut chance = Random::new(seed());
    let wait = |threads: u64| {
        let come = || assert!(matches!(barrier.wait(), Err(BarrierError::Broken)));
        fork(|| std::thread::scope(|scope| (0..threads).for_each(|_| _ = scope.spawn(come))))
    };
    for round in 0..20 {
        let mut come = 0;
        let mut start = |most: u64| {
            let threads = 1 + chance.below(most);
            come += threads as u32;
            wait(threads)
        };
        let waiting: Vec<Child> = (0..4).map(|_| start(2)).collect();
        let others = 1 + round % 3;
        eventually("they wait", || barrier.n_waiting() == come);
        let mut later = Vec::new();
        let dying = 1 + chance.below((1 << waiting.len()) - 1);
        for waiter in 0..waiting.len().max(others) {
            if waiter < others {
                later.push(wait(1 + chance.below(2)));
            }
            std::thread::sleep(Duration::from_micros(chance.below(8_000)));
            if waiter < waiting.len() && dying >> waiter & 1 != 0 {
                waiting[waiter].signal();
            }
        }
        for (waiter, child) in waiting.into_iter().enumerate() {
            match dying >> waiter & 1 {
                0 => assert!(child.join(), "{round}: {dying:#b}: {waiter}"),
                _ => _ = child.kill(),
            }
        }
        eventually("all are told", || barrier.is_broken());
        assert!(later.into_iter().all(Child::join), "{round}: {dying:#b}");
        barrier.reset().unwrap();
    }
}

/// Each of them watches one other, however many they are.
fn those_who_wait_for_long_hold_few_handles() {
    let barrier = Barrier::new(17).unwrap();
    let before = count_handles();
    let waiting: Vec<Child> = (0..16).map(|_| fork(|| _ = barrier.wait())).collect();
    let handles = |child: &Child| std::fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap().count();
    eventually("all watch", || waiting.iter().all(|child| handles(child) > before));
    std::thread::sleep(SHORT);
    let most = waiting.iter().map(handles).max();
    assert!(most.is_some_and(|most| most <= before + 4), "{most:?} of {before}");
    assert!(barrier.wait().is_ok() && waiting.into_iter().all(Child::join));
}

/// All have come then, and none has gone on.
fn a_barrier_breaks_when_one_dies_in_its_action() {
    let barrier = Barrier::new(3).unwrap();
    let wait = || fork(|| assert!(matches!(barrier.wait(), Err(BarrierError::Broken))));
    let others = [wait(), wait()];
    eventually("two wait", || barrier.n_waiting() == 2);
    let victim = child_that(|ready| drop(barrier.wait_with(|| arrive(ready))));
    victim.kill();
    assert!(others.into_iter().all(Child::join));
    assert!(barrier.is_broken());
    barrier.reset().unwrap();
    let others = [(); 2].map(|()| fork(|| _ = barrier.wait().unwrap()));
    assert!(barrier.wait().is_ok() && others.into_iter().all(Child::join));
}

fn a_barrier_is_used_by_more_than_its_parties() {
    let (barrier, passes) = (Barrier::new(2).unwrap(), SharedAtomicU64::new(0).unwrap());
    let others: Vec<Child> = (0..5)
        .map(|_| {
            fork(|| {
                while barrier.wait().is_ok() {
                    passes.fetch_add(1, SeqCst);
                }
            })
        })
        .collect();
    eventually("all pass", || passes.load(SeqCst) > 2000);
    barrier.abort().unwrap();
    assert!(others.into_iter().all(Child::join));
}

fn an_aborted_barrier_fails_those_who_wait() {
    let barrier = Barrier::new(2).unwrap();
    let waiter = fork(|| assert!(matches!(barrier.wait(), Err(BarrierError::Broken))));
    eventually("it waits", || barrier.n_waiting() == 1);
    barrier.abort().unwrap();
    assert!(waiter.join());
}

fn an_aborted_barrier_is_reset() {
    let barrier = Barrier::new(2).unwrap();
    barrier.abort().unwrap();
    assert!(matches!(barrier.wait(), Err(BarrierError::Broken)));
    barrier.reset().unwrap();
    let other = fork(|| assert!(barrier.wait().is_ok()));
    barrier.wait().unwrap();
    assert!(other.join());
}

fn an_action_waits_up_to_a_timeout() {
    let barrier = Barrier::new(2).unwrap();
    let timed_out = barrier.wait_with_timeout(SHORT, || unreachable!("not all have come"));
    assert!(matches!(timed_out, Err(BarrierError::Timeout)));
    barrier.reset().unwrap();
    let actions = SharedAtomicU64::new(0).unwrap();
    let come = || _ = barrier.wait_with_timeout(LONG, || _ = actions.fetch_add(1, SeqCst)).unwrap();
    let other = fork(come);
    come();
    assert!(other.join());
    assert_eq!(actions.load(SeqCst), 1);
}

fn main() {
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { &[$((stringify!($name), $name as fn())),*] };
    }
    run(tests![
        a_barrier_lets_all_go_with_one_leader,
        a_barrier_breaks_when_one_who_waits_dies,
        a_barrier_is_not_filled_by_the_dead,
        a_barrier_breaks_whoever_of_those_who_wait_die,
        a_barrier_breaks_whoever_dies_while_others_come,
        those_who_wait_for_long_hold_few_handles,
        a_barrier_breaks_when_one_dies_in_its_action,
        a_barrier_is_used_by_more_than_its_parties,
        an_aborted_barrier_fails_those_who_wait,
        an_aborted_barrier_is_reset,
        an_action_waits_up_to_a_timeout,
    ]);
}
