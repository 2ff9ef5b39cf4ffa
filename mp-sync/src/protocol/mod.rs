//! The bare protocols: they borrow words and know no data.

pub(crate) mod board;
pub(crate) mod call;
pub(crate) mod count;
pub(crate) mod countdown;
pub(crate) mod done;
pub(crate) mod flag;
pub(crate) mod generation;
#[cfg(under_loom)]
mod kernel;
pub(crate) mod ledger;
pub(crate) mod robust;
#[cfg(all(test, under_loom))]
mod rwlock_models;
pub(crate) mod seats;
pub(crate) mod sequence;
pub(crate) mod sleeper;
pub(crate) mod words;
