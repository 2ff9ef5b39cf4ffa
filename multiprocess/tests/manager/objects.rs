//! Each kind of built-in object, used in children.

use std::thread::sleep;

use multiprocess::manager::{
    ArrayProxy, BarrierProxy, ConditionProxy, DictProxy, EventProxy, JoinableQueueProxy, ListProxy,
    LockProxy, NamespaceProxy, QueueProxy, RLockProxy, SemaphoreProxy, SetProxy, ValueProxy,
};
use multiprocess::{Event, StartMethod};

use super::common::{LONG, SHORT, spawn};
use super::{in_a_child, soon, start};

pub(super) fn an_event(method: StartMethod) {
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

pub(super) fn a_lock(method: StartMethod) {
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

pub(super) fn an_rlock(method: StartMethod) {
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

pub(super) fn a_semaphore(method: StartMethod) {
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

pub(super) fn a_condition(method: StartMethod) {
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

pub(super) fn a_barrier(method: StartMethod) {
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

pub(super) fn a_queue(method: StartMethod) {
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

pub(super) fn a_joinable_queue(method: StartMethod) {
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

pub(super) fn a_list(method: StartMethod) {
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

pub(super) fn a_list_in_a_list(method: StartMethod) {
    let manager = start();
    let (outer, inner) = (manager.list::<ListProxy<u32>>().unwrap(), manager.list::<u32>().unwrap());
    outer.push(&inner).unwrap();
    let change = |outer: ListProxy<ListProxy<u32>>| outer.get(0).unwrap().push(&7).unwrap();
    in_a_child(method, change, outer.clone());
    assert_eq!(inner.to_vec().unwrap(), [7]);
    drop(inner);
    assert_eq!(outer.get(0).unwrap().to_vec().unwrap(), [7]);
}

pub(super) fn a_dict(method: StartMethod) {
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

pub(super) fn a_set(method: StartMethod) {
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

pub(super) fn a_value_an_array_and_a_namespace(method: StartMethod) {
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
