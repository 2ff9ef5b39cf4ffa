//! Clients and servers that die, hang or come again.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::{Sender, pipe};
use mp_manager::{
    BarrierProxy, ConditionProxy, JoinableQueueProxy, ListProxy, LockProxy, Manager, ManagerError,
    QueueProxy, RLockProxy, SemaphoreProxy,
};
use mp_process::Process;
use mp_testkit::chaos::{self, Rng};
use mp_testkit::harness::{Suite, soak_time};

fn main() -> ExitCode {
    let trials = mp_testkit::trials![
        a_killed_clients_references_come_back,
        a_killed_clients_locks_come_back,
        a_killed_clients_permits_come_back,
        a_killed_party_breaks_the_barrier,
        a_killed_waiter_takes_no_item_and_no_lock,
        items_that_a_killed_client_did_not_take_come_back,
        what_comes_back_after_the_end_of_a_queue_is_left_or_dropped,
        a_killed_server_is_an_error_for_all_at_once,
        a_stopped_server_is_the_calls_deadline,
        a_late_reply_is_for_nobody_else,
        a_stopped_client_delays_nobody,
        a_client_that_does_not_read_is_parted_with_alone,
        stale_proxies_are_errors,
        an_abandoned_flight_is_counted,
        the_server_ends_with_a_killed_parent,
        clients_killed_at_random,
    ];
    Suite::new(trials).warm_up(warm_up).run()
}

/// The threads that start processes and watch peers keep a few handles for good.
fn warm_up() {
    let manager = Manager::start().unwrap();
    let (tx, rx) = pipe::<u8>().unwrap();
    let child = Process::spawn(|tx: Sender<u8>| tx.send(&1).unwrap(), tx).unwrap();
    rx.recv().unwrap();
    child.join().unwrap();
    manager.list::<u8>().unwrap().push(&1).unwrap();
}

/// Longer than anything takes that does happen.
const LONG: Duration = Duration::from_secs(20);

fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Starts a process that does `work`, says so and sleeps; kills it.
fn killed_after<A: ipc_core::Message>(work: fn(A) -> Kept, arg: A) {
    let (tx, rx) = pipe().unwrap();
    let hold = |(work, arg, tx): (mp_process::Function<A, Kept>, A, Sender<()>)| {
        let kept = work(arg);
        tx.send(&()).unwrap();
        thread::sleep(Duration::from_secs(100));
        drop(kept);
    };
    let child = Process::spawn(hold, (mp_process::Function::new(work), arg, tx)).unwrap();
    rx.recv().unwrap();
    child.kill().unwrap();
    assert!(child.join().is_err());
}

/// Whatever a child holds while it waits for its end.
type Kept = Box<dyn std::any::Any>;

fn a_killed_clients_references_come_back() {
    let manager = Manager::start().unwrap();
    let make = |manager: Manager| -> Kept {
        Box::new((0..50).map(|_| manager.list::<u8>().unwrap()).collect::<Vec<_>>())
    };
    killed_after(make, manager.clone());
    soon("objects stay", || manager.object_count().unwrap() == 0);
    // What somebody else refers to stays.
    let list = manager.list_from(&[1]).unwrap();
    killed_after(|list: ListProxy<i32>| -> Kept { Box::new(list) }, list.clone());
    assert_eq!(list.to_vec().unwrap(), [1]);
}

fn a_killed_clients_locks_come_back() {
    let manager = Manager::start().unwrap();
    let lock = manager.lock().unwrap();
    killed_after(|lock: LockProxy| -> Kept { Box::new(lock.lock().unwrap()) }, lock.clone());
    drop(lock.lock_timeout(LONG).unwrap().unwrap());
    let rlock = manager.rlock().unwrap();
    let twice = |lock: RLockProxy| -> Kept { Box::new((lock.lock().unwrap(), lock.lock().unwrap())) };
    killed_after(twice, rlock.clone());
    drop(rlock.lock_timeout(LONG).unwrap().unwrap());
    let condition = manager.condition().unwrap();
    killed_after(|one: ConditionProxy| -> Kept { Box::new(one.lock().unwrap()) }, condition.clone());
    drop(condition.lock().unwrap());
}

