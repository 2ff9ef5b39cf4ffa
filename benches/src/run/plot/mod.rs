//! Pictures of the comparison, as SVG of the width of a README.

mod bars;
mod growth;
mod svg;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::measure::Outcome;
use crate::contest::Failure;

/// Draws one picture for each area, and one for each cost that was measured as the
/// work grows.
pub(super) fn draw(outcomes: &[Outcome], folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder)?;
    let mut areas: BTreeMap<&str, Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes.iter().filter(|outcome| !outcome.row.grows) {
        areas.entry(outcome.row.area()).or_default().push(outcome);
    }
    for (area, outcomes) in areas {
        write(folder, area, &bars::draw(area, &outcomes))?;
    }
    for (name, outcomes) in growth::series(outcomes) {
        write(folder, &format!("growth-{name}"), &growth::draw(&outcomes))?;
    }
    Ok(())
}

fn write(folder: &Path, name: &str, picture: &str) -> Result<(), Failure> {
    let file = folder.join(format!("{name}.svg"));
    fs::write(&file, picture)?;
    println!("drew {}", file.display());
    Ok(())
}
