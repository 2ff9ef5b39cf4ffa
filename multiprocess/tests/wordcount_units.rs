//! The unit tests of the `wordcount` example, here because cargo builds an example either as a
//! test or as the program that `wordcount` in this folder runs.

#[path = "../examples/wordcount/main.rs"]
#[allow(dead_code)]
mod wordcount;
