//! Programs that see to signals and to the ends of children themselves.

use std::process;
use std::thread;
use std::time::Duration;

use mp_process::{Process, StartMethod};

use super::{say, sleep_long, spawn};

pub(super) fn collect_everything(method: StartMethod) {
    // A fork is refused beside a thread, so that one steals between the lines.
    let collect = || {
        // SAFETY: a null status is allowed.
        #[allow(unsafe_code)]
        unsafe {
            libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG)
        }
    };
    if method != StartMethod::Fork {
        thread::spawn(move || {
            loop {
                collect();
                thread::yield_now();
            }
        });
    }
    for round in 0..30 {
        let child = Process::builder().start_method(method).spawn(|x: u32| x + 1, round).unwrap();
        if method == StartMethod::Fork {
            let _ = ipc_core::wait(&[&child.sentinel()], None);
            collect();
        }
        assert_eq!(child.join().unwrap(), round + 1);
    }
    let child = spawn(method, |()| process::exit(3));
    if method == StartMethod::Fork {
        let _ = ipc_core::wait(&[&child.sentinel()], None);
        collect();
    }
    let error: mp_process::ProcessError = Process::<()>::join(child).unwrap_err();
    assert!(error.status().unwrap().is_unknown() || error.exit_code() == Some(3), "{error}");
}

pub(super) fn ignore_ends(method: StartMethod) {
    // SAFETY: ignores a signal.
    #[allow(unsafe_code)]
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
    }
    for round in 0..30 {
        let child = Process::builder().start_method(method).spawn(|x: u32| x + 1, round).unwrap();
        assert_eq!(child.join().unwrap(), round + 1);
    }
    let child = spawn(method, sleep_long);
    child.kill().unwrap();
    let error = child.join().unwrap_err();
    assert!(error.status().unwrap().is_unknown() || error.signal() == Some(9), "{error}");
}

pub(super) fn with_blocked_signals(method: StartMethod) {
    // SAFETY: a set that is filled before it is used.
    #[allow(unsafe_code)]
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, std::ptr::null_mut());
    }
    let child = spawn(method, |()| {
        thread::sleep(Duration::from_millis(200));
        sleep_long(());
    });
    thread::sleep(Duration::from_millis(100));
    child.terminate().unwrap();
    assert_eq!(child.join().unwrap_err().signal(), Some(15));
}

pub(super) fn with_handlers(method: StartMethod) {
    extern "C" fn nothing(_signal: i32) {}
    // SAFETY: a handler that does nothing, and a signal that is ignored.
    #[allow(unsafe_code)]
    unsafe {
        libc::signal(libc::SIGTERM, nothing as extern "C" fn(i32) as libc::sighandler_t);
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
    }
    let child = Process::builder().start_method(method).spawn(
        |()| {
            // Its own children's statuses are not lost.
            let exit = Process::<()>::spawn(|()| process::exit(4), ()).unwrap().join();
            assert_eq!(exit.unwrap_err().exit_code(), Some(4));
        },
        (),
    );
    child.unwrap().join().unwrap();
    let (ready, is_ready) = ipc_core::pipe::<()>().unwrap();
    let stay = |ready: ipc_core::Sender<()>| {
        ready.send(&()).unwrap();
        sleep_long(());
    };
    let child = Process::builder().start_method(method).spawn(stay, ready).unwrap();
    is_ready.recv().unwrap();
    child.terminate().unwrap();
    let error = child.join_timeout(Duration::from_secs(30)).unwrap_err();
    assert!(!error.is_timeout(), "{error}");
}

pub(super) fn be_interrupted(method: StartMethod) {
    let child = spawn(method, |()| {
        say("started");
        thread::sleep(Duration::from_millis(400));
        say("still there");
        sleep_long(());
    });
    let _ = child.join();
}
