//! The way through shared memory that a client gets while it calls often.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::{Address, Sender, pipe};
use mp_manager::{EventProxy, ListProxy, LockProxy, Manager, QueueProxy, SemaphoreProxy};
use mp_process::{Function, Process};
use mp_testkit::chaos;
use mp_testkit::harness::Suite;

fn main() -> ExitCode {
    let trials = mp_testkit::trials![
        who_calls_often_gets_one,
        who_calls_rarely_gets_none,
        over_tcp_there_is_none,
        there_are_as_many_as_the_builder_says,
        calls_keep_their_order,
        many_threads_while_it_comes,
        a_hot_clients_locks_come_back,
        the_end_of_the_server_is_told_at_once,
        a_stopped_server_is_the_calls_deadline,
        one_that_waits_leaves_the_others_alone,
        those_that_sleep_are_woken_beside_one_that_never_does,
        one_that_calls_seldom_is_answered_beside_many_that_never_stop,
        long_values_and_too_long_ones,
        strangers_get_one_and_no_more_trust,
        one_that_is_idle_is_dropped,
    ];
    // Many clients that never stop take their time where there is one processor.
    Suite::new(trials).timeout(Duration::from_secs(180)).warm_up(warm_up).run()
}

/// The threads that start processes and watch peers keep a few handles for good.
fn warm_up() {
    let manager = Manager::start().unwrap();
    let child = Process::spawn(heat_up, manager.list().unwrap());
    child.unwrap().join().unwrap();
    heat_up(manager.list().unwrap());
}

/// Calls as often as it takes.
fn heat_up(list: ListProxy<u64>) {
    (0..500).for_each(|x| list.push(&x).unwrap());
}

/// Calls until the server has a ring for it, which takes many calls within a short time; how many
/// calls there were.
fn heat_up_for_a_ring(list: &ListProxy<u64>, server: u32) -> usize {
    let (before, begun) = (memories(server), Instant::now());
    let mut calls = 0;
    while calls == 0 || memories(server) == before {
        assert!(begun.elapsed() < Duration::from_secs(20), "it gets none");
        heat_up(list.clone());
        calls += 500;
    }
    calls
}

/// How many pieces of memory without a name a process has.
fn memories(pid: u32) -> usize {
    let handles = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = handles.filter_map(|handle| std::fs::read_link(handle.unwrap().path()).ok());
    links.filter(|link| link.to_string_lossy().contains("memfd")).count()
}

/// The process of a manager, which has forgotten how it was started.
fn server(manager: &Manager) -> u32 {
    let pid = manager.pid().unwrap();
    while memories(pid) > 0 {
        thread::sleep(Duration::from_millis(1));
    }
    pid
}

fn who_calls_often_gets_one() {
    let manager = Manager::start().unwrap();
    let server = server(&manager);
    let list = manager.list().unwrap();
    let calls = heat_up_for_a_ring(&list, server);
    assert_eq!(memories(server), 1);
    assert_eq!(list.len().unwrap(), calls);
    // It goes with its client.
    let child = Process::spawn(heat_up, list.clone()).unwrap();
    child.join().unwrap();
    while memories(server) > 1 {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(list.len().unwrap(), calls + 500);
}

fn who_calls_rarely_gets_none() {
    let manager = Manager::start().unwrap();
    let server = server(&manager);
    let list = manager.list().unwrap();
    for x in 0..80 {
        list.push(&x).unwrap();
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(memories(server), 0);
}

fn over_tcp_there_is_none() {
    let manager = Manager::builder().address(Address::tcp("127.0.0.1", 0)).authkey("tcp").start().unwrap();
    let server = server(&manager);
    let list = manager.list().unwrap();
    heat_up(list.clone());
    assert_eq!(memories(server), 0);
    assert_eq!(list.len().unwrap(), 500);
}

fn there_are_as_many_as_the_builder_says() {
    let none = Manager::builder().max_rings(0).start().unwrap();
    let (pid, list) = (server(&none), none.list().unwrap());
    heat_up(list.clone());
    assert_eq!((memories(pid), list.len().unwrap()), (0, 500));

    let one = Manager::builder().max_rings(1).start().unwrap();
    let (pid, list) = (server(&one), one.list().unwrap());
    let calls = heat_up_for_a_ring(&list, pid);
    // Another client calls over its socket, as long as this one has the only ring.
    Process::spawn(heat_up, list.clone()).unwrap().join().unwrap();
    assert_eq!((memories(pid), list.len().unwrap()), (1, calls + 500));
}

struct Log(Vec<u64>);

#[mp_manager::object]
#[allow(unreachable_pub)]
impl Log {
    pub fn new() -> Self {
        Self(Vec::new())
    }

    pub fn add(&mut self, x: u64) {
        self.0.push(x);
    }

    pub fn all(&self) -> Vec<u64> {
        self.0.clone()
    }
}

fn calls_keep_their_order() {
    let manager = Manager::start().unwrap();
    let log = LogProxy::create(&manager).unwrap();
    let replies: Vec<_> = (0..1000).map(|x| log.add_async(x).unwrap()).collect();
    replies.into_iter().for_each(|reply| reply.get().unwrap());
    assert_eq!(log.all().unwrap(), (0..1000).collect::<Vec<_>>());
}

fn many_threads_while_it_comes() {
    for _ in 0..10 {
        let manager = Manager::start().unwrap();
        let list = manager.list::<u64>().unwrap();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..100).for_each(|x| list.push(&x).unwrap()));
            }
        });
        assert_eq!(list.len().unwrap(), 800);
        drop(list);
        assert_eq!(manager.object_count().unwrap(), 0);
    }
}

