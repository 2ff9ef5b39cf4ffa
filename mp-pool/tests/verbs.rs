//! The pool's verbs, and how items and values travel.

mod common;

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use common::{builder, pool_of, square};
use mp_process::StartMethod;
use mp_testkit::chaos;

fn main() -> ExitCode {
    const STARTED: &[common::Started] = common::started![
        apply_brings_the_value,
        map_keeps_the_order,
        map_of_nothing_is_nothing,
        map_of_many_sizes,
        starmap_takes_tuples_apart,
        large_arguments_and_values_pass,
        vectors_of_numbers_of_any_size_pass,
        more_large_tasks_than_workers_do_not_deadlock,
        imap_is_lazy_and_in_order,
        imap_unordered_brings_all,
        a_late_value_can_be_asked_for_again,
        an_imap_dropped_midway_leaves_the_pool_usable,
        an_imap_dropped_amid_deaths_leaves_the_pool_usable,
        calls_of_one_pool_feed_each_other,
        an_input_may_wait_for_what_its_last_item_does,
        any_chunk_size_is_taken,
        many_threads_share_a_pool,
    ];
    common::run(STARTED, Vec::new())
}

fn apply_brings_the_value(method: StartMethod) {
    let pool = pool_of(2, method);
    for x in 0..200 {
        assert_eq!(pool.apply(square, x).unwrap(), x * x);
    }
    assert_eq!(pool.apply(|(a, b): (String, u8)| format!("{a}{b}"), ("x".into(), 1)).unwrap(), "x1");
    assert_ne!(pool.apply(|()| std::process::id(), ()).unwrap(), std::process::id());
}

fn map_keeps_the_order(method: StartMethod) {
    let pool = pool_of(3, method);
    let squares = pool.map(square, 0..100_000).unwrap();
    assert!(squares.iter().enumerate().all(|(i, square)| *square == (i * i) as u64));
    assert_eq!(squares.len(), 100_000);
}

/// Around the sizes at which a task is full and at which a vector goes in its own memory, and in every verb.
fn vectors_of_numbers_of_any_size_pass(method: StartMethod) {
    let pool = pool_of(2, method);
    for size in [0, 1, 24 << 10, (24 << 10) - 1, (24 << 10) + 1, (64 << 10) - 1, 64 << 10, 1_000_001] {
        let bytes: Vec<u8> = (0..size).map(|place| (place % 251) as u8).collect();
        let back = |mut bytes: Vec<u8>| {
            bytes.reverse();
            bytes
        };
        let expected = back(bytes.clone());
        assert_eq!(pool.apply(back, bytes.clone()).unwrap(), expected, "{size}");
        assert_eq!(pool.apply_async(back, bytes.clone()).get().unwrap(), expected, "{size}");
        assert_eq!(pool.map_async(back, [bytes.clone(), bytes.clone()]).get().unwrap()[1], expected);
        let empty = Vec::new;
        let mixed = [empty(), bytes.clone(), empty(), empty(), bytes.clone()];
        let there = pool.map(back, mixed.clone()).unwrap();
        assert_eq!(there, [empty(), expected.clone(), empty(), empty(), expected.clone()], "{size}");
        let there: Vec<Vec<u8>> = pool.imap(back, mixed).chunk_size(3).map(Result::unwrap).collect();
        assert_eq!(there[4], expected, "{size}");
        // Wider numbers, and a value or an argument that is something else.
        let numbers: Vec<f64> = bytes.iter().map(|byte| f64::from(*byte)).collect();
        let halves =
            pool.apply(|x: Vec<f64>| x.iter().map(|x| x / 2.0).collect::<Vec<f64>>(), numbers.clone());
        assert!(halves.unwrap().iter().zip(&numbers).all(|(half, x)| half * 2.0 == *x));
        assert_eq!(pool.apply(|x: Vec<f64>| x.len(), numbers).unwrap(), size);
        assert_eq!(pool.apply(|size: usize| vec![7u16; size], size).unwrap(), vec![7; size]);
    }
    // What fails brings its error, and no numbers.
    let error = pool.apply(|_: Vec<u8>| -> Vec<u8> { panic!("no") }, vec![1; 100_000]).unwrap_err();
    assert!(error.is_panic() && error.to_string().contains("no"), "{error}");
}

fn map_of_nothing_is_nothing(method: StartMethod) {
    let pool = pool_of(2, method);
    assert!(pool.map(square, []).unwrap().is_empty());
    assert!(pool.imap(square, []).next().is_none());
    assert!(pool.imap_unordered(square, []).next().is_none());
}