fn a_killed_clients_permits_come_back() {
    let manager = Manager::start().unwrap();
    let semaphore = manager.semaphore(2).unwrap();
    let take = |one: SemaphoreProxy| -> Kept { Box::new((one.acquire().unwrap(), one.acquire().unwrap())) };
    killed_after(take, semaphore.clone());
    let permits = (semaphore.acquire().unwrap(), semaphore.acquire().unwrap());
    assert!(semaphore.try_acquire().unwrap().is_none());
    drop(permits);
    let forget = |one: SemaphoreProxy| -> Kept {
        one.acquire().unwrap().forget().unwrap();
        Box::new(one)
    };
    killed_after(forget, semaphore.clone());
    assert_eq!(semaphore.available().unwrap(), 1);
}

fn a_killed_party_breaks_the_barrier() {
    let manager = Manager::start().unwrap();
    let barrier = manager.barrier(3).unwrap();
    let child = Process::spawn(|one: BarrierProxy| one.wait().is_ok(), barrier.clone()).unwrap();
    soon("nobody waits", || barrier.waiting().unwrap() == 1);
    let waits = barrier.clone();
    let waiter = thread::spawn(move || waits.wait().unwrap_err().is_broken_barrier());
    soon("one waits", || barrier.waiting().unwrap() == 2);
    child.kill().unwrap();
    assert!(waiter.join().unwrap());
    assert!(child.join().is_err());
}

fn a_killed_waiter_takes_no_item_and_no_lock() {
    let manager = Manager::start().unwrap();
    let (queue, lock) = (manager.queue::<u8>().unwrap(), manager.lock().unwrap());
    let guard = lock.lock().unwrap();
    let wait = |(queue, lock): (QueueProxy<u8>, LockProxy)| -> Kept {
        thread::spawn(move || queue.get().map(drop));
        thread::spawn(move || lock.lock().map(drop));
        thread::sleep(Duration::from_millis(100));
        Box::new(())
    };
    killed_after(wait, (queue.clone(), lock.clone()));
    drop(guard);
    queue.put(&1).unwrap();
    assert_eq!(queue.get_timeout(LONG).unwrap(), Some(1));
    assert!(lock.lock_timeout(LONG).unwrap().is_some());
}

/// Takes the first item, asks for two more and never looks at them.
fn take_one_and_ask_for_more((queue, is_hot, ready): (QueueProxy<u64>, bool, Sender<u64>)) {
    for _ in 0..if is_hot { 200 } else { 0 } {
        queue.len().unwrap();
    }
    let _more: Vec<_> = {
        let first = queue.get().unwrap();
        let more = (0..2).map(|_| queue.get_async().unwrap()).collect();
        ready.send(&first).unwrap();
        more
    };
    thread::sleep(Duration::from_secs(100));
}

