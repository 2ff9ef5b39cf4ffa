//! Clients whose manager ends and comes again.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::Address;
use mp_manager::{
    DictProxy, EventProxy, ListProxy, LockProxy, Manager, ManagerError, Proxy, QueueProxy, RLockProxy,
    Reconnect, SemaphoreProxy, ValueProxy,
};
use mp_process::Process;
use mp_testkit::harness::Suite;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

fn main() -> ExitCode {
    let trials = mp_testkit::trials![
        without_a_policy_a_manager_that_has_gone_stays_gone,
        an_idle_client_does_not_see_that_the_manager_was_another_one,
        over_tcp_too,
        a_connection_that_is_cut_loses_what_it_held,
        a_client_with_a_ring_comes_back_too,
        calls_wait_for_a_manager_that_comes_late,
        a_call_under_way_is_an_error_that_says_so,
        a_call_that_waits_is_not_asked_twice,
        calls_that_are_fetched_later_come_back_too,
        it_ends_when_no_manager_comes,
        another_key_is_an_error_at_once,
        a_name_that_comes_late_is_waited_for,
        a_name_that_does_not_come_is_an_error,
        all_threads_come_back_over_one_connection,
        guards_of_the_manager_before_let_go_of_nothing,
        values_with_proxies_of_the_manager_before_are_errors,
        a_child_comes_back_by_itself,
    ];
    Suite::new(trials).warm_up(warm_up).run()
}

/// The threads that start processes and watch peers keep a few handles for good.
fn warm_up() {
    Manager::start().unwrap().list::<u8>().unwrap().push(&1).unwrap();
}

const KEY: &[u8] = b"a key for all servers";
const LONG: Duration = Duration::from_secs(20);

#[derive(Debug, Serialize, Deserialize)]
struct Slow(u64);

#[mp_manager::object]
#[allow(unreachable_pub)]
impl Slow {
    pub fn new() -> Self {
        Self(0)
    }

    pub fn add(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }

    pub fn begin(&mut self, begun: EventProxy) {
        self.0 += 1;
        begun.set().unwrap();
        thread::sleep(Duration::from_secs(100));
    }

    pub fn get(&self) -> u64 {
        self.0
    }
}

/// A place where servers come and go.
struct Place {
    address: Address,
    folder: PathBuf,
}

impl Place {
    fn new() -> Self {
        Self::at(Address::auto_file().unwrap())
    }

    fn at(address: Address) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let name = format!("mp-reconnect-{}-{}", std::process::id(), LAST.fetch_add(1, Ordering::Relaxed));
        Self { address, folder: std::env::temp_dir().join(name) }
    }

    fn start(&self) -> Manager {
        self.start_with(KEY)
    }

    fn start_with(&self, key: &[u8]) -> Manager {
        let builder = Manager::builder().address(self.address.clone()).authkey(key).state(&self.folder);
        builder.register::<Slow>().durable::<Slow>().start().unwrap()
    }

    /// Kills the server, and starts another one.
    fn again(&self, manager: Manager) -> Manager {
        kill(manager);
        self.start()
    }

    fn connect(&self) -> Manager {
        Manager::connect(&self.address, KEY).unwrap().reconnect(Reconnect::within(LONG))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn kill(manager: Manager) {
    let pid = Pid::from_raw(manager.pid().unwrap() as i32).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

fn value(manager: &Manager) -> Result<ValueProxy<u64>, ManagerError> {
    manager.durable("value", |manager| manager.value(&0))
}

fn without_a_policy_a_manager_that_has_gone_stays_gone() {
    let place = Place::new();
    let server = place.start();
    let client = Manager::connect(&place.address, KEY).unwrap();
    let proxy = value(&client).unwrap();
    proxy.set(&1).unwrap();
    let _server = place.again(server);
    let error = proxy.get().unwrap_err();
    assert!(error.is_gone(), "{error}");
    assert!(proxy.get().unwrap_err().is_gone());
    assert!(client.list::<u8>().unwrap_err().is_gone());
}

fn an_idle_client_does_not_see_that_the_manager_was_another_one() {
    comes_back(Place::new());
}

/// Passes on what comes between clients and a server, until it is cut.
struct Cable {
    port: u16,
    lines: Arc<Mutex<Vec<TcpStream>>>,
}

impl Cable {
    fn to(server: &Address) -> Self {
        let Address::Tcp { port: to, .. } = *server else { panic!("{server} is not one of TCP") };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, lines) = (listener.local_addr().unwrap().port(), Arc::<Mutex<Vec<TcpStream>>>::default());
        let known = Arc::clone(&lines);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(("127.0.0.1", to)).unwrap());
                for (mut from, mut to) in [(&client, &server), (&server, &client)]
                    .map(|(from, to)| (from.try_clone().unwrap(), to.try_clone().unwrap()))
                {
                    thread::spawn(move || std::io::copy(&mut from, &mut to));
                }
                known.lock().unwrap().extend([client, server]);
            }
        });
        Self { port, lines }
    }

    fn cut(&self) {
        self.lines.lock().unwrap().drain(..).for_each(|line| drop(line.shutdown(Shutdown::Both)));
    }
}