/// Starts a process that does `work`, says so and sleeps; kills it.
fn killed_after<A: ipc_core::Message>(work: fn(A), arg: A) {
    let (tx, rx) = pipe().unwrap();
    let hold = |(work, arg, tx): (Function<A, ()>, A, Sender<()>)| {
        work(arg);
        tx.send(&()).unwrap();
        thread::sleep(Duration::from_secs(100));
    };
    let child = Process::spawn(hold, (Function::new(work), arg, tx)).unwrap();
    rx.recv().unwrap();
    child.kill().unwrap();
    assert!(child.join().is_err());
}

fn a_hot_clients_locks_come_back() {
    let manager = Manager::start().unwrap();
    let (lock, list) = (manager.lock().unwrap(), manager.list().unwrap());
    let take = |(lock, list): (LockProxy, ListProxy<u64>)| {
        heat_up(list);
        std::mem::forget(lock.lock().unwrap());
    };
    killed_after(take, (lock.clone(), list));
    assert!(lock.lock_timeout(Duration::from_secs(20)).unwrap().is_some());
}

fn the_end_of_the_server_is_told_at_once() {
    let manager = Manager::start().unwrap();
    heat_up(manager.list().unwrap());
    let queue = manager.queue::<u8>().unwrap();
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let queue = queue.clone();
            thread::spawn(move || queue.get().unwrap_err().is_gone())
        })
        .collect();
    thread::sleep(Duration::from_millis(20));
    chaos::kill(manager.pid().unwrap()).unwrap();
    waiting.into_iter().for_each(|thread| assert!(thread.join().unwrap()));
    assert!(queue.len().unwrap_err().is_gone());
}

