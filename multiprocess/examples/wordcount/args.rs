//! The command line.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::thread::available_parallelism;

pub(crate) const USAGE: &str = "usage: wordcount [--processes N] [--top N] [--serial] [--json] PATH…";

pub(crate) const HELP: &str = "\
usage: wordcount [--processes N] [--top N] [--serial] [--json] PATH…

Counts the words of all text files under the paths.

  --processes N  worker processes (default: one for each CPU)
  --top N        how many of the most frequent words to print (default: 20)
  --serial       the same job in this process alone
  --json         print one JSON object
  --help         print this text
";

pub(crate) enum Command {
    Run(Args),
    Help,
}

#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) processes: usize,
    pub(crate) top: usize,
    pub(crate) serial: bool,
    pub(crate) json: bool,
}

impl Args {
    /// How many processes will count.
    pub(crate) fn workers(&self) -> usize {
        if self.serial { 1 } else { self.processes }
    }
}

#[derive(Debug, PartialEq)]
pub(crate) enum Wrong {
    NoPath,
    Unknown(String),
    NotANumber { option: String, value: Option<OsString> },
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::NoPath => write!(f, "no path given"),
            Wrong::Unknown(option) => write!(f, "unknown option {option}"),
            Wrong::NotANumber { option, value: None } => write!(f, "{option} needs a number"),
            Wrong::NotANumber { option, value: Some(value) } => {
                write!(f, "{option} needs a number, not {}", value.display())
            }
        }
    }
}

pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Command, Wrong> {
    let mut args = Args {
        paths: Vec::new(),
        processes: available_parallelism().map_or(1, usize::from),
        top: 20,
        serial: false,
        json: false,
    };
    let mut words = words;
    while let Some(word) = words.next() {
        let option = word.to_str().filter(|word| word.starts_with('-'));
        let (name, value) = match option {
            Some(option) => split_value(option),
            None => {
                args.paths.push(word.into());
                continue;
            }
        };
        match (name, value) {
            ("--", None) => args.paths.extend(words.by_ref().map(PathBuf::from)),
            ("--help" | "-h", None) => return Ok(Command::Help),
            ("--serial", None) => args.serial = true,
            ("--json", None) => args.json = true,
            ("--processes", value) => args.processes = number(name, value, &mut words, 1)?,
            ("--top", value) => args.top = number(name, value, &mut words, 0)?,
            _ => return Err(Wrong::Unknown(name.to_owned())),
        }
    }
    if args.paths.is_empty() { Err(Wrong::NoPath) } else { Ok(Command::Run(args)) }
}

fn split_value(option: &str) -> (&str, Option<&str>) {
    match option.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (option, None),
    }
}

fn number(
    option: &str,
    value: Option<&str>,
    words: &mut impl Iterator<Item = OsString>,
    least: usize,
) -> Result<usize, Wrong> {
    let value = value.map(OsString::from).or_else(|| words.next());
    let number = value.as_ref().and_then(|value| value.to_str()?.parse().ok());
    match number {
        Some(number) if number >= least => Ok(number),
        _ => Err(Wrong::NotANumber { option: option.to_owned(), value }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Args, Wrong> {
        match parse(line.split_whitespace().map(OsString::from))? {
            Command::Run(args) => Ok(args),
            Command::Help => panic!("help was not asked for"),
        }
    }

    #[test]
    fn options_and_paths_in_any_order() {
        let args = parsed("a --processes 3 b --top=7 --json -- --serial").unwrap();
        assert_eq!(args.paths, ["a", "b", "--serial"].map(PathBuf::from));
        assert_eq!((args.processes, args.top, args.json, args.serial), (3, 7, true, false));
    }

    #[test]
    fn wrong_lines() {
        assert_eq!(parsed("--json").unwrap_err(), Wrong::NoPath);
        assert_eq!(parsed("--fast a").unwrap_err(), Wrong::Unknown("--fast".into()));
        for line in ["a --processes", "a --processes 0", "a --processes=x", "a --top -1"] {
            assert!(matches!(parsed(line), Err(Wrong::NotANumber { .. })), "{line}");
        }
    }
}
