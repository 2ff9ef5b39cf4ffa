//! Queues, locks and all that is waited for.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::Message;
use mp_manager::{
    BarrierProxy, ConditionProxy, EventProxy, JoinableQueueProxy, LockProxy, Manager, ManagerError, Proxy,
    QueueProxy, RLockProxy, SemaphoreProxy, ValueProxy,
};
use mp_process::{Function, Process};
use mp_testkit::harness::Suite;

fn main() -> ExitCode {
    let trials = mp_testkit::trials![
        a_queue_in_order,
        a_bounded_queue_waits_for_room,
        gets_wait_and_time_out,
        many_producers_and_consumers,
        a_joinable_queue_counts,
        a_closed_queue_gives_what_is_left,
        a_terminated_queue_is_empty_at_once,
        a_lock_excludes,
        lock_timeouts,
        a_lock_is_released_only_by_its_holder,
        an_rlock_is_taken_again,
        a_semaphore,
        a_bounded_semaphore,
        a_condition,
        a_condition_times_out_with_the_lock,
        notices_wake_as_many_as_they_say,
        a_conditions_lock_is_waited_for_and_not_for_ever,
        an_event,
        a_barrier,
        a_barrier_breaks,
        a_barrier_that_is_reset_turns_those_away_that_wait,
        one_that_gives_up_breaks_the_barrier_for_all,
        waiting_holds_no_thread,
        a_wait_is_longer_than_the_timeout_of_calls,
        blocking_objects_are_used_in_the_server_too,
    ];
    Suite::new(trials).warm_up(warm_up).run()
}

/// The threads that start processes and watch peers keep a few handles for good.
fn warm_up() {
    Manager::start().unwrap().list::<u8>().unwrap().push(&1).unwrap();
}

const SHORT: Duration = Duration::from_millis(30);
const LONG: Duration = Duration::from_secs(20);

/// What another process did before its end has its own way to the server.
fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn a_queue_in_order() {
    let manager = Manager::start().unwrap();
    let queue = manager.queue::<u32>().unwrap();
    (0..100).for_each(|x| queue.put(&x).unwrap());
    assert_eq!(queue.len().unwrap(), 100);
    assert!((0..100).all(|x| queue.get().unwrap() == x));
    assert!(queue.is_empty().unwrap() && queue.try_get().unwrap().is_none());
}

fn a_bounded_queue_waits_for_room() {
    let manager = Manager::start().unwrap();
    let queue = manager.bounded_queue::<u32>(2).unwrap();
    assert!(queue.try_put(&1).unwrap() && !queue.is_full().unwrap());
    assert!(queue.try_put(&2).unwrap() && queue.is_full().unwrap());
    assert!(!queue.try_put(&3).unwrap() && !manager.queue::<u8>().unwrap().is_full().unwrap());
    let begun = Instant::now();
    assert!(!queue.put_timeout(&3, SHORT).unwrap());
    assert!(begun.elapsed() >= SHORT);
    let put = Process::spawn(|queue: QueueProxy<u32>| queue.put(&3).unwrap(), queue.clone()).unwrap();
    thread::sleep(SHORT);
    assert_eq!(queue.get().unwrap(), 1);
    put.join().unwrap();
    assert_eq!((queue.get().unwrap(), queue.get().unwrap()), (2, 3));
}

fn gets_wait_and_time_out() {
    let manager = Manager::start().unwrap();
    let queue = manager.queue::<String>().unwrap();
    let begun = Instant::now();
    assert_eq!(queue.get_timeout(SHORT).unwrap(), None);
    assert!(begun.elapsed() >= SHORT);
    let late = queue.clone();
    let put = thread::spawn(move || {
        thread::sleep(SHORT);
        late.put(&"late".to_owned()).unwrap();
    });
    assert_eq!(queue.get_timeout(LONG).unwrap().unwrap(), "late");
    put.join().unwrap();
}