/// Stops a process, and waits until all its threads stand still.
fn stop(pid: u32) {
    chaos::stop(pid).unwrap();
    while chaos::state(pid) != Some('T') {
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(Duration::from_millis(10));
}

fn a_stopped_server_is_the_calls_deadline() {
    let manager = Manager::start().unwrap();
    let list = manager.list().unwrap();
    heat_up(list.clone());
    stop(manager.pid().unwrap());
    let hasty = list.with_timeout(Duration::from_millis(100));
    assert!(hasty.len().unwrap_err().is_timeout());
    chaos::cont(manager.pid().unwrap()).unwrap();
    assert_eq!(list.len().unwrap(), 500);
    // One that is stopped when it is asked for a ring holds nobody up for long, and the ring
    // that comes late is only listened to.
    let manager = Manager::start().unwrap();
    let log = LogProxy::create(&manager).unwrap();
    stop(manager.pid().unwrap());
    let replies: Vec<_> = (0..150).map(|x| log.add_async(x).unwrap()).collect();
    chaos::cont(manager.pid().unwrap()).unwrap();
    replies.into_iter().for_each(|reply| reply.get().unwrap());
    assert_eq!(log.all().unwrap(), (0..150).collect::<Vec<_>>());
}

fn one_that_waits_leaves_the_others_alone() {
    let manager = Manager::start().unwrap();
    let (queue, list) = (manager.queue().unwrap(), manager.list().unwrap());
    let serve = |(queue, list): (QueueProxy<u8>, ListProxy<u64>)| {
        heat_up(list.clone());
        assert_eq!(queue.get().unwrap(), 7);
        list.len().unwrap()
    };
    let child = Process::spawn(serve, (queue.clone(), list.clone())).unwrap();
    heat_up(list.clone());
    queue.put(&7).unwrap();
    assert_eq!(child.join().unwrap(), 1000);
}

fn those_that_sleep_are_woken_beside_one_that_never_does() {
    let manager = Manager::start().unwrap();
    let (list, over): (ListProxy<u64>, _) = (manager.list().unwrap(), manager.event().unwrap());
    let hot = Process::spawn(|over: EventProxy| while !over.is_set().unwrap() {}, over.clone()).unwrap();
    // More than there are processors, on most machines: a call of theirs is answered while they sleep.
    let others: Vec<_> = (0..8).map(|_| Process::spawn(heat_up, list.clone()).unwrap()).collect();
    others.into_iter().for_each(|other| other.join().unwrap());
    over.set().unwrap();
    hot.join().unwrap();
    assert_eq!(list.len().unwrap(), 8 * 500);
}

/// Counts its calls in a semaphore.
fn call_on_and_on((calls, over): (SemaphoreProxy, EventProxy)) {
    while !over.is_set().unwrap() {
        (0..64).for_each(|_| calls.release(1).unwrap());
    }
}

fn one_that_calls_seldom_is_answered_beside_many_that_never_stop() {
    let manager = Manager::start().unwrap();
    let (calls, over) = (manager.semaphore(0).unwrap(), manager.event().unwrap());
    let start = |_| Process::spawn(call_on_and_on, (calls.clone(), over.clone())).unwrap();
    let hot: Vec<_> = (0..64).map(start).collect();
    while calls.available().unwrap() < 64 * 500 {
        thread::sleep(Duration::from_millis(15));
    }
    // Over the socket, and over a ring.
    for _ in 0..2 {
        let mut between: Vec<usize> = (0..25).map(|_| answers_between_two_of(&calls)).collect();
        between.sort_unstable();
        // The others' time on this processor is among it, so that it is not the same each time.
        assert!(between[12] < MOST_BETWEEN, "so many others were answered: {between:?}");
        heat_up(manager.list().unwrap());
    }
    over.set().unwrap();
    hot.into_iter().for_each(|process| process.join().unwrap());
}

/// Each of the others is answered so often at most between two calls of one that calls seldom.
const MOST_BETWEEN: usize = 64 * 100;

fn answers_between_two_of(calls: &SemaphoreProxy) -> usize {
    thread::sleep(Duration::from_millis(15));
    let before = calls.available().unwrap();
    calls.available().unwrap() - before
}

fn long_values_and_too_long_ones() {
    let manager = Manager::builder().max_message(1 << 20).start().unwrap();
    heat_up(manager.list().unwrap());
    let list = manager.list::<Vec<u8>>().unwrap();
    let long: Vec<u8> = (0..500_000).map(|x| x as u8).collect();
    list.push(&long).unwrap();
    assert!(list.get(0).unwrap() == long);
    assert!(list.push(&vec![0; 2 << 20]).unwrap_err().is_codec());
    assert_eq!(list.len().unwrap(), 1);
}

fn strangers_get_one_and_no_more_trust() {
    let manager = Manager::builder().authkey("strangers").start().unwrap();
    let server = server(&manager);
    let list = manager.list().unwrap();
    heat_up_for_a_ring(&list, server);
    assert_eq!(memories(server), 1);
    assert!(list.update(0, |value, ()| *value += 1, ()).unwrap_err().is_refused());
    assert!(LogProxy::create(&manager).unwrap_err().is_refused());
    // A handle may travel over a ring, and is refused as it is over a socket.
    assert_eq!(list.get(0).unwrap(), 0);
}

fn one_that_is_idle_is_dropped() {
    let manager = Manager::start().unwrap();
    let server = server(&manager);
    let here = memories(std::process::id());
    let list = manager.list().unwrap();
    let calls = heat_up_for_a_ring(&list, server);
    assert_eq!(memories(server), 1);
    // What is said last is that an item has come, which wakes nobody.
    let queue = manager.queue().unwrap();
    queue.put(&1).unwrap();
    assert_eq!(queue.get().unwrap(), 1);
    let begun = Instant::now();
    while memories(server) > 0 {
        assert!(begun.elapsed() < Duration::from_secs(50));
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(list.len().unwrap(), calls);
    while memories(std::process::id()) > here {
        assert!(begun.elapsed() < Duration::from_secs(50));
        thread::sleep(Duration::from_millis(1));
    }
    // And comes again.
    let more = heat_up_for_a_ring(&list, server);
    assert_eq!(memories(server), 1);
    assert_eq!(list.len().unwrap(), calls + more);
}
