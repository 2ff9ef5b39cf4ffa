//! Programs are run, interrupted, and found to have left something behind.

use std::io::{self, ErrorKind};
use std::time::Duration;

use mp_testkit::Program;

const LIMIT: Duration = Duration::from_secs(20);

fn what_it_writes_and_how_it_ends_come_back() -> io::Result<()> {
    let done = shell("echo out; echo err >&2; exit 7").run(LIMIT)?;
    assert_eq!((done.code(), done.signal()), (Some(7), None));
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("out\n", "err\n"));
    Ok(())
}

fn a_line_can_be_waited_for() -> io::Result<()> {
    let running = shell("echo one; echo two; sleep 600").start()?;
    assert_eq!(running.wait_for_line("tw", LIMIT)?, "two");
    let error = running.wait_for_line("three", Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.to_string().contains("one\ntwo"), "{error}");
    Ok(())
}

fn the_end_of_the_output_ends_the_wait() -> io::Result<()> {
    let running = shell("echo one").start()?;
    let error = running.wait_for_line("two", LIMIT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    Ok(())
}

fn ctrl_c_reaches_the_whole_group() -> io::Result<()> {
    let running = shell("trap 'exit 130' INT; echo ready; sleep 600; true").start()?;
    running.wait_for_line("ready", LIMIT)?;
    // Between its fork and its exec the child would take the signal as the shell does.
    while !running.descendants().iter().any(|child| child.name == "sleep") {
        std::thread::yield_now();
    }
    running.ctrl_c()?;
    assert_eq!(running.finish(LIMIT)?.code(), Some(130));
    Ok(())
}

fn a_killed_program_tells_its_signal() -> io::Result<()> {
    let running = shell("echo ready; sleep 600").start()?;
    running.wait_for_line("ready", LIMIT)?;
    running.kill()?;
    let mut running = running;
    assert_eq!(running.wait(LIMIT)?.to_string(), "signal: 9 (SIGKILL)");
    Ok(())
}

fn what_is_left_behind_is_noticed() -> io::Result<()> {
    let running = shell("sleep 600 & echo bye").start()?;
    let error = running.finish(Duration::from_millis(300)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.to_string().contains("left behind"), "{error}");
    Ok(())
}

fn a_missing_example_says_how_to_build_it() {
    let error = Program::example("no-such-example").unwrap_err();
    assert!(error.to_string().contains("cargo build --example"), "{error}");
}

fn shell(script: &str) -> Program {
    Program::at("/bin/sh").arg("-c").arg(script)
}

mp_testkit::main!(
    what_it_writes_and_how_it_ends_come_back,
    a_line_can_be_waited_for,
    the_end_of_the_output_ends_the_wait,
    ctrl_c_reaches_the_whole_group,
    a_killed_program_tells_its_signal,
    what_is_left_behind_is_noticed,
    a_missing_example_says_how_to_build_it,
);
