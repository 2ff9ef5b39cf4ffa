//! Linux: `posix_spawn` through the standard library, pidfds, `dl_iterate_phdr`.

pub(crate) mod before_main;
pub(crate) mod boot;
pub(crate) mod end;
pub(crate) mod image;
pub(crate) mod leave;
pub(crate) mod overflow;
pub(crate) mod spawn;
pub(crate) mod spill;
