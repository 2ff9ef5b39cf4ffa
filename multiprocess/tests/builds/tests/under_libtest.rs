//! The same under the usual test harness, whose `main` is not ours, and under those that
//! run each test in a process of its own.

use multiprocess::StartMethod;

multiprocess::test_support!();

#[test]
fn processes_that_are_spawned() {
    builds::check(StartMethod::Spawn);
}

#[test]
fn processes_of_the_fork_server() {
    builds::check(StartMethod::ForkServer);
}
