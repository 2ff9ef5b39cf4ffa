//! A hang ends with a report, exit code 124 and no process left.

use std::io;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use mp_testkit::{Program, Suite, Watchdog, trials, watchdog};

/// Set in the process that is to hang.
const ROLE: &str = "WATCHDOG_TEST_ROLE";

/// Long enough for gdb to look at two processes of an unstripped build on a busy machine.
const LIMIT: Duration = Duration::from_secs(100);

fn main() -> ExitCode {
    if std::env::var_os(ROLE).is_some() {
        return Suite::new(trials![hangs_with_a_child]).timeout(Duration::from_secs(600)).run();
    }
    let trials = trials![a_hang_is_reported_and_ended, a_watchdog_dropped_in_time_is_silent];
    Suite::new(trials).timeout(LIMIT * 2).run()
}

fn a_hang_is_reported_and_ended() -> io::Result<()> {
    let hanging = Program::this()?.env(ROLE, "hang").env("MP_TESTKIT_TIMEOUT", "0.5");
    // The output ends only when the child of the hanging process is gone too.
    let done = hanging.run(LIMIT)?;
    assert_eq!(done.code(), Some(watchdog::EXIT_CODE), "{}", done.stderr);
    let report = &done.stderr;
    for part in ["`hangs_with_a_child` was not done", "`sleep` (S)", "wchan", "`watchdog` state"] {
        assert!(report.contains(part), "no {part} in\n{report}");
    }
    Ok(())
}

fn a_watchdog_dropped_in_time_is_silent() {
    drop(Watchdog::arm("in_time", Duration::from_secs(3600)));
}

fn hangs_with_a_child() -> io::Result<()> {
    let _child = Command::new("sleep").arg("600").spawn()?;
    loop {
        thread::park();
    }
}
