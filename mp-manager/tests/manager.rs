//! Managers: started, served, connected to, named, ended.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::Address;
use mp_manager::{ListProxy, Manager, ManagerError};
use mp_process::{Process, active_children};
use mp_testkit::chaos;
use mp_testkit::harness::Suite;

fn main() -> ExitCode {
    let trials = mp_testkit::trials![
        a_started_manager_ends_with_its_last_clone,
        shutdown_can_be_repeated,
        shutdown_kills_a_stuck_server_by_its_deadline,
        joining_waits_for_the_end_and_does_not_bring_it,
        one_with_a_chosen_key_ends_when_asked,
        one_whose_connections_are_taken_ends_when_asked,
        only_its_process_shuts_it_down,
        an_initializer_runs_in_the_server,
        a_failing_initializer_is_an_error,
        a_server_here_serves_others,
        tcp_with_a_key,
        tcp_without_a_key_is_refused,
        a_wrong_key_is_refused,
        a_chosen_key_does_not_travel,
        one_that_never_answers_is_given_up,
        names_are_found,
        a_restarted_manager_is_another_one,
        an_address_in_use_is_an_error,
        an_address_of_another_platform_is_an_error,
        strangers_create_only_what_is_registered,
        functions_of_strangers_are_refused,
        objects_are_limited,
        clients_are_limited,
        a_manager_travels,
        a_fork_has_references_of_its_own,
    ];
    Suite::new(trials).warm_up(warm_up).run()
}

/// The threads that start processes and watch peers keep a few handles for good.
fn warm_up() {
    Manager::start().unwrap().list::<u8>().unwrap().push(&1).unwrap();
}

/// What a manager does not know unless it is told.
struct Greeter(String);

#[mp_manager::object]
#[allow(unreachable_pub)]
impl Greeter {
    pub fn new(word: String) -> Self {
        Self(word)
    }

    pub fn greet(&self, name: String) -> String {
        format!("{} {name}", self.0)
    }

    pub fn sleep(&self, time: Duration) {
        thread::sleep(time);
    }

    pub fn var(&self) -> Option<String> {
        std::env::args().nth(99).or_else(|| LEVEL.get().cloned())
    }
}

static LEVEL: std::sync::OnceLock<String> = std::sync::OnceLock::new();

/// What another process let go of before its end has its own way to the server.
fn await_count(manager: &Manager, count: usize) {
    let begun = Instant::now();
    while manager.object_count().unwrap() != count {
        assert!(begun.elapsed() < Duration::from_secs(20), "{} objects", manager.object_count().unwrap());
        thread::sleep(Duration::from_millis(1));
    }
}

fn is_gone(pid: u32) -> bool {
    chaos::state(pid).is_none_or(|state| state == 'Z')
}

fn a_started_manager_ends_with_its_last_clone() {
    let manager = Manager::start().unwrap();
    let list = manager.list::<u8>().unwrap();
    let (pid, again) = (manager.pid().unwrap(), manager.clone());
    drop(manager);
    list.push(&1).unwrap();
    drop(again);
    assert!(is_gone(pid));
    assert!(list.push(&2).unwrap_err().is_gone());
}

fn shutdown_can_be_repeated() {
    let manager = Manager::start().unwrap();
    let pid = manager.pid().unwrap();
    let process = active_children().into_iter().find(|child| child.pid() == pid).unwrap();
    manager.shutdown(Duration::from_secs(60)).unwrap();
    assert!(is_gone(pid));
    // It ended by itself, and well.
    assert_eq!(process.exit_status().unwrap().code(), Some(0));
    manager.shutdown(Duration::from_secs(5)).unwrap();
    assert!(manager.list::<u8>().unwrap_err().is_gone());
}

fn shutdown_kills_a_stuck_server_by_its_deadline() {
    let manager = Manager::start().unwrap();
    let pid = manager.pid().unwrap();
    chaos::stop(pid).unwrap();
    manager.shutdown(Duration::from_millis(100)).unwrap();
    assert!(is_gone(pid));
    // A method that does not end does not hold it up either.
    let manager = Manager::start().unwrap();
    let greeter = GreeterProxy::create(&manager, String::new()).unwrap();
    let sleeper = thread::spawn(move || greeter.sleep(Duration::from_secs(100)).unwrap_err().is_gone());
    thread::sleep(Duration::from_millis(50));
    let begun = Instant::now();
    manager.shutdown(Duration::from_millis(100)).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert!(sleeper.join().unwrap());
}

