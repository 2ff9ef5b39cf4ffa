//! What a pool says of its workers' time, tasks and slowest inputs.

mod common;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use common::{LONG, square, start_library_threads};
use mp_pool::{Pool, PoolStats, TaskPool, ThreadPool};
use mp_process::StartMethod;
use mp_testkit::chaos;
use mp_testkit::harness::{Suite, variants};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

fn main() -> ExitCode {
    let methods = [("spawn", StartMethod::Spawn), ("forkserver", StartMethod::ForkServer)];
    let mut trials = mp_testkit::trials![
        threads_tell_of_their_tasks,
        a_task_that_runs_counts_as_busy,
        time_without_tasks_is_waiting,
        the_dead_are_not_forgotten,
        encoding_and_decoding_count_as_such,
        a_slow_input_among_quick_ones_is_found,
        workers_that_left_are_not_forgotten,
        a_terminated_pool_tells_what_it_did,
    ];
    trials.extend(variants("tasks_and_their_time_are_told", methods, tasks_and_their_time_are_told));
    trials.extend(variants(
        "an_initializer_is_part_of_starting",
        methods,
        an_initializer_is_part_of_starting,
    ));
    Suite::new(trials).warm_up(start_library_threads).run()
}

fn nap(millis: u64) -> u64 {
    thread::sleep(Duration::from_millis(millis));
    millis
}

/// Has a pool run naps of up to twenty milliseconds; what it says then.
fn after_naps(pool: &impl TaskPool) -> PoolStats {
    assert_eq!(pool.imap(nap, 1..21).map(Result::unwrap).sum::<u64>(), 210);
    // A thread tells of what it has done after it has given its result.
    let begun = Instant::now();
    while pool.stats().tasks() < 20 && begun.elapsed() < LONG {
        thread::yield_now();
    }
    let stats = pool.stats();
    assert_eq!((stats.tasks(), stats.workers.len(), stats.restarts()), (20, 2, 0));
    assert!(stats.times().busy >= Duration::from_millis(210), "{stats}");
    assert_eq!(stats.times().serialising, Duration::ZERO, "numbers are only copied");
    let slowest: Vec<usize> = stats.slowest.iter().map(|slow| slow.index).collect();
    assert_eq!(slowest.len(), 5);
    assert!(
        stats.slowest.iter().all(|slow| slow.items == 1 && slow.time >= Duration::from_millis(10)),
        "{stats}"
    );
    assert!(stats.slowest.is_sorted_by(|a, b| a.time >= b.time), "{stats}");
    // A nap may be longer than it should be, and none is shorter.
    assert!(stats.slowest[0].time >= Duration::from_millis(20) && slowest.iter().all(|index| *index < 20));
    let names: Vec<&String> = stats.workers.iter().map(|worker| &worker.name).collect();
    assert!(stats.slowest.iter().all(|slow| names.contains(&&slow.worker)));
    let text = stats.to_string();
    assert!(text.contains(names[1]) && text.lines().last().unwrap().starts_with("2 workers: "), "{text}");
    stats
}

fn tasks_and_their_time_are_told(method: StartMethod) {
    let begun = Instant::now();
    let pool = Pool::builder().processes(2).start_method(method).build().unwrap();
    assert_eq!(
        (pool.stats().tasks(), pool.stats().diagnosis().to_string()),
        (0, "nothing has been run".into())
    );
    let stats = after_naps(&pool);
    let pids: Vec<u32> = stats.workers.iter().filter_map(|worker| worker.pid).collect();
    assert_eq!(pids, pool.pids());
    for worker in &stats.workers {
        assert!(worker.times.total() <= begun.elapsed(), "more time than there was: {stats}");
        assert!(worker.times.starting > Duration::ZERO, "{stats}");
    }
    assert_eq!(pool.stats().since(&stats).tasks(), 0);
}

fn threads_tell_of_their_tasks() {
    let pool = ThreadPool::new(2).unwrap();
    let stats = after_naps(&pool);
    assert!(
        stats.workers.iter().all(|worker| worker.pid.is_none() && worker.name.starts_with("ThreadPool-"))
    );
    let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
    let later = pool.apply_async(move |()| goes_on.recv().is_ok(), ());
    await_times(|| pool.stats().since(&stats), Duration::from_millis(50), Duration::from_millis(90));
    go_on.send(()).unwrap();
    assert!(later.get().unwrap());
}

