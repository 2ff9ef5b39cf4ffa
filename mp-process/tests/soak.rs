//! Many processes, one after the other and at once: the census stays level.

mod common;

use std::fs;
use std::time::{Duration, Instant};
use std::{process, thread};

use common::{builder, spawn};
use ipc_core::wait;
use mp_process::{ExitStatus, Process, StartMethod};
use mp_testkit::chaos::Rng;
use mp_testkit::harness::soak_time;

common::tests![
    starts_and_joins_in_a_row_leave_nothing,
    crowds_that_end_by_every_means_are_reported_right,
    dropped_processes_are_collected,
];

fn main() -> process::ExitCode {
    common::run(TESTS)
}

fn handles() -> usize {
    // The listing has one itself.
    fs::read_dir("/proc/self/fd").unwrap().count() - 1
}

/// Resident memory of this process, in pages.
fn memory() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Goes on for the time of a soak, from `least` rounds up to `most`.
fn rounds(least: u32, most: u32) -> impl Iterator<Item = u32> {
    let began = Instant::now();
    (0..most).take_while(move |round| *round < least || began.elapsed() < soak_time())
}

fn starts_and_joins_in_a_row_leave_nothing(method: StartMethod) {
    let once = |round| assert_eq!(spawn(method, |x: u32| x + 1, round).unwrap().join().unwrap(), round + 1);
    (0..20).for_each(once);
    let (handles_before, memory_before) = (handles(), memory());
    let count = rounds(200, 10_000).map(once).count();
    assert_eq!(handles(), handles_before, "after {count}");
    // A kilobyte for each would be more than chance.
    let grown = memory().saturating_sub(memory_before) * 4;
    assert!(grown < 1024 + count as u64, "{grown} KiB more after {count}");
}

/// How a child of a crowd ends.
fn end_by(means: u32) -> u32 {
    match means {
        0 => return 7,
        1 => process::exit(3),
        2 => process::abort(),
        3 => panic!("by a panic"),
        _ => thread::sleep(Duration::from_secs(600)),
    }
    0
}

fn crowds_that_end_by_every_means_are_reported_right(method: StartMethod) {
    let mut rng = Rng::announced("crowd");
    let size = crowd();
    let before = handles();
    for _ in rounds(1, 100) {
        let mut crowd: Vec<(u32, Process<u32>)> = (0..size)
            .map(|_| rng.below(6) as u32)
            .map(|means| (means, spawn(method, end_by, means).unwrap()))
            .collect();
        assert!(handles() <= before + 2 * size as usize);
        while !crowd.is_empty() {
            let (means, child) = crowd.swap_remove(rng.below(crowd.len()));
            check_end(means, child);
        }
        assert_eq!(handles(), before);
    }
}

/// A thousand in a soak, or as many as the limit of handles allows for.
fn crowd() -> u32 {
    if soak_time() <= Duration::from_secs(10) {
        return 60;
    }
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a valid structure.
    #[allow(unsafe_code)]
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max.min(1 << 16);
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
    1000.min(u32::try_from(limit.rlim_cur).unwrap_or(1000).saturating_sub(100) / 2)
}

fn check_end(means: u32, child: Process<u32>) {
    match means {
        4 => child.kill().unwrap(),
        5 => child.terminate().unwrap(),
        _ => {}
    }
    wait(&[&child.sentinel()], None).unwrap();
    let status: ExitStatus = child.exit_status().unwrap();
    let result = child.join();
    match means {
        0 => assert_eq!(result.unwrap(), 7),
        1 => assert_eq!(result.unwrap_err().exit_code(), Some(3)),
        2 => assert_eq!(result.unwrap_err().signal(), Some(6)),
        3 => assert_eq!(result.unwrap_err().panic().unwrap().message(), "by a panic"),
        4 => assert_eq!(status.signal(), Some(9)),
        _ => assert_eq!(status.signal(), Some(15), "{status}"),
    }
}

fn dropped_processes_are_collected(method: StartMethod) {
    let before = handles();
    for _ in rounds(50, 5_000) {
        drop(builder(method).join_at_exit(Duration::ZERO).spawn(|()| (), ()).unwrap());
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while !mp_process::active_children().is_empty() {
        assert!(Instant::now() < deadline, "some never end");
        thread::sleep(Duration::from_millis(5));
    }
    // Those that ended are collected when the next one is started.
    spawn(method, |()| (), ()).unwrap().join().unwrap();
    assert_eq!(handles(), before);
}
