//! Objects shared by processes that end as they should, and by ones that do not.
fn main() {}