/// Neither a server's key nor who talks to it has to do with its end: it does not take the whole timeout,
/// which is longer than a test may take.
fn joining_waits_for_the_end_and_does_not_bring_it() {
    let manager = Manager::start().unwrap();
    assert!(!manager.join_timeout(Duration::from_millis(30)).unwrap());
    manager.list::<u8>().unwrap().push(&1).unwrap();
    let waits = manager.clone();
    let waiting = std::thread::spawn(move || waits.join());
    mp_testkit::chaos::kill(manager.pid().unwrap()).unwrap();
    waiting.join().unwrap().unwrap();
    assert!(manager.join_timeout(Duration::ZERO).unwrap());
    manager.shutdown(Duration::from_secs(5)).unwrap();
    manager.join().unwrap();
}

fn one_with_a_chosen_key_ends_when_asked() {
    let manager = Manager::builder().authkey("chosen").start().unwrap();
    let pid = manager.pid().unwrap();
    manager.list::<u8>().unwrap().push(&1).unwrap();
    manager.shutdown(Duration::from_secs(3600)).unwrap();
    assert!(is_gone(pid));
}

/// One that came before the manager knew of the one before it is told by its first call that there is no room.
fn connect_and_call(address: &Address, key: &str) -> Result<Manager, ManagerError> {
    let manager = Manager::connect(address, key)?;
    manager.object_count()?;
    Ok(manager)
}

fn one_whose_connections_are_taken_ends_when_asked() {
    let manager = Manager::builder().authkey("full").max_clients(1).start().unwrap();
    let pid = manager.pid().unwrap();
    let error = connect_and_call(manager.address(), "full").unwrap_err();
    assert!(error.is_busy() && error.to_string().contains("as many clients"), "{error}");
    manager.shutdown(Duration::from_secs(3600)).unwrap();
    assert!(is_gone(pid));
}

fn only_its_process_shuts_it_down() {
    let manager = Manager::start().unwrap();
    let end = |manager: Manager| manager.shutdown(Duration::from_secs(5)).is_err();
    assert!(Process::spawn(end, manager.clone()).unwrap().join().unwrap());
    assert_eq!(manager.object_count().unwrap(), 0);
}

fn an_initializer_runs_in_the_server() {
    let set = |level: String| LEVEL.set(level).unwrap();
    let manager = Manager::builder().initializer(set, "three".to_owned()).start().unwrap();
    let greeter = GreeterProxy::create(&manager, String::new()).unwrap();
    assert_eq!(greeter.var().unwrap().as_deref(), Some("three"));
}

fn a_failing_initializer_is_an_error() {
    let error = Manager::builder().initializer(|(): ()| panic!("not today"), ()).start().unwrap_err();
    assert!(error.to_string().contains("not today"), "{error}");
}

fn a_server_here_serves_others() {
    let server = Manager::builder().serve().unwrap();
    let manager = server.manager().unwrap();
    let list = manager.list::<u32>().unwrap();
    Process::spawn(|list: ListProxy<u32>| list.push(&7).unwrap(), list.clone()).unwrap().join().unwrap();
    assert_eq!(list.to_vec().unwrap(), [7]);
    assert_eq!(server.object_count(), 1);
    drop(list);
    await_count(&manager, 0);
    assert!(server.shutdown(Duration::from_secs(20)));
    assert!(manager.list::<u32>().unwrap_err().is_gone());
    server.join();
}

fn tcp_with_a_key() {
    let address = Address::tcp("localhost", 0);
    let manager = Manager::builder().address(address).authkey("secret").start().unwrap();
    let list = manager.list::<String>().unwrap();
    manager.publish("list", &list).unwrap();
    let use_it = |address: Address| {
        let manager = Manager::connect(&address, "secret").unwrap();
        let list: ListProxy<String> = manager.find("list").unwrap();
        list.push(&"over tcp".to_owned()).unwrap();
    };
    Process::spawn(use_it, manager.address().clone()).unwrap().join().unwrap();
    assert_eq!(list.to_vec().unwrap(), ["over tcp"]);
}

fn tcp_without_a_key_is_refused() {
    let error = Manager::builder().address(Address::tcp("localhost", 0)).serve().unwrap_err();
    assert!(error.to_string().contains("`Builder::authkey`"), "{error}");
}

fn an_address_of_another_platform_is_an_error() {
    let address: Address = r"\\.\pipe\jobs".parse().unwrap();
    assert_eq!(address.to_string(), "pipe:jobs");
    for error in [
        Manager::builder().address(address.clone()).authkey("key").serve().unwrap_err(),
        Manager::builder().address(address.clone()).authkey("key").start().unwrap_err(),
        Manager::connect(&address, "key").unwrap_err(),
    ] {
        assert!(error.to_string().contains("no named pipes on this platform"), "{error}");
    }
}