fn many_producers_and_consumers() {
    let manager = Manager::start().unwrap();
    let (numbers, sums) = (manager.bounded_queue::<u64>(8).unwrap(), manager.queue::<u64>().unwrap());
    let produce = |queue: QueueProxy<u64>| (1..=500).for_each(|x| queue.put(&x).unwrap());
    let consume = |(numbers, sums): (QueueProxy<u64>, QueueProxy<u64>)| {
        let mut sum = 0;
        loop {
            match numbers.get().unwrap() {
                0 => return sums.put(&sum).unwrap(),
                x => sum += x,
            }
        }
    };
    let producers: Vec<_> = (0..2).map(|_| Process::spawn(produce, numbers.clone()).unwrap()).collect();
    let consumers: Vec<_> =
        (0..2).map(|_| Process::spawn(consume, (numbers.clone(), sums.clone())).unwrap()).collect();
    producers.into_iter().for_each(|producer| producer.join().unwrap());
    (0..2).for_each(|_| numbers.put(&0).unwrap());
    consumers.into_iter().for_each(|consumer| consumer.join().unwrap());
    assert_eq!(sums.get().unwrap() + sums.get().unwrap(), 2 * 500 * 501 / 2);
}

fn a_joinable_queue_counts() {
    let manager = Manager::start().unwrap();
    let queue = manager.joinable_queue::<u32>().unwrap();
    queue.join().unwrap();
    (0..4).for_each(|x| queue.put(&x).unwrap());
    assert!(!queue.join_timeout(SHORT).unwrap());
    let work = |queue: JoinableQueueProxy<u32>| {
        while queue.try_get().unwrap().is_some() {
            thread::sleep(Duration::from_millis(5));
            queue.task_done().unwrap();
        }
    };
    let child = Process::spawn(work, queue.clone()).unwrap();
    queue.join().unwrap();
    child.join().unwrap();
    assert!(queue.task_done().unwrap_err().is_refused());
    let bounded = manager.bounded_joinable_queue::<u32>(1).unwrap();
    assert!(bounded.try_put(&1).unwrap() && !bounded.try_put(&1).unwrap());
}

/// Has `wait` wait in another process, where it finds out that the queue is closed.
fn told_there<Q: Message + Clone>(queue: &Q, wait: fn(Q) -> Option<ManagerError>) -> Process<bool> {
    let told = |(wait, queue): (Function<Q, Option<ManagerError>>, Q)| {
        wait(queue).is_some_and(|error| error.is_closed())
    };
    Process::spawn(told, (Function::new(wait), queue.clone())).unwrap()
}

fn a_closed_queue_gives_what_is_left() {
    let manager = Manager::start().unwrap();
    let empty = manager.queue::<u32>().unwrap();
    let full = manager.bounded_queue::<u32>(2).unwrap();
    (1..=2).for_each(|item| full.put(&item).unwrap());
    assert!(!full.is_closed().unwrap());
    let getter = told_there(&empty, |queue: QueueProxy<u32>| queue.get().err());
    let putter = told_there(&full, |queue: QueueProxy<u32>| queue.put(&3).err());
    thread::sleep(SHORT);
    let close = |queue: QueueProxy<u32>| queue.close().unwrap();
    Process::spawn(close, empty.clone()).unwrap().join().unwrap();
    full.close_async().unwrap().get().unwrap();
    assert!(getter.join().unwrap() && putter.join().unwrap());
    assert!(full.is_closed().unwrap() && full.object().call_by_name::<_, bool>("is_closed", &()).unwrap());
    full.close().unwrap();
    let closed = |error: ManagerError| error.is_closed() && error.to_string().contains("closed");
    assert_eq!(full.get().unwrap(), 1);
    assert!(closed(full.put(&3).unwrap_err()) && closed(full.try_put(&3).unwrap_err()));
    assert!(closed(full.put_timeout(&3, LONG).unwrap_err()));
    assert_eq!(full.try_get().unwrap(), Some(2));
    assert!(closed(full.get().unwrap_err()) && closed(full.try_get().unwrap_err()));
    assert!(
        closed(full.get_timeout(LONG).unwrap_err()) && closed(full.get_async().unwrap().get().unwrap_err())
    );
}

