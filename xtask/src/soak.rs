//! `cargo xtask soak`: the suites that go on for as long as they are told.
//!
//! Such a suite is `tests/soak.rs` of a crate. It is told how long by `MP_SOAK_SECONDS` and
//! with which seed by `MP_TESTKIT_SEED`; `cargo test` runs it too, for a moment.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::Failure;
use crate::shell;
use crate::workspace::{Crate, Workspace};

const DEFAULT_SECONDS: u64 = 60;

/// What was asked for.
struct Options {
    name: Option<String>,
    seed: u64,
    seconds: u64,
}

pub(crate) fn run(workspace: &Workspace, arguments: &[&str]) -> Result<(), Failure> {
    let options = parse(arguments)?;
    let asked = |member: &&Crate| options.name.as_ref().is_none_or(|name| *name == member.name);
    let has_soak = |member: &&Crate| member.folder.join("tests/soak.rs").is_file();
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
    let Options { seed, seconds, .. } = options;
    println!("==> soak {} --seed {seed} --seconds {seconds}", member.name);
    let start = Instant::now();
    let line = format!("cargo test --release -p {} --test soak -- --include-ignored", member.name);
    let mut command = shell::command(&workspace.root, &line);
    command.env("MP_SOAK_SECONDS", seconds.to_string()).env("MP_TESTKIT_SEED", seed.to_string());
    let result = shell::show(&mut command);
    let verdict = match &result {
        Ok(()) => "passed".to_owned(),
        Err(failure) => format!("failed: {failure}"),
    };
    let took = start.elapsed().as_secs_f64();
    println!("    soak {} --seed {seed}: {verdict}, {took:.1} s", member.name);
    result.is_ok()
}

fn parse(arguments: &[&str]) -> Result<Options, Failure> {
    let mut options = Options { name: None, seed: fresh_seed(), seconds: DEFAULT_SECONDS };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut number = || -> Result<u64, Failure> {
            let text = arguments.next().ok_or_else(|| format!("{argument} needs a number"))?;
            Ok(text.parse().map_err(|error| format!("{argument} {text}: {error}"))?)
        };
        match *argument {
            "--seed" => options.seed = number()?,
            "--seconds" => options.seconds = number()?,
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
        let options = parse(&["--seed", "7", "mp-pool", "--seconds", "9"]).unwrap();
        assert_eq!((options.seed, options.seconds), (7, 9));
        assert_eq!(options.name.as_deref(), Some("mp-pool"));
    }

    #[test]
    fn a_missing_number_is_said() {
        let failure = parse(&["--seed"]).err().unwrap();
        assert_eq!(failure.to_string(), "--seed needs a number");
    }
}
