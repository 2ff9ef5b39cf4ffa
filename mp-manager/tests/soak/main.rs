//! Servers and clients that are killed under load, for as long as asked.

use std::process::ExitCode;

use mp_manager::Manager;
use mp_testkit::harness::Suite;

mod clients;
mod server;

use clients::connections_killed_at_random;
use server::what_was_acknowledged_is_there_after_kills;

fn main() -> ExitCode {
    let trials =
        mp_testkit::trials![what_was_acknowledged_is_there_after_kills, connections_killed_at_random];
    Suite::new(trials).warm_up(warm_up).run()
}

/// The threads that start processes and watch peers keep a few handles for good.
fn warm_up() {
    Manager::start().unwrap().list::<u8>().unwrap().push(&1).unwrap();
}
