//! What runs and what is written when a child leaves, and what of its parent is not, under each
//! start method.

mod common;
#[path = "common/streams.rs"]
mod streams;

use std::thread;
use std::time::Duration;

use common::{builder, spawn};
use ipc_core::{Sender, pipe, wait};
use mp_process::{Process, StartMethod, current_process};
use streams::{stream, text};

common::tests![
    exit_handlers_of_the_child_run,
    exit_handlers_of_the_parent_do_not_run,
    values_of_threads_of_the_parent_are_not_dropped,
    values_of_threads_of_the_child_are_dropped,
    what_c_code_has_written_is_flushed,
    children_of_a_child_are_awaited_when_it_leaves,
    exit_status_says_how,
    the_peak_of_memory_is_its_own,
];

fn main() -> std::process::ExitCode {
    common::run(TESTS)
}

extern "C" fn say_that_it_ran() {
    print!("the handler ran in {}.", current_process().name());
}

fn register_a_handler() {
    // SAFETY: the handler has the signature asked for.
    #[allow(unsafe_code)]
    unsafe {
        libc::atexit(say_that_it_ran);
    }
}

fn exit_handlers_of_the_child_run(method: StartMethod) {
    if cfg!(not(target_env = "gnu")) && method == StartMethod::Fork {
        return;
    }
    for end in [
        |()| register_a_handler(),
        |()| {
            register_a_handler();
            std::process::exit(3)
        },
    ] {
        let (reader, stdout) = stream();
        let child = builder(method).name("ended").stdout(stdout).spawn::<(), ()>(end, ()).unwrap();
        let error = child.join().err();
        assert!(error.is_none_or(|error| error.exit_code() == Some(3)));
        assert_eq!(text(reader), "the handler ran in ended.");
    }
}

fn exit_handlers_of_the_parent_do_not_run(method: StartMethod) {
    if cfg!(not(target_env = "gnu")) {
        return;
    }
    // A child, so that this program's own end is not disturbed.
    let parent = |method: StartMethod| {
        register_a_handler();
        for end in [|()| (), |()| std::process::exit(3)] {
            let (reader, stdout) = stream();
            let child = builder(method).stdout(stdout).spawn::<(), ()>(end, ()).unwrap();
            let _ = child.join();
            assert_eq!(text(reader), "");
        }
    };
    let (_reader, stdout) = stream();
    builder(method).stdout(stdout).spawn(parent, method).unwrap().join().unwrap();
}

/// Says where it is dropped.
struct Tells;

impl Drop for Tells {
    fn drop(&mut self) {
        say_that_it_ran();
    }
}

thread_local! {
    static TELLS: Tells = const { Tells };
}

fn values_of_threads_of_the_parent_are_not_dropped(method: StartMethod) {
    // A child, so that this program's own end is not disturbed.
    let parent = |method: StartMethod| {
        TELLS.with(|_| ());
        let (reader, stdout) = stream();
        builder(method).stdout(stdout).spawn(|()| (), ()).unwrap().join().unwrap();
        assert_eq!(text(reader), "");
    };
    let (_reader, stdout) = stream();
    builder(method).stdout(stdout).spawn(parent, method).unwrap().join().unwrap();
}

fn values_of_threads_of_the_child_are_dropped(method: StartMethod) {
    if cfg!(not(target_env = "gnu")) && method == StartMethod::Fork {
        return;
    }
    for end in [
        |()| TELLS.with(|_| ()),
        |()| {
            TELLS.with(|_| ());
            std::process::exit(0)
        },
    ] {
        let (reader, stdout) = stream();
        let _ = builder(method).name("ended").stdout(stdout).spawn(end, ()).unwrap().join();
        assert_eq!(text(reader), "the handler ran in ended.");
    }
}

fn what_c_code_has_written_is_flushed(method: StartMethod) {
    let write = |code: i32| {
        // SAFETY: a format without conversions.
        #[allow(unsafe_code)]
        unsafe {
            libc::printf(c"by C.".as_ptr());
        }
        print!("by Rust.");
        if code > 0 {
            std::process::exit(code)
        }
    };
    for code in [0, 3] {
        let (reader, stdout) = stream();
        let _ = builder(method).stdout(stdout).spawn(write, code).unwrap().join();
        let text = text(reader);
        assert!(text.contains("by C.") && text.contains("by Rust."), "{text}");
        assert_eq!(text.len(), 13, "{text}");
    }
}

fn children_of_a_child_are_awaited_when_it_leaves(method: StartMethod) {
    // This process has such children itself.
    spawn(method, |()| (), ()).unwrap().join().unwrap();
    let start = |(told, exits): (Sender<u8>, bool)| {
        let late = |told: Sender<u8>| {
            thread::sleep(Duration::from_millis(200));
            told.send(&7).unwrap();
        };
        drop(Process::spawn(late, told).unwrap());
        if exits {
            std::process::exit(3);
        }
    };
    for exits in [false, true] {
        let (told, tell) = pipe().unwrap();
        let ended = spawn(method, start, (told, exits)).unwrap().join();
        assert_eq!(ended.err().and_then(|error| error.exit_code()), exits.then_some(3));
        assert_eq!(tell.recv_timeout(Duration::from_secs(20)).unwrap(), 7);
    }
}

fn the_peak_of_memory_is_its_own(method: StartMethod) {
    const LARGE: u64 = 200 << 20;
    drop(std::hint::black_box(vec![1u8; LARGE as usize]));
    let small = spawn(method, |()| (), ()).unwrap();
    wait(&[&small.sentinel()], None).unwrap();
    // One that executes the program again begins with the peak of this process.
    match small.peak_memory() {
        None => assert_ne!(method, StartMethod::Fork),
        Some(peak) => assert!(method != StartMethod::Spawn && (1..LARGE).contains(&peak), "{peak}"),
    }
}

fn exit_status_says_how(method: StartMethod) {
    let child = spawn(method, |()| (), ()).unwrap();
    wait(&[&child.sentinel()], None).unwrap();
    assert!(child.exit_status().unwrap().success());
    let child = spawn::<(), ()>(method, |()| std::process::exit(300), ()).unwrap();
    wait(&[&child.sentinel()], None).unwrap();
    assert_eq!(child.exit_status().unwrap().code(), Some(300 & 0xff));
    let child: Process<()> = spawn(method, |()| thread::sleep(Duration::from_secs(600)), ()).unwrap();
    child.terminate().unwrap();
    wait(&[&child.sentinel()], None).unwrap();
    let status = child.exit_status().unwrap();
    assert_eq!(status.signal(), Some(15));
    assert_eq!(status.signal_name().unwrap(), "SIGTERM");
}
