//! The library under the usual test harness, whose `main` is not ours.

use mp_process::Process;

mp_process::test_support!();

#[test]
fn a_value_comes_back() {
    assert_eq!(Process::spawn(|x: u32| x * 2, 21).unwrap().join().unwrap(), 42);
}

#[test]
fn panics_and_exits_are_errors() {
    let error = Process::<()>::spawn(|x: u32| panic!("no {x}"), 1).unwrap().join().unwrap_err();
    assert_eq!(error.panic().unwrap().message(), "no 1");
    let error = Process::<()>::spawn(|()| std::process::exit(9), ()).unwrap().join().unwrap_err();
    assert_eq!(error.exit_code(), Some(9));
}

fn dig(depth: u32) -> u32 {
    let room = std::hint::black_box([depth; 64]);
    if depth == u32::MAX { room[3] } else { dig(depth + 1) + std::hint::black_box(room)[5] }
}

#[test]
fn a_stack_overflow_is_told_apart() {
    let error = Process::spawn(dig, 0).unwrap().join().unwrap_err();
    assert!(error.is_stack_overflow(), "{error}");
}

#[test]
fn children_start_children() {
    let nested = |x: u32| Process::spawn(|x: u32| x + 1, x).unwrap().join().unwrap();
    assert_eq!(Process::spawn(nested, 1).unwrap().join().unwrap(), 2);
}

#[test]
fn the_server_of_forks_works_here_too() {
    let builder = Process::builder().start_method(mp_process::StartMethod::ForkServer);
    assert_eq!(builder.spawn(|x: u32| x + 1, 1).unwrap().join().unwrap(), 2);
}
