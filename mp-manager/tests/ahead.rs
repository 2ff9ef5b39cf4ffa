//! Calls of this crate's objects that are sent ahead, and whose values are fetched later.

use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use mp_manager::{AsyncReply, ListProxy, LockProxy, Manager, ManagerError, QueueProxy};
use mp_process::Process;
use mp_testkit::chaos;
use mp_testkit::harness::Suite;

fn main() -> ExitCode {
    let trials = mp_testkit::trials![
        containers_are_asked_ahead,
        what_waits_is_asked_ahead,
        a_reply_that_is_dropped_holds_nothing,
        the_first_of_many,
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
    // It runs on a thread of the manager, and what is sent after it may be done before.
    list.sort_async().unwrap().get().unwrap();
    let calls = (list.slice_async(1..).unwrap(), list.pop_async().unwrap());
    let update = list.update_async(0, std::mem::replace, 9).unwrap();
    let rest = (list.contains_async(&9).unwrap(), list.position_async(&7).unwrap());
    assert_eq!((calls.0.get().unwrap(), calls.1.get().unwrap()), (vec![2, 3], Some(3)));
    assert_eq!((update.get().unwrap(), rest.1.get().unwrap()), (1, None));
    assert!(rest.0.get().is_ok());
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
    assert_eq!((calls.0.get().unwrap(), value.get_async().unwrap().get().unwrap()), (1, 2));
    assert!([3, 6].contains(&calls.1.get().unwrap()));
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
