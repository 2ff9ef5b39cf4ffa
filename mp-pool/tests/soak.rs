//! Pools under fire, for as long as `MP_SOAK_SECONDS` says: every task is answered
//! exactly once, right or with its error, and nothing is left behind.

use std::process::ExitCode;
use std::time::{Duration, Instant};

mod common;

use common::{builder, pool_of};
use mp_pool::{Pool, TaskError};
use mp_process::{StartMethod, current_process};
use mp_testkit::chaos::{self, Chaos, Rng};
use mp_testkit::harness::soak_time;

fn main() -> ExitCode {
    const STARTED: &[common::Started] = common::started![
        stopped_and_continued_workers_lose_nothing,
        chaos_with_retries_leaves_every_task_right,
        chaos_without_retries_leaves_every_task_answered,
    ];
    let others = mp_testkit::trials![
        with_retries_killing_workers_changes_nothing,
        without_retries_a_killed_worker_is_an_error_of_what_it_ran,
        a_killed_worker_takes_nothing_along_that_it_had_done,
        pools_come_and_go,
        items_flow_in_constant_memory,
        sixty_four_threads_share_a_pool,
        two_hundred_workers,
    ];
    // What is counted, not timed, takes as long as the machine needs.
    common::run_for(STARTED, others, Duration::from_secs(120) + 10 * soak_time())
}

fn work(x: u64) -> u64 {
    let mut value = x;
    for _ in 0..x % 2000 {
        value = std::hint::black_box(value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
    value
}

fn workers(pool: &Pool) -> Vec<u32> {
    // Read without the pool's help, which the caller is busy with.
    let own = pool.pids();
    chaos::descendants(std::process::id())
        .into_iter()
        .map(|one| one.pid)
        .filter(|pid| own.contains(pid))
        .collect()
}

fn until_soaked(mut round: impl FnMut(u64)) {
    let began = Instant::now();
    let mut count = 0;
    while count == 0 || began.elapsed() < soak_time() {
        round(count);
        count += 1;
    }
}

fn with_retries_killing_workers_changes_nothing() {
    let builder = Pool::builder().processes(2).start_method(StartMethod::ForkServer);
    let pool = std::sync::Arc::new(builder.retries(u32::MAX).build().unwrap());
    let aim = std::sync::Arc::clone(&pool);
    let fire = Chaos::start(Rng::announced("kill"), Duration::from_millis(4), move || workers(&aim));
    until_soaked(|round| {
        let base = round * 1000;
        let values = pool.map(work, base..base + 2000).unwrap();
        assert!(values.iter().zip(base..).all(|(value, x)| *value == work(x)));
        let sum: u64 =
            pool.imap_unordered(work, base..base + 500).map(Result::unwrap).fold(0, u64::wrapping_add);
        assert_eq!(sum, (base..base + 500).map(work).fold(0, u64::wrapping_add));
    });
    assert!(!fire.finish().is_empty(), "nobody was killed");
}

fn without_retries_a_killed_worker_is_an_error_of_what_it_ran() {
    let pool = std::sync::Arc::new(
        Pool::builder().processes(2).start_method(StartMethod::ForkServer).build().unwrap(),
    );
    let aim = std::sync::Arc::clone(&pool);
    let fire = Chaos::start(Rng::announced("kill"), Duration::from_millis(6), move || workers(&aim));
    let mut failed = 0;
    until_soaked(|round| {
        let base = round * 1000;
        let outcomes: Vec<_> = pool.imap(work, base..base + 1000).collect();
        assert_eq!(outcomes.len(), 1000);
        for (x, outcome) in (base..).zip(outcomes) {
            match outcome {
                Ok(value) => assert_eq!(value, work(x)),
                Err(error) => {
                    assert!(error.is_worker_died(), "{error}");
                    failed += 1;
                }
            }
        }
    });
    // One item each: what a worker had done was kept, and what it had not begun was not lost.
    let killed = fire.finish().len();
    assert!(failed <= killed, "{failed} items failed of {killed} kills");
}

/// How many that stand together failed, at the most.
fn longest_gap<T, E>(outcomes: &[Result<T, E>]) -> usize {
    let gaps = outcomes.split(|outcome| outcome.is_ok()).map(<[_]>::len);
    gaps.max().unwrap_or(0)
}

fn a_killed_worker_takes_nothing_along_that_it_had_done() {
    let builder = Pool::builder().processes(2).start_method(StartMethod::ForkServer);
    let pool = std::sync::Arc::new(builder.build().unwrap());
    let aim = std::sync::Arc::clone(&pool);
    let fire = Chaos::start(Rng::announced("kill"), Duration::from_millis(8), move || workers(&aim));
    let mut hurt = 0;
    until_soaked(|_| {
        // Long enough for many a kill to cost something, which those of idle workers do not.
        for _ in 0..6 {
            let outcomes: Vec<_> = pool.imap(work, 0..40_000).chunk_size(100).collect();
            let right = |x: usize| outcomes[x].as_ref().map_or(true, |value| *value == work(x as u64));
            assert!(outcomes.len() == 40_000 && (0..40_000).all(right));
            hurt += outcomes.iter().filter(|outcome| outcome.is_err()).count();
            // Each costs one item. To lose the next one too, its heir must be killed in just that.
            let gap = longest_gap(&outcomes);
            assert!(gap < 4, "{gap} items in a row failed");
        }
    });
    let killed = fire.finish().len();
    println!("{killed} kills, {hurt} items");
    assert!(hurt <= killed && killed > 0, "{hurt} items failed of {killed} kills");
}

fn stopped_and_continued_workers_lose_nothing(method: StartMethod) {
    let pool = pool_of(2, method);
    let mut rng = Rng::announced("stop");
    until_soaked(|round| {
        let pids = pool.pids();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..20 {
                    let Some(pid) = rng.pick(&pids).copied() else { return };
                    if chaos::stop(pid).is_ok() {
                        std::thread::sleep(rng.pause(Duration::from_millis(3)));
                        let _ = chaos::cont(pid);
                    }
                }
            });
            let values = pool.map(work, round..round + 3000).unwrap();
            assert!(values.iter().zip(round..).all(|(value, x)| *value == work(x)));
            let echoed = pool.map(|bytes: Vec<u8>| bytes.len(), (0..30).map(|n| vec![1; n * 9_000])).unwrap();
            assert_eq!(echoed, (0..30).map(|n| n * 9_000).collect::<Vec<_>>());
        });
    });
}