/// There is no time of grace. Runs in a process of its own, which takes threads and sockets along.
fn a_connection_that_is_cut_loses_what_it_held() {
    Process::spawn(cut, ()).unwrap().join().unwrap();
}

fn cut((): ()) {
    let builder = Manager::builder().address(Address::tcp("127.0.0.1", 0)).authkey(KEY);
    let server = builder.grace(Duration::ZERO).serve().unwrap();
    let near = Manager::connect(server.address(), KEY).unwrap();
    let list: ListProxy<u64> = near.list().unwrap();
    near.publish("list", &list).unwrap();
    near.publish("lock", &near.lock().unwrap()).unwrap();
    let lock: LockProxy = near.find("lock").unwrap();
    let cable = Cable::to(server.address());
    let far = Manager::connect(&Address::tcp("127.0.0.1", cable.port), KEY).unwrap();
    let far = far.reconnect(Reconnect::within(LONG));
    for turn in 0..5u64 {
        let (its, held): (ListProxy<u64>, LockProxy) = (far.find("list").unwrap(), far.find("lock").unwrap());
        let own: ListProxy<u64> = far.list().unwrap();
        let guard = held.lock().unwrap();
        its.push(&turn).unwrap();
        assert_eq!(near.object_count().unwrap(), 3);
        cable.cut();
        // What it held is free for others, and what only it referred to is no more.
        drop(lock.lock_timeout(LONG).unwrap().unwrap());
        while near.object_count().unwrap() > 2 {
            thread::sleep(Duration::from_millis(1));
        }
        // Who was found by name goes on, and nothing is done twice; all else is an error.
        while let Err(error) = its.len() {
            assert!(error.is_gone(), "{error}");
        }
        assert_eq!(its.to_vec().unwrap(), (0..=turn).collect::<Vec<_>>());
        let error = own.len().unwrap_err();
        assert!(error.is_gone() || error.is_stale(), "{error}");
        drop(guard);
        drop(held.lock_timeout(LONG).unwrap().unwrap());
    }
}

fn over_tcp_too() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    comes_back(Place::at(Address::tcp("127.0.0.1", port)));
}

fn comes_back(place: Place) {
    let mut server = place.start();
    let client = place.connect();
    let proxy = value(&client).unwrap();
    let same = proxy.clone();
    for round in 0..5 {
        assert_eq!(proxy.replace(&(round + 1)).unwrap(), round);
        server = place.again(server);
        assert_eq!(client.find::<ValueProxy<u64>>("value").unwrap().get().unwrap(), round + 1);
        assert_eq!((same.get().unwrap(), same == proxy), (round + 1, true));
        // What it makes is in the one that is there.
        client.list::<u64>().unwrap().push(&1).unwrap();
        assert_eq!(client.object_count().unwrap(), 1);
    }
    drop(server);
}

fn a_client_with_a_ring_comes_back_too() {
    let place = Place::new();
    let server = place.start();
    let client = place.connect();
    let proxy = value(&client).unwrap();
    (0..1000).for_each(|x| proxy.set(&x).unwrap());
    let server = place.again(server);
    (0..1000).for_each(|x| assert_eq!(proxy.replace(&x).unwrap(), (x + 999) % 1000));
    drop(server);
}

fn calls_wait_for_a_manager_that_comes_late() {
    let place = Place::new();
    let server = place.start();
    let client = place.connect();
    let proxy = value(&client).unwrap();
    proxy.set(&5).unwrap();
    kill(server);
    let (begun, server) = (
        Instant::now(),
        thread::scope(|scope| {
            let late = scope.spawn(|| {
                thread::sleep(Duration::from_millis(300));
                place.start()
            });
            assert_eq!(proxy.get().unwrap(), 5);
            late.join().unwrap()
        }),
    );
    assert!(begun.elapsed() >= Duration::from_millis(300));
    drop(server);
}

fn a_call_under_way_is_an_error_that_says_so() {
    let place = Place::new();
    let server = place.start();
    let client = place.connect();
    let slow: SlowProxy = client.durable("slow", SlowProxy::create).unwrap();
    slow.add().unwrap();
    let begun: EventProxy = server.event().unwrap();
    let caller = {
        let (slow, begun) = (slow.clone(), client_of(&client, &server, &begun));
        thread::spawn(move || slow.begin(begun))
    };
    assert!(begun.wait_timeout(LONG).unwrap());
    let server = place.again(server);
    let error = caller.join().unwrap().unwrap_err();
    assert!(error.is_gone() && error.may_have_run(), "{error}");
    // It was not run again, and the one that was killed in the middle was not kept.
    assert_eq!(slow.get().unwrap(), 1);
    drop(server);
}

