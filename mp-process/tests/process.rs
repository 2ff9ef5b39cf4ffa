//! Starting processes, and every way in which they end, under each start method.

mod common;

use std::fs::File;
use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use common::{builder, spawn};
use ipc_core::{Connection, Handle, duplex, wait};
use mp_process::{Function, ProcessError, StartMethod, Stdio, cpu_count, current_process};
use serde::{Deserialize, Serialize};

common::tests![
    a_value_comes_back,
    generic_functions_and_closures_without_captures_run,
    a_large_argument_and_a_large_value_travel,
    a_child_with_a_large_value_ends_before_it_is_joined,
    a_panic_is_an_error_with_message_place_and_backtrace,
    an_exit_is_an_error_with_its_code,
    an_abort_is_an_error_with_its_signal,
    a_stack_overflow_is_told_apart,
    a_stack_overflow_of_another_thread_is_told_apart,
    a_killed_child_is_an_error_with_its_signal,
    an_argument_that_does_not_decode_is_an_error,
    a_value_that_does_not_decode_is_an_error,
    join_timeout_can_be_called_again,
    names_count_up,
    channel_ends_and_files_travel_in_arguments,
    functions_travel_as_values,
    the_first_to_end_is_known,
    a_child_outlives_the_thread_that_started_it,
    a_dropped_process_runs_on_and_kill_on_drop_kills,
    children_start_children,
    stdin_is_empty,
    many_in_a_row_leave_nothing,
];

fn main() -> std::process::ExitCode {
    common::run(TESTS)
}

fn a_value_comes_back(method: StartMethod) {
    let child = spawn(method, |(a, b): (u32, u32)| a * b, (6, 7)).unwrap();
    assert_ne!(child.pid(), std::process::id());
    assert_eq!(child.join().unwrap(), 42);
}

fn twice<T: Clone>(value: T) -> (T, T) {
    (value.clone(), value)
}

fn generic_functions_and_closures_without_captures_run(method: StartMethod) {
    assert_eq!(spawn(method, twice::<u8>, 3).unwrap().join().unwrap(), (3, 3));
    let text = spawn(method, twice::<String>, "a".into()).unwrap().join().unwrap();
    assert_eq!(text, ("a".into(), "a".into()));
    assert_eq!(spawn(method, |x: i64| -x, 3).unwrap().join().unwrap(), -3);
}

fn a_large_argument_and_a_large_value_travel(method: StartMethod) {
    let bytes: Vec<u8> = (0..5_000_000u32).map(|i| i as u8).collect();
    let back = spawn(method, |bytes: Vec<u8>| bytes, bytes.clone()).unwrap().join().unwrap();
    assert!(back == bytes);
}

fn a_child_with_a_large_value_ends_before_it_is_joined(method: StartMethod) {
    let child = spawn(method, |n: usize| vec![7u8; n], 3_000_000).unwrap();
    assert_eq!(wait(&[&child.sentinel()], None).unwrap(), [0]);
    assert!(!child.is_alive());
    assert_eq!(child.join().unwrap().len(), 3_000_000);
}

fn failing(method: StartMethod, f: fn(u32) -> u32) -> ProcessError {
    spawn(method, f, 1).unwrap().join().unwrap_err()
}

fn a_panic_is_an_error_with_message_place_and_backtrace(method: StartMethod) {
    let error = failing(method, |x| panic!("no {x} here"));
    let panic = error.panic().unwrap();
    assert_eq!(panic.message(), "no 1 here");
    assert!(panic.location().unwrap().contains("process.rs"), "{panic:?}");
    assert!(panic.backtrace().unwrap().contains("panicking"), "{panic:?}");
    assert!(error.to_string().contains("no 1 here"), "{error}");
}

fn an_exit_is_an_error_with_its_code(method: StartMethod) {
    let error = failing(method, |_| std::process::exit(3));
    assert_eq!(error.exit_code(), Some(3));
    assert!(error.to_string().contains("exited with code 3"), "{error}");
}

fn an_abort_is_an_error_with_its_signal(method: StartMethod) {
    let error = failing(method, |_| std::process::abort());
    assert_eq!(error.signal(), Some(6));
    assert!(!error.is_stack_overflow());
}

