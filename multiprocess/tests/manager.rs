//! Objects of a manager: made here, used in children.

// What is exposed is `pub`.
#![allow(unreachable_pub)]

mod common;

use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{LONG, SHORT, spawn, suite};
use multiprocess::ipc::{Address, AuthKey};
use multiprocess::manager::{
    self, ArrayProxy, BarrierProxy, ConditionProxy, DictProxy, EventProxy, JoinableQueueProxy, ListProxy,
    LockProxy, Manager, NamespaceProxy, QueueProxy, RLockProxy, Reconnect, SemaphoreProxy, SetProxy,
    ValueProxy,
};
use multiprocess::{Error, Event, PoolProxy, StartMethod};

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

fn an_event(method: StartMethod) {
    let manager = start();
    let event = manager.event().unwrap();
    assert!(!event.is_set().unwrap() && !event.wait_timeout(SHORT).unwrap());
    let set = |event: EventProxy| {
        sleep(SHORT);
        event.set().unwrap();
    };
    let child = spawn(method, set, event.clone()).unwrap();
    event.wait().unwrap();
    assert!(event.is_set().unwrap());
    child.join().unwrap();
    event.clear().unwrap();
    assert!(!event.is_set().unwrap());
}

fn a_lock(method: StartMethod) {
    let manager = start();
    let lock = manager.lock().unwrap();
    let tries = |lock: LockProxy| (lock.is_locked().unwrap(), lock.try_lock().unwrap().is_some());
    let guard = lock.lock().unwrap();
    assert_eq!(in_a_child(method, tries, lock.clone()), (true, false));
    assert!(in_a_child(method, |lock: LockProxy| lock.lock_timeout(SHORT).unwrap().is_none(), lock.clone()));
    drop(guard);
    assert!(!lock.is_locked().unwrap());
    assert_eq!(in_a_child(method, tries, lock.clone()), (false, true));
    soon("it stays locked", || !lock.is_locked().unwrap());
}

fn an_rlock(method: StartMethod) {
    let manager = start();
    let lock = manager.rlock().unwrap();
    let tries = |lock: RLockProxy| lock.try_lock().unwrap().is_some();
    let (outer, inner) = (lock.lock().unwrap(), lock.try_lock().unwrap().unwrap());
    assert!(!in_a_child(method, tries, lock.clone()));
    drop(outer);
    assert!(!in_a_child(method, tries, lock.clone()));
    drop(inner);
    assert!(!lock.is_locked().unwrap());
    assert!(in_a_child(method, tries, lock.clone()));
}

fn a_semaphore(method: StartMethod) {
    let manager = start();
    let (semaphore, bounded) = (manager.semaphore(1).unwrap(), manager.bounded_semaphore(1).unwrap());
    let tries = |semaphore: SemaphoreProxy| semaphore.try_acquire().unwrap().is_some();
    let permit = semaphore.acquire().unwrap();
    assert!(!in_a_child(method, tries, semaphore.clone()));
    drop(permit);
    assert_eq!(semaphore.available().unwrap(), 1);
    assert!(in_a_child(method, tries, semaphore.clone()));
    soon("its permit is lost", || semaphore.available().unwrap() == 1);
    semaphore.release(2).unwrap();
    assert_eq!(semaphore.available().unwrap(), 3);
    assert!(bounded.release(1).is_err());
}

fn a_condition(method: StartMethod) {
    let manager = start();
    let (condition, ready) = (manager.condition().unwrap(), Event::new().unwrap());
    let wait = |(condition, ready): (ConditionProxy, Event)| {
        let mut guard = condition.lock().unwrap();
        ready.set();
        guard.wait_timeout(LONG).unwrap()
    };
    let child = spawn(method, wait, (condition.clone(), ready.clone())).unwrap();
    ready.wait();
    let guard = condition.lock().unwrap();
    assert_eq!(guard.notify(1).unwrap(), 1);
    drop(guard);
    assert!(child.join().unwrap());
}

fn a_barrier(method: StartMethod) {
    let manager = start();
    let barrier = manager.barrier(3).unwrap();
    let wait = |barrier: BarrierProxy| barrier.wait().unwrap();
    let children: Vec<_> = (0..2).map(|_| spawn(method, wait, barrier.clone()).unwrap()).collect();
    let mut turns = vec![barrier.wait().unwrap()];
    turns.extend(children.into_iter().map(|child| child.join().unwrap()));
    turns.sort_unstable();
    assert_eq!(turns, [0, 1, 2]);
    barrier.abort().unwrap();
    assert!(barrier.wait().unwrap_err().is_broken_barrier());
}

fn a_queue(method: StartMethod) {
    let manager = start();
    let queue = manager.bounded_queue::<String>(2).unwrap();
    let put = |queue: QueueProxy<String>| {
        queue.put(&"one".to_owned()).unwrap();
        queue.put(&"two".to_owned()).unwrap();
        queue.try_put(&"three".to_owned()).unwrap()
    };
    assert!(!in_a_child(method, put, queue.clone()));
    assert_eq!(queue.len().unwrap(), 2);
    assert_eq!(queue.get().unwrap(), "one");
    assert_eq!(queue.get_timeout(LONG).unwrap().as_deref(), Some("two"));
    assert!(queue.try_get().unwrap().is_none() && queue.get_timeout(SHORT).unwrap().is_none());
}

