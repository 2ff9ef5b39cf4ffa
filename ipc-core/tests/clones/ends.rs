//! The end comes with the last clone, and everybody who waits is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc_core::{Receiver, RecvError, Sender, WaitSet, pipe, wait};
use mp_process::StartMethod;

use crate::{LONG, SHORT, each, end, spawn};

fn say_and_hold((tx, wait_for): (Sender<u64>, Receiver<()>)) {
    tx.send(&1).unwrap();
    let _ = wait_for.recv();
}

pub(crate) fn the_end_comes_with_the_last_clone(method: StartMethod) {
    for (name, (tx, rx)) in each::<u64>() {
        let (hold, held) = pipe::<()>().unwrap();
        let (hold_too, held_too) = pipe::<()>().unwrap();
        let first = tx.clone();
        let arguments = (first, held);
        let child = spawn(method, say_and_hold, arguments).unwrap();
        let other = spawn(method, say_and_hold, (tx.clone(), held_too)).unwrap();
        assert_eq!((rx.recv_timeout(LONG).unwrap(), rx.recv_timeout(LONG).unwrap()), (1, 1), "{name}");
        tx.send(&2).unwrap();
        drop(tx);
        assert_eq!(rx.recv_timeout(LONG).unwrap(), 2, "{name}");
        drop(hold);
        child.join().unwrap();
        assert!(matches!(rx.recv_timeout(SHORT), Err(RecvError::Timeout)), "{name}: one is left");
        assert!(matches!(rx.try_recv(), Err(RecvError::Timeout)), "{name}: one is left");
        // It is told also while it sleeps, and of one that is killed.
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| rx.recv());
            std::thread::sleep(SHORT);
            end(other);
            assert!(matches!(sleeper.join().unwrap(), Err(RecvError::Closed)), "{name}");
        });
        drop(hold_too);
    }
}

fn hold((tx, ready): (Sender<u64>, Sender<()>)) {
    ready.send(&()).unwrap();
    loop {
        std::thread::sleep(LONG);
        let _ = &tx;
    }
}

pub(crate) fn a_wait_is_told_of_the_last_clone(method: StartMethod) {
    for (name, (tx, rx)) in each::<u64>() {
        let rx = Arc::new(rx);
        let set = WaitSet::new().unwrap();
        set.add(9, Arc::clone(&rx)).unwrap();
        assert!(set.wait(Some(Duration::ZERO)).unwrap().is_empty());
        let (ready, is_ready) = pipe().unwrap();
        let [first, second] = [tx.clone(), tx].map(|tx| spawn(method, hold, (tx, ready.clone())).unwrap());
        (0..2).for_each(|_| is_ready.recv_timeout(LONG).unwrap());
        end(first);
        assert!(set.wait(Some(SHORT)).unwrap().is_empty(), "{name}: one is left");
        assert!(wait(&[&*rx], Some(SHORT)).unwrap().is_empty(), "{name}: one is left");
        std::thread::scope(|scope| {
            let in_set = scope.spawn(|| set.wait(Some(LONG)).unwrap());
            let in_wait = scope.spawn(|| wait(&[&*rx], Some(LONG)).unwrap());
            std::thread::sleep(SHORT);
            end(second);
            assert_eq!((in_set.join().unwrap(), in_wait.join().unwrap()), (vec![9], vec![0]), "{name}");
        });
        assert!(matches!(rx.recv_timeout(LONG), Err(RecvError::Closed)), "{name}");
    }
}

pub(crate) fn who_only_looks_is_told_of_the_end(method: StartMethod) {
    for (name, (tx, rx)) in each::<u64>() {
        let (ready, is_ready) = pipe().unwrap();
        let children = [tx.clone(), tx].map(|tx| spawn(method, hold, (tx, ready.clone())).unwrap());
        children.iter().for_each(|_| is_ready.recv_timeout(LONG).unwrap());
        assert!(matches!(rx.try_recv(), Err(RecvError::Timeout)), "{name}");
        children.into_iter().for_each(end);
        let begun = Instant::now();
        while let Err(RecvError::Timeout) = rx.try_recv() {
            assert!(begun.elapsed() < LONG, "{name}");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(matches!(rx.try_recv(), Err(RecvError::Closed)), "{name}");
    }
}

pub(crate) fn a_clone_that_nobody_receives_is_closed_with_its_channel() {
    for (name, (tx, rx)) in each::<u64>() {
        let (mover, moved) = pipe::<Sender<u64>>().unwrap();
        mover.send(&tx.clone()).unwrap();
        drop(tx);
        assert!(matches!(rx.recv_timeout(SHORT), Err(RecvError::Timeout)), "{name}: one is on its way");
        drop((mover, moved));
        assert!(matches!(rx.recv_timeout(LONG), Err(RecvError::Closed)), "{name}");
    }
}