fn dig(depth: u32) -> u32 {
    let room = std::hint::black_box([depth; 64]);
    if depth == u32::MAX { room[3] } else { dig(depth + 1) + std::hint::black_box(room)[5] }
}

fn a_stack_overflow_is_told_apart(method: StartMethod) {
    let error = failing(method, dig);
    assert!(error.is_stack_overflow(), "{error}");
    assert_eq!(error.signal(), Some(11), "{error}");
    let error = failing(method, write_wildly);
    assert_eq!(error.signal(), Some(11), "{error}");
    assert!(!error.is_stack_overflow());
}

fn write_wildly(_: u32) -> u32 {
    // SAFETY: the kernel answers with a signal.
    #[allow(unsafe_code)]
    unsafe {
        (8 as *mut u8).write_volatile(1)
    };
    0
}

fn a_stack_overflow_of_another_thread_is_told_apart(method: StartMethod) {
    let run = |f: Function<u32, u32>| builder(method).stderr(Stdio::null()).spawn(on_a_thread_of, f);
    let error = run(Function::new(dig)).unwrap().join().unwrap_err();
    assert!(error.is_stack_overflow(), "{error}");
    // The standard library ends it.
    assert_eq!(error.signal(), Some(6), "{error}");
    let error = run(Function::new(write_wildly)).unwrap().join().unwrap_err();
    assert!(!error.is_stack_overflow());
    assert_eq!(error.signal(), Some(11), "{error}");
}

fn on_a_thread_of(function: Function<u32, u32>) -> u32 {
    thread::spawn(move || function(1)).join().unwrap_or(0)
}

fn sleep_long(_: u32) -> u32 {
    thread::sleep(Duration::from_secs(600));
    0
}

fn a_killed_child_is_an_error_with_its_signal(method: StartMethod) {
    let child = spawn(method, sleep_long, 0).unwrap();
    assert!(child.is_alive());
    child.kill().unwrap();
    assert_eq!(child.join().unwrap_err().signal(), Some(9));
    let child = spawn(method, sleep_long, 0).unwrap();
    thread::sleep(Duration::from_millis(50));
    child.terminate().unwrap();
    let error = child.join().unwrap_err();
    assert_eq!(error.signal(), Some(15), "{error}");
}

/// Encodes as a number that its own decoding refuses.
#[derive(Debug)]
struct Lopsided;

impl Serialize for Lopsided {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(1)
    }
}

impl<'de> Deserialize<'de> for Lopsided {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u8::deserialize(deserializer)?;
        Err(serde::de::Error::custom("never"))
    }
}

fn an_argument_that_does_not_decode_is_an_error(method: StartMethod) {
    let error = spawn(method, |_: Lopsided| 1, Lopsided).unwrap().join().unwrap_err();
    assert!(error.is_codec(), "{error}");
}

fn a_value_that_does_not_decode_is_an_error(method: StartMethod) {
    let error = spawn(method, |()| Lopsided, ()).unwrap().join().unwrap_err();
    assert!(error.is_codec(), "{error}");
    assert!(error.to_string().contains("Lopsided"), "{error}");
}

fn join_timeout_can_be_called_again(method: StartMethod) {
    let (here, there) = duplex::<u8, u8>().unwrap();
    let child = spawn(method, |conn: Connection<u8, u8>| conn.recv().unwrap() + 1, there).unwrap();
    assert!(child.join_timeout(Duration::from_millis(20)).unwrap_err().is_timeout());
    here.send(&1).unwrap();
    assert_eq!(child.join_timeout(Duration::from_secs(30)).unwrap(), 2);
    assert!(child.join_timeout(Duration::ZERO).is_err());
}

fn names_count_up(method: StartMethod) {
    let name = |()| current_process().name().to_owned();
    let first = spawn(method, name, ()).unwrap();
    assert!(first.name().starts_with("Process-"));
    let expected = first.name().to_owned();
    assert_eq!(first.join().unwrap(), expected);
    let named = builder(method).name("reader").spawn(name, ()).unwrap();
    assert_eq!(named.join().unwrap(), "reader");
    assert_eq!(current_process().name(), "MainProcess");
    assert!(cpu_count() >= 1);
}

