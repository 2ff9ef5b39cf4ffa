//! Values that come in runs and belong in order.

use std::collections::BTreeMap;

/// Puts runs of values in the order of their items.
///
/// Most runs come in order and go straight to the end of one vector, so that a
/// value is moved once; one that comes early waits.
#[derive(Debug)]
pub(crate) struct Values<R> {
    in_order: Vec<R>,
    early: BTreeMap<usize, Vec<R>>,
}

impl<R> Values<R> {
    pub(crate) fn new(expected: usize) -> Self {
        // An iterator may promise anything; this much is believed at once.
        Self { in_order: Vec::with_capacity(expected.min(1 << 20)), early: BTreeMap::new() }
    }

    /// Where to put the values of the items from `index` on.
    pub(crate) fn begin(&mut self, index: usize, count: usize) -> &mut Vec<R> {
        self.settle();
        if index == self.in_order.len() {
            return &mut self.in_order;
        }
        self.early.entry(index).or_insert_with(|| Vec::with_capacity(count))
    }

    /// Appends the runs whose turn has come.
    fn settle(&mut self) {
        while let Some(mut run) = self.early.remove(&self.in_order.len()) {
            self.in_order.append(&mut run);
        }
    }

    pub(crate) fn into_vec(mut self) -> Vec<R> {
        self.settle();
        self.in_order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_in_any_order_are_put_in_order() {
        let mut values = Values::new(usize::MAX);
        for (index, run) in [(2, &[2, 3][..]), (0, &[0, 1]), (5, &[5]), (4, &[4]), (6, &[6])] {
            values.begin(index, run.len()).extend_from_slice(run);
        }
        assert_eq!(values.into_vec(), [0, 1, 2, 3, 4, 5, 6]);
    }
}