fn pools_come_and_go() {
    let mut pools = 0;
    until_soaked(|round| {
        let method = if round % 2 == 0 { StartMethod::Spawn } else { StartMethod::ForkServer };
        let pool = Pool::builder().processes(2).start_method(method).build().unwrap();
        assert_eq!(pool.apply(work, round).unwrap(), work(round));
        if round % 3 == 0 {
            pool.join();
        }
        pools += 1;
    });
    println!("{pools} pools");
}

/// How much of a large count is done: all of it in a soak of a minute or more.
fn part_of(count: u64) -> u64 {
    (count * soak_time().as_secs().min(60) / 60).max(count / 500)
}

fn items_flow_in_constant_memory() {
    let pool = Pool::new(2).unwrap();
    let count = part_of(10_000_000);
    let memory = || current_process().resident_memory().unwrap_or(0);
    let mut values = pool.imap_unordered(|x: u64| x ^ 1, 0..count);
    let mut sum = values.by_ref().take(10_000).map(Result::unwrap).sum::<u64>();
    let before = memory();
    let mut most = before;
    for (place, value) in values.enumerate() {
        sum += value.unwrap();
        if place % 65_536 == 0 {
            most = most.max(memory());
        }
    }
    assert_eq!(sum, (0..count).map(|x| x ^ 1).sum::<u64>());
    assert!(most < before + (16 << 20), "{before} bytes grew to {most}");
    println!("{count} items, {} KiB more than at first", (most - before) >> 10);
}

fn sixty_four_threads_share_a_pool() {
    let pool = Pool::new(3).unwrap();
    let rounds = part_of(2_000);
    std::thread::scope(|scope| {
        for part in 0..64u64 {
            let pool = &pool;
            scope.spawn(move || {
                for round in 0..rounds {
                    let x = part * 1_000 + round;
                    match round % 4 {
                        0 => assert_eq!(pool.apply(work, x).unwrap(), work(x)),
                        1 => assert_eq!(pool.apply_async(work, x).get().unwrap(), work(x)),
                        2 => assert_eq!(pool.map(work, x..x + 9).unwrap()[8], work(x + 8)),
                        _ => assert_eq!(pool.imap(work, x..x + 5).map(Result::unwrap).count(), 5),
                    }
                }
            });
        }
    });
}