/// The object of a proxy, for another client.
fn client_of(client: &Manager, server: &Manager, event: &EventProxy) -> EventProxy {
    server.publish("begun", event).unwrap();
    Manager::connect(client.address(), KEY).unwrap().find("begun").unwrap()
}

fn a_call_that_waits_is_not_asked_twice() {
    let place = Place::new();
    let server = place.start();
    let client = place.connect();
    let queue: QueueProxy<u64> = client.durable("queue", |manager| manager.queue()).unwrap();
    let waits = queue.clone();
    let waiter = thread::spawn(move || waits.get());
    // It has asked by then.
    thread::sleep(Duration::from_secs(1));
    let server = place.again(server);
    let error = waiter.join().unwrap().unwrap_err();
    assert!(error.may_have_run(), "{error}");
    queue.put(&1).unwrap();
    assert_eq!(queue.get().unwrap(), 1);
    drop(server);
}

fn calls_that_are_fetched_later_come_back_too() {
    let place = Place::new();
    let server = place.start();
    let client = place.connect();
    let proxy = value(&client).unwrap();
    let slow: SlowProxy = client.durable("slow", SlowProxy::create).unwrap();
    slow.add_async().unwrap().get().unwrap();
    let server = place.again(server);
    assert_eq!(slow.add_async().unwrap().get().unwrap(), 2);
    let server = place.again(server);
    proxy.set_async(&7).unwrap().get().unwrap();
    let (value, count) =
        client.batch(|batch| Ok((batch.of(&proxy).get_async()?, batch.of(&slow).add_async()?))).unwrap();
    assert_eq!((value.get().unwrap(), count.get().unwrap()), (7, 3));
    drop(server);
}

fn it_ends_when_no_manager_comes() {
    let place = Place::new();
    let server = place.start();
    let policy =
        Reconnect::within(LONG).tries(3).pauses(Duration::from_millis(20), Duration::from_millis(40));
    let client = Manager::connect(&place.address, KEY).unwrap().reconnect(policy);
    let proxy = value(&client).unwrap();
    kill(server);
    let begun = Instant::now();
    let error = proxy.get().unwrap_err();
    assert!(error.is_gone() && !error.may_have_run(), "{error}");
    assert!(begun.elapsed() >= Duration::from_millis(30), "there were no pauses");
    // The next call tries again.
    let server = place.start();
    assert_eq!(proxy.get().unwrap(), 0);
    drop(server);
}

fn another_key_is_an_error_at_once() {
    let place = Place::new();
    let server = place.start();
    // Longer than this test may take.
    let policy = Reconnect::within(Duration::from_secs(3600));
    let client = Manager::connect(&place.address, KEY).unwrap().reconnect(policy);
    let proxy = value(&client).unwrap();
    kill(server);
    let server = place.start_with(b"another key");
    let error = proxy.get().unwrap_err();
    assert!(error.is_authentication(), "{error}");
    drop(server);
}

fn a_name_that_comes_late_is_waited_for() {
    let place = Place::new();
    let server = place.start();
    // Not durable: another one publishes it again.
    server.publish("list", &server.list_from(&[1]).unwrap()).unwrap();
    let list: ListProxy<i32> = place.connect().find("list").unwrap();
    let server = place.again(server);
    let publisher = thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        server.publish("list", &server.list_from(&[2]).unwrap()).unwrap();
        server
    });
    assert_eq!(list.to_vec().unwrap(), [2]);
    drop(publisher.join().unwrap());
}

fn a_name_that_does_not_come_is_an_error() {
    let place = Place::new();
    let server = place.start();
    server.publish("list", &server.list_from(&[1]).unwrap()).unwrap();
    let policy = Reconnect::within(LONG).tries(2);
    let client = Manager::connect(&place.address, KEY).unwrap().reconnect(policy);
    let list: ListProxy<i32> = client.find("list").unwrap();
    let server = place.again(server);
    let error = list.to_vec().unwrap_err();
    assert!(error.is_refused() && error.to_string().contains("`list`"), "{error}");
    drop(server);
}

