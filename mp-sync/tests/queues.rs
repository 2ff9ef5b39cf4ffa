//! What processes see of each other at queues.

mod common;

use std::num::NonZeroU8;
use std::time::Duration;

use common::{fork, run};
use mp_sync::{GetError, JoinableQueue, PutError, Queue, SimpleQueue, Value};
use serde::{Deserialize, Serialize};

const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(30);

fn a_producer_may_end_before_anybody_gets() {
    let queue = Queue::<Vec<u8>>::new().unwrap();
    let producer = fork(|| (0..200u8).for_each(|n| queue.put(vec![n; 100_000]).unwrap()));
    assert!(producer.join());
    assert_eq!(queue.len(), 200);
    (0..200u8).for_each(|n| assert_eq!(queue.get().unwrap(), vec![n; 100_000]));
    assert!(queue.is_empty());
}

fn a_reader_killed_inside_get_harms_nobody() {
    let queue = SimpleQueue::<u32>::new().unwrap();
    let victim = fork(|| drop(queue.get()));
    std::thread::sleep(2 * SHORT);
    let other = fork(|| assert_eq!(queue.get().unwrap(), 5));
    std::thread::sleep(SHORT);
    victim.kill();
    queue.put(5).unwrap();
    assert!(other.join());
}

fn a_queues_timeouts_hold() {
    let queue = Queue::<u32>::bounded(1).unwrap();
    assert!(matches!(queue.try_get(), Err(GetError::Empty)));
    assert!(matches!(queue.get_timeout(SHORT), Err(GetError::Empty)));
    queue.put(1).unwrap();
    assert!(queue.is_full());
    assert!(matches!(queue.try_put(2), Err(PutError::Full(2))));
    assert!(matches!(queue.put_timeout(2, SHORT), Err(PutError::Full(2))));
    let consumer = fork(|| {
        std::thread::sleep(SHORT);
        assert_eq!(queue.get().unwrap(), 1);
    });
    queue.put_timeout(2, LONG).unwrap();
    assert!(consumer.join());
}

fn a_closed_queue_gives_what_it_has() {
    let queue = Queue::<u32>::bounded(2).unwrap();
    let consumer = fork(|| assert_eq!(queue.iter().map(Result::unwrap).sum::<u32>(), 3));
    queue.put(1).unwrap();
    queue.put(2).unwrap();
    std::thread::sleep(SHORT);
    queue.close();
    assert!(consumer.join());
    assert!(queue.put(3).unwrap_err().is_closed());
    assert!(queue.get().unwrap_err().is_closed());
}

fn a_queue_is_gone_over() {
    let queue = Queue::<NonZeroU8>::new().unwrap();
    let consumer = fork(|| {
        let mut numbers = Vec::new();
        for item in &queue {
            numbers.push(item.unwrap().get());
        }
        assert_eq!(numbers, [1, 2]);
    });
    (1..=2).for_each(|number| queue.put(NonZeroU8::new(number).unwrap()).unwrap());
    std::thread::sleep(SHORT);
    queue.close();
    assert!(consumer.join());

    let (joinable, simple) = (JoinableQueue::new().unwrap(), SimpleQueue::new().unwrap());
    for number in [-1, 1, -2, 2] {
        joinable.put(Positive(number)).unwrap();
        simple.put(Positive(number)).unwrap();
    }
    joinable.close();
    simple.close();
    let shown = |item: Result<Positive, GetError>| item.map(|Positive(number)| number).unwrap_or(0);
    assert_eq!((&joinable).into_iter().map(shown).collect::<Vec<_>>(), [0, 1, 0, 2]);
    assert_eq!((&simple).into_iter().map(shown).collect::<Vec<_>>(), [0, 1, 0, 2]);
}

/// What is negative can be put, and not got.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "i32", into = "i32")]
struct Positive(i32);

impl From<Positive> for i32 {
    fn from(positive: Positive) -> Self {
        positive.0
    }
}

impl TryFrom<i32> for Positive {
    type Error = &'static str;

    fn try_from(number: i32) -> Result<Self, Self::Error> {
        (number > 0).then_some(Self(number)).ok_or("not above zero")
    }
}

fn items_of_any_size_go_through_a_small_queue() {
    let queue = Queue::builder().memory(1 << 20).build::<Vec<u8>>().unwrap();
    let sizes =
        || [0, 1, 15, 16, 17, 4096, 500_000, 3, 100_000, 400_000, 524_000].into_iter().cycle().take(500);
    let producer = fork(|| sizes().for_each(|size| queue.put(vec![size as u8; size]).unwrap()));
    sizes().for_each(|size| assert_eq!(queue.get().unwrap(), vec![size as u8; size]));
    assert!(producer.join());
    assert!(matches!(queue.put(vec![0; 1 << 20]), Err(PutError::TooLarge { .. })));
}

