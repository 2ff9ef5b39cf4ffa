//! The bare protocols: they borrow words and know no data.

pub(crate) mod ledger;
pub(crate) mod robust;
mod words;
