//! Kills at random instants.
fn main() {}
