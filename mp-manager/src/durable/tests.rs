//! A disk that refuses, and one that takes its time.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::client::lock;
use crate::{Manager, ManagerServer, QueueProxy};

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("mp-disk-{}-{number}", std::process::id())))
    }

    fn serve(&self) -> (ManagerServer, Manager) {
        let server = Manager::builder().authkey("disk").state(&self.0).sync().serve().unwrap();
        let manager = connect(&server);
        (server, manager)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn connect(server: &ManagerServer) -> Manager {
    Manager::connect(server.address(), "disk").unwrap()
}

fn store(server: &ManagerServer) -> &Arc<Store> {
    server.server().store().unwrap()
}

fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A file that takes what is written, and that no disk is behind.
fn no_disk() -> File {
    let (reader, writer) = io::pipe().unwrap();
    // It stays until the test process ends, so that the writer finds somebody.
    std::mem::forget(reader);
    File::from(OwnedFd::from(writer))
}

#[test]
fn a_sync_that_is_refused_is_told_to_all() {
    let folder = Folder::new();
    let (server, manager) = folder.serve();
    let list = manager.durable("list", |manager| manager.list::<u64>()).unwrap();
    let queue = manager.durable("queue", |manager| manager.queue::<u64>()).unwrap();
    list.push(&1).unwrap();
    queue.put(&7).unwrap();
    let whole = std::mem::replace(&mut lock(&store(&server).log).file, no_disk());
    let error = list.push(&2).unwrap_err();
    assert!(error.is_not_kept() && error.to_string().contains("start it again"), "{error}");
    // A disk that is well again has not got what it left out.
    lock(&store(&server).log).file = whole;
    let error = list.push(&3).unwrap_err();
    assert!(error.is_not_kept() && error.to_string().contains("start it again"), "{error}");
    assert!(queue.get().unwrap_err().is_not_kept());
    assert!(manager.publish("other", &list).unwrap_err().is_not_kept());
    // What only looks is answered, and what is not durable goes on.
    assert_eq!(list.get(0).unwrap(), 1);
    assert_eq!(queue.len().unwrap(), 1);
    manager.list_from(&[1u8]).unwrap().push(&2).unwrap();
    drop((list, queue, manager, server));
    let (_server, manager) = folder.serve();
    let list: crate::ListProxy<u64> = manager.find("list").unwrap();
    assert_eq!(list.to_vec().unwrap(), [1]);
    list.push(&4).unwrap();
    let queue: QueueProxy<u64> = manager.find("queue").unwrap();
    assert_eq!(queue.try_get().unwrap(), Some(7));
}

/// Items are taken out for a client; it goes as `leave` says while the disk takes its time.
fn get_and(leave: fn(Manager, Vec<crate::AsyncReply<u64>>)) {
    let folder = Folder::new();
    let (server, manager) = folder.serve();
    let queue = manager.durable("queue", |manager| manager.queue::<u64>()).unwrap();
    (0..4).for_each(|item| queue.put(&item).unwrap());
    let clients = || lock(&server.server().sessions).len();
    let before = clients();
    let gone = connect(&server);
    let its: QueueProxy<u64> = gone.find("queue").unwrap();
    let gate = lock(&store(&server).gate);
    // The first waits for the disk by itself, the others for the disk's next turn.
    let mut replies = Vec::new();
    for count in [1, 2] {
        let len = manager.state_size().unwrap();
        replies.extend((0..count).map(|_| its.get_async().unwrap()));
        soon("nothing is logged", || manager.state_size().unwrap() > len);
        soon("the disk has no turn", || count > 1 || !store(&server).has_held());
    }
    assert_eq!(clients(), before + 1);
    drop(its);
    leave(gone, replies);
    soon("the client is still there", || clients() == before);
    drop(gate);
    let expected = [0, 1, 2, 3];
    soon("not all came back", || queue.len().unwrap() == expected.len());
    drop((queue, manager, server));
    let (_server, manager) = folder.serve();
    let queue: QueueProxy<u64> = manager.find("queue").unwrap();
    assert_eq!(expected.map(|_| queue.get().unwrap()), expected);
}

#[test]
fn an_item_for_a_client_that_died_meanwhile_comes_back() {
    get_and(|manager, replies| {
        // No request of it says so: its connection ends.
        replies.into_iter().for_each(crate::AsyncReply::detach);
        drop(manager);
    });
}

#[test]
fn an_item_for_one_that_gave_up_meanwhile_comes_back() {
    get_and(|manager, replies| drop((replies, manager)));
}
