//! Trees of processes, and many starts at once.

use std::thread;

use mp_process::{Process, StartMethod};

use super::{say, sleep_long, spawn};

fn descend((method, depth): (StartMethod, u32)) {
    say("here");
    if depth > 0 {
        let below = Process::builder().start_method(method).spawn(descend, (method, depth - 1)).unwrap();
        let _ = below.join();
    }
    sleep_long(());
}

pub(super) fn tree(method: StartMethod) {
    let _children: Vec<_> = (0..2)
        .map(|_| Process::builder().start_method(method).spawn(descend, (method, 2)).unwrap())
        .collect();
    sleep_long(());
}

pub(super) fn start_for_ever(method: StartMethod) {
    let mut children = Vec::new();
    loop {
        children.push(spawn(method, sleep_long));
        if children.len() > 3 {
            children.remove(0).kill().unwrap();
        }
    }
}

pub(super) fn dig(method: StartMethod) {
    fn deeper((method, left): (StartMethod, u32)) -> u32 {
        if left == 0 {
            return 0;
        }
        let child = Process::builder().start_method(method).spawn(deeper, (method, left - 1));
        1 + child.unwrap().join().unwrap()
    }
    assert_eq!(deeper((method, 12)), 12);
}

pub(super) fn start_from_many_threads(method: StartMethod) {
    let threads: Vec<_> = (0..16)
        .map(|number: u32| {
            thread::spawn(move || {
                for round in 0..8 {
                    let builder = Process::builder().start_method(method);
                    let child = builder.spawn(|x: u32| 2 * x, number * 100 + round).unwrap();
                    assert_eq!(child.join().unwrap(), 2 * (number * 100 + round));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

pub(super) fn start_in_threads_of_children(method: StartMethod) {
    let parent = |method: StartMethod| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                thread::spawn(move || {
                    let child = Process::builder().start_method(method).spawn(|x: u32| x + 1, 1);
                    child.unwrap().join().unwrap()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<u32>()
    };
    let child = Process::builder().start_method(method).spawn(parent, method).unwrap();
    assert_eq!(child.join().unwrap(), 8);
}
