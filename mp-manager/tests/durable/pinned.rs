//! The format of the log, held fast: a file that was written once is read for ever, and the same
//! steps write the same bytes, as long as the version of the format is the same.

use std::fs;
use std::path::PathBuf;

use mp_manager::{
    ArrayProxy, BarrierProxy, ConditionProxy, DictProxy, EventProxy, JoinableQueueProxy, ListProxy,
    LockProxy, Manager, NamespaceProxy, Proxy, QueueProxy, RLockProxy, SemaphoreProxy, SetProxy, ValueProxy,
};

use super::{Folder, Tally, TallyProxy, keep, log, text};

/// Written by the first version that had format 1.
fn pinned() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/durable/format-1.log")
}

/// Each kind of frame, and each kind of change of each object, at least once.
fn steps(manager: &Manager) {
    let list: ListProxy<u32> = keep(manager, "list", manager.list_from(&[9, 9]).unwrap());
    list.extend(&[3, 1, 2]).unwrap();
    list.push(&5).unwrap();
    list.set(0, &7).unwrap();
    list.insert(1, &8).unwrap();
    list.pop().unwrap();
    list.remove_at(0).unwrap();
    list.remove(&9).unwrap();
    list.reverse().unwrap();
    list.sort().unwrap();
    list.repeat(2).unwrap();
    list.splice(0..1, &[4, 4]).unwrap();
    list.update(0, |value: &mut u32, by: u32| *value += by, 100).unwrap();
    let array: ArrayProxy<u8> = keep(manager, "array", manager.array(&[1, 2, 3]).unwrap());
    array.set(2, &9).unwrap();
    let dict: DictProxy<String, ListProxy<u32>> = keep(manager, "dict", manager.dict().unwrap());
    dict.insert(&text("a"), &list).unwrap();
    dict.get_or_insert(&text("b"), &list).unwrap();
    dict.extend([(&text("c"), &list), (&text("d"), &list)]).unwrap();
    dict.remove(&text("a")).unwrap();
    dict.pop_last().unwrap();
    let cleared: DictProxy<u8, u8> = keep(manager, "cleared", manager.dict().unwrap());
    cleared.insert(&1, &1).unwrap();
    cleared.clear().unwrap();
    cleared.update(&2, |entry: &mut Option<u8>, new: u8| *entry = Some(new), 3).unwrap();
    let set: SetProxy<u8> = keep(manager, "set", manager.set_from(&[1, 2, 3]).unwrap());
    set.toggle_all(&[3, 4]).unwrap();
    set.remove(&1).unwrap();
    set.extend(&[8, 9]).unwrap();
    set.retain_all(&[2, 4, 8]).unwrap();
    set.pop().unwrap();
    let names: NamespaceProxy = keep(manager, "namespace", manager.namespace().unwrap());
    names.set("one", &1u8).unwrap();
    names.set("two", &text("two")).unwrap();
    names.remove("one").unwrap();
    let value: ValueProxy<String> = keep(manager, "value", manager.value(&text("first")).unwrap());
    value.set(&text("second")).unwrap();
    value.replace(&text("third")).unwrap();
    let queue: JoinableQueueProxy<u32> = keep(manager, "joinable", manager.joinable_queue().unwrap());
    (0..3).for_each(|item| queue.put(&item).unwrap());
    queue.get().unwrap();
    queue.task_done().unwrap();
    let bounded: QueueProxy<u32> = manager.bounded_queue(2).unwrap();
    bounded.put(&6).unwrap();
    keep(manager, "queue", bounded);
    keep(manager, "lock", manager.lock().unwrap());
    keep(manager, "rlock", manager.rlock().unwrap());
    keep(manager, "condition", manager.condition().unwrap());
    let semaphore = keep(manager, "semaphore", manager.semaphore(3).unwrap());
    semaphore.acquire().unwrap().forget().unwrap();
    semaphore.release(4).unwrap();
    keep(manager, "bounded", manager.bounded_semaphore(2).unwrap());
    let event = keep(manager, "event", manager.event().unwrap());
    event.set().unwrap();
    event.clear().unwrap();
    event.set().unwrap();
    let barrier = keep(manager, "barrier", manager.barrier(2).unwrap());
    barrier.reset().unwrap();
    barrier.abort().unwrap();
    let tally = keep(manager, "tally", TallyProxy::create(manager).unwrap());
    tally.add(text("a"), 3).unwrap();
    tally.befriend(list.clone_as()).unwrap();
    tally.update(|tally: &mut Tally, by: u64| tally.add("a".to_owned(), by), 4).unwrap();
    manager.publish("unpublished", &list).unwrap();
    manager.unpublish("unpublished").unwrap();
}

