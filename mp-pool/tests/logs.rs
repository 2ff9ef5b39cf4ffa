//! What a worker said last, where its records come to this process. A program has one logger,
//! so the trials share it.

mod common;

use std::process::ExitCode;

use common::start_library_threads;
use log::LevelFilter;
use mp_pool::Pool;
use mp_process::StartMethod;
use mp_testkit::chaos;
use mp_testkit::harness::{Suite, variants};

fn main() -> ExitCode {
    mp_process::init();
    log::set_logger(&Silent).unwrap();
    log::set_max_level(LevelFilter::Info);
    let methods = [("spawn", StartMethod::Spawn), ("forkserver", StartMethod::ForkServer)];
    let trials =
        variants("the_last_records_of_the_dead_are_told", methods, the_last_records_of_the_dead_are_told);
    let warm_up = || {
        start_library_threads();
        // The thread of records stays.
        Pool::new(1).unwrap().apply(|()| log::info!("here"), ()).unwrap();
    };
    Suite::new(trials).warm_up(warm_up).run()
}

/// Takes records, and shows none.
struct Silent;

impl log::Log for Silent {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, _: &log::Record<'_>) {}

    fn flush(&self) {}
}

fn speak_and_die(count: u32) {
    (0..count).for_each(|x| log::info!("did {x}"));
    log::debug!("nobody asked for this");
    log::warn!("out of {}", "luck ".repeat(1000));
    chaos::kill(std::process::id()).unwrap();
}

fn the_last_records_of_the_dead_are_told(method: StartMethod) {
    let pool = Pool::builder().processes(2).start_method(method).build().unwrap();
    for count in [0, 3, 200] {
        let error = pool.apply(speak_and_die, count).unwrap_err();
        let records = said(error.worker_died().unwrap().last_records());
        assert_eq!(records.len(), 10.min(count as usize + 1), "{records:?}");
        let (last, before) = records.split_last().unwrap();
        assert!(last.starts_with("[WARN] out of luck luck ") && last.len() == 512, "{last}");
        let first = count - before.len() as u32;
        assert!(before.iter().eq(&(first..count).map(|x| format!("[INFO] did {x}")).collect::<Vec<_>>()));
        assert_eq!(pool.apply(|x: u32| x, 3).unwrap(), 3);
    }
    // Others say nothing of it, and what a worker said is not another one's.
    pool.map(|x: u32| log::info!("{x}"), 0..10).unwrap();
    let error = pool.apply(|()| chaos::kill(std::process::id()).unwrap(), ()).unwrap_err();
    let records = said(error.worker_died().unwrap().last_records());
    assert!(records.iter().all(|record| record.starts_with("[INFO] ") && record.len() < 10), "{records:?}");
}

/// The records without those of the tasks' spans, which are there if `tracing` is built with its `log`.
fn said(records: &[String]) -> Vec<String> {
    records.iter().filter(|record| !record.contains("task; index=")).cloned().collect()
}
