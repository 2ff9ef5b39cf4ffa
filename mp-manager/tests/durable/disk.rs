//! The disk, and answers that wait for it.

use std::thread;
use std::time::Duration;

use mp_manager::{DictProxy, ListProxy, Manager, QueueProxy};
use mp_process::Process;
use mp_testkit::chaos;
use rustix::process::{Pid, Resource, Rlimit};

use super::{Folder, Tally, TallyProxy, keep, log, soon, text};

pub(crate) fn calls_wait_for_the_disk() {
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

pub(crate) fn a_killed_waiter_of_a_queue_takes_nothing_along() {
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
    // One that was given to somebody whose end was not known yet comes back.
    soon("an item is lost", || queue.len().unwrap() == 5);
    let manager = folder.again(manager);
    let queue: QueueProxy<u64> = manager.find("queue").unwrap();
    assert_eq!(queue.len().unwrap(), 5);
}

/// How long files of the server may become, in bytes.
fn limit(manager: &Manager, len: Option<u64>) {
    let pid = Pid::from_raw(manager.pid().unwrap() as i32);
    let limit = Rlimit { current: len, maximum: None };
    rustix::process::prlimit(pid, Resource::Fsize, limit).unwrap();
}

pub(crate) fn a_full_disk_is_the_error_of_what_changes() {
    chaos::long_files_are_errors();
    let folder = Folder::new();
    let manager = folder.start();
    let list: ListProxy<u64> = keep(&manager, "list", manager.list().unwrap());
    let dict: DictProxy<u64, Vec<u8>> = keep(&manager, "dict", manager.dict().unwrap());
    let queue: QueueProxy<u64> = keep(&manager, "queue", manager.queue().unwrap());
    let tally = keep(&manager, "tally", TallyProxy::create(&manager).unwrap());
    let late: ListProxy<u64> = manager.list_from(&[5]).unwrap();
    queue.put(&1).unwrap();
    tally.add(text("a"), 1).unwrap();
    let mut pushed = 0;
    // Full at a place where a part of a change still has room, and again after there was some.
    for room in [200, 333, 1000] {
        limit(&manager, Some(log(&folder).len() as u64 + room));
        let error = loop {
            match list.push(&pushed) {
                Ok(()) => pushed += 1,
                Err(error) => break error,
            }
        };
        assert!(error.is_not_kept(), "{error}");
        let before = log(&folder);
        let large = vec![7; 2000];
        assert!(dict.insert(&1, &large).unwrap_err().is_not_kept());
        assert!(
            dict.update(&2, |v: &mut Option<Vec<u8>>, new| *v = Some(new), large).unwrap_err().is_not_kept()
        );
        assert!(tally.add("a".repeat(2000), 1).unwrap_err().is_not_kept());
        assert!(tally.add_to_all(text("a"), 2000).unwrap_err().is_not_kept());
        assert!(manager.publish(&"n".repeat(2000), &list).unwrap_err().is_not_kept());
        assert_eq!(log(&folder), before);
        // Nothing of that has happened, and all is there that was answered.
        assert_eq!(list.to_vec().unwrap(), (0..pushed).collect::<Vec<_>>());
        assert!(dict.is_empty().unwrap());
        assert_eq!(tally.get("a".repeat(2000)).unwrap(), 0);
        assert_eq!(tally.get(text("a")).unwrap(), 1);
        assert_eq!(queue.len().unwrap(), 1);
        // As little as there is room for.
        limit(&manager, Some(before.len() as u64));
        assert!(manager.make_durable(&late).unwrap_err().is_not_kept());
        assert!(queue.get().unwrap_err().is_not_kept());
        assert!(queue.put(&2).unwrap_err().is_not_kept());
        assert_eq!((queue.len().unwrap(), late.to_vec().unwrap()), (1, vec![5]));
        limit(&manager, None);
        list.push(&pushed).unwrap();
        pushed += 1;
    }
    queue.put(&2).unwrap();
    assert_eq!(queue.get().unwrap(), 1);
    assert_eq!(tally.add(text("a"), 1).unwrap(), 2);
    let manager = folder.again(manager);
    let list: ListProxy<u64> = manager.find("list").unwrap();
    assert_eq!(list.to_vec().unwrap(), (0..pushed).collect::<Vec<_>>());
    assert_eq!(manager.find::<QueueProxy<u64>>("queue").unwrap().try_get().unwrap(), Some(2));
    assert_eq!(manager.find::<TallyProxy>("tally").unwrap().get(text("a")).unwrap(), 2);
    assert_eq!(manager.object_count().unwrap(), 4);
}

pub(crate) fn a_log_that_cannot_be_written_anew_goes_on() {
    chaos::long_files_are_errors();
    let folder = Folder::new();
    let manager = folder.start();
    let dict: DictProxy<u64, Vec<u8>> = keep(&manager, "dict", manager.dict().unwrap());
    let held: DictProxy<u64, Vec<u8>> = keep(&manager, "held", manager.dict().unwrap());
    (0..60).for_each(|key| drop(held.insert(&key, &vec![1; 60_000]).unwrap()));
    // The new one would be as long as the old one is, which is too long.
    limit(&manager, Some(log(&folder).len() as u64 - 100_000));
    assert!(dict.insert(&0, &vec![1; 60_000]).unwrap_err().is_not_kept());
    limit(&manager, None);
    let mut turn = 0;
    while !folder.0.join("log.next").exists() && log(&folder).len() < 6 << 20 {
        dict.insert(&0, &vec![turn as u8; 60_000]).unwrap();
        turn += 1;
    }
    limit(&manager, Some(3 << 20));
    soon("what nobody wants takes room", || !folder.0.join("log.next").exists());
    limit(&manager, None);
    dict.insert(&1, &vec![2; 10]).unwrap();
    let manager = folder.again(manager);
    assert_eq!(manager.find::<DictProxy<u64, Vec<u8>>>("held").unwrap().len().unwrap(), 60);
    assert_eq!(manager.find::<DictProxy<u64, Vec<u8>>>("dict").unwrap().get(&1).unwrap(), Some(vec![2; 10]));
}
