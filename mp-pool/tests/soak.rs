//! Pools under fire, for as long as `MP_SOAK_SECONDS` says: every task is answered
//! exactly once, right or with its error, and nothing is left behind.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use ipc_core::pipe;
use mp_pool::Pool;
use mp_process::{Process, StartMethod};
use mp_testkit::chaos::{self, Chaos, Rng};
use mp_testkit::harness::{Suite, soak_time};

fn main() -> ExitCode {
    let trials = mp_testkit::trials![
        with_retries_killing_workers_changes_nothing,
        without_retries_a_killed_worker_is_an_error_of_what_it_ran,
        stopped_and_continued_workers_lose_nothing,
        pools_come_and_go,
    ];
    Suite::new(trials).warm_up(start_library_threads).run()
}

/// The library's threads and the fork server keep a few handles for good.
fn start_library_threads() {
    for method in [StartMethod::Spawn, StartMethod::ForkServer] {
        Process::builder().start_method(method).spawn(|()| (), ()).unwrap().join().unwrap();
    }
    let (_tx, rx) = pipe::<u8>().unwrap();
    assert!(rx.recv_timeout(Duration::from_millis(1)).is_err());
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

fn stopped_and_continued_workers_lose_nothing() {
    let pool = Pool::new(2).unwrap();
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
