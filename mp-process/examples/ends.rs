//! Every way in which a child ends, under each start method, as its parent sees it.
//!
//! It checks what it shows, so that it can be run as it was built: with fat LTO, with
//! `panic = "abort"`, stripped, static.

use mp_process::{Process, ProcessError, StartMethod};

fn end(means: String) -> usize {
    match means.as_str() {
        "panic" => panic!("on purpose"),
        "exit" => std::process::exit(3),
        "abort" => std::process::abort(),
        "overflow" => dig(0),
        _ => means.len(),
    }
}

fn dig(depth: usize) -> usize {
    let room = std::hint::black_box([depth; 64]);
    if depth == usize::MAX { room[3] } else { dig(depth + 1) + std::hint::black_box(room)[5] }
}

fn main() -> Result<(), ProcessError> {
    mp_process::init();
    for method in StartMethod::available() {
        for means in ["value", "panic", "exit", "abort", "overflow"] {
            let child = Process::builder().start_method(*method).spawn(end, means.to_owned())?;
            let result = child.join();
            println!("{method:?}, {means}: {result:?}");
            check(means, result);
        }
    }
    Ok(())
}

fn check(means: &str, result: Result<usize, ProcessError>) {
    let error = match result {
        Ok(value) => return assert_eq!((means, value), ("value", 5)),
        Err(error) => error,
    };
    match means {
        "panic" => assert_eq!(error.panic().expect("a panic").message(), "on purpose"),
        "exit" => assert_eq!(error.exit_code(), Some(3)),
        "abort" => assert!(error.signal().is_some() && !error.is_stack_overflow()),
        _ => assert!(error.is_stack_overflow()),
    }
}
