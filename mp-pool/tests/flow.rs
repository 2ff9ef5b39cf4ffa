//! How items flow: who gets what, and how much is under way.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use mp_pool::Pool;
use mp_testkit::harness::Suite;

mod common;

use common::start_library_threads;

fn main() -> ExitCode {
    let trials = mp_testkit::trials![what_was_taken_back_does_not_return_to_a_slow_worker];
    Suite::new(trials).warm_up(start_library_threads).run()
}

fn square(x: u64) -> u64 {
    x * x
}

/// Waits until so many are here at once.
fn meet_others((path, count): (String, u32)) -> u32 {
    std::fs::write(std::path::Path::new(&path).join(std::process::id().to_string()), "").unwrap();
    let begin = std::time::Instant::now();
    while std::fs::read_dir(&path).unwrap().count() < count as usize {
        assert!(begin.elapsed() < Duration::from_secs(20), "nobody came");
        thread::sleep(Duration::from_millis(1));
    }
    count
}

fn what_was_taken_back_does_not_return_to_a_slow_worker() {
    let folder = std::env::temp_dir().join(format!("mp-pool-others-{}", std::process::id()));
    let path = folder.to_str().unwrap().to_owned();
    let pool = Pool::new(3).unwrap();
    for round in 0..20 {
        // Now the pool takes tasks for quick, and thinks it as well to wait behind one.
        pool.imap(square, 0..2000).for_each(drop);
        std::fs::create_dir(&folder).unwrap();
        let values: Vec<u32> =
            pool.imap(meet_others, vec![(path.clone(), 3); 3]).map(Result::unwrap).collect();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(values, [3; 3], "round {round}");
    }
}
