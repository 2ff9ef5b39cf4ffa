//! Asks all contestants of all rows in turns, and reports.

mod contestant;
mod environment;
mod measure;
mod options;
mod plot;
mod quiet;
mod readme;
mod report;

use std::fs;
use std::time::{Duration, Instant};

use crate::contest::Failure;
use crate::rows::{self, By, Row, System};

use measure::Outcome;
use options::Options;
use quiet::Quiet;

/// Runs what the arguments ask for.
///
/// # Errors
/// The arguments make no sense, a file cannot be written, or contestants disagree.
pub fn run(arguments: &[String]) -> Result<(), Failure> {
    let options = Options::parse(arguments)?;
    let rows = chosen(&options)?;
    let mut head = environment::describe(&options);
    print!("{head}");
    let (outcomes, noise) = measure_all(&rows, &options)?;
    let (table, summary) = (report::table(&outcomes), report::summary(&outcomes));
    println!("\n{noise}\n\n{table}\n{summary}");
    if options.readme {
        head.push_str(&format!("noise     {noise}\n"));
        readme::write(&outcomes, &head, &format!("{table}\n{}", summary.lines().next().unwrap_or_default()))?;
    }
    if let Some(file) = &options.json {
        fs::write(file, report::json(&outcomes)?)?;
    }
    if let Some(folder) = &options.plot {
        plot::draw(&outcomes, folder)?;
    }
    Ok(())
}

/// Also gives the time that it took, and how quiet it was.
fn measure_all(rows: &[Row], options: &Options) -> Result<(Vec<Outcome>, String), Failure> {
    let begin = Instant::now();
    let mut quiet = Quiet::with_patience(options.patience);
    let mut outcomes = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        if begin.elapsed() > options.at_most {
            println!("{} row(s) skipped: the time is up", rows.len() - number);
            break;
        }
        let rounds = rounds(options, begin.elapsed(), number as f64 / rows.len() as f64);
        let outcome = measure::row(row, rounds, options, &mut quiet)?;
        println!("[{}/{}] {}", number + 1, rows.len(), report::line(&outcome));
        outcomes.push(outcome);
    }
    let minutes = begin.elapsed().as_secs_f64() / 60.0;
    Ok((outcomes, format!("{minutes:.1} minutes; {quiet}")))
}

/// Fewer rounds when the run is late, so that all rows have their turn.
fn rounds(options: &Options, elapsed: Duration, share: f64) -> usize {
    let due = options.at_most.as_secs_f64() * (0.1 + 0.8 * share);
    let most = match elapsed.as_secs_f64() / due {
        1.2.. => 2,
        1.0.. => 3,
        _ => options.rounds,
    };
    options.rounds.min(most)
}

/// The rows asked for, by their names or what those begin with; a build to compare
/// with takes the place of the rivals.
fn chosen(options: &Options) -> Result<Vec<Row>, Failure> {
    let mut rows = rows::all();
    rows.retain(|row| match options.rows.as_slice() {
        [] => !(row.grows && options.quick),
        names => names.iter().any(|name| {
            let begins = row.name.starts_with(name.as_str()) && !(row.grows && options.quick);
            begins || row.name == *name
        }),
    });
    if rows.is_empty() {
        let names: Vec<String> = rows::all().into_iter().map(|row| row.name).collect();
        return Err(format!("no such row; there are {}", names.join(", ")).into());
    }
    if options.build.is_some() {
        for row in &mut rows {
            row.systems = vec![System { name: "before", by: By::Build, target: None }];
        }
    }
    Ok(rows)
}

/// A time that is left, and never less than none.
fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}
