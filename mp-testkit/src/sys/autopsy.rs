//! What processes are waiting for, in words.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use crate::chaos::Descendant;

/// More backtraces than this would hide the rest of the report.
const MOST_BACKTRACES: usize = 16;

/// Seconds that one backtrace may take.
const BACKTRACE_SECONDS: &str = "30";

/// Writes the states of all, then their backtraces: the first cost nothing and always work.
pub(crate) fn report(processes: &[Descendant]) {
    for process in processes {
        say(&states(process));
    }
    let alive = processes.iter().filter(|process| !process.is_zombie());
    for process in alive.take(MOST_BACKTRACES) {
        backtrace(process.pid);
    }
}

/// Writes to standard error past the lock of the standard library, which the thread that hangs
/// may hold.
pub(crate) fn say(text: &str) {
    if let Ok(stderr) = io::stderr().as_fd().try_clone_to_owned() {
        let _ = File::from(stderr).write_all(text.as_bytes());
    }
}

fn states(process: &Descendant) -> String {
    let mut text = format!("process {process}\n");
    let tasks = format!("/proc/{}/task", process.pid);
    for task in fs::read_dir(tasks).into_iter().flatten().flatten() {
        let path = task.path();
        let field = |name| fs::read_to_string(path.join(name)).unwrap_or_default();
        let thread = task.file_name();
        let _ = writeln!(
            text,
            "  thread {} `{}` state {} wchan {} syscall {}",
            thread.to_string_lossy(),
            field("comm").trim(),
            state(&field("stat")),
            or_dash(&field("wchan")),
            or_dash(&field("syscall")),
        );
        for line in field("stack").lines() {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}

fn state(stat: &str) -> char {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.trim_start().chars().next().unwrap_or('?')
}

fn or_dash(text: &str) -> &str {
    match text.trim() {
        "" => "-",
        text => text,
    }
}

/// gdb writes where we write, and not through a pipe of ours: it stops the process it looks at,
/// and that may be the one that would read.
fn backtrace(pid: u32) {
    let Ok(stderr) = io::stderr().as_fd().try_clone_to_owned() else {
        return;
    };
    say(&format!("backtrace of process {pid}\n"));
    let done = Command::new("timeout")
        .args(["-k", "1", BACKTRACE_SECONDS, "gdb", "-nx", "-batch", "-p", &pid.to_string()])
        .args(["-iex", "set debuginfod enabled off", "-iex", "set auto-load off"])
        .args(["-ex", "thread apply all bt"])
        .stdin(Stdio::null())
        .stdout(stderr)
        .stderr(Stdio::null())
        .status();
    if !done.is_ok_and(|status| status.success()) {
        say("  none (is gdb installed, and may it attach?)\n");
    }
}
