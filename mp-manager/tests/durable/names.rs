//! Names, types and folders.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use mp_manager::{ListProxy, Manager, ManagerError, ValueProxy};

use super::{Folder, TallyProxy, UnknownProxy, keep, text};

pub(crate) fn names_come_and_go() {
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

pub(crate) fn all_that_make_a_durable_object_at_once_get_the_same() {
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

pub(crate) fn proxies_of_the_server_before_are_errors() {
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

pub(crate) fn an_object_keeps_the_name_that_it_had_before() {
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

pub(crate) fn a_second_server_is_told_that_the_folder_is_taken() {
    let folder = Folder::new();
    let manager = folder.start();
    let error = folder.builder().start().unwrap_err();
    assert!(error.is_state() && error.is_state_locked(), "{error}");
    assert!(folder.builder().serve().unwrap_err().is_state_locked());
    drop(manager);
    folder.start();
}

pub(crate) fn a_manager_without_a_folder_says_so() {
    let manager = Manager::start().unwrap();
    let error = manager.make_durable(&manager.list::<u8>().unwrap()).unwrap_err();
    assert!(error.is_refused() && error.to_string().contains("Builder::state"), "{error}");
    assert_eq!(manager.state_size().unwrap(), None);
}

pub(crate) fn a_type_that_is_not_known_is_an_error() {
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

pub(crate) fn a_server_in_this_process_keeps_its_state() {
    let folder = Folder::new();
    for round in 0..3u64 {
        let server = folder.builder().serve().unwrap();
        let manager = server.manager().unwrap();
        let list: ListProxy<u64> = manager.durable("list", |manager| manager.list()).unwrap();
        assert_eq!(list.to_vec().unwrap(), (0..round).collect::<Vec<_>>());
        list.push(&round).unwrap();
        drop((list, manager));
        assert!(server.shutdown(Duration::from_secs(20)));
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
