//! Values that tasks share: sent once to each worker, and dropped when nobody needs them.

use std::process::ExitCode;

use ipc_core::{Connection, duplex};
use mp_pool::{Pool, Shared};
use mp_process::StartMethod;
use mp_testkit::chaos;
use serde::{Deserialize, Deserializer, Serialize};

mod common;

use common::Tally;

fn main() -> ExitCode {
    const STARTED: &[common::Started] = &[
        ("it_is_decoded_once_in_each_worker", it_is_decoded_once_in_each_worker),
        ("workers_in_others_places_get_it_too", workers_in_others_places_get_it_too),
        ("workers_drop_it_when_nobody_needs_it", workers_drop_it_when_nobody_needs_it),
    ];
    let others = mp_testkit::trials![
        every_verb_looks_at_the_value,
        it_stays_while_a_task_needs_it,
        a_value_that_does_not_decode_is_its_tasks_error,
        a_channel_end_is_refused,
        it_may_outlive_its_pool,
        many_values_are_kept_apart,
    ];
    common::run(STARTED, others)
}

/// How often a [`Counted`] was decoded, and how often what was decoded was dropped.
const DECODED: usize = 0;
const DROPPED: usize = 1;
/// For what else a test counts.
const STEPS: usize = 2;

/// A value that counts, with a handle in it.
#[derive(Debug, Serialize)]
struct Counted {
    tally: Tally,
    bytes: Vec<u8>,
    #[serde(skip)]
    is_decoded: bool,
}

impl Counted {
    fn new(len: usize) -> Self {
        Self { tally: Tally::new(), bytes: vec![7; len], is_decoded: false }
    }
}

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (tally, bytes) = <(Tally, Vec<u8>)>::deserialize(deserializer)?;
        tally.add(DECODED, 1);
        Ok(Self { tally, bytes, is_decoded: true })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.is_decoded {
            self.tally.add(DROPPED, 1);
        }
    }
}

/// Waits until so many workers have decoded the value: so many are at it at once.
fn meet(counted: &Counted, workers: u64) -> usize {
    counted.tally.await_at_least(DECODED, workers);
    counted.bytes.len()
}

fn len(counted: &Counted, _: u64) -> usize {
    counted.bytes.len()
}

/// Has so many workers at it at once.
fn meet_all(shared: &Shared<Counted>, workers: u64) {
    let lens: Vec<usize> =
        shared.imap(meet, vec![workers; workers as usize]).chunk_size(1).map(Result::unwrap).collect();
    assert!(lens.into_iter().all(|len| len == shared.apply(self::len, 0).unwrap()));
}

fn it_is_decoded_once_in_each_worker(method: StartMethod) {
    let pool = Pool::builder().processes(3).start_method(method).build().unwrap();
    for size in [10, 3 << 20] {
        let counted = Counted::new(size);
        let shared = pool.share(&counted).unwrap();
        meet_all(&shared, 3);
        for _ in 0..3 {
            assert_eq!(shared.map(len, 0..500).unwrap(), vec![size; 500]);
            assert_eq!(shared.clone().imap_unordered(len, 0..100).count(), 100);
        }
        assert_eq!(counted.tally.get(DECODED), 3);
    }
}

fn workers_in_others_places_get_it_too(method: StartMethod) {
    let pool = Pool::builder().processes(2).start_method(method).retries(5).build().unwrap();
    let counted = Counted::new(100_000);
    let shared = pool.share(&counted).unwrap();
    meet_all(&shared, 2);
    chaos::kill(pool.pids()[0]).unwrap();
    meet_all(&shared, 3);
    assert_eq!(shared.map(len, 0..100).unwrap(), vec![100_000; 100]);
    assert_eq!(counted.tally.get(DECODED), 3);
}

fn workers_drop_it_when_nobody_needs_it(method: StartMethod) {
    let pool = Pool::builder().processes(2).start_method(method).build().unwrap();
    let counted = Counted::new(50_000);
    let shared = pool.share(&counted).unwrap();
    meet_all(&shared, 2);
    let another = shared.clone();
    drop(shared);
    assert_eq!(another.map(len, 0..9).unwrap(), vec![50_000; 9]);
    assert_eq!(counted.tally.get(DROPPED), 0);
    drop(another);
    // Nobody asks the pool for anything.
    counted.tally.await_at_least(DROPPED, 2);
    assert_eq!(counted.tally.get(DROPPED), 2);
}

fn hold(counted: &Counted, _: u64) -> usize {
    counted.tally.add(STEPS, 1);
    counted.tally.await_at_least(STEPS, 2);
    counted.bytes.len()
}