fn a_terminated_queue_is_empty_at_once() {
    let manager = Manager::start().unwrap();
    let queue = manager.bounded_joinable_queue::<u32>(4).unwrap();
    (1..=4).for_each(|item| queue.put(&item).unwrap());
    assert_eq!(queue.get().unwrap(), 1);
    queue.put(&5).unwrap();
    let putter = told_there(&queue, |queue: JoinableQueueProxy<u32>| queue.put(&6).err());
    let join = |queue: JoinableQueueProxy<u32>| queue.join_timeout(LONG).unwrap();
    let joiner = Process::spawn(join, queue.clone()).unwrap();
    queue.close().unwrap();
    queue.terminate().unwrap();
    assert!(putter.join().unwrap() && queue.is_closed().unwrap() && queue.is_empty().unwrap());
    assert!(queue.get().unwrap_err().is_closed() && queue.put(&7).unwrap_err().is_closed());
    // What was taken out is waited for.
    assert!(!queue.join_timeout(SHORT).unwrap());
    queue.task_done().unwrap();
    assert!(joiner.join().unwrap());
    assert!(queue.task_done().unwrap_err().is_refused());
    // Those who wait for items that nobody has are let go at once.
    let queue = manager.joinable_queue::<u32>().unwrap();
    let getter = told_there(&queue, |queue: JoinableQueueProxy<u32>| queue.get().err());
    thread::sleep(SHORT);
    let () = queue.object().call_by_name("terminate", &()).unwrap();
    assert!(getter.join().unwrap());
    let queue = manager.joinable_queue::<u32>().unwrap();
    (1..=4).for_each(|item| queue.put(&item).unwrap());
    let joiner = Process::spawn(join, queue.clone()).unwrap();
    thread::sleep(SHORT);
    queue.terminate().unwrap();
    assert!(joiner.join().unwrap());
}

fn a_lock_excludes() {
    let manager = Manager::start().unwrap();
    let (lock, value) = (manager.lock().unwrap(), manager.value(&0u32).unwrap());
    let add = |(lock, value): (LockProxy, ValueProxy<u32>)| {
        for _ in 0..100 {
            let _guard = lock.lock().unwrap();
            value.set(&(value.get().unwrap() + 1)).unwrap();
        }
    };
    let children: Vec<_> =
        (0..3).map(|_| Process::spawn(add, (lock.clone(), value.clone())).unwrap()).collect();
    children.into_iter().for_each(|child| child.join().unwrap());
    assert_eq!(value.get().unwrap(), 300);
    soon("it stays locked", || !lock.is_locked().unwrap());
}

fn lock_timeouts() {
    let manager = Manager::start().unwrap();
    let lock = manager.lock().unwrap();
    let guard = lock.try_lock().unwrap().unwrap();
    assert!(lock.is_locked().unwrap());
    assert!(lock.try_lock().unwrap().is_none());
    let begun = Instant::now();
    assert!(lock.lock_timeout(SHORT).unwrap().is_none());
    assert!(begun.elapsed() >= SHORT);
    drop(guard);
    lock.lock_timeout(LONG).unwrap().unwrap().release().unwrap();
    assert!(!lock.is_locked().unwrap());
}

fn a_lock_is_released_only_by_its_holder() {
    let manager = Manager::start().unwrap();
    let lock = manager.lock().unwrap();
    let guard = lock.lock().unwrap();
    let take = |lock: LockProxy| lock.try_lock().unwrap().is_none();
    assert!(Process::spawn(take, lock.clone()).unwrap().join().unwrap());
    assert!(lock.is_locked().unwrap());
    guard.release().unwrap();
}

