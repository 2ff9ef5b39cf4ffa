//! What each child said last, by its records.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::per_process::PerProcess;

/// So many records are kept of each child.
const KEPT: usize = 10;
/// Longer ones are cut.
const LONGEST: usize = 512;

/// The records of this process's own children that were said last, by the children's numbers.
static TAILS: PerProcess<BTreeMap<u64, VecDeque<String>>> = PerProcess::new();

/// The last records of one child, for as long as somebody holds the child.
#[derive(Debug)]
pub(crate) struct Tail(u64);

impl Tail {
    pub(crate) fn begin() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
        TAILS.with(|tails| tails.insert(number, VecDeque::new()));
        Self(number)
    }

    /// What the child is to put on its records.
    pub(crate) fn number(&self) -> u64 {
        self.0
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        TAILS
            .with(|tails| tails.get(&self.0).map(|lines| lines.iter().cloned().collect()))
            .unwrap_or_default()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        TAILS.with(|tails| tails.remove(&self.0));
    }
}

/// A child has said something.
pub(crate) fn add(number: u64, mut line: String) {
    let end = (0..=LONGEST.min(line.len())).rev().find(|at| line.is_char_boundary(*at));
    line.truncate(end.unwrap_or(0));
    TAILS.with(|tails| {
        if let Some(lines) = tails.get_mut(&number) {
            if lines.len() == KEPT {
                lines.pop_front();
            }
            lines.push_back(line);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_of_a_child_that_nobody_holds() {
        let tail = Tail::begin();
        let number = tail.number();
        add(number, "said".to_owned());
        assert_eq!(tail.lines(), ["said"]);
        drop(tail);
        add(number, "said late".to_owned());
        assert!(TAILS.with(|tails| !tails.contains_key(&number)));
    }
}
