//! The examples, run as a user runs them, and the lines that they are to print.

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use mp_testkit::Program;

type TestResult = Result<(), Box<dyn Error>>;

/// Longer than any of them runs, in a debug build on a busy machine.
const LIMIT: Duration = Duration::from_secs(50);

mp_testkit::main!(
    counter_counts_in_one_place,
    managers_print_what_was_called,
    shared_array_prints_the_squares,
    lock_passed_to_children_prints_ten_whole_lines,
    queue_join_does_not_deadlock,
    an_undecodable_error_fails_its_task_alone,
    workers_print_all_results,
    pool_prints_all_results_in_their_order,
);

/// The lines of an example that ended well and wrote no errors.
fn lines(example: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let finished = Program::example(example)?.run(LIMIT)?.expect_success();
    assert_eq!(finished.stderr, "");
    Ok(finished.stdout.lines().map(str::to_owned).collect())
}

fn counter_counts_in_one_place() -> TestResult {
    assert_eq!(lines("counter")?, ["4000"]);
    Ok(())
}

fn managers_print_what_was_called() -> TestResult {
    let rule = "-".repeat(20);
    let expected = [
        &rule,
        "you called Foo.f()",
        "you called Foo.g()",
        &rule,
        "you called Foo.g()",
        "you called Foo._h()",
        &rule,
        "<0> <1> <4> <9> <16> <25> <36> <49> <64> <81> ",
        &rule,
        "op.add(23, 45) = 68",
        "op.pow(2, 94) = 19807040628566084398385987584",
        "op._exposed_ = (add, pow)",
    ];
    assert_eq!(lines("managers")?, expected);
    Ok(())
}

fn shared_array_prints_the_squares() -> TestResult {
    assert_eq!(lines("shared_array")?, ["[0, 1, 4, 9, 16, 25, 36, 49, 64, 81]"]);
    Ok(())
}

fn lock_passed_to_children_prints_ten_whole_lines() -> TestResult {
    let lines = lines("lock_passed_to_children")?;
    assert_eq!(lines.len(), 10);
    let expected = (0..10).map(|i| format!("hello world {i}"));
    assert_eq!(BTreeSet::from_iter(lines), expected.collect());
    Ok(())
}

fn queue_join_does_not_deadlock() -> TestResult {
    assert_eq!(lines("queue_join")?, ["1000000 characters"]);
    Ok(())
}

fn an_undecodable_error_fails_its_task_alone() -> TestResult {
    let lines = lines("undecodable_error")?;
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with("task failed: the value could not be decoded"), "{lines:?}");
    assert_eq!(lines[1], "the pool is not stuck: 2");
    Ok(())
}

fn workers_print_all_results() -> TestResult {
    let lines = lines("workers")?;
    assert_eq!(lines.len(), 31);
    assert_eq!(lines[0], "Unordered results:");
    let (muls, pluses) = lines[1..].split_at(20);
    assert_eq!(sorted(said(muls, "Process-")), sorted(products(0..20)));
    assert_eq!(sorted(said(pluses, "Process-")), sorted(sums(0..10)));
    Ok(())
}

fn pool_prints_all_results_in_their_order() -> TestResult {
    let lines = lines("pool")?;
    let expected: Vec<String> = products(0..10).into_iter().chain(sums(0..10)).collect();
    let section = |title: &str, len: usize| {
        let start = lines.iter().position(|line| line.starts_with(title));
        let start = start.unwrap_or_else(|| panic!("no {title} in {lines:#?}"));
        &lines[start + 1..start + 1 + len]
    };
    assert_eq!(lines[..2], ["Creating pool with 4 processes", ""]);
    assert_eq!(said(section("Ordered results using pool.apply_async():", 20), "Pool-"), expected);
    assert_eq!(said(section("Ordered results using pool.imap():", 20), "Pool-"), expected);
    let unordered = section("Unordered results using pool.imap_unordered():", 20);
    assert_eq!(sorted(said(unordered, "Pool-")), sorted(expected.clone()));
    let title = "Ordered results using pool.map() --- will block till complete:";
    assert_eq!(said(section(title, 20), "Pool-"), expected);

    let places = ["pool.apply()", "pool.map()", "list(pool.imap())", "IMapIterator.next()"];
    let errors = places.map(|place| format!("\tGot ZeroDivisionError as expected from {place}"));
    assert_eq!(section("Testing error handling:", 4), errors);
    assert_eq!(said(section("Testing ApplyResult.get() with timeout: ", 1), "Pool-"), expected[..1]);
    assert_eq!(said(section("Testing IMapIterator.next() with timeout: ", 20), "Pool-"), expected);
    Ok(())
}

/// What the lines say behind the name of a worker, which begins so, and before points.
fn said(lines: &[String], worker: &str) -> Vec<String> {
    let text = |line: &String| {
        let line = line.trim_start().trim_end_matches('.');
        assert!(line.starts_with(worker), "{line}");
        line.split_once(" says that ").expect("a result").1.to_owned()
    };
    lines.iter().map(text).collect()
}

fn products(range: std::ops::Range<i64>) -> Vec<String> {
    range.map(|i| format!("mul({i}, 7) = {}", i * 7)).collect()
}

fn sums(range: std::ops::Range<i64>) -> Vec<String> {
    range.map(|i| format!("plus({i}, 8) = {}", i + 8)).collect()
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}
