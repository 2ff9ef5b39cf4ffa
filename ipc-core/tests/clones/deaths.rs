//! Senders that are killed or stopped keep nobody, and tear nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ipc_core::{RecvError, SendError, Sender, pipe};
use mp_process::StartMethod;
use mp_testkit::chaos;

use crate::{LONG, Numbered, SHORT, chatter_for_ever, chatter_for_ever_over, each, end, spawn};

pub(crate) fn killed_senders_tear_nothing_and_keep_nobody(method: StartMethod) {
    for (name, (tx, rx)) in each::<Numbered>() {
        let mut expected = HashMap::new();
        let mut random = chaos::Rng::new(7);
        let mut children = Vec::new();
        for sender in 1..=12 {
            children.push(spawn(method, chatter_for_ever, (tx.clone(), sender)).unwrap());
            let until = Instant::now() + random.pause(Duration::from_millis(20));
            while Instant::now() < until {
                match rx.recv_timeout(SHORT) {
                    Ok(message) => message.check(&mut expected),
                    Err(RecvError::Timeout) => {}
                    Err(error) => panic!("{name}: {error}"),
                }
            }
            if children.len() == 4 {
                end(children.remove(random.below(4)));
            }
        }
        children.into_iter().for_each(end);
        // Whoever comes after the dead gets through, behind what is still there.
        std::thread::scope(|scope| {
            scope.spawn(|| (0..3).for_each(|number| tx.send(&Numbered::new(0, number, None)).unwrap()));
            while expected.get(&0) != Some(&3) {
                rx.recv_timeout(LONG).unwrap().check(&mut expected);
            }
        });
        drop(tx);
        assert!(matches!(rx.recv_timeout(LONG), Err(RecvError::Closed)), "{name}");
    }
}

pub(crate) fn a_stopped_sender_keeps_nobody_past_a_deadline(method: StartMethod) {
    for (name, (tx, rx)) in each::<Numbered>() {
        let child = spawn(method, chatter_for_ever, (tx.clone(), 1)).unwrap();
        assert!(rx.poll(LONG).unwrap());
        // Nobody receives, so that it waits for room in the end, and has the turn.
        let mut number = 0;
        let mut vain = 0;
        while vain < 20 {
            std::thread::sleep(SHORT / 10);
            match tx.try_send(&Numbered::new(0, number, None)) {
                Ok(()) => (number, vain) = (number + 1, 0),
                Err(SendError::Timeout) => vain += 1,
                Err(error) => panic!("{name}: {error}"),
            }
        }
        let next = || Numbered::new(0, number, None);
        chaos::stop(child.pid()).unwrap();
        let begun = Instant::now();
        let sent = tx.send_timeout(&next(), SHORT);
        assert!(matches!(sent, Err(SendError::Timeout)), "{name}: {sent:?}");
        assert!(matches!(tx.try_send(&next()), Err(SendError::Timeout)), "{name}");
        assert!(begun.elapsed() >= SHORT);
        // Its death is the end of its turn, whatever it was about.
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| tx.send(&next()));
            end(child);
            let mut expected = HashMap::new();
            while expected.get(&0) != Some(&(number + 1)) {
                rx.recv_timeout(LONG).unwrap().check(&mut expected);
            }
            sending.join().unwrap().unwrap();
        });
    }
}

/// Threads of several processes, which share a sender or have clones of their own.
fn chatter_by_threads((tx, first): (Sender<Numbered>, u64)) {
    std::thread::scope(|scope| {
        let clone = tx.clone();
        for sender in [first, first + 1] {
            let tx = &tx;
            scope.spawn(move || chatter_for_ever_over(tx, sender));
        }
        scope.spawn(move || chatter_for_ever_over(&clone, first + 2));
    });
}

pub(crate) fn killed_processes_of_many_threads_keep_nobody(method: StartMethod) {
    for (name, (tx, rx)) in each::<Numbered>() {
        let mut expected = HashMap::new();
        let mut random = chaos::Rng::new(17);
        let mut children = Vec::new();
        let (tx, done) = (&tx, &AtomicBool::new(false));
        std::thread::scope(|scope| {
            // The first of all clones leaves while threads of this process send as well.
            let own: Vec<_> = (0..2u64)
                .map(|sender| {
                    scope.spawn(move || {
                        let mut number = 0;
                        while !done.load(Ordering::Relaxed) {
                            tx.send(&Numbered::new(sender, number, None)).unwrap();
                            number += 1;
                        }
                        number
                    })
                })
                .collect();
            for round in 1..=8 {
                let (go, gone) = pipe::<Sender<Numbered>>().unwrap();
                let starting = scope.spawn(move || {
                    // The first is refused where no thread of this process lets it have a turn for a second.
                    while let Err(error) = go.send(&tx.clone()) {
                        assert!(matches!(error, SendError::Encode(_)), "{name}: {error}");
                    }
                    spawn(method, chatter_by_threads, (gone.recv().unwrap(), round * 10)).unwrap()
                });
                let until = Instant::now() + random.pause(Duration::from_millis(30));
                while Instant::now() < until || !starting.is_finished() {
                    match rx.recv_timeout(SHORT) {
                        Ok(message) => message.check(&mut expected),
                        Err(RecvError::Timeout) => {}
                        Err(error) => panic!("{name}: {error}"),
                    }
                }
                children.push(starting.join().unwrap());
                if children.len() == 3 {
                    end(children.remove(random.below(3)));
                }
            }
            children.into_iter().for_each(end);
            done.store(true, Ordering::Relaxed);
            while !own.iter().all(|thread| thread.is_finished()) {
                if let Ok(message) = rx.recv_timeout(SHORT) {
                    message.check(&mut expected);
                }
            }
            while let Ok(message) = rx.recv_timeout(SHORT) {
                message.check(&mut expected);
            }
            for (sender, thread) in (0..2).zip(own) {
                assert_eq!(expected.get(&sender).copied().unwrap_or(0), thread.join().unwrap(), "{name}");
            }
        });
    }
}
