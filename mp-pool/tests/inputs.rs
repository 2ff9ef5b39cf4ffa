//! Inputs that panic: what they gave before is not lost.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use common::{Tally, odd_panics, square, start_library_threads};
use ipc_core::Message;
use mp_pool::{Pool, Results, TaskPool, ThreadPool};
use mp_testkit::harness::Suite;
use serde::{Deserialize, Serialize};

fn main() -> ExitCode {
    let trials = mp_testkit::trials![
        what_came_before_a_panic_is_run,
        what_came_before_a_panic_is_run_by_threads,
        an_input_may_go_on_after_its_panic,
        a_map_whose_input_panics_leaves_no_job,
        an_encoding_that_panics_is_that_items_error,
    ];
    Suite::new(trials).warm_up(start_library_threads).run()
}

/// Yields up to `count`, and then panics once.
fn items<A: Message>(count: u32, make: fn(u32) -> A) -> impl Iterator<Item = A> {
    // It says how many there are, so that they travel together.
    (0..count + 100).map(move |x| if x == count { panic!("out of items") } else { make(x) })
}

/// All that comes before the panic, which is taken out of the way.
fn until_panic<T>(mut values: impl Iterator<Item = T>) -> Vec<T> {
    let mut all = Vec::new();
    let caught = catch_unwind(AssertUnwindSafe(|| all.extend(values.by_ref())));
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"out of items"));
    // What was on its way comes behind it.
    all.extend(values.take_while(|_| true));
    all
}

fn before_a_panic(pool: &impl TaskPool) {
    for count in [0, 1, 2, 7, 100, 1500] {
        let outcomes = until_panic(pool.imap_unordered(|x: u64| x + 1, items(count, u64::from)));
        let mut numbers: Vec<u64> = outcomes.into_iter().map(Result::unwrap).collect();
        numbers.sort_unstable();
        // The one at which it panicked is nobody's; those behind it come.
        let wanted = (0..u64::from(count + 100)).filter(|x| *x != u64::from(count)).map(|x| x + 1);
        assert!(numbers.into_iter().eq(wanted), "{count} numbers");
        let texts = until_panic(pool.imap(|x: String| x, items(count, |x| x.to_string())));
        let wanted = (0..count + 100).filter(|x| *x != count).map(|x| x.to_string());
        assert!(texts.into_iter().map(Result::unwrap).eq(wanted), "{count} texts");
    }
    let caught = catch_unwind(AssertUnwindSafe(|| pool.map(|x: u64| x, items(1000, u64::from))));
    assert!(caught.is_err());
    assert_eq!(pool.map(square, 0..100).unwrap()[9], 81);
}

fn what_came_before_a_panic_is_run() {
    let pool = Pool::new(2).unwrap();
    pool.map(square, 0..10_000).unwrap();
    before_a_panic(&pool);
}

fn what_came_before_a_panic_is_run_by_threads() {
    before_a_panic(&ThreadPool::new(2).unwrap());
}

fn an_input_may_go_on_after_its_panic() {
    go_on_after_a_panic(&Pool::new(2).unwrap());
    go_on_after_a_panic(&ThreadPool::new(2).unwrap());
}

fn go_on_after_a_panic(pool: &impl TaskPool) {
    let panics = (0..60).map(|x| if x % 20 == 10 { panic!("out of items") } else { x });
    let mut values = pool.imap_unordered(|x: u32| x, panics).chunk_size(7);
    let (mut sum, mut panics) = (0, 0);
    loop {
        match catch_unwind(AssertUnwindSafe(|| values.next())) {
            Ok(Some(value)) => sum += value.unwrap(),
            Ok(None) => break,
            Err(_) => panics += 1,
        }
    }
    assert_eq!((panics, sum), (3, (0..60).sum::<u32>() - 10 - 30 - 50));
}

fn a_map_whose_input_panics_leaves_no_job() {
    let pool = Pool::new(1).unwrap();
    let tally = Tally::new();
    let count_slowly = |tally: Tally| {
        thread::sleep(Duration::from_millis(20));
        tally.add(0, 1);
    };
    let all = (0..200).map(|x| if x == 199 { panic!("out of items") } else { tally.clone() });
    let caught = catch_unwind(AssertUnwindSafe(|| drop(pool.map_async(count_slowly, all))));
    assert!(caught.is_err());
    assert_eq!(pool.apply(square, 3).unwrap(), 9);
    pool.join();
    // What the worker held is done, and what was queued is dropped.
    assert!(tally.get(0) < 100, "{} of the tasks were run", tally.get(0));
}

/// Panics when it is encoded, if it is odd.
#[derive(Debug, Deserialize)]
struct Shy(u32);

impl Serialize for Shy {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct("Shy", &odd_panics(self.0))
    }
}

fn an_encoding_that_panics_is_that_items_error() {
    let pool = Pool::new(2).unwrap();
    for size in [1, 5] {
        let outcomes: Vec<_> = pool.imap(|shy: Shy| shy.0, (0..40).map(Shy)).chunk_size(size).collect();
        assert_eq!(outcomes.len(), 40);
        for (x, outcome) in (0..).zip(outcomes) {
            match outcome {
                Ok(value) => assert!(value == x && x % 2 == 0),
                Err(error) => {
                    assert!(
                        error.is_codec() && error.to_string().contains("is odd") && x % 2 == 1,
                        "{error}"
                    );
                }
            }
        }
    }
}
