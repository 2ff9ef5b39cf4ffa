//! A suite passes, fails and skips as its trials do, and its census closes it.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use mp_process::{Process, ProcessError};
use mp_testkit::harness::Skip;
use mp_testkit::program::Finished;
use mp_testkit::{Program, Suite, Trial, trials, variants};

/// Which suite this program is to be, instead of the tests of this file.
const ROLE: &str = "HARNESS_TEST_ROLE";

/// A census that finds a leak looks for it for two seconds and more.
const LIMIT: Duration = Duration::from_secs(50);

fn main() -> ExitCode {
    match std::env::var(ROLE).as_deref() {
        Ok("mixed") => mixed(),
        Ok("leaky") => leaky(),
        _ => mp_testkit::run(trials![
            outcomes_are_counted,
            variants_have_names_of_their_own,
            a_leak_fails_the_census,
            a_leak_fails_a_filtered_run,
            a_skip_names_its_reason,
            a_child_does_its_work_and_runs_no_trial,
        ]),
    }
}

fn outcomes_are_counted() -> io::Result<()> {
    let done = suite("mixed", &[])?;
    assert_eq!(done.code(), Some(101));
    let totals = "test result: FAILED. 4 passed; 2 failed; 2 ignored";
    assert!(done.stdout.contains(totals), "{}", done.stdout);
    Ok(())
}

fn variants_have_names_of_their_own() -> io::Result<()> {
    let done = suite("mixed", &["case::two"])?.expect_success();
    assert!(done.stdout.contains("test case::two ... ok"), "{}", done.stdout);
    assert!(!done.stdout.contains("case::one"), "{}", done.stdout);
    Ok(())
}

fn a_leak_fails_the_census() -> io::Result<()> {
    let done = suite("leaky", &[])?;
    assert_eq!(done.code(), Some(101));
    assert!(done.stdout.contains("test census ... FAILED"), "{}", done.stdout);
    assert!(done.stdout.contains("/proc/version"), "{}", done.stdout);
    Ok(())
}

fn a_leak_fails_a_filtered_run() -> io::Result<()> {
    let done = suite("leaky", &["--exact", "opens"])?;
    assert_eq!(done.code(), Some(101));
    assert!(done.stderr.contains("/proc/version"), "{}", done.stderr);
    Ok(())
}

fn a_skip_names_its_reason() -> io::Result<()> {
    let done = suite("mixed", &["skips"])?.expect_success();
    assert!(done.stdout.contains("no device"), "{}", done.stdout);
    Ok(())
}

fn a_child_does_its_work_and_runs_no_trial() -> Result<(), ProcessError> {
    let process = Process::spawn(|x: u64| x * x, 12)?;
    assert_eq!(process.join()?, 144);
    Ok(())
}

fn suite(role: &str, arguments: &[&str]) -> io::Result<Finished> {
    let mut program = Program::this()?.env(ROLE, role);
    for argument in arguments {
        program = program.arg(argument);
    }
    program.run(LIMIT)
}

fn mixed() -> ExitCode {
    let mut trials = trials![passes, fails, skips];
    trials.push(Trial::new("panics", panics));
    trials.push(Trial::new("waits", panics).ignored());
    trials.extend(variants("case", [("one", 1), ("two", 2)], |case: u32| assert!(case < 3)));
    mp_testkit::run(trials)
}

fn leaky() -> ExitCode {
    Suite::new(trials![opens]).patience(Duration::ZERO).run()
}

fn passes() {}

fn panics() {
    panic!("on purpose");
}

fn fails() -> Result<(), String> {
    Err("on purpose".to_owned())
}

fn skips() -> Skip {
    Skip("no device".to_owned())
}

fn opens() -> io::Result<()> {
    std::mem::forget(std::fs::File::open("/proc/version")?);
    Ok(())
}
