//! Asks all contestants of all rows in turns, and reports.

mod agree;
mod contestant;
mod environment;
mod measure;
mod nearness;
mod options;
mod plot;
mod quiet;
mod readme;
mod report;
mod schedule;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::contest::Failure;
use crate::rows::{self, By, Row, System};

use agree::Verdicts;
use measure::Outcome;
use options::Options;
use quiet::Quiet;
use schedule::Schedule;

/// Runs what the arguments ask for.
///
/// # Errors
/// The arguments make no sense, a file cannot be written, or contestants disagree.
pub fn run(arguments: &[String]) -> Result<(), Failure> {
    let options = Options::parse(arguments)?;
    let rows = chosen(&options)?;
    let earlier = options.beside.as_deref().map(Verdicts::read).transpose()?;
    let mut head = environment::describe(&options);
    print!("{head}");
    let (outcomes, noise) = measure_all(&rows, &options)?;
    let (table, summary) = (report::table(&outcomes), report::summary(&outcomes));
    println!("\n{noise}\n\n{table}\n{summary}");
    if let Some(earlier) = earlier {
        println!("{}", Verdicts::parse(&report::json(&outcomes)?)?.beside(&earlier));
    }
    if options.readme {
        head.push_str(&format!("noise     {noise}\n"));
        readme::write(&outcomes, &head, &format!("{table}\n{}", summary.lines().next().unwrap_or_default()))?;
    }
    if let Some(folder) = &options.plot {
        plot::draw(&outcomes, folder)?;
        if options.readme {
            readme::write_pictures(folder)?;
        }
    }
    Ok(())
}

/// Writes what is wanted, and which rows show it, into the README.
///
/// # Errors
/// The file is not there, or has no place for it.
pub fn write_goals() -> Result<(), Failure> {
    readme::write_goals()
}

/// Also gives the time that it took, and how quiet it was. What is measured so far is in the
/// file, should the run be interrupted.
fn measure_all(rows: &[Row], options: &Options) -> Result<(Vec<Outcome>, String), Failure> {
    let mut schedule = Schedule::new(rows, options.at_most);
    let mut quiet = Quiet::with_patience(options.patience);
    let mut outcomes = Vec::new();
    if let Some(file) = &options.json {
        write_whole(file, &report::json(&outcomes)?)?;
    }
    for (number, row) in rows.iter().enumerate() {
        if schedule.is_over() {
            println!("{} row(s) skipped: the time is up", rows.len() - number);
            break;
        }
        let outcome = measure::row(row, options, &mut quiet, schedule.share(row))?;
        schedule.finish(row);
        println!("[{}/{}, {}] {}", number + 1, rows.len(), schedule.left(), report::line(&outcome));
        outcomes.push(outcome);
        if let Some(file) = &options.json {
            write_whole(file, &report::json(&outcomes)?)?;
        }
    }
    let minutes = schedule.elapsed().as_secs_f64() / 60.0;
    Ok((outcomes, format!("{minutes:.1} minutes; {quiet}")))
}

/// Whoever reads the file finds the text of this time or of the time before.
fn write_whole(file: &Path, text: &str) -> Result<(), Failure> {
    let new = file.with_extension("new");
    fs::write(&new, text)?;
    Ok(fs::rename(&new, file)?)
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
