use std::path::Path;

pub(crate) const ANY: [u64; 3] = [0; 3];

pub(crate) const NONE: [u64; 3] = [u64::MAX; 3];

pub(crate) fn remove(_path: &Path, _is: [u64; 3], _has_own_folder: bool) {}