/// Waits until there was so much of each, while one works and one does not.
fn await_times(stats: impl Fn() -> PoolStats, busy: Duration, waiting: Duration) {
    let begun = Instant::now();
    loop {
        let during = stats();
        if during.times().busy >= busy && during.times().waiting >= waiting {
            return;
        }
        assert!(begun.elapsed() < LONG, "{during}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn a_task_that_runs_counts_as_busy() {
    let pool = Pool::new(2).unwrap();
    pool.map(square, 0..100).unwrap();
    let before = pool.stats();
    let running = pool.apply_async(nap, 600_000);
    await_times(|| pool.stats().since(&before), Duration::from_millis(100), Duration::from_millis(190));
    running.cancel();
    assert!(running.get().unwrap_err().is_cancelled());
    // Its time is not lost with its worker.
    let after = pool.stats().since(&before);
    assert!(after.times().busy >= Duration::from_millis(100), "{after}");
}

fn time_without_tasks_is_waiting() {
    let pool = Pool::new(2).unwrap();
    pool.map(square, 0..10_000).unwrap();
    // On a busy machine the last task may still be ending.
    let begun = Instant::now();
    loop {
        let before = pool.stats();
        thread::sleep(Duration::from_millis(60));
        let pause = pool.stats().since(&before);
        let is_waiting = pause.times().waiting >= Duration::from_millis(110);
        if (pause.tasks(), pause.times().busy, is_waiting) == (0, Duration::ZERO, true) {
            break;
        }
        assert!(begun.elapsed() < LONG, "{pause}");
    }
}

fn the_dead_are_not_forgotten() {
    let pool = Pool::builder().processes(2).retries(1).build().unwrap();
    pool.map(nap, [5; 20]).unwrap();
    let before = pool.stats();
    for round in 1..4 {
        chaos::kill(pool.pids()[0]).unwrap();
        while pool.stats().restarts() < round {
            assert_eq!(pool.apply(square, 3).unwrap(), 9);
        }
    }
    let after = pool.stats();
    assert!(after.tasks() >= before.tasks() && after.times().busy >= before.times().busy, "{after}");
    assert_eq!(
        (after.workers.len(), after.workers[0].restarts, after.workers[1].restarts),
        (2, 3, 0),
        "{after}"
    );
    assert_ne!(after.workers[0].name, before.workers[0].name);
}

/// How long a [`Slow`] takes to go either way.
const NAP: Duration = Duration::from_millis(20);

/// Takes its time to be encoded and decoded.
#[derive(Debug, PartialEq)]
struct Slow(u8);

impl Serialize for Slow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        thread::sleep(NAP);
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Slow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        thread::sleep(NAP);
        u8::deserialize(deserializer).map(Self)
    }
}

fn encoding_and_decoding_count_as_such() {
    let pool = Pool::new(1).unwrap();
    // What takes its time is decoding the argument and encoding the value: both nap. That they
    // are slow is known after the first.
    for round in 1..5 {
        assert_eq!(pool.apply(|slow: Slow| slow, Slow(7)).unwrap(), Slow(7));
        let stats = pool.stats();
        assert!(round == 1 || stats.times().serialising >= 2 * round * NAP * 9 / 10, "{stats}");
    }
    // Quick ones are sampled.
    let before = pool.stats();
    let echo = |word: String| word;
    assert_eq!(pool.map(echo, vec!["word".to_owned(); 50_000]).unwrap().len(), 50_000);
    let stats = pool.stats().since(&before);
    assert!(stats.times().serialising > Duration::ZERO, "{stats}");
}

fn a_slow_input_among_quick_ones_is_found() {
    let pool = Pool::new(2).unwrap();
    let quick = |x: u64| if x == 77_777 { nap(2000) } else { x };
    for round in 0..2 {
        pool.map(quick, 0..100_000).unwrap();
        let slowest = pool.stats().slowest.swap_remove(0);
        assert!(slowest.time >= Duration::from_millis(2000), "{slowest:?} in round {round}");
        let items = slowest.index..slowest.index + slowest.items;
        assert!(items.contains(&77_777) && slowest.items <= 256, "{slowest:?} in round {round}");
    }
    // By itself it is known for what it is.
    pool.imap(quick, 77_770..77_780).for_each(|outcome| assert!(outcome.is_ok()));
    assert!(pool.stats().slowest.iter().any(|slow| (slow.index, slow.items) == (7, 1)), "{}", pool.stats());
}

fn an_initializer_is_part_of_starting(method: StartMethod) {
    let builder = Pool::builder().processes(2).start_method(method);
    let pool = builder.initializer(|millis| assert_eq!(nap(millis), millis), 120).build().unwrap();
    pool.map(nap, [1; 4]).unwrap();
    let stats = pool.stats();
    let ready = stats.workers.iter().filter(|worker| worker.tasks > 0);
    assert!(ready.clone().count() > 0);
    for worker in ready {
        assert!(worker.times.starting >= Duration::from_millis(120), "{stats}");
    }
}

fn workers_that_left_are_not_forgotten() {
    let pool = Pool::new(4).unwrap();
    pool.imap(nap, [2; 40]).for_each(|outcome| assert!(outcome.is_ok()));
    pool.resize(1).unwrap();
    while pool.pids().len() > 1 {
        pool.apply(square, 1).unwrap();
    }
    let stats = pool.stats();
    assert!(stats.tasks() >= 40 && stats.times().busy >= Duration::from_millis(80), "{stats}");
    assert_eq!(stats.workers.iter().filter(|worker| worker.pid.is_some()).count(), 1);
}

fn a_terminated_pool_tells_what_it_did() {
    let pool = Pool::new(2).unwrap();
    pool.map(nap, [2; 10]).unwrap();
    pool.terminate();
    let stats = pool.stats();
    assert_eq!(stats.tasks(), 10);
    assert!(stats.times().busy >= Duration::from_millis(20), "{stats}");
    assert_eq!(pool.stats().since(&stats).times().total(), Duration::ZERO, "the books are closed");
}