fn channel_ends_and_files_travel_in_arguments(method: StartMethod) {
    let (here, there) = duplex::<String, usize>().unwrap();
    let file = Handle::from(std::os::fd::OwnedFd::from(File::open("/proc/version").unwrap()));
    let child = spawn(
        method,
        |(conn, file): (Connection<usize, String>, Handle)| {
            let mut text = String::new();
            File::from(std::os::fd::OwnedFd::from(file)).read_to_string(&mut text).unwrap();
            while let Ok(question) = conn.recv() {
                conn.send(&question.len()).unwrap();
            }
            text
        },
        (there, file),
    )
    .unwrap();
    for len in [0, 5, 300_000] {
        here.send(&"y".repeat(len)).unwrap();
        assert_eq!(here.recv().unwrap(), len);
    }
    drop(here);
    assert!(child.join().unwrap().starts_with("Linux"));
}

fn functions_travel_as_values(method: StartMethod) {
    let functions = vec![Function::new(|x: u32| x + 1), Function::new(|x: u32| x * 10)];
    let child =
        spawn(method, |functions: Vec<Function<u32, u32>>| functions.iter().fold(1, |x, f| f(x)), functions);
    assert_eq!(child.unwrap().join().unwrap(), 20);
}

fn the_first_to_end_is_known(method: StartMethod) {
    let slow = spawn(method, sleep_long, 0).unwrap();
    let quick = spawn(method, |x: u32| x, 0).unwrap();
    assert_eq!(wait(&[&slow.sentinel(), &quick.sentinel()], None).unwrap(), [1]);
    slow.kill().unwrap();
    slow.join().unwrap_err();
    quick.join().unwrap();
}

fn a_child_outlives_the_thread_that_started_it(method: StartMethod) {
    if method == StartMethod::Fork {
        let beside_main = thread::spawn(move || spawn(method, |()| (), ()).unwrap_err());
        assert!(beside_main.join().unwrap().is_threads());
        return;
    }
    let (here, there) = duplex::<u8, u8>().unwrap();
    let starting =
        thread::spawn(move || spawn(method, |conn: Connection<u8, u8>| conn.recv().unwrap(), there).unwrap());
    let child = starting.join().unwrap();
    thread::sleep(Duration::from_millis(100));
    assert!(child.is_alive());
    here.send(&5).unwrap();
    assert_eq!(child.join().unwrap(), 5);
}

fn a_dropped_process_runs_on_and_kill_on_drop_kills(method: StartMethod) {
    let (here, there) = duplex::<u8, u8>().unwrap();
    drop(spawn(method, |conn: Connection<u8, u8>| conn.send(&conn.recv().unwrap()).unwrap(), there).unwrap());
    here.send(&9).unwrap();
    assert_eq!(here.recv().unwrap(), 9);

    let (here, there) = duplex::<u8, u8>().unwrap();
    let doomed = builder(method).kill_on_drop(true);
    drop(doomed.spawn(|conn: Connection<u8, u8>| drop(conn.recv()), there).unwrap());
    assert!(here.recv_timeout(Duration::from_secs(20)).is_err());
    // A process that is started collects the one dropped above.
    spawn(method, |()| (), ()).unwrap().join().unwrap();
}

fn children_start_children(method: StartMethod) {
    fn descend((method, depth): (StartMethod, u32)) -> Vec<String> {
        let mut names = vec![current_process().name().to_owned()];
        if depth > 0 {
            names.extend(spawn(method, descend, (method, depth - 1)).unwrap().join().unwrap());
        }
        names
    }
    let names = spawn(method, descend, (method, 2)).unwrap().join().unwrap();
    assert_eq!(names.len(), 3);
    assert_eq!(names[2], format!("{}:1:1", names[0]));
}

fn stdin_is_empty(method: StartMethod) {
    let read = |()| std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(spawn(method, read, ()).unwrap().join().unwrap(), 0);
}

fn many_in_a_row_leave_nothing(method: StartMethod) {
    let began = Instant::now();
    let mut count = 0;
    while count < 200 || (count < 10_000 && began.elapsed() < mp_testkit::harness::soak_time()) {
        assert_eq!(spawn(method, |x: u32| x + 1, count).unwrap().join().unwrap(), count + 1);
        count += 1;
    }
}