fn map_of_many_sizes(method: StartMethod) {
    let pool = pool_of(2, method);
    for n in [1, 2, 3, 7, 8, 9, 1000] {
        assert_eq!(pool.map(square, 0..n).unwrap(), (0..n).map(square).collect::<Vec<_>>());
        let unsized_items = (0..n * 2).filter(|x| x % 2 == 0);
        assert_eq!(pool.map(square, unsized_items).unwrap().len(), n as usize);
    }
}

fn starmap_takes_tuples_apart(method: StartMethod) {
    fn join(a: String, b: u8) -> String {
        format!("{a}{b}")
    }
    fn volume(a: u64, b: u64, c: u64) -> u64 {
        a * b * c
    }
    let pool = pool_of(2, method);
    let pairs = || (0..50u8).map(|i| ("x".repeat(i.into()), i));
    assert_eq!(pool.starmap(join, pairs()).unwrap()[2], "xx2");
    assert_eq!(pool.starmap_async(join, pairs()).get().unwrap()[3], "xxx3");
    assert_eq!(pool.starmap3(volume, (0..9).map(|i| (i, 2, 3))).unwrap()[8], 48);
    let all = |a: u8, b: u16, c: u32, d: u64| u64::from(a) + u64::from(b) + u64::from(c) + d;
    assert_eq!(pool.starmap4(all, [(1, 2, 3, 4)]).unwrap(), [10]);
}

fn large_arguments_and_values_pass(method: StartMethod) {
    let pool = pool_of(2, method);
    let sizes = [0, 1, 20_000, 40_000, 100_000, 300_000, 3_000_000];
    for size in sizes {
        let back = pool.apply(|bytes: Vec<u8>| bytes, vec![3u8; size]).unwrap();
        assert_eq!(back.len(), size);
    }
    let lens =
        pool.map(|bytes: Vec<u8>| vec![bytes.len(); 30_000], sizes.map(|size| vec![1u8; size])).unwrap();
    assert!(lens.iter().zip(sizes).all(|(lens, size)| lens.len() == 30_000 && lens[7] == size));
}

fn more_large_tasks_than_workers_do_not_deadlock(method: StartMethod) {
    let pool = pool_of(2, method);
    let echo = |bytes: Vec<u8>| bytes;
    let back = pool.map(echo, (0..40).map(|i| vec![i as u8; 1_000_000])).unwrap();
    assert!(back.iter().enumerate().all(|(i, bytes)| bytes.len() == 1_000_000 && bytes[999_999] == i as u8));
}

fn imap_is_lazy_and_in_order(method: StartMethod) {
    let pool = pool_of(2, method);
    let mut pulled = 0u64;
    let items = std::iter::from_fn(|| {
        pulled += 1;
        Some(pulled)
    });
    let firsts: Vec<u64> = pool.imap(square, items).take(50).map(Result::unwrap).collect();
    assert_eq!(firsts, (1..=50).map(square).collect::<Vec<_>>());
    assert!(pulled < 10_000, "{pulled} items were pulled for 50 results");
}

fn imap_unordered_brings_all(method: StartMethod) {
    let pool = pool_of(3, method);
    let mut squares: Vec<u64> = pool.imap_unordered(square, 0..20_000).map(Result::unwrap).collect();
    squares.sort_unstable();
    assert_eq!(squares, (0..20_000).map(square).collect::<Vec<_>>());
}

fn a_late_value_can_be_asked_for_again(method: StartMethod) {
    let nap = |millis| {
        thread::sleep(Duration::from_millis(millis));
        millis
    };
    let pool = pool_of(2, method);
    let mut naps = pool.imap(nap, [1500, 1, 2]);
    assert!(naps.next_timeout(Duration::ZERO).is_err());
    assert!(naps.next_timeout(Duration::from_millis(10)).is_err());
    assert_eq!(naps.next().unwrap().unwrap(), 1500);
    assert_eq!(naps.next_timeout(Duration::MAX).unwrap().unwrap().unwrap(), 1);
    assert_eq!(naps.next_timeout(Duration::from_secs(20)).unwrap().unwrap().unwrap(), 2);
    assert!(naps.next_timeout(Duration::ZERO).unwrap().is_none());
    let mut naps = pool.imap_unordered(nap, [2000, 400]);
    assert!(naps.next_timeout(Duration::ZERO).is_err());
    let mut order = Vec::new();
    while let Ok(Some(nap)) = naps.next_timeout(Duration::from_secs(20)) {
        order.push(nap.unwrap());
    }
    assert_eq!(order, [400, 2000]);
    // One whose worker is killed meanwhile is an error, and no timeout.
    let mut naps = pool.imap(nap, [20_000, 1]);
    assert!(naps.next_timeout(Duration::from_millis(30)).is_err());
    pool.pids().into_iter().for_each(|pid| chaos::kill(pid).unwrap());
    let killed = naps.next_timeout(Duration::from_secs(20)).unwrap().unwrap();
    assert!(killed.unwrap_err().is_worker_died());
    assert!(naps.next_timeout(Duration::from_secs(20)).unwrap().is_some());
}