/// The same list, as one of other numbers.
trait CloneAs {
    fn clone_as(&self) -> ListProxy<u64>;
}

impl CloneAs for ListProxy<u32> {
    fn clone_as(&self) -> ListProxy<u64> {
        Proxy::from_object(self.object().clone())
    }
}

fn check(manager: &Manager) {
    let list: ListProxy<u32> = manager.find("list").unwrap();
    assert_eq!(list.to_vec().unwrap(), [104, 4, 2, 3, 8, 1, 2, 3, 8]);
    assert_eq!(manager.find::<ArrayProxy<u8>>("array").unwrap().to_vec().unwrap(), [1, 2, 9]);
    let dict: DictProxy<String, ListProxy<u32>> = manager.find("dict").unwrap();
    assert_eq!(dict.items().unwrap(), [(text("b"), list.clone()), (text("c"), list.clone())]);
    let cleared: DictProxy<u8, u8> = manager.find("cleared").unwrap();
    assert_eq!(cleared.items().unwrap(), [(2, 3)]);
    let set: SetProxy<u8> = manager.find("set").unwrap();
    assert_eq!(set.to_set().unwrap(), [4, 8].into());
    let names: NamespaceProxy = manager.find("namespace").unwrap();
    assert_eq!(names.names().unwrap(), ["two"]);
    assert_eq!(names.get("two").unwrap(), Some(text("two")));
    assert_eq!(manager.find::<ValueProxy<String>>("value").unwrap().get().unwrap(), "third");
    let queue: JoinableQueueProxy<u32> = manager.find("joinable").unwrap();
    assert_eq!((queue.len().unwrap(), queue.join_timeout(std::time::Duration::ZERO).unwrap()), (2, false));
    let bounded: QueueProxy<u32> = manager.find("queue").unwrap();
    assert_eq!(bounded.len().unwrap(), 1);
    assert!(!manager.find::<LockProxy>("lock").unwrap().is_locked().unwrap());
    drop(manager.find::<RLockProxy>("rlock").unwrap().try_lock().unwrap().unwrap());
    drop(manager.find::<ConditionProxy>("condition").unwrap().lock().unwrap());
    assert_eq!(manager.find::<SemaphoreProxy>("semaphore").unwrap().available().unwrap(), 6);
    assert_eq!(manager.find::<SemaphoreProxy>("bounded").unwrap().available().unwrap(), 2);
    assert!(manager.find::<EventProxy>("event").unwrap().is_set().unwrap());
    assert!(manager.find::<BarrierProxy>("barrier").unwrap().is_broken().unwrap());
    let tally: TallyProxy = manager.find("tally").unwrap();
    assert_eq!(tally.get(text("a")).unwrap(), 7);
    assert_eq!(tally.friends().unwrap(), [list.clone_as()]);
    assert!(manager.find::<ListProxy<u32>>("unpublished").is_err());
}

pub(crate) fn a_log_of_format_1_is_read_for_ever() {
    let folder = Folder::new();
    fs::create_dir(&folder.0).unwrap();
    fs::copy(pinned(), folder.0.join("log")).unwrap();
    let manager = folder.start();
    check(&manager);
    // And it goes on from there.
    manager.find::<ListProxy<u32>>("list").unwrap().push(&1).unwrap();
    let manager = folder.again(manager);
    assert_eq!(manager.find::<ListProxy<u32>>("list").unwrap().len().unwrap(), 10);
}

/// If this fails, what is logged has changed: then it is another format, with a version of its own
/// in the head, and what reads this one stays. `MP_BLESS=1` writes a file for a new version.
pub(crate) fn the_same_steps_write_the_same_log() {
    let folder = Folder::new();
    let manager = folder.start();
    steps(&manager);
    check(&manager);
    drop(manager);
    if std::env::var_os("MP_BLESS").is_some() {
        fs::copy(folder.0.join("log"), pinned()).unwrap();
    }
    assert!(log(&folder) == fs::read(pinned()).unwrap(), "the log is another one than was written before");
}

pub(crate) fn a_newer_format_is_refused_in_words() {
    let folder = Folder::new();
    fs::create_dir(&folder.0).unwrap();
    let mut bytes = fs::read(pinned()).unwrap();
    assert_eq!(bytes[16..20], 1u32.to_le_bytes());
    bytes[16] = 2;
    fs::write(folder.0.join("log"), &bytes).unwrap();
    let error = folder.builder().start().unwrap_err();
    assert!(error.is_state(), "{error}");
    let text = error.to_string();
    assert!(text.contains("format 2") && text.contains("use the version that wrote it"), "{error}");
    assert_eq!(log(&folder), bytes);
}
