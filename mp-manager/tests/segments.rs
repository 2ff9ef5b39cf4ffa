//! Shared memory that lives as long as its manager.

use std::process::ExitCode;
use std::time::Duration;

use ipc_core::{Item, ShareableList, SharedMemory};
use mp_manager::SharedMemoryManager;
use mp_process::Process;
use mp_testkit::chaos;
use mp_testkit::harness::Suite;

fn main() -> ExitCode {
    let trials = mp_testkit::trials![
        memory_lives_as_long_as_the_manager,
        lists_live_as_long_as_the_manager,
        memory_of_a_child_stays,
        shutdown_takes_the_names_away,
        a_killed_server_leaves_no_names,
        too_much_memory_is_an_error,
    ];
    Suite::new(trials).warm_up(warm_up).run()
}

/// The threads that start processes and watch peers keep a few handles for good.
fn warm_up() {
    let manager = SharedMemoryManager::start().unwrap();
    Process::spawn(make, manager.clone()).unwrap().join().unwrap();
}

/// Makes memory, and says its name.
fn make(manager: SharedMemoryManager) -> String {
    let memory = manager.memory(10).unwrap();
    memory.write(0, b"from child");
    memory.name().unwrap().to_owned()
}

fn is_there(name: &str) -> bool {
    SharedMemory::open(name).is_ok()
}

fn memory_lives_as_long_as_the_manager() {
    let manager = SharedMemoryManager::start().unwrap();
    let (first, second) = (make(manager.clone()), make(manager.clone()));
    assert_ne!(first, second);
    assert!(is_there(&first) && is_there(&second));
    let again = manager.clone();
    drop(manager);
    assert!(is_there(&first));
    drop(again);
    assert!(!is_there(&first) && !is_there(&second));
}

fn lists_live_as_long_as_the_manager() {
    let manager = SharedMemoryManager::start().unwrap();
    let list = manager.list([Item::from(1), "two".into(), Item::None]).unwrap();
    let name = list.name().to_owned();
    drop(list);
    assert_eq!(ShareableList::open(&name).unwrap().get(1).unwrap(), Item::from("two"));
    drop(manager);
    assert!(ShareableList::open(&name).is_err());
}

fn memory_of_a_child_stays() {
    let manager = SharedMemoryManager::start().unwrap();
    let name = Process::spawn(make, manager.clone()).unwrap().join().unwrap();
    let mut bytes = [0; 10];
    SharedMemory::open(&name).unwrap().read(0, &mut bytes);
    assert_eq!(&bytes, b"from child");
    drop(manager);
    assert!(!is_there(&name));
}

fn shutdown_takes_the_names_away() {
    let manager = SharedMemoryManager::start().unwrap();
    let memory = manager.memory(8).unwrap();
    manager.shutdown(Duration::from_secs(20)).unwrap();
    assert!(!is_there(memory.name().unwrap()));
    // Those who have it keep it.
    memory.atomic_u64(0).store(7, std::sync::atomic::Ordering::Relaxed);
    assert!(manager.memory(8).unwrap_err().is_gone());
}

fn a_killed_server_leaves_no_names() {
    let manager = SharedMemoryManager::start().unwrap();
    let mine = make(manager.clone());
    let childs = Process::spawn(make, manager.clone()).unwrap().join().unwrap();
    chaos::kill(manager.pid().unwrap()).unwrap();
    assert!(is_there(&mine) && is_there(&childs));
    drop(manager);
    assert!(!is_there(&mine) && !is_there(&childs));
}

fn too_much_memory_is_an_error() {
    let manager = SharedMemoryManager::start().unwrap();
    assert!(manager.memory(0).unwrap_err().is_refused());
    assert!(manager.memory(1 << 50).unwrap_err().is_refused());
    assert!(is_there(&make(manager.clone())));
}
