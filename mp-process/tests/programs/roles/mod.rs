//! The programs that the trials run.

use std::io::Write;
use std::thread;
use std::time::Duration;

use mp_process::{Process, StartMethod};

mod captures;
mod family;
mod handles;
mod leaving;
mod limits;
mod server;
mod signals;

pub(super) type Role = (&'static str, fn(StartMethod));

/// The programs, by name.
pub(super) const ROLES: &[Role] = &[
    ("tree", family::tree),
    ("starter", family::start_for_ever),
    ("collector", signals::collect_everything),
    ("ignorer", signals::ignore_ends),
    ("poor", handles::with_few_handles),
    ("full", handles::with_hardly_a_handle),
    ("full_child", handles::with_no_handle_for_the_parent),
    ("moved", handles::lose_the_executable),
    ("exit_in_thread", leaving::exit_in_a_thread_while_main_is_stuck),
    ("patient", leaving::leave_main_while_children_run),
    ("impatient", leaving::leave_main_while_a_child_is_stuck),
    ("silent", handles::without_outputs),
    ("crowd", family::start_from_many_threads),
    ("threads_of_children", family::start_in_threads_of_children),
    ("blocked", signals::with_blocked_signals),
    ("server_killed", server::lose_the_server),
    ("spare_killed", server::lose_the_spare),
    ("ctrl_c", signals::be_interrupted),
    ("depth", family::dig),
    ("handlers", signals::with_handlers),
    ("unlimited", limits::with_unlimited_stack),
    ("adrift", handles::in_a_removed_directory),
    ("hungry", limits::with_little_memory),
    ("dumping", limits::with_a_core_file),
    ("fork_captures", captures::fork_with_captures),
    ("unfinished", leaving::leave_output_unfinished),
];

fn spawn<R: ipc_core::Message>(method: StartMethod, function: fn(()) -> R) -> Process<R> {
    Process::builder().start_method(method).spawn(function, ()).unwrap()
}

fn say(word: &str) {
    println!("{word}");
    std::io::stdout().flush().unwrap();
}

fn sleep_long(_: ()) {
    thread::sleep(Duration::from_secs(600));
}
