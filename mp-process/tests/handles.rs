//! What children cost this process while they live, and what they leave behind: nothing, under each
//! start method.

mod common;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{env, fs, thread};

use common::{builder, spawn};
use ipc_core::wait;
use mp_process::StartMethod;
use mp_testkit::chaos::descendants;

common::tests![
    at_most_two_handles_per_child_and_none_after_join,
    a_joined_process_holds_no_handle,
    servers_of_many_arguments_are_not_kept,
    an_argument_is_dropped_here_once_it_is_sent,
    a_child_has_few_handles,
    a_child_has_no_link_but_its_own,
];

fn main() -> std::process::ExitCode {
    common::run(TESTS)
}

fn handles() -> usize {
    // The listing has one itself.
    fs::read_dir("/proc/self/fd").unwrap().count() - 1
}

fn at_most_two_handles_per_child_and_none_after_join(method: StartMethod) {
    spawn(method, |()| (), ()).unwrap().join().unwrap();
    let before = handles();
    let children: Vec<_> =
        (0..20).map(|_| spawn(method, |()| thread::sleep(Duration::from_secs(600)), ())).collect();
    assert!(handles() <= before + 40, "{} handles for 20 children", handles() - before);
    for child in children {
        let child = child.unwrap();
        child.kill().unwrap();
        assert_eq!(child.join().unwrap_err().signal(), Some(9));
    }
    assert_eq!(handles(), before);
}

fn a_joined_process_holds_no_handle(method: StartMethod) {
    spawn(method, |()| (), ()).unwrap().join().unwrap();
    let before = handles();
    let child = spawn(method, |()| 7, ()).unwrap();
    assert_eq!(child.join_timeout(Duration::from_secs(30)).unwrap(), 7);
    assert_eq!(handles(), before);
    assert!(!child.is_alive());
    assert_eq!(wait(&[&child.sentinel()], None).unwrap(), [0]);
}

/// The processes below this one that wait to fork.
fn servers() -> usize {
    let all = descendants(std::process::id()).into_iter();
    all.filter(|below| below.name == "mp-fork-server" && !below.is_zombie()).count()
}

fn servers_of_many_arguments_are_not_kept(method: StartMethod) {
    if method != StartMethod::ForkServer {
        return;
    }
    spawn(method, |()| (), ()).unwrap().join().unwrap();
    let (before, open) = (servers(), handles());
    for number in 0..12 {
        let child = builder(method).args([format!("{number}")]).spawn(|()| env::args().next_back(), ());
        assert_eq!(child.unwrap().join().unwrap(), Some(format!("{number}")));
    }
    // Those that are given up take a moment to end, also those of tests before.
    let are_gone = || {
        (servers() <= before && handles() == open) || {
            thread::sleep(Duration::from_millis(20));
            false
        }
    };
    assert!(
        (0..1500).any(|_| are_gone()),
        "{} servers, {} handles; {before}, {open} before",
        servers(),
        handles()
    );
}

/// Counts how often it is dropped in this process.
#[derive(serde::Serialize, serde::Deserialize)]
struct Counted;

static DROPPED: AtomicU32 = AtomicU32::new(0);

impl Drop for Counted {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

fn an_argument_is_dropped_here_once_it_is_sent(method: StartMethod) {
    let before = DROPPED.load(Ordering::Relaxed);
    let child = spawn(method, |counted: Counted| drop(counted), Counted).unwrap();
    assert_eq!(DROPPED.load(Ordering::Relaxed), before + 1);
    child.join().unwrap();
    assert_eq!(DROPPED.load(Ordering::Relaxed), before + 1);
}

fn a_child_has_few_handles(method: StartMethod) {
    let count = |()| handles();
    let first = spawn(method, count, ()).unwrap().join().unwrap();
    let others: Vec<_> = (0..5).map(|_| spawn(method, count, ()).unwrap()).collect();
    let counts: Vec<_> = others.into_iter().map(|child| child.join().unwrap()).collect();
    if method != StartMethod::Fork {
        assert!(counts.iter().all(|count| *count == first), "{first} {counts:?}");
        // Some more may have been inherited from whoever runs the tests.
        assert!(first <= 6 + 3, "{first}");
    }
}

fn sockets((): ()) -> usize {
    let all = fs::read_dir("/proc/self/fd").unwrap();
    let leads = all.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    leads.filter(|lead| lead.to_string_lossy().starts_with("socket:")).count()
}

fn a_child_has_no_link_but_its_own(method: StartMethod) {
    let here = sockets(());
    let alone = spawn(method, sockets, ()).unwrap().join().unwrap();
    // One that is executed has its link and nothing of its parent's; so has one of a server, which has
    // a link of its own.
    match method {
        StartMethod::Fork => assert_eq!(alone, here + 1),
        _ => assert_eq!(alone, spawn(StartMethod::Spawn, sockets, ()).unwrap().join().unwrap()),
    }
    let sleep = |()| thread::sleep(Duration::from_secs(600));
    let siblings: Vec<_> = (0..3).map(|_| spawn(method, sleep, ()).unwrap()).collect();
    assert_eq!(spawn(method, sockets, ()).unwrap().join().unwrap(), alone);
    for sibling in siblings {
        sibling.kill().unwrap();
        assert_eq!(sibling.join().unwrap_err().signal(), Some(9));
    }
}
