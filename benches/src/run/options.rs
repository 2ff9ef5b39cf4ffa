//! What the command line says.

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::time::Duration;

use crate::contest::Failure;
use crate::rows::By;

/// The program that answers what [`Row::small`](crate::rows::Row::small) says.
const SMALL: &str = "small";

/// So many rounds there are between two builds.
const AGAINST_ROUNDS: usize = 15;

/// What to run, how often, and where the contestants are.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) rows: Vec<String>,
    pub(super) quick: bool,
    pub(super) rounds: usize,
    pub(super) budget: Duration,
    pub(super) at_most: Duration,
    /// How long to wait, over the whole run, for others to be quiet.
    pub(super) patience: Duration,
    pub(super) json: Option<PathBuf>,
    /// What an earlier run has written by `--json`.
    pub(super) beside: Option<PathBuf>,
    pub(super) plot: Option<PathBuf>,
    /// Whether to write the tables of the READMEs.
    pub(super) readme: bool,
    /// The `bench` program of another build.
    pub(super) build: Option<PathBuf>,
    python: PathBuf,
    scripts: PathBuf,
    rivals: PathBuf,
    /// Rivals that are not there, and why.
    missing: BTreeMap<String, String>,
}

impl Options {
    pub(super) fn parse(arguments: &[String]) -> Result<Self, Failure> {
        let mut options = Self::default();
        let arguments_name_rounds = arguments.iter().any(|argument| argument == "--rounds");
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            if !argument.starts_with("--") {
                options.rows.push(argument.clone());
                continue;
            }
            if argument == "--quick" {
                options.quickly();
                continue;
            }
            if argument == "--readme" {
                options.readme = true;
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{argument} needs a value"))?;
            match argument.as_str() {
                "--json" => options.json = Some(value.into()),
                "--beside" => options.beside = Some(value.into()),
                "--plot" => options.plot = Some(value.into()),
                "--build" => options.build = Some(value.into()),
                "--python" => options.python = value.into(),
                "--scripts" => options.scripts = value.into(),
                "--rivals" => options.rivals = value.into(),
                "--rounds" => options.rounds = value.parse()?,
                "--missing" => {
                    let (name, reason) = value.split_once('=').ok_or("--missing NAME=REASON")?;
                    options.missing.insert(name.to_owned(), reason.to_owned());
                }
                _ => return Err(format!("no option is called {argument}").into()),
            }
        }
        // Two contestants leave time for more rounds, and small differences need them.
        if options.build.is_some() && !arguments_name_rounds {
            options.rounds = AGAINST_ROUNDS;
        }
        Ok(options)
    }

    fn default() -> Self {
        Self {
            rows: Vec::new(),
            quick: false,
            rounds: 7,
            budget: Duration::from_millis(200),
            at_most: Duration::from_secs(28 * 60),
            patience: Duration::from_secs(240),
            json: None,
            beside: None,
            plot: None,
            readme: false,
            build: None,
            python: "/usr/bin/python3".into(),
            scripts: "benches/python".into(),
            rivals: "target/rivals/release".into(),
            missing: BTreeMap::new(),
        }
    }

    fn quickly(&mut self) {
        self.quick = true;
        self.rounds = 5;
        self.budget = Duration::from_millis(50);
        self.at_most = Duration::from_secs(280);
        self.patience = Duration::from_secs(20);
    }

    /// Where a kind of contestant is, for those who want to know what was measured.
    pub(super) fn python(&self) -> &PathBuf {
        &self.python
    }

    /// The program that answers, and what it is told before the job. Of ours there is one
    /// that can answer everything, and a small one.
    pub(super) fn program(&self, by: By, small: bool) -> Result<(PathBuf, Vec<String>), String> {
        let beside = |program: PathBuf| if small { program.with_file_name(SMALL) } else { program };
        let own = || env::current_exe().map(beside).map_err(|error| error.to_string());
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Ok(match by {
            By::Ours | By::Ourselves(..) => (own()?, words(&["ours"])),
            By::Limit(_) => return Err("a limit is nobody".to_owned()),
            By::Build => (self.build.clone().map(beside).ok_or("no other build")?, words(&["ours"])),
            By::Bound(name) => (own()?, words(&["bound", name])),
            By::Python(script, what) => {
                let script = self.scripts.join(script);
                (self.python.clone(), words(&[&script.to_string_lossy(), what]))
            }
            By::Rival(name, what) => match self.missing.get(name) {
                Some(reason) => return Err(reason.clone()),
                None => (self.rivals.join(name), words(&[what])),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Options, Failure> {
        Options::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn rows_and_options_stand_in_any_order() {
        let options = parse(&["ipc/", "--quick", "--json", "a.json", "pool/apply"]).unwrap();
        assert_eq!(options.rows, ["ipc/", "pool/apply"]);
        assert_eq!(options.json, Some("a.json".into()));
        assert!(options.quick);
    }

    #[test]
    fn a_rival_that_is_missing_has_a_reason() {
        let options = parse(&["--missing", "iceoryx2=no network"]).unwrap();
        assert_eq!(options.program(By::Rival("iceoryx2", "poll"), false), Err("no network".to_owned()));
        assert!(options.program(By::Rival("procspawn", "pool"), false).is_ok());
    }

    #[test]
    fn what_is_not_known_is_said() {
        assert_eq!(parse(&["--fast", "1"]).unwrap_err().to_string(), "no option is called --fast");
        assert_eq!(parse(&["--json"]).unwrap_err().to_string(), "--json needs a value");
    }
}