fn an_rlock_is_taken_again() {
    let manager = Manager::start().unwrap();
    let lock = manager.rlock().unwrap();
    let (outer, inner) = (lock.lock().unwrap(), lock.lock().unwrap());
    lock.lock().unwrap().release().unwrap();
    let other = lock.clone();
    let is_free = move |timeout: Duration| {
        let other = other.clone();
        thread::spawn(move || other.lock_timeout(timeout).unwrap().is_some()).join().unwrap()
    };
    assert!(!is_free(SHORT));
    drop(outer);
    assert!(!is_free(SHORT));
    inner.release().unwrap();
    assert!(is_free(LONG));
    let take = |lock: RLockProxy| lock.lock_timeout(LONG).unwrap().is_some();
    assert!(Process::spawn(take, lock.clone()).unwrap().join().unwrap());
    soon("it stays locked", || !lock.is_locked().unwrap());
}

fn a_semaphore() {
    let manager = Manager::start().unwrap();
    let semaphore = manager.semaphore(2).unwrap();
    let (a, b) = (semaphore.acquire().unwrap(), semaphore.try_acquire().unwrap().unwrap());
    assert!(semaphore.try_acquire().unwrap().is_none());
    assert!(semaphore.acquire_timeout(SHORT).unwrap().is_none());
    assert_eq!(semaphore.available().unwrap(), 0);
    a.release().unwrap();
    b.forget().unwrap();
    assert_eq!(semaphore.available().unwrap(), 1);
    semaphore.release(3).unwrap();
    assert_eq!(semaphore.available().unwrap(), 4);
    let use_one = |semaphore: SemaphoreProxy| semaphore.acquire().unwrap().forget().unwrap();
    Process::spawn(use_one, semaphore.clone()).unwrap().join().unwrap();
    assert_eq!(semaphore.available().unwrap(), 3);
}

fn a_bounded_semaphore() {
    let manager = Manager::start().unwrap();
    let semaphore = manager.bounded_semaphore(1).unwrap();
    assert!(semaphore.release(1).unwrap_err().is_refused());
    let permit = semaphore.acquire().unwrap();
    assert!(semaphore.release(1).unwrap_err().is_refused());
    permit.forget().unwrap();
    semaphore.release(1).unwrap();
    assert_eq!(semaphore.available().unwrap(), 1);
}

fn a_condition() {
    let manager = Manager::start().unwrap();
    let (condition, value) = (manager.condition().unwrap(), manager.value(&0).unwrap());
    let answer = |(condition, value): (ConditionProxy, ValueProxy<i32>)| {
        let mut guard = condition.lock().unwrap();
        guard.wait_until(|| Ok(value.get()? == 1)).unwrap();
        value.set(&2).unwrap();
        guard.notify_all().unwrap();
    };
    let child = Process::spawn(answer, (condition.clone(), value.clone())).unwrap();
    let mut guard = condition.lock().unwrap();
    value.set(&1).unwrap();
    guard.notify(1).unwrap();
    assert!(guard.wait_until_timeout(LONG, || Ok(value.get()? == 2)).unwrap());
    assert_eq!(guard.notify_all().unwrap(), 0);
    drop(guard);
    child.join().unwrap();
    drop(condition.lock_timeout(LONG).unwrap().unwrap());
}

fn a_condition_times_out_with_the_lock() {
    let manager = Manager::start().unwrap();
    let condition = manager.condition().unwrap();
    let mut guard = condition.lock().unwrap();
    assert!(!guard.wait_timeout(SHORT).unwrap());
    assert!(condition.try_lock().unwrap().is_none());
    assert!(!guard.wait_until_timeout(SHORT, || Ok(false)).unwrap());
    guard.release().unwrap();
    assert!(condition.try_lock().unwrap().is_some());
}

