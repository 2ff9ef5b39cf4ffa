//! Whether two runs say the same.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::report::figures;
use crate::contest::Failure;
use crate::stats::Verdict;

/// What a run has said of its targets, by row, mode and system.
#[derive(Debug)]
pub(super) struct Verdicts(BTreeMap<Key, Said>);

type Key = (String, String, String);

#[derive(Debug, Clone, Copy, PartialEq)]
struct Said {
    verdict: Verdict,
    low: f64,
    high: f64,
}

/// As much of a line of the JSON as is looked at.
#[derive(Deserialize)]
struct Record {
    row: String,
    mode: String,
    system: String,
    ratio_low: Option<f64>,
    ratio_high: Option<f64>,
    verdict: Option<Verdict>,
}

impl Verdicts {
    /// Reads what `--json` has written.
    pub(super) fn read(file: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        Self::parse(&text)
            .map_err(|error| format!("{} is no result of a run: {error}", file.display()).into())
    }

    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let records: Vec<Record> = serde_json::from_str(text)?;
        let said = records.into_iter().filter_map(|record| {
            let said = Said { verdict: record.verdict?, low: record.ratio_low?, high: record.ratio_high? };
            Some(((record.row, record.mode, record.system), said))
        });
        Ok(Self(said.collect()))
    }

    /// In words: of how many targets both speak, and which one says `met` of and the other `not met`.
    /// `within noise` contradicts nobody.
    pub(super) fn beside(&self, earlier: &Self) -> String {
        let both: Vec<(&Key, Said, Said)> =
            self.0.iter().filter_map(|(key, now)| Some((key, *now, *earlier.0.get(key)?))).collect();
        let same = both.iter().filter(|(_, now, then)| now.verdict == then.verdict).count();
        let mut lines = String::new();
        let mut contradictions = 0;
        for ((row, mode, system), now, then) in &both {
            if contradict(now.verdict, then.verdict) {
                contradictions += 1;
                let _ =
                    writeln!(lines, "- {row} ({mode}) to {system}: {}, earlier {}", words(now), words(then));
            }
        }
        let head =
            format!("beside the earlier run: {} targets in both, {same} with the same verdict", both.len());
        match contradictions {
            0 => format!("{head}, no contradiction"),
            1 => format!("{head}, 1 contradiction\n{lines}"),
            many => format!("{head}, {many} contradictions\n{lines}"),
        }
    }
}

fn contradict(one: Verdict, other: Verdict) -> bool {
    one != other && one != Verdict::WithinNoise && other != Verdict::WithinNoise
}

fn words(said: &Said) -> String {
    format!("{} ({} to {})", said.verdict.name(), figures(said.low), figures(said.high))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(verdicts: &[(&str, &str)]) -> Verdicts {
        let records: Vec<String> = verdicts
            .iter()
            .map(|(row, verdict)| {
                format!(
                    r#"{{"row": "{row}", "mode": "hot", "system": "bound", "metric": "p50", "unit": "µs",
                    "value": 1.0, "ratio": 0.9, "ratio_low": 0.8, "ratio_high": 1.0, "verdict": "{verdict}"}}"#
                )
            })
            .collect();
        Verdicts::parse(&format!("[{}]", records.join(","))).unwrap()
    }

    #[test]
    fn only_met_and_not_met_contradict() {
        let earlier =
            run(&[("a", "met"), ("b", "met"), ("c", "not met"), ("d", "within noise"), ("gone", "met")]);
        let now = run(&[("a", "met"), ("b", "not met"), ("c", "within noise"), ("d", "met"), ("new", "met")]);
        let said = now.beside(&earlier);
        let wanted = "beside the earlier run: 4 targets in both, 1 with the same verdict, 1 contradiction\n\
                      - b (hot) to bound: not met (0.80 to 1.00), earlier met (0.80 to 1.00)\n";
        assert_eq!(said, wanted);
    }

    #[test]
    fn a_run_agrees_with_itself() {
        let one = run(&[("a", "met"), ("b", "not met")]);
        let wanted = "beside the earlier run: 2 targets in both, 2 with the same verdict, no contradiction";
        assert_eq!(one.beside(&one), wanted);
    }

    #[test]
    fn lines_without_a_verdict_say_nothing() {
        let text =
            r#"[{"row": "a", "mode": "hot", "system": "ours", "metric": "p50", "unit": "µs", "value": 1.0}]"#;
        assert!(Verdicts::parse(text).unwrap().0.is_empty());
        assert!(Verdicts::parse("{}").is_err());
    }
}