fn items_that_a_killed_client_did_not_take_come_back() {
    let server = Manager::builder().address(ipc_core::Address::tcp("127.0.0.1", 0)).authkey("items");
    let server = server.serve().unwrap();
    let over_tcp = Manager::connect(server.address(), "items").unwrap();
    // Over a unix socket, over shared memory, and over TCP.
    for (manager, is_hot) in
        [(Manager::start().unwrap(), false), (Manager::start().unwrap(), true), (over_tcp, false)]
    {
        let queue = manager.queue::<u64>().unwrap();
        (1..=4).for_each(|x| queue.put(&x).unwrap());
        let (tx, rx) = pipe().unwrap();
        let child = if manager.address() == server.address() {
            manager.publish("queue", &queue).unwrap();
            let take = |(address, tx): (ipc_core::Address, Sender<u64>)| {
                let manager = Manager::connect(&address, "items").unwrap();
                take_one_and_ask_for_more((manager.find("queue").unwrap(), false, tx));
            };
            Process::spawn(take, (server.address().clone(), tx)).unwrap()
        } else {
            Process::spawn(take_one_and_ask_for_more, (queue.clone(), is_hot, tx)).unwrap()
        };
        assert_eq!(rx.recv().unwrap(), 1);
        soon("it is not served", || queue.len().unwrap() == 1);
        child.kill().unwrap();
        assert!(child.join().is_err());
        soon("items are lost", || queue.len().unwrap() == 3);
        let items: Vec<_> = std::iter::from_fn(|| queue.try_get().unwrap()).collect();
        assert_eq!(items, [2, 3, 4]);
        // What it took is not there again.
        manager.unpublish("queue").ok();
        soon("it is still there", || manager.objects().unwrap()[0].references == 1);
        assert_eq!(queue.try_get().unwrap(), None);
    }
}

fn what_comes_back_after_the_end_of_a_queue_is_left_or_dropped() {
    let manager = Manager::start().unwrap();
    for terminates in [false, true] {
        let queue = manager.joinable_queue::<u64>().unwrap();
        (1..=4).for_each(|x| queue.put(&x).unwrap());
        let (tx, rx) = pipe().unwrap();
        let take = |(queue, tx): (JoinableQueueProxy<u64>, Sender<u64>)| {
            let first = queue.get().unwrap();
            let _more: Vec<_> = (0..2).map(|_| queue.get_async().unwrap()).collect();
            tx.send(&first).unwrap();
            thread::sleep(Duration::from_secs(100));
        };
        let child = Process::spawn(take, (queue.clone(), tx)).unwrap();
        assert_eq!(rx.recv().unwrap(), 1);
        soon("it is not served", || queue.len().unwrap() == 1);
        if terminates {
            queue.terminate().unwrap()
        } else {
            queue.close().unwrap()
        }
        child.kill().unwrap();
        assert!(child.join().is_err());
        if !terminates {
            soon("items are lost", || queue.len().unwrap() == 3);
            assert_eq!([2, 3, 4].map(|_| queue.get().unwrap()), [2, 3, 4]);
            (0..3).for_each(|_| queue.task_done().unwrap());
        }
        // The one that was taken is owed, and no other.
        queue.task_done().unwrap();
        assert!(queue.join_timeout(LONG).unwrap());
        assert!(queue.task_done().unwrap_err().is_refused());
        assert!(queue.get().unwrap_err().is_closed());
    }
}

fn a_killed_server_is_an_error_for_all_at_once() {
    let manager = Manager::start().unwrap();
    let (queue, lock) = (manager.queue::<u8>().unwrap(), manager.lock().unwrap());
    let guard = lock.lock().unwrap();
    let (tx, rx) = pipe().unwrap();
    let elsewhere = |(queue, tx): (QueueProxy<u8>, Sender<()>)| {
        tx.send(&()).unwrap();
        queue.get().unwrap_err().is_gone()
    };
    let child = Process::spawn(elsewhere, (queue.clone(), tx)).unwrap();
    rx.recv().unwrap();
    thread::scope(|scope| {
        let waiters: Vec<_> = (0..10)
            .map(|turn| {
                let (queue, lock) = (&queue, &lock);
                scope.spawn(move || if turn % 2 == 0 { queue.get().err() } else { lock.lock().err() })
            })
            .collect();
        thread::sleep(Duration::from_millis(50));
        chaos::kill(manager.pid().unwrap()).unwrap();
        assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap().unwrap().is_gone()));
    });
    assert!(child.join().unwrap());
    drop(guard);
    assert!(queue.len().unwrap_err().is_gone());
    assert!(manager.object_count().unwrap_err().is_gone());
}