fn a_joinable_queue(method: StartMethod) {
    let manager = start();
    let queue = manager.joinable_queue::<u32>().unwrap();
    (0..3).for_each(|item| queue.put(&item).unwrap());
    assert!(!queue.join_timeout(SHORT).unwrap());
    let work = |queue: JoinableQueueProxy<u32>| {
        while queue.try_get().unwrap().is_some() {
            queue.task_done().unwrap();
        }
        queue.task_done().is_err()
    };
    assert!(in_a_child(method, work, queue.clone()), "done more often than put");
    queue.join().unwrap();
}

fn a_list(method: StartMethod) {
    let manager = start();
    let list = manager.list_from(&[3, 1, 2]).unwrap();
    let change = |list: ListProxy<i32>| {
        list.push(&4).unwrap();
        list.extend(&[5, 6]).unwrap();
        list.insert(0, &0).unwrap();
        list.remove(&6).unwrap();
        list.sort().unwrap();
        list.reverse().unwrap();
        (list.pop().unwrap(), list.contains(&5).unwrap(), list.count(&1).unwrap())
    };
    assert_eq!(in_a_child(method, change, list.clone()), (Some(0), true, 1));
    assert_eq!(list.to_vec().unwrap(), [5, 4, 3, 2, 1]);
    assert_eq!((list.get(1).unwrap(), list.slice(2..4).unwrap()), (4, vec![3, 2]));
    assert!(list.get(9).unwrap_err().is_out_of_range());
    assert_eq!(list.iter().map(Result::unwrap).sum::<i32>(), 15);
}

fn a_list_in_a_list(method: StartMethod) {
    let manager = start();
    let (outer, inner) = (manager.list::<ListProxy<u32>>().unwrap(), manager.list::<u32>().unwrap());
    outer.push(&inner).unwrap();
    let change = |outer: ListProxy<ListProxy<u32>>| outer.get(0).unwrap().push(&7).unwrap();
    in_a_child(method, change, outer.clone());
    assert_eq!(inner.to_vec().unwrap(), [7]);
    drop(inner);
    assert_eq!(outer.get(0).unwrap().to_vec().unwrap(), [7]);
}

fn a_dict(method: StartMethod) {
    type Dict = DictProxy<String, u32>;
    let manager = start();
    let dict: Dict = manager.dict().unwrap();
    let change = |dict: Dict| {
        for (key, value) in [("a", 1), ("b", 2), ("c", 3)] {
            dict.insert(&key.to_owned(), &value).unwrap();
        }
        dict.remove("b").unwrap()
    };
    assert_eq!(in_a_child(method, change, dict.clone()), Some(2));
    assert_eq!(dict.keys().unwrap(), ["a", "c"]);
    assert_eq!(dict.values().unwrap(), [1, 3]);
    assert_eq!(dict.get("b").unwrap(), None);
    assert_eq!(dict.get_or_insert(&"d".to_owned(), &4).unwrap(), 4);
    assert_eq!(dict.len().unwrap(), 3);
}

fn a_set(method: StartMethod) {
    let manager = start();
    let set = manager.set::<u32>().unwrap();
    let change = |set: SetProxy<u32>| set.extend(&[1, 2, 2, 3]).unwrap();
    assert_eq!(in_a_child(method, change, set.clone()), 3);
    set.retain_all(&[2, 3, 4]).unwrap();
    let mut values = set.to_vec().unwrap();
    values.sort_unstable();
    assert_eq!(values, [2, 3]);
    assert!(set.contains(&2).unwrap() && !set.contains(&1).unwrap());
}

fn a_value_an_array_and_a_namespace(method: StartMethod) {
    type Objects = (ValueProxy<f64>, ArrayProxy<i32>, NamespaceProxy);
    let manager = start();
    let objects: Objects =
        (manager.value(&1.5).unwrap(), manager.array(&[1, 2, 3]).unwrap(), manager.namespace().unwrap());
    let change = |(value, array, namespace): Objects| {
        value.set(&(value.get().unwrap() * 2.0)).unwrap();
        array.set(1, &20).unwrap();
        namespace.set("name", &"text".to_owned()).unwrap();
        namespace.set("gone", &1).unwrap();
        namespace.remove("gone").unwrap();
    };
    in_a_child(method, change, objects.clone());
    let (value, array, namespace) = objects;
    assert_eq!((value.get().unwrap(), array.to_vec().unwrap()), (3.0, vec![1, 20, 3]));
    assert_eq!(namespace.get::<String>("name").unwrap().as_deref(), Some("text"));
    assert_eq!(namespace.names().unwrap(), ["name"]);
}

fn square(x: u64) -> u64 {
    x * x
}

