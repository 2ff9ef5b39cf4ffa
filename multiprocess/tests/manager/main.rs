//! Objects of a manager: made here, used in children.

// What is exposed is `pub`.
#![allow(unreachable_pub)]

#[path = "../common/mod.rs"]
mod common;
mod objects;
mod pools;

use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{LONG, SHORT, spawn, suite};
use multiprocess::ipc::{Address, AuthKey};
use multiprocess::manager::{self, ListProxy, LockProxy, Manager, QueueProxy, Reconnect};
use multiprocess::{Event, StartMethod};
use objects::{
    a_barrier, a_condition, a_dict, a_joinable_queue, a_list, a_list_in_a_list, a_lock, a_queue, a_semaphore,
    a_set, a_value_an_array_and_a_namespace, an_event, an_rlock,
};
use pools::{
    a_pool, a_pool_brings_values_one_by_one, a_pool_called_by_name, a_pool_ends, tasks_of_a_pool_that_fail,
};

suite! {
    started: [
        an_object_of_ones_own,
        an_event,
        a_lock,
        an_rlock,
        a_semaphore,
        a_condition,
        a_barrier,
        a_queue,
        a_joinable_queue,
        a_list,
        a_list_in_a_list,
        a_dict,
        a_set,
        a_value_an_array_and_a_namespace,
        a_pool,
        a_lock_of_the_dead_is_free,
        a_server_that_was_killed_is_an_error_at_once,
        a_child_connects_by_address_and_key,
        values_of_each_kind_come_back_over_tcp,
        a_client_that_comes_back_and_its_children,
    ],
    plain: [
        a_server_in_this_process_serves_children,
        an_initializer_runs_in_the_server,
        an_object_goes_with_its_last_proxy,
        a_panic_in_a_method_is_its_calls_error,
        a_server_is_started_again_at_its_address,
        a_wrong_key_is_refused,
        what_does_not_encode_is_the_calls_error,
        going_over_a_list_sees_what_changes_meanwhile,
        tasks_of_a_pool_that_fail,
        a_pool_ends,
        a_pool_brings_values_one_by_one,
        a_pool_called_by_name,
    ],
}

fn start() -> Manager {
    Manager::start().unwrap()
}

/// Runs `function` in a child with `proxy`.
fn in_a_child<P: multiprocess::Message, R: multiprocess::Message>(
    method: StartMethod,
    function: fn(P) -> R,
    proxy: P,
) -> R {
    spawn(method, function, proxy).unwrap().join().unwrap()
}

/// What a child let go of before its end has its own way to the server.
fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "{what}");
        sleep(Duration::from_millis(1));
    }
}

struct Counter(u64);

#[manager::object]
impl Counter {
    pub fn new(start: u64) -> Self {
        Self(start)
    }

    pub fn increment(&mut self, by: u64) -> u64 {
        self.0 += by;
        self.0
    }

    pub fn get(&self) -> u64 {
        self.0
    }

    pub fn panic(&self) {
        panic!("at {}", self.0);
    }
}

fn an_object_of_ones_own(method: StartMethod) {
    let manager = start();
    let counter = CounterProxy::create(&manager, 40).unwrap();
    let add = |counter: CounterProxy| {
        for _ in 0..100 {
            counter.increment(1).unwrap();
        }
    };
    let children: Vec<_> = (0..2).map(|_| spawn(method, add, counter.clone()).unwrap()).collect();
    children.into_iter().for_each(|child| child.join().unwrap());
    assert_eq!(counter.get().unwrap(), 240);
}