fn a_wrong_key_is_refused() {
    for address in [Address::auto().unwrap(), Address::tcp("127.0.0.1", 0)] {
        let server = Manager::builder().address(address).authkey("right").serve().unwrap();
        for _ in 0..50 {
            assert!(Manager::connect(server.address(), "wrong").unwrap_err().is_authentication());
        }
        assert!(Manager::connect_without_key(server.address()).unwrap_err().is_authentication());
        Manager::connect(server.address(), "right").unwrap();
    }
}

fn a_chosen_key_does_not_travel() {
    let server = Manager::builder().authkey("chosen").serve().unwrap();
    let list = Manager::connect(server.address(), "chosen").unwrap().list::<u8>().unwrap();
    let receive = |(list, address): (ipc_core::Receiver<ListProxy<u8>>, Address)| {
        let error = list.recv().unwrap_err().to_string();
        let manager = Manager::connect(&address, "chosen").unwrap();
        let pushed = list.recv().unwrap().push(&1).is_ok();
        drop(manager);
        (error, pushed)
    };
    let (tx, rx) = ipc_core::pipe().unwrap();
    let child = Process::spawn(receive, (rx, server.address().clone())).unwrap();
    tx.send(&list).unwrap();
    tx.send(&list).unwrap();
    let (error, pushed) = child.join().unwrap();
    assert!(pushed && error.contains("authkey"), "{error}");
}

fn one_that_never_answers_is_given_up() {
    // Connections are taken by the kernel, and nobody says anything.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::tcp("127.0.0.1", silent.local_addr().unwrap().port());
    let timeout = Duration::from_millis(100);
    let begun = Instant::now();
    let error = Manager::connect_timeout(&address, "a key", timeout).unwrap_err();
    assert!(error.is_timeout() && !error.is_authentication() && begun.elapsed() >= timeout, "{error}");
    let error = Manager::connect_without_key_timeout(&address, timeout).unwrap_err();
    assert!(error.is_timeout() || error.is_gone(), "{error}");
    // So is a manager that stands still, and it is there again when it goes on.
    let manager = Manager::builder().authkey("a key").start().unwrap();
    let pid = manager.pid().unwrap();
    chaos::stop(pid).unwrap();
    // Its threads stop one after the other.
    let connect = || Manager::connect_timeout(manager.address(), "a key", timeout);
    let begun = Instant::now();
    let error = loop {
        let Err(error) = connect() else {
            assert!(begun.elapsed() < Duration::from_secs(60), "it does not stand still");
            continue;
        };
        break error;
    };
    assert!(error.is_timeout(), "{error}");
    chaos::cont(pid).unwrap();
    let client = Manager::connect_timeout(manager.address(), "a key", Duration::from_secs(60)).unwrap();
    assert_eq!(client.object_count().unwrap(), 0);
}

fn names_are_found() {
    let manager = Manager::start().unwrap();
    let list = manager.list_from(&[1]).unwrap();
    manager.publish("numbers", &list).unwrap();
    drop(list);
    assert_eq!(manager.find::<ListProxy<i32>>("numbers").unwrap().to_vec().unwrap(), [1]);
    let error = manager.find::<ListProxy<i32>>("letters").unwrap_err();
    assert!(error.is_refused() && error.to_string().contains("publish a proxy"), "{error}");
    manager.publish("numbers", &manager.list_from(&[2]).unwrap()).unwrap();
    assert_eq!(manager.object_count().unwrap(), 1);
    assert_eq!(manager.find::<ListProxy<i32>>("numbers").unwrap().to_vec().unwrap(), [2]);
    manager.unpublish("numbers").unwrap();
    assert!(manager.unpublish("numbers").unwrap_err().is_refused());
    assert_eq!(manager.object_count().unwrap(), 0);
    let other = Manager::start().unwrap();
    assert!(manager.publish("other", &other.list::<u8>().unwrap()).unwrap_err().is_stale());
}

fn a_restarted_manager_is_another_one() {
    let address = Address::auto().unwrap();
    let manager = Manager::builder().address(address.clone()).start().unwrap();
    let list = manager.list_from(&[1]).unwrap();
    let (tx, rx) = ipc_core::pipe().unwrap();
    tx.send(&list).unwrap();
    manager.shutdown(Duration::from_secs(5)).unwrap();
    let manager = Manager::builder().address(address).start().unwrap();
    // The number is given out again, by another manager.
    let other = manager.list_from(&[2]).unwrap();
    assert!(list.to_vec().unwrap_err().is_gone());
    assert_ne!(list, other);
    let error = rx.recv().unwrap_err();
    assert!(error.to_string().contains("could not be decoded"), "{error}");
    assert_eq!(other.to_vec().unwrap(), [2]);
}