fn an_imap_dropped_midway_leaves_the_pool_usable(method: StartMethod) {
    let pool = pool_of(2, method);
    for _ in 0..20 {
        let taken = pool.imap_unordered(square, 0..).take(10).count();
        assert_eq!(taken, 10);
        assert_eq!(pool.apply(square, 3).unwrap(), 9);
    }
}

fn an_imap_dropped_amid_deaths_leaves_the_pool_usable(method: StartMethod) {
    let fatal = |x: u64| {
        if x % 7 == 6 {
            std::process::abort();
        }
        vec![x as u8; 100_000]
    };
    for retries in [0, 1] {
        let pool = builder(method).processes(2).retries(retries).build().unwrap();
        for taken in 0..12 {
            let mut values = pool.imap_unordered(fatal, 0..);
            (0..taken).for_each(|_| drop(values.next().unwrap()));
            if taken % 3 == 0 {
                // As a loop is left by a panic.
                let left = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                    let _values = values;
                    std::panic::resume_unwind(Box::new("enough"));
                }));
                assert!(left.is_err());
            }
            assert_eq!(pool.map(square, 0..100).unwrap()[9], 81);
        }
    }
}

/// What one call brings is the input of the next, and all go to the same workers.
fn calls_of_one_pool_feed_each_other(method: StartMethod) {
    for workers in [1, 3] {
        let pool = pool_of(workers, method);
        for size in [1, 7, 1000] {
            let first = pool.imap(|x: u64| x + 1, 0..300).chunk_size(size).map(Result::unwrap);
            let second = pool.imap_unordered(|x: u64| 2 * x, first).map(Result::unwrap);
            let mut third: Vec<_> = pool.imap(|x: u64| x - 1, second).map(Result::unwrap).collect();
            third.sort_unstable();
            assert!(third.into_iter().eq((0..300).map(|x| 2 * x + 1)));
        }
        let inner = pool.imap(square, 0..1000).map(Result::unwrap);
        assert_eq!(pool.map(square, inner).unwrap()[9], 81 * 81);
    }
}

fn many_threads_share_a_pool(method: StartMethod) {
    let pool = pool_of(3, method);
    thread::scope(|scope| {
        for part in 0..16u64 {
            let pool = &pool;
            scope.spawn(move || {
                for x in 0..100 {
                    assert_eq!(pool.apply(square, part * 100 + x).unwrap(), (part * 100 + x).pow(2));
                }
                let base = part * 1000;
                let squares = pool.map(square, base..base + 1000).unwrap();
                assert!(squares.iter().zip(base..).all(|(square, x)| *square == x * x));
            });
        }
    });
}

fn an_input_may_wait_for_what_its_last_item_does(method: StartMethod) {
    let pool = pool_of(2, method);
    let folder = std::env::temp_dir().join(format!("mp-pool-found-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let path = |x: u32| folder.join(x.to_string()).to_str().unwrap().to_owned();
    // Each item leaves what the input needs for the next, as a search for more to do would.
    let items = (0..).map_while(|x| {
        let begin = std::time::Instant::now();
        while x > 0 && !std::path::Path::new(&path(x - 1)).exists() {
            assert!(begin.elapsed() < Duration::from_secs(20), "item {} was not begun", x - 1);
            thread::yield_now();
        }
        (x < 300).then(|| path(x))
    });
    let mark = |path: String| std::fs::write(path, "").unwrap();
    assert_eq!(pool.imap(mark, items).filter(Result::is_ok).count(), 300);
    std::fs::remove_dir_all(folder).unwrap();
}

fn any_chunk_size_is_taken(method: StartMethod) {
    let pool = pool_of(2, method);
    for size in [0, 1, 7, usize::MAX] {
        let sum: u64 = pool.imap_unordered(square, 0..100).chunk_size(size).map(Result::unwrap).sum();
        assert_eq!(sum, 328_350);
    }
}
