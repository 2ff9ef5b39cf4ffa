//! Values that tell how many of them have come.

use std::fmt;

use crate::imap::{Imap, ImapUnordered};
use crate::threads::{ThreadImap, ThreadImapUnordered};

/// Values as they come, with a report after each; made by the `progress` of what
/// [`Pool::imap`](crate::Pool::imap) and its like give.
pub struct Progress<I, F> {
    values: I,
    report: F,
    done: usize,
    total: Option<usize>,
}

impl<I: Iterator, F: FnMut(usize, Option<usize>)> Iterator for Progress<I, F> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        let value = self.values.next()?;
        self.done += 1;
        (self.report)(self.done, self.total);
        Some(value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.values.size_hint()
    }
}

impl<I: fmt::Debug, F> fmt::Debug for Progress<I, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { values, done, total, .. } = self;
        f.debug_struct("Progress").field("values", values).field("done", done).field("total", total).finish()
    }
}

macro_rules! progress {
    ($($name:ident)+) => {$(
        impl<'pool, I: Iterator, R> $name<'pool, I, R> {
            /// Calls `report` with how many values have come, after each, and how many there
            /// are in all, if the input knows that; failed ones count too.
            ///
            /// # Examples
            /// ```
            /// # mp_process::init();
            /// let pool = mp_pool::Pool::new(2)?;
            /// let mut last = None;
            /// let squares = pool.imap(|x: u64| x * x, 0..50).progress(|done, total| last = Some((done, total)));
            /// assert_eq!(squares.map(Result::unwrap).sum::<u64>(), 40_425);
            /// assert_eq!(last, Some((50, Some(50))));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn progress<F: FnMut(usize, Option<usize>)>(self, report: F) -> Progress<Self, F> {
                let total = self.total();
                Progress { values: self, report, done: 0, total }
            }

            /// Moves `bar` on with each value that comes, failed ones too, and finishes it with the
            /// last, if the input knows which that is; its length is set then too. Otherwise it is
            /// abandoned, where it stands, when the values end or are dropped.
            ///
            /// # Examples
            /// ```
            /// # mp_process::init();
            /// let pool = mp_pool::Pool::new(2)?;
            /// let bar = indicatif::ProgressBar::hidden();
            /// let squares = pool.imap(|x: u64| x * x, 0..50).progress_bar(&bar);
            /// assert_eq!(squares.count(), 50);
            /// assert!(bar.is_finished() && bar.length() == Some(50));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            #[cfg(feature = "indicatif")]
            pub fn progress_bar(
                self,
                bar: &indicatif::ProgressBar,
            ) -> Progress<Self, impl FnMut(usize, Option<usize>) + use<'pool, I, R>> {
                let bar = Bar::of(bar, self.total());
                self.progress(move |done, total| bar.move_to(done, total))
            }
        }
    )+};
}

progress! {
    Imap ImapUnordered ThreadImap ThreadImapUnordered
}

/// A bar that values move on.
#[cfg(feature = "indicatif")]
struct Bar(indicatif::ProgressBar);

#[cfg(feature = "indicatif")]
impl Bar {
    fn of(bar: &indicatif::ProgressBar, total: Option<usize>) -> Self {
        if let Some(total) = total {
            bar.set_length(total as u64);
        }
        Self(bar.clone())
    }

    fn move_to(&self, done: usize, total: Option<usize>) {
        self.0.set_position(done as u64);
        if Some(done) == total {
            self.0.finish();
        }
    }
}

#[cfg(feature = "indicatif")]
impl Drop for Bar {
    fn drop(&mut self) {
        if !self.0.is_finished() {
            self.0.abandon();
        }
    }
}

/// How many items an iterator has, if it knows.
pub(crate) fn length(items: &impl Iterator) -> Option<usize> {
    match items.size_hint() {
        (least, Some(most)) if least == most => Some(least),
        _ => None,
    }
}
