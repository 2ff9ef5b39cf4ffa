//! Shared memory with names, and lists in it: between our processes, and with CPython.

mod lists;
mod memory;
mod python;

use std::process::ExitCode;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let trials = mp_testkit::trials![
        memory::two_see_the_same,
        memory::names_are_checked,
        memory::only_the_maker_removes_the_name,
        memory::a_name_given_to_other_memory_stays,
        memory::a_name_can_be_left,
        memory::more_than_there_is_is_an_error,
        memory::it_travels_and_outlives_its_name,
        memory::bounds_are_kept,
        lists::items_come_back_as_they_were,
        lists::kinds_may_change_in_place,
        lists::what_does_not_fit_changes_nothing,
        lists::an_empty_list,
        lists::nonsense_is_no_list,
        lists::they_travel,
        python::memory_of_cpython,
        python::memory_for_cpython,
        python::a_list_of_cpython,
        python::a_list_for_cpython,
    ];
    mp_testkit::Suite::new(trials).warm_up(start_library_threads).run()
}

/// The thread that watches peers stays for the life of the process.
fn start_library_threads() {
    let (_tx, rx) = ipc_core::pipe::<()>().unwrap();
    let _ = rx.recv_timeout(std::time::Duration::from_millis(1));
}

/// Whether the name is there now.
fn exists(name: &str) -> bool {
    std::path::Path::new("/dev/shm").join(name).exists()
}