fn it_stays_while_a_task_needs_it() {
    let pool = Pool::new(1).unwrap();
    let counted = Counted::new(20);
    let shared = pool.share(&counted).unwrap();
    let later = shared.apply_async(hold, 0);
    // More than the worker holds: most are sent only when the first has been answered, behind
    // whatever else the worker is told until then.
    let queued: Vec<_> = (0..50).map(|x| shared.apply_async(len, x)).collect();
    drop(shared);
    counted.tally.await_at_least(STEPS, 1);
    // Whoever looks after the pool has nothing to tell the worker.
    assert_eq!(pool.stats().tasks(), 0);
    counted.tally.add(STEPS, 1);
    assert_eq!(later.get().unwrap(), 20);
    assert!(queued.into_iter().all(|result| result.get().unwrap() == 20));
    counted.tally.await_at_least(DROPPED, 1);
    // It was sent once, for all of them.
    assert_eq!((counted.tally.get(DECODED), counted.tally.get(DROPPED)), (1, 1));
}

fn every_verb_looks_at_the_value() {
    let pool = Pool::new(2).unwrap();
    let table: Vec<u64> = (0..1000).map(|x| x * x).collect();
    let shared = pool.share(&table).unwrap();
    let look = |table: &Vec<u64>, x: usize| table[x];
    assert_eq!(shared.apply(look, 7).unwrap(), 49);
    assert_eq!(shared.apply_async(look, 8).get().unwrap(), 64);
    assert_eq!(shared.map(look, 0..1000).unwrap(), table);
    assert_eq!(shared.map_async(look, 0..1000).get().unwrap(), table);
    assert!(shared.imap(look, 0..1000).map(Result::unwrap).eq(table.iter().copied()));
    assert_eq!(shared.imap_unordered(look, 0..1000).map(Result::unwrap).sum::<u64>(), table.iter().sum());
    let error = shared.apply(look, 1000).unwrap_err();
    assert!(error.is_panic(), "{error}");
    assert_eq!(pool.priority(3).share(&5u32).unwrap().map(|five, x: u32| five + x, [1, 2]).unwrap(), [6, 7]);
}

/// Decodes only where it was made, or not even there.
#[derive(Debug, Serialize)]
struct Picky {
    panics: bool,
}

impl<'de> Deserialize<'de> for Picky {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        assert!(!bool::deserialize(deserializer)?, "not today");
        Err(serde::de::Error::custom("not at all"))
    }
}

fn a_value_that_does_not_decode_is_its_tasks_error() {
    let pool = Pool::new(1).unwrap();
    let pids = pool.pids();
    for panics in [true, false] {
        let shared = pool.share(&Picky { panics }).unwrap();
        let error = shared.apply(|picky, x: u32| x + u32::from(picky.panics), 1).unwrap_err();
        assert!(error.is_undecodable(), "{error}");
        let errors = shared.imap(|_, x: u32| x, 0..5).filter(Result::is_err).count();
        assert_eq!((errors, panics, error.to_string().contains("not today")), (5, panics, panics));
    }
    assert_eq!((pool.apply(|x: u32| x, 3).unwrap(), pool.pids()), (3, pids));
}

fn a_channel_end_is_refused() {
    let pool = Pool::new(1).unwrap();
    let (end, _other): (Connection<u8, u8>, Connection<u8, u8>) = duplex().unwrap();
    let error = pool.share(&end).unwrap_err();
    assert!(error.to_string().contains("moves only once"), "{error}");
}

fn it_may_outlive_its_pool() {
    let pool = Pool::new(1).unwrap();
    let shared = pool.share(&1u8).unwrap();
    assert_eq!(shared.apply(|one, x: u8| one + x, 1).unwrap(), 2);
    drop(pool);
    let error = shared.apply(|one, x: u8| one + x, 1).unwrap_err();
    assert!(error.pool_error().is_some_and(|error| error.is_closed()), "{error}");
}

fn many_values_are_kept_apart() {
    let pool = Pool::new(2).unwrap();
    let shared: Vec<Shared<u64>> = (0..200).map(|x| pool.share(&x).unwrap()).collect();
    let later: Vec<_> = shared.iter().map(|one| one.map_async(|one, x: u64| one * 1000 + x, 0..10)).collect();
    drop(shared);
    for (one, values) in (0..).zip(later) {
        assert!(values.get().unwrap().into_iter().eq((0..10).map(|x| one * 1000 + x)));
    }
}