fn all_threads_come_back_over_one_connection() {
    let place = Place::new();
    let mut server = place.start();
    let client = place.connect();
    let dict: DictProxy<u64, u64> = client.durable("dict", |manager| manager.dict()).unwrap();
    let threads: Vec<_> = (0..6u64)
        .map(|number| {
            let dict = dict.clone();
            thread::spawn(move || {
                let (mut unsure, mut done) = (0, 0);
                while done < 300 {
                    match dict.insert(&number, &(done + 1)) {
                        Ok(_) => done += 1,
                        Err(error) if error.may_have_run() => {
                            unsure += 1;
                            done = loop {
                                match dict.get(&number) {
                                    Ok(value) => break value.unwrap_or_default(),
                                    Err(error) if error.may_have_run() => unsure += 1,
                                    Err(error) => panic!("{error}"),
                                }
                            };
                        }
                        Err(error) => panic!("{error}"),
                    }
                    thread::sleep(Duration::from_micros(200));
                }
                unsure
            })
        })
        .collect();
    for _ in 0..4 {
        thread::sleep(Duration::from_millis(30));
        server = place.again(server);
    }
    let unsure: Vec<u64> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(unsure.iter().all(|unsure| *unsure <= 4), "{unsure:?}");
    (0..6).for_each(|number| assert_eq!(dict.get(&number).unwrap(), Some(300)));
    drop(server);
}

fn guards_of_the_manager_before_let_go_of_nothing() {
    let place = Place::new();
    let mut server = place.start();
    for round in 0..2 {
        let client = place.connect();
        let lock: LockProxy = client.durable("lock", |manager| manager.lock()).unwrap();
        let rlock: RLockProxy = client.durable("rlock", |manager| manager.rlock()).unwrap();
        let permits: SemaphoreProxy = client.durable("permits", |manager| manager.semaphore(1)).unwrap();
        let take = || {
            let guards = (lock.lock().unwrap(), permits.acquire().unwrap(), rlock.lock().unwrap());
            // Also by the way on which a call is fetched later.
            drop(guards);
            let later = lock.lock_async().unwrap().get().unwrap();
            (later, permits.acquire().unwrap(), rlock.lock().unwrap())
        };
        let before = take();
        server = place.again(server);
        // The numbers of holds are those of calls, and likely the same.
        let after = take();
        assert_eq!(permits.available().unwrap(), 0);
        drop(before);
        assert_eq!((lock.is_locked().unwrap(), rlock.is_locked().unwrap()), (true, true), "{round}");
        assert_eq!(permits.available().unwrap(), 0);
        drop(after);
        assert_eq!((lock.is_locked().unwrap(), rlock.is_locked().unwrap()), (false, false));
    }
    drop(server);
}

fn values_with_proxies_of_the_manager_before_are_errors() {
    let place = Place::new();
    let server = place.start();
    let client = place.connect();
    let outer: ListProxy<ListProxy<u64>> = client.durable("outer", |manager| manager.list()).unwrap();
    let inner: ListProxy<u64> = client.durable("inner", |manager| manager.list()).unwrap();
    let unnamed: ListProxy<u64> = client.list().unwrap();
    client.make_durable(&unnamed).unwrap();
    outer.push(&unnamed).unwrap();
    let server = place.again(server);
    let error = outer.push(&unnamed).unwrap_err();
    assert!(!error.may_have_run(), "{error}");
    assert_eq!(outer.len().unwrap(), 1);
    // One that was found by its name is of the manager that is there.
    inner.push(&1).unwrap();
    outer.push(&inner).unwrap();
    assert_eq!(outer.get(1).unwrap().to_vec().unwrap(), [1]);
    assert_ne!(outer.get(1).unwrap().object(), unnamed.object());
    drop(server);
}

fn a_child_comes_back_by_itself() {
    let place = Place::new();
    let server = place.start();
    value(&server).unwrap().set(&1).unwrap();
    let (tx, rx) = ipc_core::pipe::<u64>().unwrap();
    let (go_on, goes_on) = ipc_core::pipe::<()>().unwrap();
    let live = |(address, tx, goes_on): (Address, ipc_core::Sender<u64>, ipc_core::Receiver<()>)| {
        let client = Manager::connect(&address, KEY).unwrap().reconnect(Reconnect::within(LONG));
        let value: ValueProxy<u64> = client.find("value").unwrap();
        for _ in 0..3 {
            tx.send(&value.get().unwrap()).unwrap();
            goes_on.recv().unwrap();
        }
        value.get().unwrap()
    };
    let child =
        Process::builder().kill_on_drop(true).spawn(live, (place.address.clone(), tx, goes_on)).unwrap();
    assert_eq!(rx.recv().unwrap(), 1);
    let mut server = server;
    for _ in 0..2 {
        server = place.again(server);
        go_on.send(&()).unwrap();
        assert_eq!(rx.recv().unwrap(), 1);
    }
    value(&server).unwrap().set(&2).unwrap();
    go_on.send(&()).unwrap();
    assert_eq!(child.join().unwrap(), 2);
}