fn notices_wake_as_many_as_they_say() {
    let manager = Manager::start().unwrap();
    let condition = manager.condition().unwrap();
    let (asleep, awake) = (manager.semaphore(0).unwrap(), manager.semaphore(0).unwrap());
    type Objects = (ConditionProxy, SemaphoreProxy, SemaphoreProxy);
    let sleep = |(condition, asleep, awake): Objects| {
        let mut guard = condition.lock().unwrap();
        asleep.release(1).unwrap();
        guard.wait().unwrap();
        awake.release(1).unwrap();
    };
    let objects = (condition.clone(), asleep.clone(), awake.clone());
    // Some of them had a wait of theirs that timed out before.
    assert!(!condition.lock().unwrap().wait_timeout(SHORT).unwrap());
    let children: Vec<_> = (0..3).map(|_| Process::spawn(sleep, objects.clone()).unwrap()).collect();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let objects = objects.clone();
            thread::spawn(move || sleep(objects))
        })
        .collect();
    (0..6).for_each(|_| asleep.acquire().unwrap().forget().unwrap());
    let notify = |count: usize| {
        let woken = condition.lock().unwrap().notify(count).unwrap();
        (0..woken).for_each(|_| awake.acquire().unwrap().forget().unwrap());
        thread::sleep(SHORT);
        assert_eq!(awake.available().unwrap(), 0, "more woke than were told");
        woken
    };
    assert_eq!((notify(1), notify(2), notify(usize::MAX)), (1, 2, 3));
    assert_eq!(notify(3), 0);
    children.into_iter().for_each(|child| child.join().unwrap());
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

fn a_conditions_lock_is_waited_for_and_not_for_ever() {
    let manager = Manager::start().unwrap();
    let condition = manager.condition().unwrap();
    assert!(!condition.is_locked().unwrap());
    let mut guard = condition.lock().unwrap();
    let begun = Instant::now();
    assert!(condition.lock_timeout(SHORT).unwrap().is_none());
    assert!(begun.elapsed() >= SHORT && condition.is_locked().unwrap());
    // Who had the lock before has it again after its wait, however long that takes.
    let other = condition.clone();
    let holder = thread::spawn(move || {
        let _guard = other.lock_timeout(LONG).unwrap().unwrap();
        thread::sleep(3 * SHORT);
    });
    assert!(!guard.wait_timeout(SHORT).unwrap());
    drop(guard);
    holder.join().unwrap();
    assert!(condition.lock_timeout(LONG).unwrap().is_some());
    assert!(!condition.is_locked().unwrap());
}

fn an_event() {
    let manager = Manager::start().unwrap();
    let event = manager.event().unwrap();
    assert!(!event.is_set().unwrap() && !event.wait_timeout(SHORT).unwrap());
    let wait = |event: EventProxy| event.wait().unwrap();
    let children: Vec<_> = (0..2).map(|_| Process::spawn(wait, event.clone()).unwrap()).collect();
    event.set().unwrap();
    children.into_iter().for_each(|child| child.join().unwrap());
    assert!(event.is_set().unwrap() && event.wait_timeout(Duration::ZERO).unwrap());
    event.clear().unwrap();
    assert!(!event.is_set().unwrap());
}

fn a_barrier() {
    let manager = Manager::start().unwrap();
    let barrier = manager.barrier(3).unwrap();
    let meet = |barrier: BarrierProxy| (0..20).map(|_| barrier.wait().unwrap()).sum::<usize>();
    let children: Vec<_> = (0..3).map(|_| Process::spawn(meet, barrier.clone()).unwrap()).collect();
    let sum: usize = children.into_iter().map(|child| child.join().unwrap()).sum();
    assert_eq!(sum, 20 * (1 + 2));
    assert_eq!((barrier.parties().unwrap(), barrier.waiting().unwrap()), (3, 0));
    assert!(manager.barrier(0).unwrap_err().is_refused());
}

fn a_barrier_breaks() {
    let manager = Manager::start().unwrap();
    let barrier = manager.barrier(2).unwrap();
    assert!(barrier.wait_timeout(SHORT).unwrap_err().is_broken_barrier());
    assert!(barrier.is_broken().unwrap() && barrier.wait().unwrap_err().is_broken_barrier());
    barrier.reset().unwrap();
    assert!(!barrier.is_broken().unwrap());
    let waits = barrier.clone();
    let waiter = thread::spawn(move || waits.wait().unwrap_err().is_broken_barrier());
    while barrier.waiting().unwrap() == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    barrier.abort().unwrap();
    assert!(waiter.join().unwrap());
}

