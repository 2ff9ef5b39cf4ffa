//! `JoinableQueue`: join waits until all that was put has been done.

mod common;

use std::thread::sleep;

use common::{LONG, SHORT, spawn, suite};
use multiprocess::sync::DoneError;
use multiprocess::{JoinableQueue, StartMethod};

suite! {
    started: [join_returns_when_children_have_done_all],
    plain: [done_more_often_than_put_is_an_error, join_of_nothing_returns_at_once],
}

fn join_returns_when_children_have_done_all(method: StartMethod) {
    let queue = JoinableQueue::<Option<u32>>::new().unwrap();
    let work = |queue: JoinableQueue<Option<u32>>| {
        while let Some(_item) = queue.get().unwrap() {
            sleep(SHORT / 10);
            queue.task_done().unwrap();
        }
        queue.task_done().unwrap();
    };
    let children: Vec<_> = (0..3).map(|_| spawn(method, work, queue.clone()).unwrap()).collect();
    (0..10).for_each(|item| queue.put(Some(item)).unwrap());
    queue.join();
    assert!(queue.is_empty());
    assert_eq!(queue.unfinished(), 0);
    children.iter().for_each(|_| queue.put(None).unwrap());
    children.into_iter().for_each(|child| child.join().unwrap());
    queue.join_timeout(LONG).unwrap();
}

fn done_more_often_than_put_is_an_error() {
    let queue = JoinableQueue::bounded(2).unwrap();
    assert!(matches!(queue.task_done(), Err(DoneError::TooMany)));
    queue.put(1).unwrap();
    assert!(queue.join_timeout(SHORT).is_err());
    queue.get().unwrap();
    assert!(queue.join_timeout(SHORT).is_err());
    queue.task_done().unwrap();
    assert!(matches!(queue.task_done(), Err(DoneError::TooMany)));
    queue.join();
}

fn join_of_nothing_returns_at_once() {
    JoinableQueue::<u8>::new().unwrap().join();
}