/// What was done to the workers.
#[derive(Debug, Default, Clone, Copy)]
struct Deeds {
    kills: u64,
    stops: u64,
    continues: u64,
}

impl Deeds {
    fn all(&self) -> u64 {
        self.kills + self.stops + self.continues
    }
}

/// Kills, stops and continues workers at random, so many times in all; then lets all go on.
fn fire_at(pool: &Pool, rng: &mut Rng, wanted: u64) -> Deeds {
    let mut deeds = Deeds::default();
    let mut stopped: Vec<u32> = Vec::new();
    while deeds.all() < wanted {
        // One deed in three is each; a stopped worker may be the next to be killed.
        match rng.below(3) {
            0 => deeds.continues += rng.pick(&stopped).copied().map_or(0, |pid| go_on(&mut stopped, pid)),
            which => {
                let Some(pid) = rng.pick(&workers(pool)).copied() else { continue };
                if which == 1 {
                    deeds.kills += u64::from(chaos::kill(pid).is_ok());
                } else if !stopped.contains(&pid) && chaos::stop(pid).is_ok() {
                    deeds.stops += 1;
                    stopped.push(pid);
                }
            }
        }
        std::thread::sleep(rng.pause(Duration::from_millis(3)));
    }
    while let Some(pid) = stopped.first().copied() {
        go_on(&mut stopped, pid);
    }
    deeds
}

/// Lets a worker go on; one if it was still there.
fn go_on(stopped: &mut Vec<u32>, pid: u32) -> u64 {
    stopped.retain(|one| *one != pid);
    u64::from(chaos::cont(pid).is_ok())
}

/// Every task is answered exactly once under fire, by what `check` says of its answer; and
/// nobody is left behind.
fn answered_under_fire(
    method: StartMethod,
    retries: u32,
    name: &str,
    check: fn(u64, Result<u64, TaskError>) -> bool,
) {
    let pool = builder(method).processes(3).retries(retries).build().unwrap();
    // All of it under each start method in a soak of a minute or more, and a third in a shorter one.
    let part = |count: u64| if soak_time().as_secs() < 60 { part_of(count) / 3 } else { part_of(count) };
    let (tasks, wanted) = (part(100_000), part(10_000));
    let mut rng = Rng::announced(name);
    std::thread::scope(|scope| {
        let pool = &pool;
        let fire = scope.spawn(move || fire_at(pool, &mut rng, wanted));
        let (mut answered, mut right) = (0, 0);
        // Until both have been done in full.
        while answered < tasks || !fire.is_finished() {
            let base = answered;
            let mut seen = 0;
            for (x, outcome) in (base..).zip(pool.imap(work, base..base + 1000)) {
                right += u64::from(check(x, outcome));
                seen += 1;
            }
            assert_eq!(seen, 1000);
            answered += 1000;
        }
        let deeds = fire.join().unwrap();
        println!("{answered} tasks, {right} right, {} of their worker's death; {deeds:?}", answered - right);
        assert!(deeds.all() >= wanted && answered - right <= deeds.kills);
    });
}

fn chaos_with_retries_leaves_every_task_right(method: StartMethod) {
    answered_under_fire(method, u32::MAX, "chaos with retries", |x, outcome| {
        assert_eq!(outcome.unwrap(), work(x));
        true
    });
}

fn chaos_without_retries_leaves_every_task_answered(method: StartMethod) {
    answered_under_fire(method, 0, "chaos without retries", |x, outcome| match outcome {
        Ok(value) => {
            assert_eq!(value, work(x));
            true
        }
        Err(error) => {
            assert!(error.is_worker_died(), "{error}");
            false
        }
    });
}

fn two_hundred_workers() {
    let builder = Pool::builder().processes(200).start_method(StartMethod::ForkServer);
    let pool = builder.build().unwrap();
    assert_eq!(pool.pids().len(), 200);
    let values = pool.map(work, 0..20_000).unwrap();
    assert!(values.iter().zip(0..).all(|(value, x)| *value == work(x)));
    let squares: Vec<u64> = pool.imap(|x: u64| x * x, 0..5_000).map(Result::unwrap).collect();
    assert!(squares.into_iter().eq((0..5_000).map(|x| x * x)));
    chaos::kill(pool.pids()[100]).unwrap();
    assert_eq!(pool.map(work, 0..2_000).map(|values| values.len()).unwrap_or(2_000), 2_000);
    pool.resize(2).unwrap();
    assert_eq!(pool.apply(work, 7).unwrap(), work(7));
}