/// Has so many wait at a barrier, and brings what they are told.
fn wait_at(barrier: &BarrierProxy, count: usize) -> Vec<thread::JoinHandle<bool>> {
    let wait = |barrier: BarrierProxy| barrier.wait().is_err_and(|error| error.is_broken_barrier());
    let waiting = (0..count).map(|_| {
        let barrier = barrier.clone();
        thread::spawn(move || wait(barrier))
    });
    let waiting = waiting.collect();
    while barrier.waiting().unwrap() < count {
        thread::sleep(Duration::from_millis(1));
    }
    waiting
}

fn a_barrier_that_is_reset_turns_those_away_that_wait() {
    let manager = Manager::start().unwrap();
    let barrier = manager.barrier(3).unwrap();
    let waiting = wait_at(&barrier, 2);
    barrier.reset().unwrap();
    assert!(waiting.into_iter().all(|waiting| waiting.join().unwrap()));
    let whole =
        |barrier: &BarrierProxy| (barrier.waiting().unwrap(), barrier.is_broken().unwrap()) == (0, false);
    assert!(whole(&barrier));
    barrier.abort().unwrap();
    barrier.reset().unwrap();
    let waiting = wait_at(&barrier, 2);
    assert_eq!(barrier.wait().unwrap(), 2);
    assert!(!waiting.into_iter().any(|waiting| waiting.join().unwrap()));
    assert!(whole(&barrier));
    let alone = manager.barrier(1).unwrap();
    assert_eq!((alone.wait().unwrap(), alone.wait().unwrap()), (0, 0));
}

fn one_that_gives_up_breaks_the_barrier_for_all() {
    let manager = Manager::start().unwrap();
    let barrier = manager.barrier(4).unwrap();
    let waiting = wait_at(&barrier, 2);
    let error = barrier.wait_timeout(SHORT).unwrap_err();
    assert!(error.is_broken_barrier() && error.to_string().contains("until it is reset"), "{error}");
    assert!(waiting.into_iter().all(|waiting| waiting.join().unwrap()));
    assert!(barrier.is_broken().unwrap());
}

fn waiting_holds_no_thread() {
    let manager = Manager::builder().max_threads(2).start().unwrap();
    let (queue, lock) = (manager.queue::<u32>().unwrap(), manager.lock().unwrap());
    let guard = lock.lock().unwrap();
    thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| queue.get().unwrap());
            scope.spawn(|| drop(lock.lock().unwrap()));
        }
        thread::sleep(SHORT);
        assert_eq!(queue.len().unwrap(), 0);
        drop(guard);
        (0..50).for_each(|x| queue.put(&x).unwrap());
    });
}

fn a_wait_is_longer_than_the_timeout_of_calls() {
    let manager = Manager::start().unwrap().with_timeout(Duration::from_secs(1));
    let queue = manager.queue::<u32>().unwrap();
    thread::scope(|scope| {
        let get = scope.spawn(|| queue.get());
        thread::sleep(Duration::from_millis(2500));
        queue.put(&1).unwrap();
        assert_eq!(get.join().unwrap().unwrap(), 1);
    });
}

struct Worker(QueueProxy<u32>);

#[mp_manager::object]
#[allow(unreachable_pub)]
impl Worker {
    pub fn new(queue: QueueProxy<u32>) -> Self {
        Self(queue)
    }

    pub fn take(&self) -> u32 {
        self.0.get().unwrap()
    }

    pub fn take_soon(&self) -> Option<u32> {
        self.0.get_timeout(SHORT).unwrap()
    }

    pub fn give(&self, item: u32) {
        self.0.put(&item).unwrap();
    }
}

fn blocking_objects_are_used_in_the_server_too() {
    let manager = Manager::start().unwrap();
    let worker = WorkerProxy::create(&manager, manager.queue().unwrap()).unwrap();
    assert_eq!(worker.take_soon().unwrap(), None);
    thread::scope(|scope| {
        let take = scope.spawn(|| worker.take().unwrap());
        thread::sleep(SHORT);
        worker.give(5).unwrap();
        assert_eq!(take.join().unwrap(), 5);
    });
}
