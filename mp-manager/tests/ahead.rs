//! Calls of this crate's objects that are sent ahead, and whose values are fetched later.

use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use mp_manager::{AsyncReply, EventProxy, ListProxy, LockProxy, Manager, ManagerError, QueueProxy};
use mp_process::Process;
use mp_testkit::chaos;
use mp_testkit::harness::Suite;

fn main() -> ExitCode {
    let trials = mp_testkit::trials![
        containers_are_asked_ahead,
        calls_of_one_object_are_done_in_their_order,
        a_client_that_is_killed_in_a_line_of_calls_holds_up_nobody,
        what_waits_is_asked_ahead,
        a_reply_that_is_dropped_holds_nothing,
        the_first_of_many,
        threads_that_wait_for_the_same_are_all_told,
        who_has_read_for_others_wakes_one_that_waits,
        an_item_that_is_not_fetched_is_the_next_ones,
        a_fork_does_not_take_its_parents_answers,
        a_reply_is_asked_again_after_the_time,
        a_reply_that_will_not_come_is_ready,
        in_the_server_too,
    ];
    Suite::new(trials).warm_up(warm_up).run()
}

/// The threads that start processes and watch peers keep a few handles for good.
fn warm_up() {
    let manager = Manager::start().unwrap();
    let child = Process::spawn(|list: ListProxy<u8>| list.push(&1).unwrap(), manager.list().unwrap());
    child.unwrap().join().unwrap();
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

fn containers_are_asked_ahead() {
    let manager = Manager::start().unwrap();
    let list = manager.list_from(&[3u64, 1, 2]).unwrap();
    // It runs on a thread of the manager, and what is sent after it is done after it.
    let sort = list.sort_async().unwrap();
    let calls = (list.slice_async(1..).unwrap(), list.pop_async().unwrap());
    sort.get().unwrap();
    let update = list.update_async(0, std::mem::replace, 9).unwrap();
    let rest = (list.contains_async(&9).unwrap(), list.position_async(&7).unwrap());
    assert_eq!((calls.0.get().unwrap(), calls.1.get().unwrap()), (vec![2, 3], Some(3)));
    assert_eq!((update.get().unwrap(), rest.1.get().unwrap(), rest.0.get().unwrap()), (1, None, true));
    let array = manager.array(&[1u64, 2]).unwrap();
    assert_eq!((array.set_async(1, &5).unwrap().get().unwrap(), array.to_vec().unwrap()), ((), vec![1, 5]));

    let dict = manager.dict::<u64, u64>().unwrap();
    let items = [(1, 10), (2, 20)];
    dict.extend_async(items.iter().map(|(key, value)| (key, value))).unwrap().get().unwrap();
    let calls = (dict.keys_async().unwrap(), dict.values_async().unwrap(), dict.items_async().unwrap());
    assert_eq!((calls.0.get().unwrap(), calls.1.get().unwrap()), (vec![1, 2], vec![10, 20]));
    assert_eq!(calls.2.get().unwrap(), items);
    let add = |value: &mut Option<u64>, by: u64| *value.get_or_insert(0) += by;
    dict.update_async(&3, add, 30).unwrap().get().unwrap();
    assert_eq!(dict.pop_last_async().unwrap().get().unwrap(), Some((3, 30)));
    assert_eq!(dict.get_or_insert_async(&4, &40).unwrap().get().unwrap(), 40);

    let set = manager.set::<u64>().unwrap();
    let calls = (set.insert_async(&1).unwrap(), set.insert_async(&1).unwrap());
    assert_eq!((calls.0.get().unwrap(), calls.1.get().unwrap()), (true, false));
    assert_eq!(set.toggle_all_async([&1, &2]).unwrap().get().unwrap(), ());
    assert_eq!(set.to_vec_async().unwrap().get().unwrap(), [2]);

    let names = manager.namespace().unwrap();
    names.set_async("x", &1.5).unwrap().get().unwrap();
    assert_eq!(names.get_async::<f64>("x").unwrap().get().unwrap(), Some(1.5));
    assert_eq!(names.names_async().unwrap().get().unwrap(), ["x"]);
    let value = manager.value(&1u64).unwrap();
    let calls = (value.replace_async(&2).unwrap(), value.update_async(|x, by: u64| *x * by, 3).unwrap());
    assert_eq!((calls.0.get().unwrap(), calls.1.get().unwrap()), (1, 6));
}

/// Stays in the middle of its call until it is told to go on.
fn hold(_: &mut u64, (begun, go_on): (EventProxy, EventProxy)) {
    begun.set().unwrap();
    assert!(go_on.wait_timeout(LONG).unwrap());
}

/// A list whose first value a call is busy with, from when this returns until the event is set.
fn held(manager: &Manager) -> (ListProxy<u64>, EventProxy, AsyncReply<()>) {
    let list = manager.list_from(&[0]).unwrap();
    let [begun, go_on] = [(), ()].map(|()| manager.event().unwrap());
    let update = list.update_async(0, hold, (begun.clone(), go_on.clone())).unwrap();
    assert!(begun.wait_timeout(LONG).unwrap());
    (list, go_on, update)
}

/// More than the manager has threads.
const LINE: u64 = 200;

fn calls_of_one_object_are_done_in_their_order() {
    let manager = Manager::start().unwrap();
    let (list, go_on, update) = held(&manager);
    let next = |list: &mut u64, by: u64| {
        *list += by;
        *list
    };
    // Some that run a function among those that do not.
    let sums: Vec<_> = (1..=LINE)
        .map(|x| {
            let push = list.push_async(&x).unwrap();
            let sum = x.is_multiple_of(10).then(|| list.update_async(0, next, 1).unwrap());
            (push, list.len_async().unwrap(), sum)
        })
        .collect();
    let other = manager.list::<u64>().unwrap();
    other.push(&1).unwrap();
    assert!(!update.is_ready() && sums.iter().all(|(push, ..)| !push.is_ready()));
    go_on.set().unwrap();
    update.get().unwrap();
    for ((push, len, sum), x) in sums.into_iter().zip(1..) {
        push.get().unwrap();
        assert_eq!(len.get().unwrap() as u64, x + 1);
        assert_eq!(sum.map(|sum| sum.get().unwrap()), x.is_multiple_of(10).then_some(x / 10));
    }
    assert!(list.to_vec().unwrap().into_iter().skip(1).eq(1..=LINE));
}

fn a_client_that_is_killed_in_a_line_of_calls_holds_up_nobody() {
    let manager = Manager::start().unwrap();
    let (list, go_on, update) = held(&manager);
    let (theirs, ready) = (list.clone(), manager.event().unwrap());
    let work = |(list, ready): (ListProxy<u64>, EventProxy)| {
        let _pushes: Vec<_> = (1..=LINE).map(|x| list.push_async(&x).unwrap()).collect();
        let _update = list.update_async(0, |first, ()| *first = 7, ()).unwrap();
        // All have come to the manager when this has.
        ready.set().unwrap();
        thread::sleep(LONG);
    };
    let child = Process::spawn(work, (theirs, ready.clone())).unwrap();
    assert!(ready.wait_timeout(LONG).unwrap());
    let mine = list.push_async(&1000).unwrap();
    child.kill().unwrap();
    let _ = child.join();
    go_on.set().unwrap();
    update.get().unwrap();
    mine.get().unwrap();
    let values = list.to_vec().unwrap();
    assert!(values.iter().copied().eq(std::iter::once(7).chain(1..=LINE).chain([1000])), "{values:?}");
    list.update(0, |first, ()| *first = 8, ()).unwrap();
    assert_eq!(list.get(0).unwrap(), 8);
    drop((list, go_on, ready));
    soon("objects stay", || manager.object_count().unwrap() == 0);
}

fn what_waits_is_asked_ahead() {
    let manager = Manager::start().unwrap();
    let queue = manager.joinable_queue::<u64>().unwrap();
    let gets: Vec<_> = (0..3).map(|_| queue.get_async().unwrap()).collect();
    let late = queue.get_timeout_async(Duration::from_millis(1)).unwrap();
    assert_eq!(late.get().unwrap(), None);
    (0..3).for_each(|x| queue.put_async(&x).unwrap().get().unwrap());
    assert!(gets.into_iter().map(|get| get.get().unwrap()).eq(0..3));
    let join = queue.join_async().unwrap();
    assert!(!queue.join_timeout_async(Duration::from_millis(1)).unwrap().get().unwrap());
    (0..3).for_each(|_| queue.task_done_async().unwrap().get().unwrap());
    join.get().unwrap();

    let lock = manager.lock().unwrap();
    let (first, second) = (lock.lock_async().unwrap(), lock.lock_async().unwrap());
    let guard = first.get().unwrap();
    assert!(!second.is_ready() && lock.is_locked_async().unwrap().get().unwrap());
    assert!(lock.try_lock_async().unwrap().get().unwrap().is_none());
    drop(guard);
    drop(second.get().unwrap());
    assert!(!lock.is_locked().unwrap());

    let semaphore = manager.semaphore(1).unwrap();
    let (one, two) = (semaphore.acquire_async().unwrap(), semaphore.acquire_async().unwrap());
    drop(one.get().unwrap());
    drop(two.get().unwrap());
    assert_eq!(semaphore.available_async().unwrap().get().unwrap(), 1);

    let event = manager.event().unwrap();
    let wait = event.wait_async().unwrap();
    assert!(!event.wait_timeout_async(Duration::from_millis(1)).unwrap().get().unwrap());
    event.set_async().unwrap().get().unwrap();
    wait.get().unwrap();
    let barrier = manager.barrier(2).unwrap();
    let meet = [barrier.wait_async().unwrap(), barrier.wait_async().unwrap()];
    assert!(meet.map(|reply| reply.get().unwrap()).is_sorted());
    let condition = manager.condition().unwrap();
    drop(condition.lock_async().unwrap().get().unwrap());
    assert!(condition.try_lock_async().unwrap().get().unwrap().is_some());
}

fn a_reply_that_is_dropped_holds_nothing() {
    let manager = Manager::start().unwrap();
    let (lock, queue) = (manager.lock().unwrap(), manager.queue::<u64>().unwrap());
    // One that has it already, one that waits for it.
    drop((lock.lock_async().unwrap(), lock.lock_async().unwrap()));
    drop(lock.lock_timeout(LONG).unwrap().unwrap());
    drop(queue.get_async().unwrap());
    queue.put(&1).unwrap();
    assert_eq!(queue.get_timeout(LONG).unwrap(), Some(1));
    // What was made for nobody goes, too.
    let lists = manager.list_from(&[manager.list::<u8>().unwrap()]).unwrap();
    (0..20).for_each(|_| drop(lists.get_async(0).unwrap()));
    lists.clear().unwrap();
    soon("objects stay", || manager.object_count().unwrap() == 3);
}

fn a_reply_is_asked_again_after_the_time() {
    let manager = Manager::start().unwrap();
    let queue = manager.queue::<String>().unwrap();
    // Shorter than the proxy's own timeout, and longer: the call waits in the queue.
    let mut next = queue.with_timeout(Duration::from_millis(50)).get_async().unwrap();
    for _ in 0..3 {
        assert!(next.get_timeout(Duration::from_millis(10)).is_none() && !next.is_ready());
    }
    assert!(!next.wait_timeout(Duration::from_millis(200)));
    let put =
        Process::spawn(|queue: QueueProxy<String>| queue.put(&"late".to_owned()).unwrap(), queue.clone());
    // Nobody else reads.
    soon("it is ready", || next.is_ready());
    assert!(next.wait_timeout(Duration::ZERO));
    assert_eq!(next.get_timeout(Duration::ZERO).unwrap().unwrap(), "late");
    put.unwrap().join().unwrap();
    // Who asks for no time at all reads what has come as well, and nobody else does.
    let mut polled = queue.get_async().unwrap();
    assert!(polled.get_timeout(Duration::ZERO).is_none());
    let put =
        Process::spawn(|queue: QueueProxy<String>| queue.put(&"polled".to_owned()).unwrap(), queue.clone());
    soon("it is polled", || matches!(polled.get_timeout(Duration::ZERO), Some(Ok(item)) if item == "polled"));
    put.unwrap().join().unwrap();
    // It was given once, and no item with it.
    assert!(next.is_ready() && next.get_timeout(Duration::ZERO).unwrap().is_err() && next.get().is_err());
    queue.put(&"next".to_owned()).unwrap();
    assert_eq!(queue.get().unwrap(), "next");
    // One that was given up after the time leaves the item to others.
    let mut given_up = queue.get_async().unwrap();
    assert!(!given_up.wait_timeout(Duration::from_millis(1)));
    drop(given_up);
    queue.put(&"kept".to_owned()).unwrap();
    assert_eq!(queue.get_timeout(Duration::from_secs(60)).unwrap().unwrap(), "kept");
    // In a batch: what waits sends it.
    manager
        .batch(|batch| {
            let mut len = batch.of(&queue).len_async()?;
            assert!(!len.is_ready() && len.wait_timeout(Duration::from_secs(60)));
            assert_eq!(len.get_timeout(Duration::ZERO).unwrap()?, 0);
            Ok(())
        })
        .unwrap();
}

fn a_reply_that_will_not_come_is_ready() {
    let manager = Manager::start().unwrap();
    let queue = manager.queue::<u8>().unwrap();
    let (mut waited, polled) = (queue.get_async().unwrap(), queue.get_async().unwrap());
    assert!(!waited.wait_timeout(Duration::from_millis(1)) && !polled.is_ready());
    chaos::kill(manager.pid().unwrap()).unwrap();
    assert!(waited.wait_timeout(Duration::from_secs(60)));
    soon("the other is ready too", || polled.is_ready());
    assert!(waited.get_timeout(Duration::ZERO).unwrap().unwrap_err().is_gone());
    assert!(polled.get().unwrap_err().may_have_run());
}

/// Two clients of one server, which have nothing in common.
fn two_clients() -> (mp_manager::ManagerServer, Manager, Manager) {
    let server = Manager::builder().authkey("two clients").serve().unwrap();
    let [one, other] = [(), ()].map(|()| Manager::connect(server.address(), "two clients").unwrap());
    (server, one, other)
}

/// Far longer than the test waits: who is not woken is not told by its end.
const FOR_EVER: Duration = Duration::from_secs(1000);

fn threads_that_wait_for_the_same_are_all_told() {
    let (server, one, other) = two_clients();
    let home = server.manager().unwrap();
    for manager in [&one, &home] {
        let gate = manager.queue::<u64>().unwrap();
        manager.publish("gate", &gate).unwrap();
        let theirs = other.find::<QueueProxy<u64>>("gate").unwrap();
        for round in 0..16 {
            let events = [(), ()].map(|()| manager.event().unwrap().with_timeout(FOR_EVER));
            let replies = events.each_ref().map(|event| event.wait_async().unwrap());
            let (told, tells) = std::sync::mpsc::channel();
            thread::scope(|scope| {
                // One of them reads for all, and it need not be one of those that are told.
                scope.spawn(|| gate.get().unwrap());
                for _ in 0..3 {
                    let (told, replies) = (told.clone(), &replies);
                    scope.spawn(move || told.send(AsyncReply::wait_any(replies)).unwrap());
                }
                thread::sleep(Duration::from_millis(round % 4));
                events[1].set().unwrap();
                for _ in 0..3 {
                    let place = tells.recv_timeout(LONG).expect("one that waits is not told");
                    assert_eq!(place, Some(1));
                }
                theirs.put(&round).unwrap();
            });
        }
    }
}

fn an_item_that_is_not_fetched_is_the_next_ones() {
    let (server, one, other) = two_clients();
    let home = server.manager().unwrap();
    for manager in [&one, &home] {
        let queue = manager.queue::<u64>().unwrap();
        manager.publish("queue", &queue).unwrap();
        let theirs = other.find::<QueueProxy<u64>>("queue").unwrap();
        (1..=3).for_each(|x| theirs.put(&x).unwrap());
        let [first, second] = [(), ()].map(|()| queue.get_async().unwrap());
        soon("it is not served", || theirs.len().unwrap() == 1);
        // One is on its way, and the other has been read.
        drop(first);
        soon("an item is lost", || theirs.len().unwrap() == 2);
        assert!(second.is_ready());
        drop(second);
        soon("an item is lost", || theirs.len().unwrap() == 3);
        let items: Vec<_> = std::iter::from_fn(|| queue.try_get().unwrap()).collect();
        assert_eq!(items, [1, 2, 3]);
    }
    // A call that is left to itself takes its item, whether that is there or comes later.
    for manager in [&one, &home] {
        let queue = manager.queue::<u64>().unwrap();
        queue.get_async().unwrap().detach();
        queue.put(&1).unwrap();
        queue.put(&2).unwrap();
        queue.get_async().unwrap().detach();
        soon("it is not taken", || queue.is_empty().unwrap());
        assert!(queue.try_get().unwrap().is_none());
    }
}

fn who_has_read_for_others_wakes_one_that_waits() {
    let (_server, one, other) = two_clients();
    let queues = [(), (), ()].map(|()| one.queue::<u64>().unwrap().with_timeout(FOR_EVER));
    let names = ["never", "first", "second"];
    names.iter().zip(&queues).for_each(|(name, queue)| one.publish(name, queue).unwrap());
    let theirs = names.map(|name| other.find::<QueueProxy<u64>>(name).unwrap());
    // Nobody waits for these, and more of them are there than of those that are waited for.
    let asked: Vec<_> = (0..20).map(|_| queues[0].get_async().unwrap()).collect();
    for round in 0..20 {
        let (told, tells) = std::sync::mpsc::channel();
        thread::scope(|scope| {
            for queue in &queues[1..] {
                let told = told.clone();
                scope.spawn(move || told.send(queue.get().unwrap()).unwrap());
                // So that the first one reads, mostly.
                thread::sleep(Duration::from_millis(2));
            }
            for their in &theirs[1..] {
                their.put(&round).unwrap();
                assert_eq!(tells.recv_timeout(LONG), Ok(round), "nobody reads");
            }
        });
    }
    drop(asked);
}

fn a_fork_does_not_take_its_parents_answers() {
    let manager = Manager::start().unwrap();
    // The process that forks has no threads but the library's.
    let child = Process::spawn(ask_and_fork, manager.queue().unwrap());
    let ((is_ready, waited, why), item) = child.unwrap().join().unwrap();
    assert!(is_ready && waited && why.contains("forked"), "{why}");
    assert_eq!(item, 7);
}

fn ask_and_fork(queue: QueueProxy<u8>) -> ((bool, bool, String), u8) {
    let mut reply = queue.get_async().unwrap();
    let fork = Process::fork(|| {
        // By a reference of its own; the parent's answer is there then.
        queue.put(&7).unwrap();
        let (is_ready, waited) = (reply.is_ready(), reply.wait_timeout(LONG));
        (is_ready, waited, reply.get_timeout(LONG).unwrap().unwrap_err().to_string())
    });
    (fork.unwrap().join().unwrap(), reply.get().unwrap())
}

fn the_first_of_many() {
    let manager = Manager::start().unwrap();
    let queues: Vec<_> = (0..4).map(|_| manager.queue::<u64>().unwrap()).collect();
    let gets = manager.batch(|batch| queues.iter().map(|queue| batch.of(queue).get_async()).collect());
    let gets: Vec<_> = gets.unwrap();
    queues[2].put(&2).unwrap();
    assert_eq!(AsyncReply::wait_any(&gets), Some(2));
}

struct Asker;

#[mp_manager::object]
#[allow(unreachable_pub)]
impl Asker {
    pub fn new() -> Self {
        Self
    }

    /// Asks ahead in the server itself.
    pub fn ask_ahead(
        &self,
        queue: QueueProxy<u64>,
        list: ListProxy<u64>,
        lock: LockProxy,
    ) -> Result<(u64, usize), String> {
        let ask = || -> Result<(u64, usize), ManagerError> {
            let (mut first, _second) = (queue.get_async()?, queue.get_async()?);
            assert!(!first.is_ready() && first.get_timeout(Duration::from_millis(1)).is_none());
            queue.put(&7)?;
            assert_eq!(AsyncReply::wait_any([&first]), Some(0));
            list.push_async(&1)?.detach();
            drop(lock.lock_async()?);
            assert!(lock.try_lock()?.is_some());
            Ok((first.get()?, list.len_async()?.get()?))
        };
        ask().map_err(|error| error.to_string())
    }
}

fn in_the_server_too() {
    let manager = Manager::start().unwrap();
    let asker = AskerProxy::create(&manager).unwrap();
    let (queue, list) = (manager.queue::<u64>().unwrap(), manager.list::<u64>().unwrap());
    let lock = manager.lock().unwrap();
    assert_eq!(asker.ask_ahead(queue.clone(), list.clone(), lock).unwrap(), Ok((7, 1)));
    // The second one there waits no more.
    queue.put(&8).unwrap();
    assert_eq!(queue.get_timeout(LONG).unwrap(), Some(8));
    static PROXIES: Mutex<Vec<QueueProxy<u64>>> = Mutex::new(Vec::new());
    let server = Manager::builder().serve().unwrap();
    let here = server.manager().unwrap();
    let queue = here.queue::<u64>().unwrap();
    PROXIES.lock().unwrap().push(queue.clone());
    let get = queue.get_async().unwrap();
    PROXIES.lock().unwrap().pop().unwrap().put(&1).unwrap();
    assert_eq!(get.get().unwrap(), 1);
}
