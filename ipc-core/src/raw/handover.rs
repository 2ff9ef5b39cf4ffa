//! Values that a fork takes along, and that this process lets go of.

use std::cell::Cell;

thread_local! {
    /// How deep this thread is in calls of [`hand_over`].
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Runs `drop_them`, which drops values of which a fork of this process has copies that it
/// goes on with: what they hold here is given back, and nobody is told that they are gone.
/// A channel end is the fork's from then on, as if it had moved there in a message.
pub fn hand_over<R>(drop_them: impl FnOnce() -> R) -> R {
    let _depth = Depth::deeper();
    drop_them()
}

/// Whether this thread hands values over to a fork: for `Drop`s that would otherwise end
/// for all processes what the value stands for.
#[must_use]
pub fn is_handing_over() -> bool {
    // At the end of the thread nothing is handed over.
    DEPTH.try_with(Cell::get).is_ok_and(|depth| depth > 0)
}

struct Depth;

impl Depth {
    fn deeper() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Self
    }
}

impl Drop for Depth {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}