fn a_pool(method: StartMethod) {
    let manager = start();
    let pool = PoolProxy::create(&manager, 2).unwrap();
    let work = |pool: PoolProxy| {
        let begun = pool.apply_async(square, 9).unwrap();
        assert_eq!(pool.apply(square, 7).unwrap(), 49);
        assert_eq!(pool.map(square, 0..100).unwrap(), (0..100).map(square).collect::<Vec<_>>());
        assert_eq!(pool.starmap(|a: u8, b: u8| a + b, [(1, 2), (3, 4)]).unwrap(), [3, 7]);
        assert_eq!(begun.get().unwrap().unwrap(), 81);
        assert!(pool.map(square, []).unwrap().is_empty());
        assert!(pool.starmap(|a: u8, _: u8| a, []).unwrap().is_empty());
        assert!(pool.imap(square, []).next().is_none());
    };
    let children: Vec<_> = (0..2).map(|_| spawn(method, work, pool.clone()).unwrap()).collect();
    work(pool.clone());
    children.into_iter().for_each(|child| child.join().unwrap());
    // A task uses objects of the manager that its pool is in.
    let list = manager.list::<u64>().unwrap();
    let push = |(list, x): (ListProxy<u64>, u64)| list.push(&x).unwrap();
    pool.map(push, (0..10).map(|x| (list.clone(), x))).unwrap();
    let mut pushed = list.to_vec().unwrap();
    pushed.sort_unstable();
    assert_eq!(pushed, (0..10).collect::<Vec<_>>());
    // Its workers are children of the server.
    assert_eq!(pool.pids().unwrap().len(), 2);
    assert!(!pool.pids().unwrap().contains(&std::process::id()));
}

fn tasks_of_a_pool_that_fail() {
    let manager = start();
    let pool = PoolProxy::create(&manager, 1).unwrap();
    let fail = |x: u64| if x == 3 { panic!("at {x}") } else { x };
    let failed = |result: Result<Vec<u64>, Error>| match result {
        Err(Error::FailedTask(failed)) => failed,
        other => panic!("{other:?}"),
    };
    let error = failed(pool.map(fail, 0..5));
    assert_eq!((error.panic().unwrap().message(), error.index()), ("at 3", Some(3)));
    let exit = |_: u64| -> u64 { std::process::abort() };
    assert!(failed(pool.map(exit, [1])).is_worker_died());
    assert_eq!(pool.apply(square, 2).unwrap(), 4);
    assert!(matches!(PoolProxy::create(&manager, 0), Err(error) if error.is_refused()));
    // The server is killed under a task.
    let begun = pool.apply_async(sleep, LONG).unwrap();
    mp_testkit::chaos::kill(manager.pid().unwrap()).unwrap();
    assert!(begun.get().unwrap_err().is_gone());
}

fn a_pool_ends() {
    let manager = start();
    let pool = PoolProxy::create(&manager, 2).unwrap();
    let begun: Vec<_> = (0..100).map(|x| pool.apply_async(square, x).unwrap()).collect();
    let other = pool.clone();
    let waiting = std::thread::spawn(move || other.join().unwrap());
    pool.join().unwrap();
    waiting.join().unwrap();
    for (x, begun) in (0..).zip(begun) {
        assert_eq!(begun.get().unwrap().unwrap(), square(x));
    }
    let Err(Error::FailedTask(closed)) = pool.apply(square, 1) else { panic!("it takes a task") };
    assert!(closed.is_of_pool(), "{closed}");
    pool.join().unwrap();
    // One that is terminated fails what it has begun.
    let pool = PoolProxy::create(&manager, 1).unwrap();
    let begun = pool.apply_async(sleep, LONG).unwrap();
    pool.terminate().unwrap();
    assert!(begun.get().unwrap().unwrap_err().is_of_pool());
    // One that is dropped goes with its workers.
    let pool = PoolProxy::create(&manager, 2).unwrap();
    let pids = pool.pids().unwrap();
    drop(pool);
    while pids.iter().any(|pid| mp_testkit::chaos::state(*pid).is_some()) {
        sleep(Duration::from_millis(1));
    }
}

fn a_pool_brings_values_one_by_one() {
    let manager = start();
    let pool = PoolProxy::create(&manager, 2).unwrap();
    let taken = std::cell::Cell::new(0);
    let items = (0..).inspect(|_| taken.set(taken.get() + 1));
    let first: Vec<u64> = pool.imap(square, items).take(10).map(Result::unwrap).collect();
    assert_eq!(first, (0..10).map(square).collect::<Vec<_>>());
    assert!(taken.get() < 100);
    let slow_first = |x: u64| {
        if x == 0 {
            sleep(100 * SHORT);
        }
        x
    };
    let mut all: Vec<u64> = pool.imap_unordered(slow_first, 0..20).map(Result::unwrap).collect();
    assert_ne!(all[0], 0);
    all.sort_unstable();
    assert_eq!(all, (0..20).collect::<Vec<_>>());
    assert_eq!(pool.imap(square, []).count(), 0);
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
