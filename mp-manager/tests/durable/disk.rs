//! The disk, and answers that wait for it.

use std::thread;
use std::time::Duration;

use mp_manager::{DictProxy, ListProxy, QueueProxy};
use mp_process::Process;

use super::{Folder, Tally, TallyProxy, keep, text};

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
    let left = queue.len().unwrap();
    let manager = folder.again(manager);
    let queue: QueueProxy<u64> = manager.find("queue").unwrap();
    assert_eq!(queue.len().unwrap(), left);
    assert_eq!(left, 5);
}
