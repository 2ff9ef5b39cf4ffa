//! `cargo xtask soak`: the suites that go on for as long as they are told.
//!
//! Such a suite is `tests/soak.rs`, or `tests/soak`, of a crate. It is told how long by
//! `MP_SOAK_SECONDS`, or until how many have been killed by `MP_SOAK_KILLS`, and with which
//! seed by `MP_TESTKIT_SEED`; `cargo test` runs it too, for a moment. What the last run of each
//! wrote is kept in `docs/soak`.

use std::fs;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::Failure;
use crate::shell::{self, command, output};
use crate::workspace::{Crate, Workspace};

const DEFAULT_SECONDS: u64 = 60;

/// What was asked for.
struct Options {
    name: Option<String>,
    seed: u64,
    seconds: u64,
    /// Instead of a time, where the suite counts them.
    kills: Option<u64>,
}

pub(crate) fn run(workspace: &Workspace, arguments: &[&str]) -> Result<(), Failure> {
    let options = parse(arguments)?;
    let asked = |member: &&Crate| options.name.as_ref().is_none_or(|name| *name == member.name);
    let has_soak = |member: &&Crate| {
        ["tests/soak.rs", "tests/soak/main.rs"].iter().any(|suite| member.folder.join(suite).is_file())
    };
    let members: Vec<&Crate> = workspace.crates.iter().filter(asked).filter(has_soak).collect();
    if members.is_empty() {
        let names = workspace.crates.iter().filter(has_soak).map(|member| member.name.as_str());
        return Err(format!("no such soak; there are: {}", names.collect::<Vec<_>>().join(" ")).into());
    }
    let results: Vec<bool> = members.iter().map(|member| soak(workspace, member, &options)).collect();
    if results.contains(&false) {
        return Err(format!("soak failed; repeat it with --seed {}", options.seed).into());
    }
    Ok(())
}

fn soak(workspace: &Workspace, member: &Crate, options: &Options) -> bool {
    let asked = options.describe(&member.name);
    println!("==> {asked}");
    let circumstances = circumstances(workspace).unwrap_or_else(|failure| failure.to_string());
    let start = Instant::now();
    let line = format!("cargo test --release -p {} --test soak -- --include-ignored", member.name);
    let mut command = command(&workspace.root, &line);
    command.env("MP_SOAK_SECONDS", options.seconds.to_string());
    command.env("MP_TESTKIT_SEED", options.seed.to_string());
    if let Some(kills) = options.kills {
        command.env("MP_SOAK_KILLS", kills.to_string());
    }
    let mut lines = Vec::new();
    let result = shell::watch(&mut command, |line| lines.push(line.to_owned()));
    let verdict = match &result {
        Ok(()) => "passed".to_owned(),
        Err(failure) => format!("failed: {failure}"),
    };
    let verdict = format!("{asked}: {verdict}, {:.1} s", start.elapsed().as_secs_f64());
    println!("    {verdict}");
    match keep(workspace, member, &[&[verdict, circumstances, String::new()], &lines[..]].concat()) {
        Ok(()) => result.is_ok(),
        Err(failure) => {
            println!("    not kept: {failure}");
            false
        }
    }
}

/// Of what, when and where.
fn circumstances(workspace: &Workspace) -> Result<String, Failure> {
    let say = |line: &str| output(&mut command(&workspace.root, line)).map(|text| text.trim().to_owned());
    let (commit, date) = (say("git describe --always --dirty")?, say("date -u +%Y-%m-%d")?);
    Ok(format!("commit {commit}, {date}, {}", say("uname -sr")?))
}

/// Writes down what came of it, in the place of the last one.
fn keep(workspace: &Workspace, member: &Crate, lines: &[String]) -> Result<(), Failure> {
    let folder = workspace.root.join("docs/soak");
    fs::create_dir_all(&folder)?;
    let text: String = lines.iter().map(|line| format!("{}\n", line.trim_end())).collect();
    Ok(fs::write(folder.join(format!("{}.txt", member.name)), text)?)
}

impl Options {
    fn describe(&self, name: &str) -> String {
        let much = match self.kills {
            Some(kills) => format!("--kills {kills}"),
            None => format!("--seconds {}", self.seconds),
        };
        format!("soak {name} --seed {} {much}", self.seed)
    }
}

fn parse(arguments: &[&str]) -> Result<Options, Failure> {
    let mut options = Options { name: None, seed: fresh_seed(), seconds: DEFAULT_SECONDS, kills: None };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut number = || -> Result<u64, Failure> {
            let text = arguments.next().ok_or_else(|| format!("{argument} needs a number"))?;
            Ok(text.parse().map_err(|error| format!("{argument} {text}: {error}"))?)
        };
        match *argument {
            "--seed" => options.seed = number()?,
            "--seconds" => options.seconds = number()?,
            "--kills" => options.kills = Some(number()?),
            name if !name.starts_with('-') => options.name = Some(name.to_owned()),
            unknown => return Err(format!("soak knows no option {unknown}").into()),
        }
    }
    Ok(options)
}

fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(now.subsec_nanos()) % 1_000_000
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn options_stand_in_any_order() {
        let options = parse(&["--seed", "7", "mp-pool", "--seconds", "9", "--kills", "5"]).unwrap();
        assert_eq!((options.seed, options.seconds, options.kills), (7, 9, Some(5)));
        assert_eq!(options.name.as_deref(), Some("mp-pool"));
    }

    #[test]
    fn a_missing_number_is_said() {
        let failure = parse(&["--seed"]).err().unwrap();
        assert_eq!(failure.to_string(), "--seed needs a number");
    }
}
