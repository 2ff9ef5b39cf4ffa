//! Many processes, one after the other and at once: the census stays level.

mod common;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{fs, panic, process, thread};

use common::{builder, spawn};
use ipc_core::raw::{Region, wait_on, wake};
use ipc_core::{Waitable, wait};
use mp_process::{ExitStatus, Process, ProcessError, StartMethod, active_children};
use mp_testkit::chaos::Rng;
use mp_testkit::harness::soak_time;

const LIMIT: Duration = Duration::from_secs(20);

common::tests![
    starts_and_joins_in_a_row_leave_nothing,
    crowds_that_end_by_every_means_are_reported_right,
    a_thousand_that_live_at_once_end_by_every_means,
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

/// A thousand in a soak.
fn crowd() -> u32 {
    if soak_time() <= Duration::from_secs(10) { 60 } else { at_most(1000) }
}

/// So many, or as many as the limit of handles allows for.
fn at_most(size: u32) -> u32 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a valid structure.
    #[allow(unsafe_code)]
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max.min(1 << 16);
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
    size.min(u32::try_from(limit.rlim_cur).unwrap_or(size).saturating_sub(100) / 2)
}

/// Words that all share: for each child one that holds it up until it is let go, and one in which it
/// says when it ends.
struct Gates(Region);

impl Gates {
    /// All are closed.
    fn close(size: u32) -> Self {
        Self(Region::create(Region::HEAD + 16 * size as usize).unwrap())
    }

    fn gate(&self, number: u32) -> &AtomicU32 {
        self.0.atomic_u32(Region::HEAD + 16 * number as usize)
    }

    fn moment(&self, number: u32) -> &AtomicU64 {
        self.0.atomic_u64(Region::HEAD + 16 * number as usize + 8)
    }

    fn open(&self, number: u32) {
        self.gate(number).store(1, Ordering::SeqCst);
        wake(self.gate(number), 1);
    }

    /// In the child: waits until it is let go.
    fn pass(&self, number: u32) {
        while self.gate(number).load(Ordering::SeqCst) == 0 {
            wait_on(self.gate(number), 0, None).unwrap();
        }
        self.moment(number).store(now(), Ordering::SeqCst);
    }
}

/// Nanoseconds of the clock that all processes have in common.
fn now() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid structure.
    #[allow(unsafe_code)]
    unsafe {
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now)
    };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// How a child of the crowd ends.
fn means(number: u32) -> u32 {
    number % 7
}

/// A child of the crowd: waits until it is let go, and ends.
fn live_and_end((gates, number): (Region, u32)) -> u32 {
    Gates(gates).pass(number);
    match means(number) {
        0 => number,
        1 => process::exit(3),
        2 => process::exit(i32::try_from(number % 200).unwrap() + 4),
        // Nobody looks for its backtrace, which would keep the processors from the others.
        3 => panic::resume_unwind(Box::new(format!("panic of {number}"))),
        4 => {
            // SAFETY: ends this process.
            #[allow(unsafe_code)]
            unsafe {
                libc::raise(libc::SIGUSR1)
            };
            0
        }
        _ => {
            thread::sleep(Duration::from_secs(600));
            0
        }
    }
}

/// Ends the child `number` by its means.
fn let_end(gates: &Gates, child: &Process<u32>, number: u32) {
    match means(number) {
        5 => child.kill().unwrap(),
        6 => child.terminate().unwrap(),
        _ => gates.open(number),
    }
}

fn check_result(number: u32, result: Result<u32, ProcessError>) {
    let error = match result {
        Ok(value) => return assert_eq!((means(number), value), (0, number)),
        Err(error) => error,
    };
    let code = i32::try_from(number % 200).unwrap() + 4;
    match means(number) {
        1 => assert_eq!(error.exit_code(), Some(3), "{error}"),
        2 => assert_eq!(error.exit_code(), Some(code), "{error}"),
        3 => assert_eq!(error.panic().unwrap().message(), format!("panic of {number}")),
        4 => assert_eq!(error.signal(), Some(libc::SIGUSR1), "{error}"),
        5 => assert_eq!(error.signal(), Some(libc::SIGKILL), "{error}"),
        6 => assert_eq!(error.signal(), Some(libc::SIGTERM), "{error}"),
        _ => panic!("no value: {error}"),
    }
}

fn a_thousand_that_live_at_once_end_by_every_means(method: StartMethod) {
    let mut rng = Rng::announced("thousand");
    let size = at_most(1000);
    let before = handles();
    let gates = Gates::close(size);
    let start = |number| spawn(method, live_and_end, (gates.0.clone(), number)).unwrap();
    let mut living: Vec<(u32, Process<u32>, Option<u64>)> =
        (0..size).map(|number| (number, start(number), None)).collect();
    assert_eq!(active_children().len(), size as usize);
    assert!(handles() <= before + 1 + 2 * size as usize, "{} handles", handles() - before);
    let (mut reported, mut delays) = (0, Vec::new());
    while !living.is_empty() {
        for _ in 0..rng.below(3) {
            let at = rng.below(living.len());
            let (number, child, told) = &mut living[at];
            if told.is_none() {
                *told = Some(now());
                let_end(&gates, child, *number);
            }
        }
        let sentinels: Vec<_> = living.iter().map(|(_, child, _)| child.sentinel()).collect();
        let items: Vec<&dyn Waitable> = sentinels.iter().map(|sentinel| sentinel as _).collect();
        let patience = if living.iter().any(|(.., told)| told.is_some()) { LIMIT } else { Duration::ZERO };
        let ended = wait(&items, Some(patience)).unwrap();
        assert!(patience.is_zero() || !ended.is_empty(), "an end is not reported");
        drop(items);
        drop(sentinels);
        // From the last to the first, whose places stay.
        for at in ended.into_iter().rev() {
            let (number, child, told) = living.swap_remove(at);
            let told = told.expect("it was not to end yet");
            let result = child.join();
            let reported_at = now();
            check_result(number, result);
            reported += 1;
            let began = if means(number) > 4 { told } else { gates.moment(number).load(Ordering::SeqCst) };
            delays.push(reported_at - began);
        }
    }
    assert_eq!(reported, size);
    assert_eq!(active_children().len(), 0);
    drop(gates);
    assert_eq!(handles(), before);
    delays.sort_unstable();
    let [median, last_but_one_percent, latest] =
        [delays.len() / 2, delays.len() * 99 / 100, delays.len() - 1]
            .map(|at| Duration::from_nanos(delays[at]));
    println!(
        "{size} ends, reported by `join` within {median:?}, 99 % within {last_but_one_percent:?}, the latest {latest:?}"
    );
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
