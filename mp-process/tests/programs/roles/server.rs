//! The fork server and the child that it keeps ready, killed.

use std::process;
use std::thread;
use std::time::{Duration, Instant};

use mp_process::{Process, StartMethod};
use mp_testkit::chaos::{self, descendants};

use super::{sleep_long, spawn};

pub(super) fn lose_the_server(method: StartMethod) {
    let (go_on, goes_on) = ipc_core::pipe::<()>().unwrap();
    let wait = |goes_on: ipc_core::Receiver<()>| goes_on.recv().unwrap();
    let child = Process::builder().start_method(method).spawn(wait, goes_on).unwrap();
    let server = descendants(process::id()).into_iter().find(|below| below.name == "mp-fork-server").unwrap();
    // SAFETY: only sends a signal, that of Ctrl-C.
    #[allow(unsafe_code)]
    unsafe {
        libc::kill(i32::try_from(server.pid).unwrap(), libc::SIGINT);
    }
    assert_eq!(spawn(method, |()| 4).join().unwrap(), 4);
    assert!(chaos::state(server.pid).is_some_and(|state| state != 'Z'));
    chaos::kill(server.pid).unwrap();
    // It lives on, and its value comes.
    assert!(child.is_alive());
    go_on.send(&()).unwrap();
    child.join().unwrap();
    // One child was forked ahead; for the next one there is a new server.
    assert_eq!(spawn(method, |()| 5).join().unwrap(), 5);
    let lost = spawn(method, sleep_long);
    chaos::kill(living("mp-fork-server").unwrap()).unwrap();
    thread::sleep(Duration::from_millis(50));
    lost.kill().unwrap();
    // Where the server is its parent, its status has nobody to tell it.
    let status = lost.join().unwrap_err().status().unwrap();
    assert!(status.is_unknown() || status.signal() == Some(9), "{status}");
    for _ in 0..3 {
        assert_eq!(spawn(method, |()| 3).join().unwrap(), 3);
    }
}

/// A process below this one that has this name.
fn living(name: &str) -> Option<u32> {
    let all = descendants(process::id());
    all.into_iter().find(|below| below.name == name && !below.is_zombie()).map(|below| below.pid)
}

/// Kills the child that is kept ready, each time.
pub(super) fn lose_the_spare(method: StartMethod) {
    for round in 0..20 {
        assert_eq!(spawn(method, |()| 3).join().unwrap(), 3);
        if round % 2 == 0 {
            let deadline = Instant::now() + Duration::from_secs(20);
            let spare = loop {
                match living("mp-fork-spare") {
                    Some(spare) => break spare,
                    None => assert!(Instant::now() < deadline, "no child is kept ready"),
                }
            };
            chaos::kill(spare).unwrap();
            while chaos::state(spare).is_some_and(|state| state != 'Z') {
                thread::yield_now();
            }
        }
    }
    // The last of them was collected, and so was each that was killed.
    let has_zombies = || descendants(process::id()).iter().any(|below| below.is_zombie());
    let deadline = Instant::now() + Duration::from_secs(20);
    while has_zombies() {
        assert!(Instant::now() < deadline, "some are not collected");
        assert_eq!(spawn(method, |()| 3).join().unwrap(), 3);
    }
}