fn a_queue_without_a_bound_is_bounded_by_its_memory() {
    let queue = Queue::builder().memory(64 << 10).build::<Vec<u8>>().unwrap();
    let put = (0..).take_while(|n| queue.try_put(vec![*n as u8; 1000]).is_ok()).count();
    assert!((32..=64).contains(&put), "{put} items of a thousand bytes in 64 KiB");
    assert!(matches!(queue.put_timeout(vec![0; 1000], SHORT), Err(PutError::Full(_))));
    assert_eq!(queue.len(), put);
    let producer = fork(|| queue.put(vec![99; 1000]).unwrap());
    std::thread::sleep(SHORT);
    (0..put).for_each(|n| assert_eq!(queue.get().unwrap(), vec![n as u8; 1000]));
    assert!(producer.join());
    assert_eq!(queue.get().unwrap(), vec![99; 1000]);

    let joinable = Queue::builder().memory(64 << 10).items(2).build_joinable::<Vec<u8>>().unwrap();
    let simple = Queue::builder().memory(64 << 10).build_simple::<Vec<u8>>().unwrap();
    assert!(matches!(joinable.put(vec![0; 40 << 10]), Err(PutError::TooLarge { .. })));
    assert!(matches!(simple.put(vec![0; 40 << 10]), Err(PutError::TooLarge { .. })));
    (0..2).for_each(|_| joinable.put(vec![0; 30 << 10]).unwrap());
    (0..2).for_each(|_| simple.put(vec![0; 30 << 10]).unwrap());
    assert!(joinable.is_full() && joinable.unfinished() == 2);
    assert!(simple.put_timeout(vec![0; 30 << 10], SHORT).is_err_and(|error| error.is_full()));
}

/// Puts items with a handle in each until no more may be under way, twice.
fn fill_with_handles() -> usize {
    let (queue, value) = (Queue::<(usize, Value<u32>)>::new().unwrap(), Value::new(7).unwrap());
    let fill = || {
        (0..).find_map(|n| match queue.try_put((n, value.clone())) {
            Ok(()) => None,
            Err(PutError::Handles { item: (number, _), .. }) => Some(number),
            Err(error) => panic!("{error}"),
        })
    };
    let under_way = fill().unwrap();
    assert_eq!(queue.len(), under_way, "what was refused is not there");
    let get_all = || {
        for n in 0..under_way {
            let (number, value) = queue.try_get().unwrap();
            assert_eq!((number, value.get().unwrap()), (n, 7));
        }
        assert!(queue.is_empty());
    };
    get_all();
    assert_eq!(fill(), Some(under_way), "there is as much room as before");
    get_all();
    under_way
}

fn handles_on_their_way_are_bounded() {
    assert!(fork(|| assert!(fill_with_handles() > 30)).join());
    let as_nobody = fork(|| {
        common::become_nobody(64);
        let under_way = fill_with_handles();
        assert!((10..=65).contains(&under_way), "{under_way} handles with a limit of 64");
    });
    assert!(as_nobody.join());
}

fn a_simple_queues_timeouts_hold() {
    let queue = SimpleQueue::<u32>::new().unwrap();
    assert!(matches!(queue.get_timeout(SHORT), Err(GetError::Empty)));
    let producer = fork(|| queue.put_timeout(5, LONG).unwrap());
    assert_eq!(queue.get_timeout(LONG).unwrap(), 5);
    assert!(producer.join());
}

fn an_item_that_cannot_be_encoded_comes_back() {
    let queue = Queue::<std::time::SystemTime>::new().unwrap();
    let before_1970 = std::time::UNIX_EPOCH - LONG;
    assert!(matches!(queue.put(before_1970), Err(PutError::Encode { .. })));
    assert!(queue.is_empty());
}

fn locks_and_queues_travel_through_a_queue() {
    let queue = Queue::<(Value<u32>, Queue<u32>)>::new().unwrap();
    let child = fork(|| {
        let (value, answers) = (Value::new(3).unwrap(), Queue::new().unwrap());
        queue.put((value.clone(), answers.clone())).unwrap();
        assert_eq!(answers.get_timeout(LONG).unwrap(), 4);
        assert_eq!(value.get().unwrap(), 5);
    });
    let (value, answers) = queue.get().unwrap();
    assert_eq!(value.get().unwrap(), 3);
    value.set(5).unwrap();
    answers.put(4).unwrap();
    assert!(child.join());
}

fn a_joinable_queue_knows_when_all_is_done() {
    let queue = JoinableQueue::<u32>::new().unwrap();
    (0..10).for_each(|n| queue.put(n).unwrap());
    assert!(queue.join_timeout(SHORT).is_err());
    let worker = fork(|| {
        for _ in 0..10 {
            queue.get().unwrap();
            queue.task_done().unwrap();
        }
    });
    queue.join();
    assert!(worker.join());
    assert!(queue.task_done().is_err());
}

fn main() {
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { &[$((stringify!($name), $name as fn())),*] };
    }
    run(tests![
        a_producer_may_end_before_anybody_gets,
        a_reader_killed_inside_get_harms_nobody,
        a_queues_timeouts_hold,
        a_closed_queue_gives_what_it_has,
        a_queue_is_gone_over,
        items_of_any_size_go_through_a_small_queue,
        a_queue_without_a_bound_is_bounded_by_its_memory,
        handles_on_their_way_are_bounded,
        a_simple_queues_timeouts_hold,
        an_item_that_cannot_be_encoded_comes_back,
        locks_and_queues_travel_through_a_queue,
        a_joinable_queue_knows_when_all_is_done,
    ]);
}
