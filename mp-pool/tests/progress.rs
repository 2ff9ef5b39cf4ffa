//! Values that tell how many of them have come.

mod common;

use std::process::ExitCode;

use common::{odd_panics, square, start_library_threads};
use mp_pool::{Pool, Results, TaskPool, ThreadPool};
use mp_testkit::harness::Suite;

fn main() -> ExitCode {
    #[allow(unused_mut)]
    let mut trials = mp_testkit::trials![
        each_value_is_reported,
        each_value_of_threads_is_reported,
        an_input_of_unknown_length_has_no_total,
        a_closed_pool_has_no_total,
    ];
    #[cfg(feature = "indicatif")]
    trials.extend(bars::trials());
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

#[cfg(feature = "indicatif")]
mod bars {
    use indicatif::ProgressBar;
    use mp_testkit::harness::{Trial, variants};

    use super::*;

    pub(super) fn trials() -> Vec<Trial> {
        const TESTS: &[(&str, Test)] = &[
            ("a_bar_follows_the_values_and_ends_with_the_last", follows),
            ("values_that_failed_move_a_bar_on", counts_failures),
            ("a_bar_whose_values_are_dropped_is_abandoned", is_abandoned),
            ("a_bar_of_unknown_length_is_abandoned_at_the_end", has_no_end),
            ("a_bar_whose_pool_ends_is_abandoned", outlives_the_pool),
        ];
        let kinds = [("processes", Bars::Processes), ("threads", Bars::Threads)];
        TESTS.iter().flat_map(|(name, test)| variants(name, kinds, *test)).collect()
    }

    /// Of which pool the values are.
    #[derive(Clone, Copy)]
    enum Bars {
        Processes,
        Threads,
    }

    type Test = fn(Bars);
    type Values<'pool> = Box<dyn Iterator<Item = bool> + 'pool>;

    impl Bars {
        /// Calls `look` with a pool's values, in order and not, of which it is only told whether
        /// each came, and with what ends the pool.
        fn each(
            self,
            items: impl Iterator<Item = u32> + Clone,
            look: impl Fn(&ProgressBar, Values<'_>, &dyn Fn()),
        ) {
            macro_rules! look {
                ($pool:expr) => {
                    let pool = $pool;
                    let bar = ProgressBar::hidden();
                    let values = pool.imap(odd_panics, items.clone()).chunk_size(3).progress_bar(&bar);
                    look(&bar, Box::new(values.map(|value| value.is_ok())), &|| ());
                    let bar = ProgressBar::hidden();
                    let values = pool.imap_unordered(odd_panics, items).progress_bar(&bar);
                    look(&bar, Box::new(values.map(|value| value.is_ok())), &|| pool.terminate());
                };
            }
            match self {
                Self::Processes => {
                    look!(Pool::new(2).unwrap());
                }
                Self::Threads => {
                    look!(ThreadPool::new(2).unwrap());
                }
            }
        }
    }

    fn state(bar: &ProgressBar) -> (u64, Option<u64>, bool) {
        (bar.position(), bar.length(), bar.is_finished())
    }

    fn follows(of: Bars) {
        of.each((0..40).map(|x| 2 * x), |bar, mut values, _| {
            assert_eq!(state(bar), (0, Some(40), false));
            for done in 1..=40 {
                assert_eq!(values.next(), Some(true));
                assert_eq!(state(bar), (done, Some(40), done == 40));
            }
            assert_eq!(values.next(), None);
            drop(values);
            assert_eq!(state(bar), (40, Some(40), true));
        });
    }

    fn counts_failures(of: Bars) {
        of.each(0..40, |bar, mut values, _| {
            let mut failed = 0;
            for done in 1..=40 {
                failed += u32::from(!values.next().unwrap());
                assert_eq!(state(bar), (done, Some(40), done == 40));
            }
            assert_eq!(failed, 20);
        });
    }

    fn is_abandoned(of: Bars) {
        of.each(0..1000, |bar, mut values, _| {
            assert_eq!(values.by_ref().take(7).count(), 7);
            assert_eq!(state(bar), (7, Some(1000), false));
            drop(values);
            assert_eq!(state(bar), (7, Some(1000), true));
        });
    }

    fn has_no_end(of: Bars) {
        of.each((0..40).filter(|x| x % 2 == 0), |bar, mut values, _| {
            assert_eq!(values.by_ref().count(), 20);
            assert_eq!(state(bar), (20, None, false));
            drop(values);
            assert_eq!(state(bar), (20, None, true));
        });
    }

    fn outlives_the_pool(of: Bars) {
        of.each(0..1000, |bar, mut values, end| {
            assert!(values.next().is_some());
            end();
            let came = 1 + values.by_ref().count() as u64;
            assert_eq!(state(bar), (came, Some(1000), came == 1000));
            drop(values);
            assert_eq!(state(bar), (came, Some(1000), true));
        });
    }
}
