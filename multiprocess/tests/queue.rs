//! `Queue`: what goes in comes out, whoever ends or is killed.

mod common;

use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{LONG, SHORT, spawn, suite};
use multiprocess::sync::{GetError, PutError};
use multiprocess::{BinarySemaphore, Event, Lock, Message, Queue, Receiver, Sender, StartMethod, pipe};
use serde::ser::{Serialize, Serializer};

suite! {
    started: [
        a_full_queue_is_emptied_by_a_child,
        items_of_parent_and_child_arrive,
        items_of_one_producer_keep_their_order,
        items_of_several_producers_come_in_the_order_of_their_puts,
        a_child_ends_before_its_item_is_taken,
        one_killed_while_it_waits_for_an_item_disturbs_nobody,
        locks_and_channel_ends_travel_in_items,
        a_queue_travels_in_a_message,
        closing_ends_the_waits_of_others,
    ],
    plain: [
        a_bounded_queue_refuses_at_once_or_after_its_timeout,
        an_empty_queue_refuses_at_once_or_after_its_timeout,
        the_length_is_exact,
        an_item_that_does_not_encode_is_an_error_of_put,
        a_closed_queue_gives_back_what_is_put,
        a_queue_outside_a_message_is_an_error,
    ],
}

fn a_bounded_queue_refuses_at_once_or_after_its_timeout() {
    let queue = Queue::bounded(6).unwrap();
    assert!(queue.is_empty() && !queue.is_full());
    queue.put(1).unwrap();
    queue.put_timeout(2, LONG).unwrap();
    queue.try_put(3).unwrap();
    (4..=6).for_each(|item| queue.put(item).unwrap());
    assert!(!queue.is_empty() && queue.is_full());
    let start = Instant::now();
    assert!(matches!(queue.try_put(7), Err(PutError::Full(7))));
    assert!(matches!(queue.put_timeout(8, Duration::ZERO), Err(PutError::Full(8))));
    assert!(matches!(queue.put_timeout(9, SHORT), Err(PutError::Full(9))));
    assert!(start.elapsed() >= SHORT);
    assert_eq!(queue.get().unwrap(), 1);
    queue.try_put(7).unwrap();
}

fn an_empty_queue_refuses_at_once_or_after_its_timeout() {
    let queue = Queue::<u32>::new().unwrap();
    let start = Instant::now();
    assert!(matches!(queue.try_get(), Err(GetError::Empty)));
    assert!(matches!(queue.get_timeout(Duration::ZERO), Err(GetError::Empty)));
    assert!(matches!(queue.get_timeout(SHORT), Err(GetError::Empty)));
    assert!(start.elapsed() >= SHORT);
    (1..=3).for_each(|item| queue.put(item).unwrap());
    assert_eq!(queue.get().unwrap(), 1);
    assert_eq!(queue.try_get().unwrap(), 2);
    assert_eq!(queue.get_timeout(LONG).unwrap(), 3);
}

fn the_length_is_exact() {
    let queue = Queue::new().unwrap();
    for len in 0..50 {
        assert_eq!(queue.len(), len);
        queue.put(len).unwrap();
    }
    for len in (0..50).rev() {
        queue.get().unwrap();
        assert_eq!(queue.len(), len);
    }
    assert!(queue.is_empty());
}

fn a_full_queue_is_emptied_by_a_child(method: StartMethod) {
    let (queue, go) = (Queue::bounded(3).unwrap(), Event::new().unwrap());
    (0..3).for_each(|item| queue.put(item).unwrap());
    let take = |(queue, go): (Queue<u32>, Event)| {
        go.wait();
        (0..4).map(|_| queue.get().unwrap()).collect::<Vec<_>>()
    };
    let child = spawn(method, take, (queue.clone(), go.clone())).unwrap();
    assert!(queue.try_put(3).unwrap_err().is_full());
    go.set();
    queue.put_timeout(3, LONG).unwrap();
    assert_eq!(child.join().unwrap(), [0, 1, 2, 3]);
    assert!(queue.is_empty());
}

fn items_of_parent_and_child_arrive(method: StartMethod) {
    let queue = Queue::new().unwrap();
    (0..10).for_each(|item| queue.put(item).unwrap());
    let put = |queue: Queue<u32>| (10..20).for_each(|item| queue.put(item).unwrap());
    spawn(method, put, queue.clone()).unwrap().join().unwrap();
    let items: Vec<u32> = (0..20).map(|_| queue.get().unwrap()).collect();
    assert_eq!(items, (0..20).collect::<Vec<_>>());
    assert!(matches!(queue.try_get(), Err(GetError::Empty)));
}

fn items_of_one_producer_keep_their_order(method: StartMethod) {
    let queue = Queue::new().unwrap();
    let put = |(queue, producer): (Queue<(u32, u32)>, u32)| {
        (0..200).for_each(|item| queue.put((producer, item)).unwrap());
    };
    let children: Vec<_> = (0..3).map(|i| spawn(method, put, (queue.clone(), i)).unwrap()).collect();
    let mut next = [0; 3];
    for _ in 0..600 {
        let (producer, item) = queue.get_timeout(LONG).unwrap();
        assert_eq!(item, next[producer as usize]);
        next[producer as usize] += 1;
    }
    children.into_iter().for_each(|child| child.join().unwrap());
}

