//! State that survives the server.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mp_manager::{
    ArrayProxy, BarrierProxy, Builder, ConditionProxy, DictProxy, EventProxy, JoinableQueueProxy, ListProxy,
    LockProxy, Manager, ManagerError, NamespaceProxy, Proxy, QueueProxy, RLockProxy, SemaphoreProxy,
    SetProxy, ValueProxy,
};
use mp_process::Process;
use mp_testkit::chaos::Rng;
use mp_testkit::harness::Suite;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

fn main() -> ExitCode {
    let trials = mp_testkit::trials![
        containers_come_back_as_they_were,
        functions_that_change_values_are_kept,
        a_queue_comes_back_with_what_is_left,
        locks_come_back_free_and_permits_whole,
        objects_of_users_types_come_back,
        a_panic_keeps_what_its_author_chose,
        objects_in_objects_come_back_by_reference,
        what_nothing_refers_to_does_not_come_back,
        a_durable_object_refers_to_durable_ones_only,
        names_come_and_go,
        all_that_make_a_durable_object_at_once_get_the_same,
        proxies_of_the_server_before_are_errors,
        a_second_server_is_told_that_the_folder_is_taken,
        a_manager_without_a_folder_says_so,
        a_type_that_is_not_known_is_an_error,
        a_folder_of_something_else_is_an_error,
        a_log_that_was_cut_off_anywhere_comes_back_as_far_as_it_goes,
        a_log_is_written_anew_while_it_grows,
        a_log_that_is_written_anew_is_whole_at_each_moment,
        a_log_that_is_written_anew_has_all_that_it_refers_to,
        an_object_keeps_the_name_that_it_had_before,
        calls_wait_for_the_disk,
        a_killed_waiter_of_a_queue_takes_nothing_along,
        a_server_in_this_process_keeps_its_state,
    ];
    Suite::new(trials).warm_up(warm_up).run()
}