fn a_stopped_server_is_the_calls_deadline() {
    let manager = Manager::start().unwrap();
    let timeout = Duration::from_millis(100);
    let list = manager.list_from(&[1]).unwrap().with_timeout(timeout);
    let queue = manager.queue::<u8>().unwrap().with_timeout(timeout);
    chaos::stop(manager.pid().unwrap()).unwrap();
    soon("it runs on", || chaos::state(manager.pid().unwrap()) == Some('T'));
    let begun = Instant::now();
    assert!(list.to_vec().unwrap_err().is_timeout());
    assert!(begun.elapsed() >= timeout);
    // What waits in the object hears nothing either.
    assert!(queue.get().unwrap_err().is_timeout());
    chaos::cont(manager.pid().unwrap()).unwrap();
    soon("it does not go on", || list.to_vec().is_ok_and(|values| values == [1]));
    // The wait that was given up takes nothing.
    let queue = queue.with_timeout(Duration::from_secs(10));
    queue.put(&7).unwrap();
    assert_eq!(queue.try_get().unwrap(), Some(7));
}

fn a_late_reply_is_for_nobody_else() {
    let manager = Manager::start().unwrap();
    let list = manager.list_from(&[1, 2, 3]).unwrap();
    let hasty = list.clone().with_timeout(Duration::from_millis(50));
    for _ in 0..3 {
        chaos::stop(manager.pid().unwrap()).unwrap();
        soon("it runs on", || chaos::state(manager.pid().unwrap()) == Some('T'));
        // Its answer is still to come when the next call is made, from here and from another thread.
        assert!(hasty.get(0).unwrap_err().is_timeout());
        let other = list.clone();
        let other = thread::spawn(move || other.get(2).unwrap());
        let sent = list.get_async(1).unwrap();
        chaos::cont(manager.pid().unwrap()).unwrap();
        assert_eq!((sent.get().unwrap(), other.join().unwrap()), (2, 3));
        assert_eq!(list.len().unwrap(), 3);
    }
}

fn a_stopped_client_delays_nobody() {
    let manager = Manager::start().unwrap();
    let list = manager.list_from(&[1]).unwrap();
    let (tx, rx) = pipe().unwrap();
    let busy = |(list, tx): (ListProxy<i32>, Sender<()>)| {
        tx.send(&()).unwrap();
        loop {
            list.to_vec().unwrap();
        }
    };
    let child: Process<()> = Process::spawn(busy, (list.clone(), tx)).unwrap();
    rx.recv().unwrap();
    chaos::stop(child.pid()).unwrap();
    soon("it runs on", || chaos::state(child.pid()) == Some('T'));
    (0..1000).for_each(|_| assert_eq!(list.len().unwrap(), 1));
    child.kill().unwrap();
    assert!(child.join().is_err());
}

fn a_client_that_does_not_read_is_parted_with_alone() {
    let manager = Manager::start().unwrap();
    let list = manager.list_from(&[vec![0u8; 1 << 20]]).unwrap();
    let (tx, rx) = pipe().unwrap();
    let ask = |(list, tx): (ListProxy<Vec<u8>>, Sender<()>)| {
        tx.send(&()).unwrap();
        let ask = |list: ListProxy<Vec<u8>>| loop {
            list.get(0).unwrap();
        };
        (0..32).for_each(|_| {
            drop(thread::spawn({
                let list = list.clone();
                move || ask(list)
            }))
        });
        thread::sleep(Duration::from_secs(100));
    };
    let child = Process::spawn(ask, (list.clone(), tx)).unwrap();
    rx.recv().unwrap();
    for _ in 0..5 {
        thread::sleep(Duration::from_millis(20));
        chaos::stop(child.pid()).unwrap();
        (0..20).for_each(|_| assert_eq!(list.len().unwrap(), 1));
        chaos::cont(child.pid()).unwrap();
    }
    child.kill().unwrap();
    assert!(child.join().is_err());
    assert_eq!(list.len().unwrap(), 1);
}

