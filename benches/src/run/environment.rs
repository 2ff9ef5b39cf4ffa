//! On what it was measured.

use std::fs;
use std::process::Command;
use std::thread;

use super::options::Options;

/// A few lines for the head of the report.
pub(super) fn describe(options: &Options) -> String {
    let cpus = thread::available_parallelism().map_or(0, usize::from);
    let python = said(&options.python().to_string_lossy(), &["--version"]);
    let lines = [
        ("machine", format!("{cpus} x {}", processor())),
        // Without the name of a build.
        ("kernel", said("uname", &["-sr"]).split('-').next().unwrap_or_default().to_owned()),
        ("compiler", said("rustc", &["--version"])),
        ("python", format!("{python} ({})", options.python().display())),
        ("commit", said("git", &["describe", "--always", "--dirty"])),
        ("date", said("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
        ("rounds", format!("{} of {} ms each", options.rounds, options.budget.as_millis())),
    ];
    lines.iter().map(|(what, text)| format!("{what:9} {text}\n")).collect()
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name"));
    name.map_or("unknown processor", |name| name.trim_start_matches(['\t', ' ', ':'])).to_owned()
}

fn said(program: &str, arguments: &[&str]) -> String {
    match Command::new(program).args(arguments).output() {
        Ok(done) if done.status.success() => String::from_utf8_lossy(&done.stdout).trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}
