//! Forks with captures.

use std::env;
use std::thread;

use mp_process::{Process, StartMethod};

pub(super) fn fork_with_captures(_: StartMethod) {
    let words = vec!["one".to_owned(), "two".to_owned()];
    let borrowed = &words;
    let count = Process::fork(|| borrowed.len()).unwrap();
    assert_eq!(count.join().unwrap(), 2);
    let joined = Process::builder().name("joiner").env("MP_A", "1");
    let joined = joined.fork(move || {
        let name = mp_process::current_process().name().to_owned();
        format!("{} {name} {}", words.join("+"), env::var("MP_A").unwrap())
    });
    assert_eq!(joined.unwrap().join().unwrap(), "one+two joiner 1");
    let error = Process::<()>::fork(|| panic!("in a fork")).unwrap().join().unwrap_err();
    assert_eq!(error.panic().unwrap().message(), "in a fork");
    let big = Process::fork(|| vec![3u8; 4_000_000]).unwrap();
    assert_eq!(big.join().unwrap().len(), 4_000_000);
    let (sender, waiting) = std::sync::mpsc::sync_channel::<()>(0);
    let busy = move || {
        waiting.recv().unwrap();
        waiting.recv().is_ok()
    };
    let thread = thread::Builder::new().name("busy".into()).spawn(busy).unwrap();
    sender.send(()).unwrap();
    let error = Process::fork(|| ()).unwrap_err();
    assert!(error.is_threads() && error.to_string().contains("busy"), "{error}");
    drop(sender);
    thread.join().unwrap();
    // The kernel may list a thread for a moment after it was joined.
    Process::fork(|| ()).unwrap().join().unwrap();
}
