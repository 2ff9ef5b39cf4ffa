//! A program that forgot `init()`: every start fails here, with the cure, before a child exists.

use mp_testkit::{Census, chaos};
use multiprocess::{Pool, Process};

fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let census = Census::take();
    let pool = Pool::new(2).unwrap_err();
    assert!(pool.is_not_initialised(), "{pool}");
    let process = Process::spawn(|x: u32| x, 1).unwrap_err();
    assert!(process.is_not_initialised(), "{process}");
    for text in [pool.to_string(), process.to_string()] {
        assert!(text.contains("multiprocess::init();") && text.contains("first line of `main`"), "{text}");
    }
    assert!(chaos::descendants(std::process::id()).is_empty());
    census.assert_level();

    // A stranger's variable makes no child of it.
    let child = std::process::Command::new(std::env::current_exe().expect("own path"))
        .env("MULTIPROCESS_CHILD", "1:1")
        .arg("--list")
        .status();
    assert!(child.expect("started").success());

    multiprocess::init();
    assert_eq!(Process::spawn(|x: u32| x + 1, 1).unwrap().join().unwrap(), 2);
    println!("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s");
}