fn stale_proxies_are_errors() {
    let manager = Manager::start().unwrap();
    // A number that is gone is given to nobody else.
    let (tx, rx) = pipe::<ListProxy<u8>>().unwrap();
    let list = manager.list_from(&[1]).unwrap();
    tx.send(&list).unwrap();
    tx.send(&list).unwrap();
    drop(list);
    drop((rx.recv().unwrap(), rx.recv().unwrap()));
    assert_eq!(manager.object_count().unwrap(), 0);
    let others: Vec<_> = (0..10).map(|_| manager.list::<u8>().unwrap()).collect();
    assert!(others.iter().all(|other| other.is_empty().unwrap()));
}

fn an_abandoned_flight_is_counted() {
    let manager = Manager::start().unwrap();
    let (tx, rx) = pipe::<ListProxy<u8>>().unwrap();
    tx.send(&manager.list_from(&[1]).unwrap()).unwrap();
    assert_eq!(manager.object_count().unwrap(), 1);
    // Its sender may be gone when it is read.
    let send = |(manager, tx): (Manager, Sender<ListProxy<u8>>)| {
        tx.send(&manager.list_from(&[2]).unwrap()).unwrap();
    };
    let (first, second) = (rx.recv().unwrap(), {
        Process::spawn(send, (manager.clone(), tx)).unwrap().join().unwrap();
        thread::sleep(Duration::from_millis(50));
        rx.recv().unwrap()
    });
    assert_eq!((first.to_vec().unwrap(), second.to_vec().unwrap()), (vec![1], vec![2]));
    drop((first, second));
    // That of the child has its own way to the server.
    soon("objects stay", || manager.object_count().unwrap() == 0);
}

fn the_server_ends_with_a_killed_parent() {
    let (tx, rx) = pipe::<u32>().unwrap();
    let start = |tx: Sender<u32>| {
        let manager = Manager::start().unwrap();
        tx.send(&manager.pid().unwrap()).unwrap();
        thread::sleep(Duration::from_secs(100));
    };
    let parent = Process::spawn(start, tx).unwrap();
    let server = rx.recv().unwrap();
    parent.kill().unwrap();
    assert!(parent.join().is_err());
    soon("the server lives on", || chaos::state(server).is_none_or(|state| state == 'Z'));
}

/// A client's life: makes, keeps, passes on, locks.
fn live((manager, shared, lock, seed): (Manager, ListProxy<ListProxy<u64>>, LockProxy, u64)) {
    let life = || -> Result<(), ManagerError> {
        let mut own = Vec::new();
        for turn in 0.. {
            match (seed + turn) % 4 {
                0 => own.push(manager.list_from(&[turn])?),
                1 => drop(own.pop()),
                2 => {
                    let _guard = lock.lock()?;
                    if let Some(list) = own.last() {
                        shared.push(list)?;
                    }
                }
                _ => drop(shared.pop()?),
            }
        }
        Ok(())
    };
    life().unwrap();
}

fn clients_killed_at_random() {
    let manager = Manager::start().unwrap();
    let (shared, lock) = (manager.list().unwrap(), manager.lock().unwrap());
    let mut rng = Rng::announced("clients_killed_at_random");
    let begun = Instant::now();
    let mut clients = Vec::new();
    while begun.elapsed() < soak_time() {
        let work = (manager.clone(), shared.clone(), lock.clone(), u64::from(rng.next_u64() as u8));
        clients.push(Process::spawn(live, work).unwrap());
        thread::sleep(Duration::from_millis(rng.below(30) as u64));
        if clients.len() > 3 {
            let client = clients.swap_remove(rng.below(4));
            client.kill().unwrap();
            assert!(client.join().unwrap_err().signal().is_some());
        }
    }
    for client in clients {
        client.kill().unwrap();
        assert!(client.join().unwrap_err().signal().is_some());
    }
    drop(lock.lock_timeout(LONG).unwrap().unwrap());
    shared.clear().unwrap();
    soon("objects stay", || manager.object_count().unwrap() == 2);
}
