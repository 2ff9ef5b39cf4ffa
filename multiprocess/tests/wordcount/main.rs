//! The `wordcount` example from outside: its counts, and what kills and Ctrl-C do to it.

mod corpus;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use mp_testkit::Program;
use mp_testkit::chaos::{self, Descendant};
use mp_testkit::program::{Finished, Running};
use serde_json::Value;

use corpus::Corpus;

type TestResult = Result<(), Box<dyn Error>>;

/// Longer than any run that ends by itself, in a debug build on a busy machine.
const LIMIT: Duration = Duration::from_secs(50);

/// How soon after a program all that it started must be gone, on however busy a machine.
const AFTERMATH: Duration = Duration::from_secs(20);

mp_testkit::main!(
    a_pool_counts_what_one_process_counts,
    any_number_of_processes_counts_the_same,
    nothing_to_count,
    a_missing_path_is_an_error,
    a_wrong_command_line_is_an_error,
    the_report_names_the_top,
    killed_workers_do_not_change_the_counts,
    an_end_of_all_workers_is_an_error,
    ctrl_c_ends_it_at_once,
    ctrl_c_ends_a_serial_run,
    a_killed_parent_leaves_no_worker,
);

fn a_pool_counts_what_one_process_counts() -> TestResult {
    let corpus = Corpus::new()?;
    let (texts, skipped) = corpus.fill()?;
    let run = |mode: &str| count(corpus.path(), 1).arg(mode).arg("--top=50").run(LIMIT);
    let (serial, pool) = (run("--serial")?, run("--processes=2")?);

    let expected = corpus::words(texts.iter().map(String::as_str));
    for finished in [&serial, &pool] {
        let counts = counts(finished)?;
        assert_eq!(counts["files"], texts.len());
        assert_eq!(counts["skipped"], skipped.len());
        assert_eq!(counts["bytes"], texts.iter().map(String::len).sum::<usize>());
        assert_words(&counts, &expected, 50);
        for name in &skipped {
            let told = |line: &str| line.starts_with("wordcount: skipped ") && line.contains(name);
            assert!(finished.stderr.lines().any(told), "{name}: {}", finished.stderr);
        }
        assert_eq!(finished.stderr.lines().count(), skipped.len(), "{}", finished.stderr);
    }
    assert_eq!(serial.stderr, pool.stderr);
    assert_eq!(counts(&serial)?, counts(&pool)?);
    Ok(())
}

fn any_number_of_processes_counts_the_same() -> TestResult {
    let corpus = Corpus::new()?;
    let (large, text) = corpus.large()?;
    let expected = corpus::words([text.as_str()]);
    for processes in [1, 3, 8] {
        let program = count(&large, 1).arg(format!("--processes={processes}"));
        assert_words(&counts(&program.run(LIMIT)?)?, &expected, 20);
    }
    Ok(())
}

fn nothing_to_count() -> TestResult {
    let corpus = Corpus::new()?;
    for mode in ["--serial", "--processes=2"] {
        let counts = counts(&count(corpus.path(), 1).arg(mode).run(LIMIT)?)?;
        assert_eq!((&counts["files"], &counts["words"]), (&Value::from(0), &Value::from(0)));
    }
    Ok(())
}

fn a_missing_path_is_an_error() -> TestResult {
    let corpus = Corpus::new()?;
    let finished = count(&corpus.path().join("nowhere"), 1).run(LIMIT)?;
    assert_eq!(finished.code(), Some(2));
    assert_eq!(finished.stdout, "");
    assert!(finished.stderr.contains("nowhere"), "{}", finished.stderr);
    Ok(())
}

fn a_wrong_command_line_is_an_error() -> TestResult {
    for line in [&["--fast", "."][..], &["--processes", "0", "."], &["--top"], &[]] {
        let program = line.iter().fold(Program::example("wordcount")?, |p, word| p.arg(*word));
        let finished = program.run(LIMIT)?;
        assert_eq!(finished.code(), Some(2), "{line:?}");
        assert!(finished.stderr.contains("usage: wordcount"), "{}", finished.stderr);
    }
    Ok(())
}

fn the_report_names_the_top() -> TestResult {
    let corpus = Corpus::new()?;
    let file = corpus.write("a.txt", "b A a, b; a\n")?;
    let program = Program::example("wordcount")?;
    let finished = program.arg("--serial").arg(file).run(LIMIT)?.expect_success();
    let lines: Vec<&str> = finished.stdout.lines().map(str::trim).collect();
    assert_eq!(lines[..6], ["1 files, 0 skipped", "12 bytes", "5 words, 2 distinct", "", "3 a", "2 b"]);
    Ok(())
}

fn killed_workers_do_not_change_the_counts() -> TestResult {
    const TIMES: usize = 40;
    let corpus = Corpus::new()?;
    let (large, text) = corpus.large()?;
    let running = count(&large, TIMES).arg("--processes=2").start()?;
    let mut killed = 0;
    // A batch may be tried four times, so three kills can never be too many for one.
    for _ in 0..3 {
        killed += usize::from(chaos::kill(worker(&running)?.pid).is_ok());
        sleep(Duration::from_millis(20));
    }
    let counts = counts(&running.finish(LIMIT)?)?;
    assert!(killed > 0, "no worker was killed");
    assert_eq!(counts["files"], TIMES);
    let mut expected = corpus::words([text.as_str()]);
    expected.values_mut().for_each(|count| *count *= TIMES as u64);
    assert_words(&counts, &expected, 20);
    Ok(())
}

