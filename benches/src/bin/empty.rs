//! A program that does nothing: what the start of a process costs at the least.

fn main() {}
