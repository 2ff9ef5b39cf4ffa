//! What the user sees.

use std::cmp::Reverse;
use std::io::{self, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::args::Args;
use super::totals::Totals;
use super::walk::Found;
use super::words::Table;

/// A bar on the terminal, and nothing where standard error is no terminal.
pub(crate) fn progress() -> ProgressBar {
    let template = "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Lists what was not counted on standard error, in the order of the walk.
pub(crate) fn skipped(found: &Found, totals: &mut Totals) {
    for (path, why) in &found.skipped {
        let _ = writeln!(io::stderr(), "wordcount: skipped {}: {why}", path.display());
    }
    totals.tally.skipped.sort_unstable_by_key(|skipped| skipped.file);
    for skipped in &totals.tally.skipped {
        let path = found.files[skipped.file].path.display();
        let _ = writeln!(io::stderr(), "wordcount: skipped {path}: {}", skipped.why);
    }
}

pub(crate) fn print(args: &Args, found: &Found, totals: &Totals, elapsed: Duration) -> io::Result<()> {
    let top = top(&totals.tally.table, args.top);
    let skipped = found.skipped.len() + totals.tally.skipped.len();
    let mut out = io::stdout().lock();
    if args.json {
        print_json(&mut out, totals, skipped, &top, elapsed)
    } else {
        print_text(&mut out, totals, skipped, &top, elapsed)
    }
}

fn print_json(
    out: &mut impl Write,
    totals: &Totals,
    skipped: usize,
    top: &[(&str, u64)],
    elapsed: Duration,
) -> io::Result<()> {
    let tally = &totals.tally;
    let object = json!({
        "files": tally.files,
        "skipped": skipped,
        "bytes": tally.bytes,
        "words": tally.words,
        "distinct": tally.table.len(),
        "top": top,
        "seconds": elapsed.as_secs_f64(),
    });
    writeln!(out, "{object}")
}

fn print_text(
    out: &mut impl Write,
    totals: &Totals,
    skipped: usize,
    top: &[(&str, u64)],
    elapsed: Duration,
) -> io::Result<()> {
    let tally = &totals.tally;
    let (megabytes, seconds) = (tally.bytes as f64 / 1e6, elapsed.as_secs_f64());
    writeln!(out, "{:>12} files, {skipped} skipped", tally.files)?;
    writeln!(out, "{:>12} bytes", tally.bytes)?;
    writeln!(out, "{:>12} words, {} distinct", tally.words, tally.table.len())?;
    writeln!(out)?;
    for (word, count) in top {
        writeln!(out, "{count:>12} {word}")?;
    }
    writeln!(out)?;
    writeln!(out, "{seconds:>12.3} s, {:.1} MB/s", megabytes / seconds)
}

/// The most frequent words; of equally frequent ones, the first in the order of their bytes.
fn top(table: &Table, most: usize) -> Vec<(&str, u64)> {
    let order = |a: &(&str, u64), b: &(&str, u64)| (Reverse(a.1), a.0).cmp(&(Reverse(b.1), b.0));
    let mut words: Vec<_> = table.iter().collect();
    if most < words.len() {
        // A sort of all the words would take longer than counting a good part of them.
        words.select_nth_unstable_by(most, order);
        words.truncate(most);
    }
    words.sort_unstable_by(order);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_first_and_ties_by_the_word() {
        let mut table = Table::default();
        for (word, count) in [("d", 1), ("b", 2), ("c", 2), ("a", 1), ("e", 3)] {
            table.add(word, count);
        }
        assert_eq!(top(&table, 4), [("e", 3), ("b", 2), ("c", 2), ("a", 1)]);
        assert_eq!(top(&table, 9).len(), 5);
        assert!(top(&table, 0).is_empty());
    }
}