/// A thread watches the connection of such a client: a fork beside it has one of its own.
fn a_client_that_comes_back_and_its_children(method: StartMethod) {
    const KEY: &str = "a key";
    fn far(address: &Address) -> Manager {
        Manager::connect(address, KEY).unwrap().reconnect(Reconnect::within(LONG))
    }
    let builder = Manager::builder().address(Address::tcp("127.0.0.1", 0)).authkey(KEY).grace(LONG * 100);
    let server = builder.start().unwrap();
    let manager = far(server.address());
    manager.publish("lock", &manager.lock().unwrap()).unwrap();
    let lock: LockProxy = manager.find("lock").unwrap();
    let tries = |address: Address| {
        let manager = far(&address);
        let lock: LockProxy = manager.find("lock").unwrap();
        (lock.is_locked().unwrap(), lock.try_lock().unwrap().is_some())
    };
    for _ in 0..2 {
        let guard = lock.lock().unwrap();
        assert_eq!(in_a_child(method, tries, server.address().clone()), (true, false));
        // Its end was not this process's.
        assert!(lock.is_locked().unwrap());
        drop(guard);
        assert!(!lock.is_locked().unwrap());
        assert_eq!(in_a_child(method, tries, server.address().clone()), (false, true));
        soon("it stays locked", || !lock.is_locked().unwrap());
    }
}

fn a_lock_of_the_dead_is_free(method: StartMethod) {
    let manager = start();
    let (lock, ready) = (manager.lock().unwrap(), Event::new().unwrap());
    let hold = |(lock, ready): (LockProxy, Event)| {
        let _guard = lock.lock().unwrap();
        ready.set();
        sleep(LONG);
    };
    let child = spawn(method, hold, (lock.clone(), ready.clone())).unwrap();
    ready.wait();
    child.kill().unwrap();
    assert!(lock.lock_timeout(LONG).unwrap().is_some());
    child.join().unwrap_err();
}

fn a_server_that_was_killed_is_an_error_at_once(method: StartMethod) {
    let manager = start();
    let (queue, ready) = (manager.queue::<u32>().unwrap(), Event::new().unwrap());
    let get = |(queue, ready): (QueueProxy<u32>, Event)| {
        ready.set();
        queue.get().unwrap_err().is_gone()
    };
    let child = spawn(method, get, (queue.clone(), ready.clone())).unwrap();
    ready.wait();
    sleep(SHORT);
    mp_testkit::chaos::kill(manager.pid().unwrap()).unwrap();
    assert!(child.join_timeout(LONG).unwrap());
    assert!(queue.put(&1).unwrap_err().is_gone());
}

fn key() -> AuthKey {
    AuthKey::from(b"a key".as_slice())
}

/// A manager at this address, with the key.
fn start_at(address: &Address) -> Manager {
    Manager::builder().address(address.clone()).authkey(key()).start().unwrap()
}

fn a_child_connects_by_address_and_key(method: StartMethod) {
    let manager = start_at(&Address::tcp("127.0.0.1", 0));
    let queue = manager.queue::<String>().unwrap();
    manager.publish("jobs", &queue).unwrap();
    let put = |address: Address| {
        let manager = Manager::connect(&address, key()).unwrap();
        let queue: QueueProxy<String> = manager.find("jobs").unwrap();
        queue.put(&"hello".to_owned()).unwrap();
    };
    in_a_child(method, put, manager.address().clone());
    assert_eq!(queue.get().unwrap(), "hello");
}

type Kinds = (Option<u8>, bool, f64, String, Vec<u8>, (i64, char));

fn values_of_each_kind_come_back_over_tcp(method: StartMethod) {
    let manager = start_at(&Address::tcp("127.0.0.1", 0));
    let queue = manager.queue::<Kinds>().unwrap();
    manager.publish("kinds", &queue).unwrap();
    let back = |address: Address| {
        let manager = Manager::connect(&address, key()).unwrap();
        let queue: QueueProxy<Kinds> = manager.find("kinds").unwrap();
        queue.put(&queue.get().unwrap()).unwrap();
    };
    let kinds: [Kinds; 2] = [
        (
            None,
            true,
            2.25,
            "hall\u{e5} v\u{e4}rlden \u{1f98a}".to_owned(),
            b"\0\xff".to_vec(),
            (i64::MIN, 'x'),
        ),
        (Some(7), false, -0.5, String::new(), vec![], (0, '\u{20ac}')),
    ];
    for kinds in kinds {
        queue.put(&kinds).unwrap();
        in_a_child(method, back, manager.address().clone());
        assert_eq!(queue.get().unwrap(), kinds);
    }
}