fn an_address_in_use_is_an_error() {
    let server = Manager::builder().serve().unwrap();
    let error = Manager::builder().address(server.address().clone()).start().unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
}

fn strangers_create_only_what_is_registered() {
    let server = Manager::builder().authkey("key").serve().unwrap();
    let manager = Manager::connect(server.address(), "key").unwrap();
    let error = GreeterProxy::create(&manager, "hello".into()).unwrap_err();
    assert!(error.is_refused() && error.to_string().contains("Greeter::new"), "{error}");
    let server = Manager::builder().authkey("key").register::<Greeter>().serve().unwrap();
    let manager = Manager::connect(server.address(), "key").unwrap();
    let greeter = GreeterProxy::create(&manager, "hello".into()).unwrap();
    assert_eq!(greeter.greet("you".into()).unwrap(), "hello you");
}

fn functions_of_strangers_are_refused() {
    let server = Manager::builder().authkey("key").serve().unwrap();
    let manager = Manager::connect(server.address(), "key").unwrap();
    let value = manager.value(&1).unwrap();
    assert!(value.update(|value, ()| *value += 1, ()).unwrap_err().is_refused());
    assert!(manager.list_from(&[2, 1]).unwrap().sort().unwrap_err().is_refused());
    assert_eq!(value.get().unwrap(), 1);
}

fn objects_are_limited() {
    let manager = Manager::builder().max_objects(3).start().unwrap();
    let lists: Vec<_> = (0..3).map(|_| manager.list::<u8>().unwrap()).collect();
    assert!(manager.list::<u8>().unwrap_err().is_busy());
    drop(lists);
    manager.list::<u8>().unwrap();
}

fn clients_are_limited() {
    let manager = Manager::builder().max_clients(1).start().unwrap();
    let list = manager.list::<u8>().unwrap();
    let (tx, rx) = ipc_core::pipe::<ListProxy<u8>>().unwrap();
    tx.send(&list).unwrap();
    let receive = |rx: ipc_core::Receiver<ListProxy<u8>>| rx.recv().unwrap_err().to_string();
    let why = Process::spawn(receive, rx).unwrap().join().unwrap();
    assert!(why.contains("as many clients are connected as may be"), "{why}");
    list.push(&1).unwrap();
    // Over TCP too, however often; and when there is room again, the next one is let in.
    let builder = Manager::builder().address(Address::tcp("127.0.0.1", 0)).authkey("a key");
    let server = builder.max_clients(1).serve().unwrap();
    let only = Manager::connect(server.address(), "a key").unwrap();
    for _ in 0..50 {
        let error = connect_and_call(server.address(), "a key").unwrap_err();
        assert!(error.is_busy() || error.is_gone(), "{error}");
    }
    assert_eq!(only.object_count().unwrap(), 0);
    drop(only);
    let begun = Instant::now();
    while let Err(error) = connect_and_call(server.address(), "a key") {
        assert!((error.is_busy() || error.is_gone()) && begun.elapsed() < Duration::from_secs(60), "{error}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn a_manager_travels() {
    let manager = Manager::start().unwrap();
    let make = |manager: Manager| {
        let list = manager.list_from(&[3, 1, 2]).unwrap();
        list.sort().unwrap();
        let greeter = GreeterProxy::create(&manager, "from a child".into()).unwrap();
        (list, greeter)
    };
    let (list, greeter) = Process::spawn(make, manager.clone()).unwrap().join().unwrap();
    assert_eq!(list.to_vec().unwrap(), [1, 2, 3]);
    assert_eq!(greeter.greet(".".into()).unwrap(), "from a child .");
}

fn a_fork_has_references_of_its_own() {
    let manager = Manager::start().unwrap();
    let list = manager.list::<u32>().unwrap();
    // The process that forks has no threads but the library's.
    let child = Process::spawn(fork_and_push, (list.clone(), manager.clone())).unwrap();
    assert_eq!(child.join().unwrap(), 1 + 1 + 1);
    assert_eq!(list.len().unwrap(), 2);
}

fn fork_and_push((list, manager): (ListProxy<u32>, Manager)) -> usize {
    let (kept, again) = (list.clone(), manager.clone());
    let fork = Process::fork(move || {
        kept.push(&1).unwrap();
        let more = again.list_from(&[1]).unwrap();
        kept.len().unwrap() + more.len().unwrap()
    });
    let len = fork.unwrap().join().unwrap();
    list.push(&2).unwrap();
    await_count(&manager, 1);
    len + 1
}
