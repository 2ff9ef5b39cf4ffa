//! Values that tell how many of them have come.

mod common;

use std::process::ExitCode;

use common::{odd_panics, square, start_library_threads};
use mp_pool::{Pool, Results, TaskPool, ThreadPool};
use mp_testkit::harness::Suite;

fn main() -> ExitCode {
    let trials = mp_testkit::trials![
        each_value_is_reported,
        each_value_of_threads_is_reported,
        an_input_of_unknown_length_has_no_total,
        a_closed_pool_has_no_total,
    ];
    Suite::new(trials).warm_up(start_library_threads).run()
}

fn report_each(pool: &impl TaskPool) {
    let mut seen = Vec::new();
    let squares = pool.imap(square, 0..500).progress(|done, total| seen.push((done, total)));
    assert_eq!(squares.map(Result::unwrap).max(), Some(499 * 499));
    assert!(seen.into_iter().eq((1..=500).map(|done| (done, Some(500)))));
    // Those that failed count, and those that travel together too.
    let mut last = (0, None);
    let outcomes = pool.imap_unordered(odd_panics, 0..90).chunk_size(7);
    assert_eq!(outcomes.progress(|done, total| last = (done, total)).filter(Result::is_ok).count(), 45);
    assert_eq!(last, (90, Some(90)));
    // A report comes with its value, and not before.
    let mut count = 0;
    assert_eq!(pool.imap(square, 0..).progress(|done, _| count = done).take(3).count(), 3);
    assert_eq!(count, 3);
}

fn each_value_is_reported() {
    report_each(&Pool::new(2).unwrap());
}

fn each_value_of_threads_is_reported() {
    report_each(&ThreadPool::new(2).unwrap());
}

fn an_input_of_unknown_length_has_no_total() {
    let pool = Pool::new(2).unwrap();
    let mut last = (0, Some(1));
    let even = (0..40).filter(|x| x % 2 == 0);
    assert_eq!(pool.imap(square, even).progress(|done, total| last = (done, total)).count(), 20);
    assert_eq!(last, (20, None));
}

fn a_closed_pool_has_no_total() {
    let pool = Pool::new(1).unwrap();
    pool.close();
    let mut last = (0, Some(1));
    let outcomes: Vec<_> = pool.imap(square, 0..40).progress(|done, total| last = (done, total)).collect();
    assert!(outcomes.len() == 1 && outcomes[0].is_err());
    assert_eq!(last, (1, None));
}