/// Refuses to be encoded if it is set.
#[derive(Debug, PartialEq, serde::Deserialize)]
struct Stubborn(bool);

impl serde::Serialize for Stubborn {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 { Err(serde::ser::Error::custom("never")) } else { serializer.serialize_bool(false) }
    }
}

fn what_does_not_encode_is_the_calls_error() {
    let manager = start();
    let queue = manager.queue::<Stubborn>().unwrap();
    assert!(queue.put(&Stubborn(true)).unwrap_err().is_codec());
    assert_eq!(queue.len().unwrap(), 0);
    queue.put(&Stubborn(false)).unwrap();
    assert_eq!(queue.get().unwrap(), Stubborn(false));
}

fn going_over_a_list_sees_what_changes_meanwhile() {
    let manager = start();
    let list = manager.list_from(&[1, 2, 3]).unwrap();
    let mut items = list.iter().map(Result::unwrap);
    assert_eq!(items.next(), Some(1));
    list.push(&4).unwrap();
    list.set(1, &20).unwrap();
    assert_eq!(items.collect::<Vec<i32>>(), [20, 3, 4]);
    // Of a dictionary there are copies, which change no more.
    let dict = manager.dict::<u8, u8>().unwrap();
    dict.insert(&1, &1).unwrap();
    for (key, value) in dict.items().unwrap() {
        dict.insert(&(key + 1), &value).unwrap();
    }
    assert_eq!(dict.len().unwrap(), 2);
}

fn a_server_in_this_process_serves_children() {
    let server = Manager::builder().serve().unwrap();
    let list = server.manager().unwrap().list::<u32>().unwrap();
    server.manager().unwrap().publish("list", &list).unwrap();
    let push = |address: Address| {
        let manager = Manager::connect_without_key(&address).unwrap();
        manager.find::<ListProxy<u32>>("list").unwrap().push(&1).unwrap();
    };
    in_a_child(StartMethod::Spawn, push, server.address().clone());
    assert_eq!(list.to_vec().unwrap(), [1]);
    drop(list);
    server.shutdown(LONG);
}

fn a_wrong_key_is_refused() {
    let manager = start_at(&Address::auto().unwrap());
    let error = Manager::connect(manager.address(), b"another".as_slice()).map(drop).unwrap_err();
    assert!(error.is_authentication(), "{error}");
}

fn a_server_is_started_again_at_its_address() {
    let address = Address::auto_file().unwrap();
    for _ in 0..2 {
        let manager = start_at(&address);
        manager.queue::<u32>().unwrap().put(&1).unwrap();
        manager.shutdown(LONG).unwrap();
    }
}

fn an_initializer_runs_in_the_server() {
    let event = Event::new().unwrap();
    let manager = Manager::builder().initializer(|event: Event| event.set(), event.clone()).start().unwrap();
    assert!(event.wait_timeout(LONG).is_ok());
    drop(manager);
}

fn an_object_goes_with_its_last_proxy() {
    let manager = start();
    let (first, second) = (manager.list::<u32>().unwrap(), manager.list::<u32>().unwrap());
    assert_eq!(manager.object_count().unwrap(), 2);
    let copy = first.clone();
    drop(first);
    copy.push(&1).unwrap();
    drop((copy, second));
    while manager.object_count().unwrap() > 0 {
        sleep(Duration::from_millis(1));
    }
}

fn a_panic_in_a_method_is_its_calls_error() {
    let manager = start();
    let counter = CounterProxy::create(&manager, 7).unwrap();
    let error = counter.panic().unwrap_err();
    assert_eq!(error.panic().unwrap().message(), "at 7");
    assert_eq!(counter.get().unwrap(), 7);
}
