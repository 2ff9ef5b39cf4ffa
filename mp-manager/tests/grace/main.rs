//! Clients over a network that is cut.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;

use mp_manager::Manager;
use mp_process::Process;
use mp_testkit::harness::{Suite, Trial};

mod calls;
mod crowd;
mod ends;
mod holds;
mod items;
mod scene;

/// Each runs in a process of its own, which takes the cable's threads and sockets along.
macro_rules! apart {
    ($($noun:ident::$test:ident),* $(,)?) => {
        mod apart {
            fn start(name: &str) -> mp_process::Process<()> {
                match name {
                    $(stringify!($test) => mp_process::Process::spawn(|()| super::$noun::$test(), ()).unwrap(),)*
                    other => panic!("there is no {other}"),
                }
            }

            $(pub(crate) fn $test() {
                super::run(stringify!($test), start);
            })*
        }
        fn main() -> ExitCode {
            let trials = vec![$(Trial::new(stringify!($test), apart::$test)),*];
            Suite::new(trials).warm_up(warm_up).run()
        }
    };
}

/// They wait for the ends of graces, and do that side by side.
const THAT_WAIT: [&str; 4] = [
    "a_lock_is_still_held_after_a_cut_and_released_once",
    "who_does_not_come_back_has_nothing_after_the_grace_and_not_before",
    "each_cut_has_a_grace_of_its_own",
    "a_killed_client_is_waited_for",
];

/// Runs a test; the first of those that wait starts them all, unless only some are asked for.
fn run(name: &'static str, start: fn(&str) -> Process<()>) {
    static STARTED: Mutex<BTreeMap<&str, Process<()>>> = Mutex::new(BTreeMap::new());
    let own = {
        let mut started = STARTED.lock().unwrap();
        if THAT_WAIT.contains(&name) && started.is_empty() && std::env::args().len() == 1 {
            started.extend(THAT_WAIT.map(|name| (name, start(name))));
        }
        started.remove(name)
    };
    own.unwrap_or_else(|| start(name)).join().unwrap();
}

apart![
    holds::a_lock_is_still_held_after_a_cut_and_released_once,
    holds::who_does_not_come_back_has_nothing_after_the_grace_and_not_before,
    holds::each_cut_has_a_grace_of_its_own,
    calls::a_call_in_the_middle_has_its_answer,
    calls::a_call_that_waits_goes_on_waiting,
    holds::what_is_dropped_meanwhile_is_given_back_once,
    calls::answers_that_nobody_has_read_come_again,
    holds::a_killed_client_is_waited_for,
    items::items_of_a_client_that_does_not_come_back_are_others,
    items::an_item_comes_once_to_one_that_comes_back,
    items::what_is_kept_for_killed_clients_is_bounded,
    ends::a_client_that_ends_is_not_waited_for,
    ends::without_a_policy_nobody_is_waited_for,
    ends::without_a_grace_nobody_is_waited_for,
    ends::a_manager_in_the_place_of_the_one_before_is_another_one,
    ends::a_manager_that_ends_waits_for_nobody,
    items::more_than_a_client_may_leave_unread_is_kept_for_one_that_was_away,
    calls::long_values_over_cuts,
    crowd::a_thousand_cuts,
];

fn warm_up() {
    Manager::start().unwrap().list::<u8>().unwrap().push(&1).unwrap();
    Process::spawn(|()| (), ()).unwrap().join().unwrap();
}
