//! Handles and channel ends in tasks.

mod common;

use std::process::ExitCode;

use common::{die_once, start_library_threads};
use ipc_core::{Handle, Sender, pipe};
use mp_pool::Pool;
use mp_testkit::chaos;
use mp_testkit::harness::Suite;

fn main() -> ExitCode {
    let trials = mp_testkit::trials![
        ends_and_handles_travel_through_a_pool,
        a_handle_behind_plain_items_survives_a_retry,
        a_moved_end_behind_plain_items_is_not_lost_with_them,
        a_moved_end_is_not_sent_twice,
    ];
    Suite::new(trials).warm_up(start_library_threads).run()
}

fn ends_and_handles_travel_through_a_pool() {
    let pool = Pool::new(2).unwrap();
    let (tx, rx) = pipe::<u64>().unwrap();
    pool.apply(|tx: Sender<u64>| (0..10).for_each(|i| tx.send(&i).unwrap()), tx).unwrap();
    assert_eq!(rx.iter().map(Result::unwrap).sum::<u64>(), 45);
    let files = (0..40)
        .map(|_| Handle::from(std::os::fd::OwnedFd::from(std::fs::File::open("/proc/version").unwrap())));
    let back = pool.map(|file: Handle| file, files).unwrap();
    assert_eq!(back.len(), 40);
}

/// Dies once at the first item; how long the file is that came along, if one did.
fn die_once_or_measure((path, x, file): (String, u32, Option<Handle>)) -> u64 {
    die_once((path, x));
    file.map_or(0, |file| {
        let file = std::fs::File::from(std::os::fd::OwnedFd::from(file));
        file.metadata().unwrap().len()
    })
}

fn a_handle_behind_plain_items_survives_a_retry() {
    let folder = std::env::temp_dir().join(format!("mp-pool-laden-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("file"), [0; 77]).unwrap();
    let items = |from: u32| {
        let folder = folder.clone();
        (from..from + 12).map(move |x| {
            let open = || std::fs::File::open(folder.join("file")).unwrap();
            let file = (x % 4 == 3).then(|| Handle::from(std::os::fd::OwnedFd::from(open())));
            (folder.to_str().unwrap().to_owned(), x, file)
        })
    };
    let lens: Vec<u64> = (0..12).map(|x| if x % 4 == 3 { 77 } else { 0 }).collect();
    let pool = Pool::builder().processes(1).retries(1).build().unwrap();
    let values: Result<Vec<_>, _> = pool.imap(die_once_or_measure, items(0)).chunk_size(4).collect();
    assert_eq!(values.unwrap(), lens);
    assert_eq!(pool.map(die_once_or_measure, items(12)).unwrap(), lens);
    std::fs::remove_dir_all(folder).unwrap();
}

fn a_moved_end_behind_plain_items_is_not_lost_with_them() {
    let pool = Pool::builder().processes(1).build().unwrap();
    let (tx, rx) = pipe::<u64>().unwrap();
    let first_dies = |(x, tx): (u64, Option<Sender<u64>>)| match tx {
        None if x == 0 => chaos::kill(std::process::id()).unwrap(),
        None => {}
        Some(tx) => tx.send(&x).unwrap(),
    };
    let items = [(0, None), (1, None), (2, Some(tx))];
    let outcomes: Vec<_> = pool.imap(first_dies, items).chunk_size(3).collect();
    assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, true]);
    assert_eq!(rx.recv().unwrap(), 2);
}

fn a_moved_end_is_not_sent_twice() {
    let pool = Pool::builder().processes(1).retries(5).build().unwrap();
    let (tx, rx) = pipe::<u64>().unwrap();
    let fatal = |tx: Sender<u64>| {
        tx.send(&1).unwrap();
        chaos::kill(std::process::id()).unwrap();
    };
    let error = pool.apply(fatal, tx).unwrap_err();
    assert!(error.is_worker_died(), "{error}");
    assert_eq!(rx.recv().unwrap(), 1);
    assert!(rx.recv().is_err(), "the end died with its worker");
}