/// The threads that start processes and watch peers keep a few handles for good.
fn warm_up() {
    Manager::start().unwrap().list::<u8>().unwrap().push(&1).unwrap();
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("mp-durable-{}-{number}", std::process::id())))
    }

    fn start(&self) -> Manager {
        self.builder().start().unwrap()
    }

    fn builder(&self) -> Builder {
        Manager::builder().state(&self.0).durable::<Tally>().durable::<Careless>()
    }

    /// Kills the server, and starts another one.
    fn again(&self, manager: Manager) -> Manager {
        kill(&manager);
        drop(manager);
        self.start()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn kill(manager: &Manager) {
    let pid = Pid::from_raw(manager.pid().unwrap() as i32).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

/// Makes an object durable under a name.
fn keep<P: Proxy>(manager: &Manager, name: &str, proxy: P) -> P {
    manager.make_durable(&proxy).unwrap();
    manager.publish(name, &proxy).unwrap();
    proxy
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Tally {
    counts: BTreeMap<String, u64>,
    friends: Vec<ListProxy<u64>>,
}

#[mp_manager::object]
#[allow(unreachable_pub)]
impl Tally {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn add(&mut self, name: String, by: u64) -> u64 {
        let count = self.counts.entry(name).or_default();
        *count += by;
        *count
    }

    pub fn get(&self, name: String) -> u64 {
        self.counts.get(&name).copied().unwrap_or_default()
    }

    pub fn befriend(&mut self, friend: ListProxy<u64>) {
        self.friends.push(friend);
    }

    pub fn friends(&self) -> Vec<ListProxy<u64>> {
        self.friends.clone()
    }

    pub fn add_and_panic(&mut self, name: String) {
        self.add(name, 1);
        panic!("after the change");
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Careless(u64);

#[mp_manager::object(keep)]
#[allow(unreachable_pub)]
impl Careless {
    pub fn new() -> Self {
        Self(0)
    }

    pub fn add_and_panic(&mut self) {
        self.0 += 1;
        panic!("after the change");
    }

    pub fn get(&self) -> u64 {
        self.0
    }
}

/// Not known to any server of these.
#[derive(Debug, Serialize, Deserialize)]
struct Unknown;

#[mp_manager::object]
#[allow(unreachable_pub)]
impl Unknown {
    pub fn new() -> Self {
        Self
    }
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn containers_come_back_as_they_were() {
    let folder = Folder::new();
    let manager = folder.start();
    let list: ListProxy<u32> = keep(&manager, "list", manager.list_from(&[9, 9]).unwrap());
    list.extend(&[3, 1, 2, 1, 5]).unwrap();
    list.set(0, &7).unwrap();
    list.insert(1, &8).unwrap();
    assert_eq!(list.pop().unwrap(), Some(5));
    assert!(list.remove(&9).unwrap().is_some());
    list.reverse().unwrap();
    let sorted: ListProxy<u32> = keep(&manager, "sorted", manager.list_from(&[3, 1, 2]).unwrap());
    sorted.sort().unwrap();
    sorted.repeat(2).unwrap();
    sorted.splice(0..1, &[]).unwrap();
    let array: ArrayProxy<u8> = keep(&manager, "array", manager.array(&[1, 2, 3]).unwrap());
    array.set(2, &9).unwrap();
    let dict: DictProxy<String, u32> = keep(&manager, "dict", manager.dict().unwrap());
    for (key, value) in [("z", 1), ("a", 2), ("m", 3), ("q", 4)] {
        dict.insert(&text(key), &value).unwrap();
    }
    dict.remove(&text("a")).unwrap();
    dict.insert(&text("z"), &10).unwrap();
    dict.insert(&text("a"), &20).unwrap();
    assert_eq!(dict.pop_last().unwrap(), Some((text("a"), 20)));
    dict.get_or_insert(&text("new"), &5).unwrap();
    dict.extend([(&text("x"), &6)]).unwrap();
    let set: SetProxy<u8> = keep(&manager, "set", manager.set_from(&[1, 2, 3]).unwrap());
    set.toggle_all(&[3, 4]).unwrap();
    set.remove(&1).unwrap();
    set.extend(&[8, 9]).unwrap();
    assert_eq!(set.pop().unwrap(), Some(2));
    let names: NamespaceProxy = keep(&manager, "namespace", manager.namespace().unwrap());
    names.set("one", &1u8).unwrap();
    names.set("two", &text("two")).unwrap();
    names.remove("one").unwrap();
    let value: ValueProxy<String> = keep(&manager, "value", manager.value(&text("first")).unwrap());
    value.set(&text("second")).unwrap();
    assert_eq!(value.replace(&text("third")).unwrap(), "second");
    // What was there before the log began is whole, and so is what comes out of one begun anew.
    let mut manager = manager;
    let before = (list.to_vec().unwrap(), dict.items().unwrap(), set.to_set().unwrap());
    for _ in 0..3 {
        manager = folder.again(manager);
        let list: ListProxy<u32> = manager.find("list").unwrap();
        let dict: DictProxy<String, u32> = manager.find("dict").unwrap();
        let set: SetProxy<u8> = manager.find("set").unwrap();
        assert_eq!((list.to_vec().unwrap(), dict.items().unwrap(), set.to_set().unwrap()), before);
        let sorted: ListProxy<u32> = manager.find("sorted").unwrap();
        assert_eq!(sorted.to_vec().unwrap(), [2, 3, 1, 2, 3]);
        assert_eq!(manager.find::<ArrayProxy<u8>>("array").unwrap().to_vec().unwrap(), [1, 2, 9]);
        let names: NamespaceProxy = manager.find("namespace").unwrap();
        assert_eq!(
            (names.names().unwrap(), names.get("two").unwrap()),
            (vec![text("two")], Some(text("two")))
        );
        assert_eq!(manager.find::<ValueProxy<String>>("value").unwrap().get().unwrap(), "third");
        assert_eq!(manager.object_count().unwrap(), 7);
    }
    assert_eq!(before.0, [1, 2, 1, 3, 8, 7]);
    assert_eq!(before.2, HashSet::from([4, 8, 9]));
    // Changes go on where they were.
    let list: ListProxy<u32> = manager.find("list").unwrap();
    list.push(&77).unwrap();
    manager = folder.again(manager);
    assert_eq!(manager.find::<ListProxy<u32>>("list").unwrap().to_vec().unwrap(), [1, 2, 1, 3, 8, 7, 77]);
}

fn functions_that_change_values_are_kept() {
    let folder = Folder::new();
    let manager = folder.start();
    let dict: DictProxy<String, u32> = keep(&manager, "dict", manager.dict().unwrap());
    let add = |entry: &mut Option<u32>, by: u32| *entry = entry.map_or(Some(by), |old| Some(old + by));
    for _ in 0..3 {
        dict.update(&text("a"), add, 2).unwrap();
        dict.update(&text("b"), add, 5).unwrap();
    }
    dict.update(&text("b"), |entry: &mut Option<u32>, (): ()| *entry = None, ()).unwrap();
    let list: ListProxy<u32> = keep(&manager, "list", manager.list_from(&[5, 6]).unwrap());
    list.update(1, |value: &mut u32, by: u32| *value += by, 10).unwrap();
    let value: ValueProxy<u32> = keep(&manager, "value", manager.value(&1).unwrap());
    value.update(|value: &mut u32, by: u32| *value += by, 10).unwrap();
    let manager = folder.again(manager);
    let dict: DictProxy<String, u32> = manager.find("dict").unwrap();
    assert_eq!(dict.items().unwrap(), [(text("a"), 6)]);
    assert_eq!(manager.find::<ListProxy<u32>>("list").unwrap().to_vec().unwrap(), [5, 16]);
    assert_eq!(manager.find::<ValueProxy<u32>>("value").unwrap().get().unwrap(), 11);
}

fn a_queue_comes_back_with_what_is_left() {
    let folder = Folder::new();
    let manager = folder.start();
    let queue: JoinableQueueProxy<u32> = keep(&manager, "queue", manager.joinable_queue().unwrap());
    (0..5).for_each(|item| queue.put(&item).unwrap());
    assert_eq!(queue.get().unwrap(), 0);
    assert_eq!(queue.get().unwrap(), 1);
    queue.task_done().unwrap();
    let bounded: QueueProxy<u32> = keep(&manager, "bounded", manager.bounded_queue(2).unwrap());
    bounded.put(&1).unwrap();
    bounded.put(&2).unwrap();
    // One that waits for room has not put its item in, before there is some.
    let (waits, late) = (bounded.clone(), bounded.clone());
    let first = thread::spawn(move || waits.put(&3));
    while bounded.len().unwrap() < 2 {}
    thread::sleep(Duration::from_millis(50));
    assert_eq!(bounded.get().unwrap(), 1);
    first.join().unwrap().unwrap();
    let second = thread::spawn(move || late.put(&4));
    thread::sleep(Duration::from_millis(50));
    // And one that waits for an item gets it in its turn.
    let waited: QueueProxy<u32> = keep(&manager, "waited", manager.queue().unwrap());
    let getter = waited.clone();
    let got = thread::spawn(move || getter.get());
    thread::sleep(Duration::from_millis(50));
    waited.put(&7).unwrap();
    assert_eq!(got.join().unwrap().unwrap(), 7);
    waited.put(&8).unwrap();
    let manager = folder.again(manager);
    assert!(second.join().unwrap().unwrap_err().is_gone());
    let queue: JoinableQueueProxy<u32> = manager.find("queue").unwrap();
    assert_eq!(queue.len().unwrap(), 3);
    assert!(!queue.join_timeout(Duration::ZERO).unwrap());
    (2..5).for_each(|item| assert_eq!(queue.get().unwrap(), item));
    (0..4).for_each(|_| queue.task_done().unwrap());
    assert!(queue.task_done().is_err());
    queue.join().unwrap();
    let bounded: QueueProxy<u32> = manager.find("bounded").unwrap();
    assert!(!bounded.try_put(&9).unwrap());
    assert_eq!((bounded.get().unwrap(), bounded.get().unwrap()), (2, 3));
    assert_eq!(bounded.try_get().unwrap(), None);
    let waited: QueueProxy<u32> = manager.find("waited").unwrap();
    assert_eq!((waited.get().unwrap(), waited.try_get().unwrap()), (8, None));
}

fn locks_come_back_free_and_permits_whole() {
    let folder = Folder::new();
    let manager = folder.start();
    let lock: LockProxy = keep(&manager, "lock", manager.lock().unwrap());
    let rlock: RLockProxy = keep(&manager, "rlock", manager.rlock().unwrap());
    let condition: ConditionProxy = keep(&manager, "condition", manager.condition().unwrap());
    let semaphore: SemaphoreProxy = keep(&manager, "semaphore", manager.semaphore(3).unwrap());
    let bounded: SemaphoreProxy = keep(&manager, "bounded", manager.bounded_semaphore(2).unwrap());
    let event: EventProxy = keep(&manager, "event", manager.event().unwrap());
    let barrier: BarrierProxy = keep(&manager, "barrier", manager.barrier(2).unwrap());
    let guards = (lock.lock().unwrap(), rlock.lock().unwrap(), condition.lock().unwrap());
    let permits = (semaphore.acquire().unwrap(), bounded.acquire().unwrap());
    semaphore.acquire().unwrap().forget().unwrap();
    semaphore.release(4).unwrap();
    event.set().unwrap();
    let manager = folder.again(manager);
    drop((guards, permits));
    let lock: LockProxy = manager.find("lock").unwrap();
    drop(lock.try_lock().unwrap().unwrap());
    drop(manager.find::<RLockProxy>("rlock").unwrap().try_lock().unwrap().unwrap());
    drop(manager.find::<ConditionProxy>("condition").unwrap().lock().unwrap());
    let semaphore: SemaphoreProxy = manager.find("semaphore").unwrap();
    assert_eq!(semaphore.available().unwrap(), 6);
    let bounded: SemaphoreProxy = manager.find("bounded").unwrap();
    assert_eq!(bounded.available().unwrap(), 2);
    assert!(bounded.release(1).is_err());
    assert!(manager.find::<EventProxy>("event").unwrap().is_set().unwrap());
    let barrier_again: BarrierProxy = manager.find("barrier").unwrap();
    assert_eq!(barrier_again.parties().unwrap(), 2);
    barrier_again.abort().unwrap();
    manager.find::<EventProxy>("event").unwrap().clear().unwrap();
    let manager = folder.again(manager);
    assert!(manager.find::<BarrierProxy>("barrier").unwrap().is_broken().unwrap());
    assert!(!manager.find::<EventProxy>("event").unwrap().is_set().unwrap());
    drop((barrier, event));
}

fn objects_of_users_types_come_back() {
    let folder = Folder::new();
    let manager = folder.start();
    let tally = TallyProxy::create(&manager).unwrap();
    tally.add(text("before"), 1).unwrap();
    keep(&manager, "tally", tally.clone());
    for _ in 0..10 {
        tally.add(text("after"), 2).unwrap();
    }
    tally.update(|tally: &mut Tally, by: u64| tally.add("update".to_owned(), by), 5).unwrap();
    let sent: Vec<_> = (0..10).map(|_| tally.add_async(text("async"), 1).unwrap()).collect();
    sent.into_iter().for_each(|reply| assert!(reply.get().is_ok()));
    let mut manager = manager;
    for _ in 0..2 {
        manager = folder.again(manager);
        let tally: TallyProxy = manager.find("tally").unwrap();
        let counts = ["before", "after", "update", "async"].map(|name| tally.get(text(name)).unwrap());
        assert_eq!(counts, [1, 20, 5, 10]);
    }
}

fn a_panic_keeps_what_its_author_chose() {
    let folder = Folder::new();
    let manager = folder.start();
    let tally = keep(&manager, "tally", TallyProxy::create(&manager).unwrap());
    tally.add(text("a"), 1).unwrap();
    assert!(tally.add_and_panic(text("a")).unwrap_err().is_panic());
    assert!(tally.get(text("a")).unwrap_err().is_poisoned());
    let careless = keep(&manager, "careless", CarelessProxy::create(&manager).unwrap());
    assert!(careless.add_and_panic().unwrap_err().is_panic());
    let manager = folder.again(manager);
    // One that was poisoned is as it was before the method that panicked.
    assert_eq!(manager.find::<TallyProxy>("tally").unwrap().get(text("a")).unwrap(), 1);
    assert_eq!(manager.find::<CarelessProxy>("careless").unwrap().get().unwrap(), 1);
}

fn objects_in_objects_come_back_by_reference() {
    let folder = Folder::new();
    let manager = folder.start();
    let inner: ListProxy<u64> = manager.list_from(&[1]).unwrap();
    manager.make_durable(&inner).unwrap();
    let outer: DictProxy<String, ListProxy<u64>> = keep(&manager, "outer", manager.dict().unwrap());
    outer.insert(&text("a"), &inner).unwrap();
    outer.insert(&text("b"), &inner).unwrap();
    let tally = keep(&manager, "tally", TallyProxy::create(&manager).unwrap());
    tally.befriend(inner.clone()).unwrap();
    // A ring: each refers to the other.
    let ring: ListProxy<ListProxy<u64>> = manager.list().unwrap();
    manager.make_durable(&ring).unwrap();
    let same: ListProxy<u64> = Proxy::from_object(ring.object().clone());
    ring.push(&same).unwrap();
    ring.push(&inner).unwrap();
    manager.publish("ring", &ring).unwrap();
    inner.push(&2).unwrap();
    let mut manager = manager;
    for round in 0..3u64 {
        manager = folder.again(manager);
        let outer: DictProxy<String, ListProxy<u64>> = manager.find("outer").unwrap();
        let [a, b] = ["a", "b"].map(|key| outer.get(&text(key)).unwrap().unwrap());
        a.push(&(10 + round)).unwrap();
        assert_eq!(a, b);
        assert_eq!(b.to_vec().unwrap(), [&[1, 2], &[10, 11, 12][..=round as usize]].concat());
        let friends = manager.find::<TallyProxy>("tally").unwrap().friends().unwrap();
        assert_eq!(friends, [a]);
        let ring: ListProxy<ListProxy<u64>> = manager.find("ring").unwrap();
        assert_eq!(ring.get(0).unwrap().object(), ring.object());
        assert_eq!(ring.get(1).unwrap(), b);
    }
}

fn what_nothing_refers_to_does_not_come_back() {
    let folder = Folder::new();
    let manager = folder.start();
    let inner: ListProxy<u64> = manager.list().unwrap();
    manager.make_durable(&inner).unwrap();
    let outer: ListProxy<ListProxy<u64>> = keep(&manager, "outer", manager.list_from(&[inner]).unwrap());
    let held: ListProxy<u64> = manager.list().unwrap();
    manager.make_durable(&held).unwrap();
    // Not durable at all, and with a name.
    let plain: ListProxy<u64> = manager.list().unwrap();
    manager.publish("plain", &plain).unwrap();
    let manager = folder.again(manager);
    assert_eq!(manager.object_count().unwrap(), 2);
    assert!(manager.find::<ListProxy<u64>>("plain").is_err());
    manager.find::<ListProxy<ListProxy<u64>>>("outer").unwrap().clear().unwrap();
    assert_eq!(manager.object_count().unwrap(), 1);
    let manager = folder.again(manager);
    assert_eq!(manager.object_count().unwrap(), 1);
    // Numbers go on behind those that are known.
    let new: ListProxy<u64> = manager.list().unwrap();
    assert_ne!(new.object(), manager.find::<ListProxy<u64>>("outer").unwrap().object());
    drop((outer, held, plain));
}

fn a_durable_object_refers_to_durable_ones_only() {
    let folder = Folder::new();
    let manager = folder.start();
    let plain: ListProxy<u64> = manager.list().unwrap();
    let dict: DictProxy<u8, ListProxy<u64>> = keep(&manager, "dict", manager.dict().unwrap());
    let error = dict.insert(&1, &plain).unwrap_err();
    assert!(error.is_refused() && error.to_string().contains("durable"), "{error}");
    assert!(dict.is_empty().unwrap());
    let holder: ListProxy<ListProxy<u64>> = manager.list_from(std::slice::from_ref(&plain)).unwrap();
    assert!(manager.make_durable(&holder).unwrap_err().is_refused());
    let tally = keep(&manager, "tally", TallyProxy::create(&manager).unwrap());
    assert!(tally.befriend(plain.clone()).unwrap_err().is_not_kept());
    // Nor to those of another manager.
    let other = Manager::start().unwrap();
    assert!(tally.befriend(other.list().unwrap()).unwrap_err().is_not_kept());
    manager.make_durable(&plain).unwrap();
    dict.insert(&1, &plain).unwrap();
    // One that refers to itself may be durable.
    let ring: ListProxy<ListProxy<u64>> = manager.list().unwrap();
    ring.push(&Proxy::from_object(ring.object().clone())).unwrap();
    manager.make_durable(&ring).unwrap();
    manager.make_durable(&ring).unwrap();
    let manager = folder.again(manager);
    let tally: TallyProxy = manager.find("tally").unwrap();
    assert!(tally.friends().unwrap().is_empty());
}

fn names_come_and_go() {
    let folder = Folder::new();
    let manager = folder.start();
    let one: ValueProxy<u8> = keep(&manager, "a", manager.value(&1).unwrap());
    let two: ValueProxy<u8> = keep(&manager, "b", manager.value(&2).unwrap());
    manager.publish("c", &one).unwrap();
    manager.publish("d", &two).unwrap();
    manager.publish("a", &two).unwrap();
    manager.unpublish("b").unwrap();
    // A name that went to an object that is not durable is gone.
    manager.publish("d", &manager.value(&4u8).unwrap()).unwrap();
    let manager = folder.again(manager);
    let get = |name: &str| manager.find::<ValueProxy<u8>>(name).map(|value| value.get().unwrap()).ok();
    assert_eq!(["a", "b", "c", "d"].map(get), [Some(2), None, Some(1), None]);
    drop((one, two));
}

fn all_that_make_a_durable_object_at_once_get_the_same() {
    let folder = Folder::new();
    let manager = folder.start();
    let all: Vec<_> = (0..8)
        .map(|_| {
            let manager = manager.clone();
            thread::spawn(move || manager.durable("list", |manager| manager.list::<u64>()).unwrap())
        })
        .collect();
    let all: Vec<ListProxy<u64>> = all.into_iter().map(|one| one.join().unwrap()).collect();
    all.iter().for_each(|one| one.push(&1).unwrap());
    assert!(all.iter().all(|one| *one == all[0]));
    let manager = folder.again(manager);
    let list = manager.durable("list", |_| -> Result<ListProxy<u64>, ManagerError> { panic!("it is there") });
    assert_eq!(list.unwrap().len().unwrap(), 8);
}

fn proxies_of_the_server_before_are_errors() {
    let folder = Folder::new();
    let manager = folder.start();
    let list: ListProxy<u64> = keep(&manager, "list", manager.list().unwrap());
    let manager = folder.again(manager);
    let again: ListProxy<u64> = manager.find("list").unwrap();
    assert!(list.push(&1).unwrap_err().is_gone());
    assert_ne!(list, again);
    assert!(manager.publish("list", &list).unwrap_err().is_stale());
    assert!(again.is_empty().unwrap());
}

fn a_second_server_is_told_that_the_folder_is_taken() {
    let folder = Folder::new();
    let manager = folder.start();
    let error = folder.builder().start().unwrap_err();
    assert!(error.is_state() && error.is_state_locked(), "{error}");
    assert!(folder.builder().serve().unwrap_err().is_state_locked());
    drop(manager);
    folder.start();
}

fn a_manager_without_a_folder_says_so() {
    let manager = Manager::start().unwrap();
    let error = manager.make_durable(&manager.list::<u8>().unwrap()).unwrap_err();
    assert!(error.is_refused() && error.to_string().contains("Builder::state"), "{error}");
    assert_eq!(manager.state_size().unwrap(), None);
}

fn a_type_that_is_not_known_is_an_error() {
    let folder = Folder::new();
    let manager = folder.start();
    let error = manager.make_durable(&UnknownProxy::create(&manager).unwrap()).unwrap_err();
    assert!(error.is_refused() && error.to_string().contains("durable::<Unknown>"), "{error}");
    keep(&manager, "tally", TallyProxy::create(&manager).unwrap());
    drop(manager);
    let error = Manager::builder().state(&folder.0).start().unwrap_err();
    assert!(error.is_state() && error.to_string().contains("durable::<Tally>"), "{error}");
    // Nothing is lost by the try.
    assert!(folder.start().find::<TallyProxy>("tally").is_ok());
}

fn a_folder_of_something_else_is_an_error() {
    for bytes in [b"something else altogether".as_slice(), b"", b"mp-manager state\x02\0\0\0"] {
        let folder = Folder::new();
        fs::create_dir(&folder.0).unwrap();
        fs::write(folder.0.join("log"), bytes).unwrap();
        let error = folder.builder().start().unwrap_err();
        assert!(error.is_state() && !error.is_state_locked(), "{error}");
        assert_eq!(fs::read(folder.0.join("log")).unwrap(), bytes);
    }
}

fn a_log_that_was_cut_off_anywhere_comes_back_as_far_as_it_goes() {
    let folder = Folder::new();
    let manager = folder.start();
    let list: ListProxy<u64> = keep(&manager, "list", manager.list().unwrap());
    let before = log(&folder).len();
    (0..20).for_each(|x| list.push(&x).unwrap());
    drop(manager);
    let whole = log(&folder);
    let mut rng = Rng::announced("a_log_that_was_cut_off");
    let mut last = u64::MAX;
    for _ in 0..12 {
        let end = before + rng.below(whole.len() - before + 1);
        let garbage = vec![rng.next_u64() as u8; rng.below(30)];
        fs::write(folder.0.join("log"), [&whole[..end], &garbage].concat()).unwrap();
        let manager = folder.start();
        let list: ListProxy<u64> = manager.find("list").unwrap();
        let values = list.to_vec().unwrap();
        let most = (end - before) as u64 * 20 / (whole.len() - before) as u64;
        assert_eq!(values, (0..most).collect::<Vec<_>>());
        // And it goes on from there.
        list.push(&77).unwrap();
        let manager = folder.again(manager);
        assert_eq!(manager.find::<ListProxy<u64>>("list").unwrap().len().unwrap() as u64, most + 1);
        last = last.min(most);
    }
    assert!(last < 20, "nothing was cut off");
}

fn log(folder: &Folder) -> Vec<u8> {
    fs::read(folder.0.join("log")).unwrap()
}

/// Changes that make a log long: how often each was done.
fn much(manager: &Manager, rounds: u64) -> (DictProxy<u64, String>, TallyProxy) {
    let dict: DictProxy<u64, String> = manager.durable("dict", |manager| manager.dict()).unwrap();
    let tally: TallyProxy = manager.durable("tally", TallyProxy::create).unwrap();
    for round in 0..rounds {
        dict.insert(&(round % 10), &format!("{round:060000}")).unwrap();
        tally.add(text("rounds"), 1).unwrap();
    }
    (dict, tally)
}

fn a_log_is_written_anew_while_it_grows() {
    let folder = Folder::new();
    let manager = folder.start();
    let others: Vec<_> = (0..3u64)
        .map(|number| {
            let manager = manager.clone();
            thread::spawn(move || {
                let list: ListProxy<u64> =
                    manager.durable(&format!("list{number}"), |manager| manager.list()).unwrap();
                (0..2000).for_each(|x| list.push(&x).unwrap());
                let dropped: ListProxy<u64> = manager.list().unwrap();
                manager.make_durable(&dropped).unwrap();
            })
        })
        .collect();
    much(&manager, 500);
    others.into_iter().for_each(|other| other.join().unwrap());
    soon("the log stays long", || manager.state_size().unwrap().unwrap().0 < 12_000_000);
    assert_eq!(manager.state_size().unwrap().unwrap().1, 5);
    let manager = folder.again(manager);
    let dict: DictProxy<u64, String> = manager.find("dict").unwrap();
    assert_eq!(dict.len().unwrap(), 10);
    (0..10).for_each(|key| assert!(dict.get(&key).unwrap().unwrap().ends_with(&(490 + key).to_string())));
    assert_eq!(manager.find::<TallyProxy>("tally").unwrap().get(text("rounds")).unwrap(), 500);
    for number in 0..3 {
        let list: ListProxy<u64> = manager.find(&format!("list{number}")).unwrap();
        assert_eq!(list.to_vec().unwrap(), (0..2000).collect::<Vec<_>>());
    }
    assert_eq!(manager.object_count().unwrap(), 5);
}

fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn a_log_that_is_written_anew_is_whole_at_each_moment() {
    let folder = Folder::new();
    let mut rng = Rng::announced("a_log_that_is_written_anew");
    let mut manager = folder.start();
    let mut done = 0;
    for _ in 0..8 {
        let (dict, tally) = much(&manager, 0);
        // Long enough that one is under way, or just done.
        let rounds = 60 + rng.below(40) as u64;
        for round in 0..rounds {
            dict.insert(&(round % 10), &format!("{:060000}", done + round)).unwrap();
            tally.add(text("rounds"), 1).unwrap();
        }
        done += rounds;
        manager = folder.again(manager);
        let (dict, tally) = much(&manager, 0);
        assert_eq!(tally.get(text("rounds")).unwrap(), done);
        let last = dict.get(&((rounds - 1) % 10)).unwrap().unwrap();
        assert_eq!(last.parse::<u64>().unwrap(), done - 1);
    }
}

fn a_log_that_is_written_anew_has_all_that_it_refers_to() {
    const LIVE: usize = 200;
    let folder = Folder::new();
    let mut manager = folder.start();
    manager.durable("queue", |manager| manager.list::<ListProxy<String>>()).unwrap();
    let mut last = 0;
    for _ in 0..3 {
        let outer: ListProxy<ListProxy<String>> = manager.find("queue").unwrap();
        for _ in 0..500 {
            // Of those in the list the first goes, and with it its object, while a log is written anew.
            let inner = manager.list().unwrap();
            manager.make_durable(&inner).unwrap();
            inner.push(&format!("{last:020000}")).unwrap();
            outer.push(&inner).unwrap();
            last += 1;
            if last > LIVE {
                drop(outer.remove_at(0).unwrap());
            }
        }
        drop(outer);
        manager = folder.again(manager);
        let outer: ListProxy<ListProxy<String>> = manager.find("queue").unwrap();
        let kept = outer.to_vec().unwrap();
        let kept: Vec<usize> =
            kept.iter().map(|inner| inner.get(0).unwrap().parse::<usize>().unwrap()).collect();
        assert_eq!(kept, (last - LIVE..last).collect::<Vec<_>>());
    }
}

fn an_object_keeps_the_name_that_it_had_before() {
    let folder = Folder::new();
    let manager = folder.start();
    let (list, tally) = (manager.list_from(&[7]).unwrap(), TallyProxy::create(&manager).unwrap());
    manager.publish("list", &list).unwrap();
    manager.publish("tally", &tally).unwrap();
    manager.make_durable(&list).unwrap();
    manager.make_durable(&tally).unwrap();
    let manager = folder.again(manager);
    assert_eq!(manager.find::<ListProxy<i32>>("list").unwrap().to_vec().unwrap(), [7]);
    assert_eq!(manager.find::<TallyProxy>("tally").unwrap().get(text("none")).unwrap(), 0);
}

fn calls_wait_for_the_disk() {
    let folder = Folder::new();
    let manager = folder.builder().sync().start().unwrap();
    let list: ListProxy<u64> = keep(&manager, "list", manager.list().unwrap());
    let dict: DictProxy<u64, ListProxy<u64>> = keep(&manager, "dict", manager.dict().unwrap());
    let tally = keep(&manager, "tally", TallyProxy::create(&manager).unwrap());
    let queue: QueueProxy<u64> = keep(&manager, "queue", manager.queue().unwrap());
    let all: Vec<_> = (0..8u64)
        .map(|number| {
            let (list, tally, queue) = (list.clone(), tally.clone(), queue.clone());
            let (manager, dict) = (manager.clone(), dict.clone());
            thread::spawn(move || {
                for x in 0..20 {
                    list.push(&x).unwrap();
                    tally.add(text("x"), 1).unwrap();
                    queue.put(&x).unwrap();
                    queue.get().unwrap();
                }
                let own: ListProxy<u64> = manager.list().unwrap();
                manager.make_durable(&own).unwrap();
                dict.insert(&number, &own).unwrap();
                drop(own);
                dict.get(&number).unwrap().unwrap().push(&number).unwrap();
                // The only reference to it is in the answer.
                dict.remove(&number).unwrap().unwrap().push(&number).unwrap();
            })
        })
        .collect();
    all.into_iter().for_each(|one| one.join().unwrap());
    // A method of an object's may wait for the disk too.
    tally
        .update(
            |tally: &mut Tally, list: ListProxy<u64>| {
                list.push(&99).unwrap();
                tally.add("x".to_owned(), 1)
            },
            list.clone(),
        )
        .unwrap();
    assert_eq!(manager.object_count().unwrap(), 4);
    let manager = folder.again(manager);
    assert_eq!(manager.find::<ListProxy<u64>>("list").unwrap().len().unwrap(), 161);
    assert_eq!(manager.find::<TallyProxy>("tally").unwrap().get(text("x")).unwrap(), 161);
    assert_eq!(manager.find::<QueueProxy<u64>>("queue").unwrap().len().unwrap(), 0);
}

fn a_killed_waiter_of_a_queue_takes_nothing_along() {
    let folder = Folder::new();
    let manager = folder.start();
    let queue: QueueProxy<u64> = keep(&manager, "queue", manager.queue().unwrap());
    let waits = |queue: QueueProxy<u64>| drop(queue.get());
    let waiters: Vec<_> = (0..3).map(|_| Process::spawn(waits, queue.clone()).unwrap()).collect();
    thread::sleep(Duration::from_millis(200));
    for waiter in waiters {
        waiter.kill().unwrap();
        assert!(waiter.join().is_err());
    }
    (0..5).for_each(|x| queue.put(&x).unwrap());
    let left = queue.len().unwrap();
    let manager = folder.again(manager);
    let queue: QueueProxy<u64> = manager.find("queue").unwrap();
    assert_eq!(queue.len().unwrap(), left);
    assert_eq!(left, 5);
}

fn a_server_in_this_process_keeps_its_state() {
    let folder = Folder::new();
    for round in 0..3u64 {
        let server = folder.builder().serve().unwrap();
        let manager = server.manager().unwrap();
        let list: ListProxy<u64> = manager.durable("list", |manager| manager.list()).unwrap();
        assert_eq!(list.to_vec().unwrap(), (0..round).collect::<Vec<_>>());
        list.push(&round).unwrap();
        drop((list, manager));
        assert!(server.shutdown(Duration::from_secs(10)));
        assert_whole(&folder.0);
    }
}

/// A server that has ended leaves a log and nothing beside it.
fn assert_whole(folder: &Path) {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    assert_eq!(names, ["lock", "log"]);
}
