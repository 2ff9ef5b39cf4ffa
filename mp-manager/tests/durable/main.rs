//! State that survives the server.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mp_manager::{Builder, ListProxy, Manager, Proxy};
use mp_testkit::harness::Suite;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

mod disk;
mod logs;
mod names;
mod objects;
mod pinned;

fn main() -> ExitCode {
    let trials = mp_testkit::trials![
        objects::containers_come_back_as_they_were,
        objects::functions_that_change_values_are_kept,
        objects::a_queue_comes_back_with_what_is_left,
        objects::a_closed_queue_comes_back_closed,
        objects::a_barrier_comes_back_with_its_timeout_and_one_with_an_action_is_not_kept,
        objects::locks_come_back_free_and_permits_whole,
        objects::objects_of_users_types_come_back,
        objects::a_panic_keeps_what_its_author_chose,
        objects::objects_in_objects_come_back_by_reference,
        objects::what_nothing_refers_to_does_not_come_back,
        objects::a_durable_object_refers_to_durable_ones_only,
        names::names_come_and_go,
        names::all_that_make_a_durable_object_at_once_get_the_same,
        names::proxies_of_the_server_before_are_errors,
        names::a_second_server_is_told_that_the_folder_is_taken,
        names::a_manager_without_a_folder_says_so,
        names::a_type_that_is_not_known_is_an_error,
        logs::a_folder_of_something_else_is_an_error,
        logs::a_log_that_was_cut_off_anywhere_comes_back_as_far_as_it_goes,
        logs::what_cannot_be_done_again_is_an_error_of_the_start,
        logs::damage_in_the_middle_is_an_error_and_a_cut_at_the_end_is_not,
        logs::what_failed_is_in_no_log,
        logs::a_log_is_written_anew_while_it_grows,
        logs::a_log_that_is_written_anew_is_whole_at_each_moment,
        logs::a_log_that_is_written_anew_has_all_that_it_refers_to,
        names::an_object_keeps_the_name_that_it_had_before,
        pinned::a_log_of_format_1_is_read_for_ever,
        pinned::the_same_steps_write_the_same_log,
        pinned::a_newer_format_is_refused_in_words,
        disk::calls_wait_for_the_disk,
        disk::a_full_disk_is_the_error_of_what_changes,
        disk::a_log_that_cannot_be_written_anew_goes_on,
        disk::a_killed_waiter_of_a_queue_takes_nothing_along,
        names::a_server_in_this_process_keeps_its_state,
    ];
    Suite::new(trials).warm_up(warm_up).run()
}

/// The threads that start processes and watch peers keep a few handles for good.
fn warm_up() {
    Manager::start().unwrap().list::<u8>().unwrap().push(&1).unwrap();
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("mp-durable-{}-{number}", std::process::id())))
    }

    fn start(&self) -> Manager {
        self.builder().start().unwrap()
    }

    fn builder(&self) -> Builder {
        Manager::builder().state(&self.0).durable::<Tally>().durable::<Careless>()
    }

    /// Kills the server, and starts another one.
    fn again(&self, manager: Manager) -> Manager {
        kill(&manager);
        drop(manager);
        self.start()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn kill(manager: &Manager) {
    let pid = Pid::from_raw(manager.pid().unwrap() as i32).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

/// Makes an object durable under a name.
fn keep<P: Proxy>(manager: &Manager, name: &str, proxy: P) -> P {
    manager.make_durable(&proxy).unwrap();
    manager.publish(name, &proxy).unwrap();
    proxy
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Tally {
    counts: BTreeMap<String, u64>,
    friends: Vec<ListProxy<u64>>,
}

#[mp_manager::object]
#[allow(unreachable_pub)]
impl Tally {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn add(&mut self, name: String, by: u64) -> u64 {
        let count = self.counts.entry(name).or_default();
        *count += by;
        *count
    }

    /// As many names, all new, in the place of those that there are.
    pub fn add_to_all(&mut self, name: String, count: u64) {
        self.counts = (0..count).map(|number| (format!("{name}{number}"), 1)).collect();
    }

    pub fn get(&self, name: String) -> u64 {
        self.counts.get(&name).copied().unwrap_or_default()
    }

    pub fn befriend(&mut self, friend: ListProxy<u64>) {
        self.friends.push(friend);
    }

    pub fn friends(&self) -> Vec<ListProxy<u64>> {
        self.friends.clone()
    }

    pub fn add_and_panic(&mut self, name: String) {
        self.add(name, 1);
        panic!("after the change");
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Careless(u64);

#[mp_manager::object(keep)]
#[allow(unreachable_pub)]
impl Careless {
    pub fn new() -> Self {
        Self(0)
    }

    pub fn add_and_panic(&mut self) {
        self.0 += 1;
        panic!("after the change");
    }

    pub fn get(&self) -> u64 {
        self.0
    }
}

/// Not known to any server of these.
#[derive(Debug, Serialize, Deserialize)]
struct Unknown;

#[mp_manager::object]
#[allow(unreachable_pub)]
impl Unknown {
    pub fn new() -> Self {
        Self
    }
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn log(folder: &Folder) -> Vec<u8> {
    fs::read(folder.0.join("log")).unwrap()
}

fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}
