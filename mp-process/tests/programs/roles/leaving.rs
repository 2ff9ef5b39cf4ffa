//! The end of `main`, and what is awaited and written there.

use std::io::Write;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use mp_process::{Process, StartMethod};

use super::{say, sleep_long, spawn};

pub(super) fn exit_in_a_thread_while_main_is_stuck(method: StartMethod) {
    let began = Instant::now();
    let child = Process::builder()
        .start_method(method)
        .join_at_exit(Duration::from_millis(200))
        .spawn(sleep_long, ())
        .unwrap();
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(100));
        assert!(began.elapsed() < Duration::from_secs(10));
        process::exit(0);
    });
    let _ = child.join();
    unreachable!("the child never ends by itself");
}

pub(super) fn leave_main_while_children_run(method: StartMethod) {
    let finish = |()| {
        thread::sleep(Duration::from_millis(300));
        say("done");
    };
    drop(spawn(method, finish));
    std::mem::forget(spawn(method, finish));
}

pub(super) fn leave_main_while_a_child_is_stuck(method: StartMethod) {
    let stuck = Process::builder().start_method(method).join_at_exit(Duration::from_millis(300));
    drop(stuck.spawn(sleep_long, ()).unwrap());
    let killed = Process::builder().start_method(method).kill_on_drop(true);
    std::mem::forget(killed.spawn(sleep_long, ()).unwrap());
}

/// Has half a line in each buffer when a child is made.
pub(super) fn leave_output_unfinished(method: StartMethod) {
    print!("by Rust ");
    if method != StartMethod::Fork {
        // Nobody else inherits the buffers.
        std::io::stdout().flush().unwrap();
    }
    // SAFETY: a format without conversions; and flushes.
    #[allow(unsafe_code)]
    unsafe {
        libc::printf(c"by C ".as_ptr());
        if method != StartMethod::Fork {
            libc::fflush(std::ptr::null_mut());
        }
    }
    spawn(method, |()| println!("from the child")).join().unwrap();
    println!("and back");
}