/// In the original each producer has a thread that sends, and the order is that of the threads.
fn items_of_several_producers_come_in_the_order_of_their_puts(method: StartMethod) {
    const ROUNDS: u32 = 100;
    let (queue, turns) = (Queue::new().unwrap(), [0, 0].map(|_| BinarySemaphore::new().unwrap()));
    turns.iter().for_each(|turn| turn.acquire().unwrap());
    let answer = |(queue, [ours, theirs]): (Queue<u32>, [BinarySemaphore; 2])| {
        for round in 0..ROUNDS {
            ours.acquire().unwrap();
            queue.put(2 * round + 1).unwrap();
            theirs.release().unwrap();
        }
    };
    let child = spawn(method, answer, (queue.clone(), turns.clone())).unwrap();
    let [theirs, ours] = turns;
    for round in 0..ROUNDS {
        queue.put(2 * round).unwrap();
        theirs.release().unwrap();
        ours.acquire_timeout(LONG).unwrap();
        assert_eq!(queue.len(), 2 * round as usize + 2, "both are there");
    }
    child.join().unwrap();
    assert!((0..2 * ROUNDS).all(|item| queue.try_get().unwrap() == item));
}

fn a_child_ends_before_its_item_is_taken(method: StartMethod) {
    let queue = Queue::new().unwrap();
    let put = |queue: Queue<String>| queue.put("X".repeat(1_000_000)).unwrap();
    spawn(method, put, queue.clone()).unwrap().join().unwrap();
    assert_eq!(queue.get().unwrap().len(), 1_000_000);
}

fn one_killed_while_it_waits_for_an_item_disturbs_nobody(method: StartMethod) {
    let (queue, ready) = (Queue::new().unwrap(), Event::new().unwrap());
    let get = |(queue, ready): (Queue<u32>, Event)| {
        ready.set();
        queue.get().unwrap()
    };
    let child = spawn(method, get, (queue.clone(), ready.clone())).unwrap();
    ready.wait_timeout(LONG).unwrap();
    sleep(SHORT);
    child.kill().unwrap();
    child.join().unwrap_err();
    queue.put(1).unwrap();
    assert_eq!(queue.get_timeout(LONG).unwrap(), 1);
}

fn locks_and_channel_ends_travel_in_items(method: StartMethod) {
    type Item = (Lock, Sender<bool>);
    let answer = |queue: Queue<Item>| {
        let (lock, tx) = queue.get().unwrap();
        tx.send(&lock.try_lock().is_err()).unwrap();
    };
    let (queue, lock) = (Queue::<Item>::new().unwrap(), Lock::new().unwrap());
    let (tx, rx) = pipe().unwrap();
    let child = spawn(method, answer, queue.clone()).unwrap();
    let _guard = lock.lock().unwrap();
    queue.put((lock.clone(), tx)).unwrap();
    assert!(rx.recv_timeout(LONG).unwrap(), "the child sees that the lock is taken");
    child.join().unwrap();
}

fn a_queue_travels_in_a_message(method: StartMethod) {
    let (tx, rx) = pipe::<Queue<u32>>().unwrap();
    let child = spawn(method, |rx: Receiver<Queue<u32>>| rx.recv().unwrap().put(5).unwrap(), rx).unwrap();
    let queue = Queue::new().unwrap();
    tx.send(&queue).unwrap();
    assert_eq!(queue.get_timeout(LONG).unwrap(), 5);
    child.join().unwrap();
}

fn closing_ends_the_waits_of_others(method: StartMethod) {
    let queue = Queue::<u32>::new().unwrap();
    let get = |queue: Queue<u32>| queue.get().is_err_and(|error| error.is_closed());
    let child = spawn(method, get, queue.clone()).unwrap();
    sleep(SHORT);
    queue.close();
    assert!(child.join().unwrap());
}

/// Refuses to be encoded.
#[derive(Debug, PartialEq, serde::Deserialize)]
struct Unsendable;

impl Serialize for Unsendable {
    fn serialize<S: Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("never"))
    }
}

fn an_item_that_does_not_encode_is_an_error_of_put() {
    let queue = Queue::<Result<u32, Unsendable>>::bounded(1).unwrap();
    for _ in 0..3 {
        let error = queue.put(Err(Unsendable)).unwrap_err();
        assert!(matches!(error, PutError::Encode { item: Err(Unsendable), .. }), "{error}");
        assert_eq!(queue.len(), 0);
    }
    queue.try_put(Ok(1)).unwrap();
    assert_eq!(queue.get().unwrap(), Ok(1));
}

fn a_closed_queue_gives_back_what_is_put() {
    let queue = Queue::new().unwrap();
    queue.put(1).unwrap();
    queue.close();
    queue.close();
    assert!(queue.is_closed());
    let error = queue.put(2).unwrap_err();
    assert!(error.is_closed());
    assert_eq!(error.into_item(), 2);
    assert_eq!(queue.len(), 1);
    assert_eq!(queue.get().unwrap(), 1);
    assert!(matches!(queue.get(), Err(GetError::Closed)));
    assert!(matches!(queue.try_get(), Err(GetError::Closed)));
    assert!(queue.is_empty(), "a closed queue can be asked");
    let unused = Queue::<u32>::new().unwrap();
    unused.close();
    assert!(unused.is_empty() && unused.is_closed());
}

fn a_queue_outside_a_message_is_an_error() {
    fn is_message<T: Message>(_: &T) {}
    let queue = Queue::<u32>::new().unwrap();
    is_message(&queue);
    assert!(serde_json::to_string(&queue).is_err());
}
