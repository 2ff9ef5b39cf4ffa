//! Shared memory that lives as long as its manager.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::{Item, Sender, ShareableList, SharedMemory, pipe};
use mp_manager::SharedMemoryManager;
use mp_process::Process;
use mp_testkit::chaos::{self, Rng};
use mp_testkit::harness::Suite;

fn main() -> ExitCode {
    let trials = mp_testkit::trials![
        memory_lives_as_long_as_the_manager,
        lists_live_as_long_as_the_manager,
        memory_of_a_child_stays,
        shutdown_takes_the_names_away,
        a_killed_server_leaves_no_names,
        both_killed_leave_no_names,
        many_names,
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
    soon_gone([first, second]);
}

fn lists_live_as_long_as_the_manager() {
    let manager = SharedMemoryManager::start().unwrap();
    let list = manager.list([Item::from(1), "two".into(), Item::None]).unwrap();
    let name = list.name().to_owned();
    drop(list);
    assert_eq!(ShareableList::open(&name).unwrap().get(1).unwrap(), Item::from("two"));
    drop(manager);
    soon_gone([name]);
}

fn memory_of_a_child_stays() {
    let manager = SharedMemoryManager::start().unwrap();
    let name = Process::spawn(make, manager.clone()).unwrap().join().unwrap();
    let mut bytes = [0; 10];
    SharedMemory::open(&name).unwrap().read(0, &mut bytes);
    assert_eq!(&bytes, b"from child");
    drop(manager);
    soon_gone([name]);
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
    assert!(is_there(&mine) && is_there(&childs));
    chaos::kill(manager.pid().unwrap()).unwrap();
    soon_gone([mine, childs]);
    assert!(manager.memory(8).unwrap_err().is_gone());
}

/// A killed process's names are its janitor's to remove; one that is dropped may be killed, too,
/// before it has removed all of its own.
fn soon_gone(names: impl IntoIterator<Item = String>) {
    let begun = Instant::now();
    for name in names {
        while is_there(&name) {
            assert!(begun.elapsed() < Duration::from_secs(20), "{name} is left");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A program that makes memory until it is killed, and says what it is called; in a child too.
fn make_many((tx, childs): (Sender<Said>, Sender<Said>)) {
    let manager = SharedMemoryManager::start().unwrap();
    tx.send(&Said::Server(manager.pid().unwrap())).unwrap();
    let make = |(manager, tx): (SharedMemoryManager, Sender<Said>)| loop {
        tx.send(&Said::Name(make(manager.clone()))).unwrap();
    };
    let _child: Process<()> = Process::spawn(make, (manager.clone(), childs)).unwrap();
    loop {
        tx.send(&Said::Name(manager.list([Item::from(1)]).unwrap().name().to_owned())).unwrap();
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
enum Said {
    Server(u32),
    Name(String),
}

fn both_killed_leave_no_names() {
    let mut rng = Rng::announced("both_killed_leave_no_names");
    for turn in 0..8 {
        let ((tx, rx), (childs, of_child)) = (pipe::<Said>().unwrap(), pipe::<Said>().unwrap());
        let program = Process::spawn(make_many, (tx, childs)).unwrap();
        let Said::Server(server) = rx.recv().unwrap() else { panic!("a name first") };
        let mut names = Vec::new();
        for _ in 0..1 + rng.below(40) {
            let Said::Name(name) = rx.recv().unwrap() else { panic!("a server twice") };
            names.push(name);
        }
        // The server ends with its program in any case: by itself, if it is not killed first.
        if turn % 2 == 0 {
            chaos::kill(server).unwrap();
        }
        program.kill().unwrap();
        if turn % 2 == 1 {
            let _ = chaos::kill(server);
        }
        assert!(program.join().is_err());
        for rx in [rx, of_child] {
            while let Ok(Said::Name(name)) = rx.recv_timeout(Duration::from_secs(20)) {
                names.push(name);
            }
        }
        soon_gone(names);
    }
}

/// The server holds names, and no handles to the memory.
fn many_names() {
    let manager = SharedMemoryManager::start().unwrap();
    let names: Vec<String> = (0..1500).map(|_| make(manager.clone())).collect();
    assert!(names.iter().all(|name| is_there(name)));
    // It may be killed before it has removed them all.
    drop(manager);
    soon_gone(names);
}

fn too_much_memory_is_an_error() {
    let manager = SharedMemoryManager::start().unwrap();
    assert!(manager.memory(0).unwrap_err().is_refused());
    assert!(manager.memory(1 << 50).unwrap_err().is_refused());
    assert!(is_there(&make(manager.clone())));
}