fn an_end_of_all_workers_is_an_error() -> TestResult {
    let corpus = Corpus::new()?;
    let mut running = endless(&corpus)?.arg("--processes=2").start()?;
    let started = Instant::now();
    while running.wait(Duration::from_millis(5)).is_err() {
        assert!(started.elapsed() < LIMIT, "still running");
        for worker in running.descendants() {
            // Whether it was still there is all the same.
            let _ = chaos::kill(worker.pid);
        }
    }
    let finished = running.finish(AFTERMATH)?;
    assert_eq!(finished.code(), Some(1), "{}", finished.stderr);
    assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
    assert!(finished.stderr.starts_with("wordcount: "), "{}", finished.stderr);
    Ok(())
}

fn ctrl_c_ends_it_at_once() -> TestResult {
    let corpus = Corpus::new()?;
    // A terminal interrupts the whole group, another program perhaps the parent alone.
    for interrupt in [Running::ctrl_c, Running::interrupt] {
        let running = endless(&corpus)?.arg("--processes=2").start()?;
        worker(&running)?;
        handles_interrupts(&running)?;
        sleep(Duration::from_millis(100));
        let workers = running.descendants();
        interrupt(&running)?;
        let finished = running.finish(AFTERMATH)?;
        assert_eq!(finished.code(), Some(130), "{}", finished.stderr);
        assert_eq!((finished.stdout, finished.stderr), (String::new(), String::new()));
        assert_gone(&workers);
    }
    Ok(())
}

fn ctrl_c_ends_a_serial_run() -> TestResult {
    let corpus = Corpus::new()?;
    let running = endless(&corpus)?.arg("--serial").start()?;
    handles_interrupts(&running)?;
    sleep(Duration::from_millis(100));
    running.ctrl_c()?;
    assert_eq!(running.finish(AFTERMATH)?.code(), Some(130));
    Ok(())
}

fn a_killed_parent_leaves_no_worker() -> TestResult {
    let corpus = Corpus::new()?;
    let mut running = endless(&corpus)?.arg("--processes=2").start()?;
    worker(&running)?;
    sleep(Duration::from_millis(100));
    let workers = running.descendants();
    running.kill()?;
    running.wait(AFTERMATH)?;
    assert_gone(&workers);
    Ok(())
}

/// Counts `path` so many times over.
fn count(path: &Path, times: usize) -> Program {
    let program = Program::example("wordcount").expect("the example is built");
    (0..times).fold(program.arg("--json"), |program, _| program.arg(path))
}

/// Work for longer than any test waits.
fn endless(corpus: &Corpus) -> std::io::Result<Program> {
    Ok(count(&corpus.large()?.0, 5_000))
}

/// The counts without the time they took.
fn counts(finished: &Finished) -> Result<Value, Box<dyn Error>> {
    let finished = finished.clone().expect_success();
    let mut counts: Value = serde_json::from_str(&finished.stdout)?;
    let seconds = counts.as_object_mut().and_then(|counts| counts.remove("seconds"));
    assert!(seconds.is_some_and(|seconds| seconds.is_f64()), "{}", finished.stdout);
    Ok(counts)
}

fn assert_words(counts: &Value, expected: &BTreeMap<String, u64>, top: usize) {
    let mut order: Vec<_> = expected.iter().collect();
    order.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    order.truncate(top);
    assert_eq!(counts["words"], expected.values().sum::<u64>());
    assert_eq!(counts["distinct"], expected.len());
    assert_eq!(counts["top"], serde_json::json!(order));
}

/// A worker that lives, as soon as there is one.
fn worker(running: &Running) -> Result<Descendant, String> {
    let started = Instant::now();
    while started.elapsed() < AFTERMATH {
        let alive = running.descendants().into_iter().find(|worker| !worker.is_zombie());
        if let Some(worker) = alive {
            return Ok(worker);
        }
        sleep(Duration::from_millis(1));
    }
    Err(format!("{running:?} has no worker"))
}

/// Waits until the program has a handler for interrupts.
fn handles_interrupts(running: &Running) -> TestResult {
    const INTERRUPT: u64 = 1 << 1;
    let started = Instant::now();
    loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", running.pid()))?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).ok_or("no signals")?;
        if u64::from_str_radix(caught.trim(), 16)? & INTERRUPT != 0 {
            return Ok(());
        }
        assert!(started.elapsed() < LIMIT, "it handles no interrupts");
        sleep(Duration::from_millis(1));
    }
}

fn assert_gone(workers: &[Descendant]) {
    assert!(!workers.is_empty(), "there were no workers");
    let started = Instant::now();
    let lives = |worker: &&Descendant| chaos::state(worker.pid).is_some_and(|state| state != 'Z');
    while let Some(left) = workers.iter().find(lives) {
        assert!(started.elapsed() < AFTERMATH, "{left} is left");
        sleep(Duration::from_millis(5));
    }
}
