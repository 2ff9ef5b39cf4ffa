//! Objects come back as they were.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use mp_manager::{
    ArrayProxy, BarrierOptions, BarrierProxy, ConditionProxy, DictProxy, EventProxy, JoinableQueueProxy,
    ListProxy, LockProxy, Manager, NamespaceProxy, Proxy, QueueProxy, RLockProxy, SemaphoreProxy, SetProxy,
    ValueProxy,
};

use super::{CarelessProxy, Folder, Tally, TallyProxy, keep, soon, text};

pub(crate) fn containers_come_back_as_they_were() {
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

pub(crate) fn functions_that_change_values_are_kept() {
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

pub(crate) fn a_queue_comes_back_with_what_is_left() {
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

pub(crate) fn a_closed_queue_comes_back_closed() {
    let folder = Folder::new();
    let manager = folder.start();
    let closed: JoinableQueueProxy<u32> = keep(&manager, "closed", manager.joinable_queue().unwrap());
    let ended: JoinableQueueProxy<u32> = keep(&manager, "ended", manager.joinable_queue().unwrap());
    for queue in [&closed, &ended] {
        (1..=4).for_each(|item| queue.put(&item).unwrap());
        assert_eq!(queue.get().unwrap(), 1);
    }
    // An item that nobody has taken comes back after the end, and is dropped in the log too.
    let ask = |queue: JoinableQueueProxy<u32>| {
        let _asked = queue.get_async().unwrap();
        thread::sleep(Duration::from_secs(100));
    };
    let child = mp_process::Process::spawn(ask, ended.clone()).unwrap();
    soon("it is not served", || ended.len().unwrap() == 2);
    closed.close().unwrap();
    ended.terminate().unwrap();
    child.kill().unwrap();
    assert!(child.join().is_err());
    ended.task_done().unwrap();
    assert!(ended.join_timeout(Duration::from_secs(20)).unwrap());
    // These were so before they were durable.
    let late: QueueProxy<u32> = manager.queue().unwrap();
    late.put(&1).unwrap();
    late.close().unwrap();
    keep(&manager, "late", late);
    let gone: QueueProxy<u32> = manager.queue().unwrap();
    gone.terminate().unwrap();
    keep(&manager, "gone", gone);
    let manager = folder.again(manager);
    let closed: JoinableQueueProxy<u32> = manager.find("closed").unwrap();
    assert!(closed.is_closed().unwrap() && closed.put(&9).unwrap_err().is_closed());
    assert_eq!([2, 3, 4].map(|_| closed.get().unwrap()), [2, 3, 4]);
    assert!(closed.get().unwrap_err().is_closed());
    (0..4).for_each(|_| closed.task_done().unwrap());
    assert!(closed.task_done().is_err());
    let ended: JoinableQueueProxy<u32> = manager.find("ended").unwrap();
    assert!(ended.get().unwrap_err().is_closed() && ended.task_done().is_err());
    ended.join().unwrap();
    let late: QueueProxy<u32> = manager.find("late").unwrap();
    assert!(late.get().unwrap() == 1 && late.get().unwrap_err().is_closed());
    assert!(manager.find::<QueueProxy<u32>>("gone").unwrap().put(&1).unwrap_err().is_closed());
}

pub(crate) fn a_barrier_comes_back_with_its_timeout_and_one_with_an_action_is_not_kept() {
    let folder = Folder::new();
    let manager = folder.start();
    let options = BarrierOptions::new().timeout(Duration::from_millis(30));
    let barrier = keep(&manager, "barrier", manager.barrier_with(2, options).unwrap());
    barrier.abort().unwrap();
    let acts = manager.barrier_with(2, BarrierOptions::new().action(drop::<u8>, 1)).unwrap();
    let error = manager.make_durable(&acts).unwrap_err();
    assert!(error.is_refused() && error.to_string().contains("action"), "{error}");
    let manager = folder.again(manager);
    let barrier: BarrierProxy = manager.find("barrier").unwrap();
    assert!(barrier.is_broken().unwrap() && barrier.parties().unwrap() == 2);
    barrier.reset().unwrap();
    assert!(barrier.wait().unwrap_err().is_broken_barrier() && barrier.is_broken().unwrap());
}

pub(crate) fn locks_come_back_free_and_permits_whole() {
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

pub(crate) fn objects_of_users_types_come_back() {
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

pub(crate) fn a_panic_keeps_what_its_author_chose() {
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

pub(crate) fn objects_in_objects_come_back_by_reference() {
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

pub(crate) fn what_nothing_refers_to_does_not_come_back() {
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

pub(crate) fn a_durable_object_refers_to_durable_ones_only() {
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
