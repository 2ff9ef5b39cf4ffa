//! Programs that have few handles, or lose the file or the directory that they run in.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use mp_process::{Process, ProcessError, StartMethod, active_children, parent_process};
use mp_testkit::chaos::descendants;

use super::{sleep_long, spawn};

pub(super) fn with_few_handles(method: StartMethod) {
    let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
    // SAFETY: a valid structure.
    #[allow(unsafe_code)]
    unsafe {
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
    for _ in 0..200 {
        spawn(method, |()| ()).join().unwrap();
    }
    let mut children = Vec::new();
    let error = loop {
        match Process::builder().start_method(method).spawn(sleep_long, ()) {
            Ok(child) => children.push(child),
            Err(error) => break error,
        }
    };
    assert!(children.len() > 12, "{}: {error}", children.len());
    assert!(error.is_start_failure(), "{error}");
    children.drain(..).for_each(|child| {
        child.kill().unwrap();
        child.join().unwrap_err();
    });
    spawn(method, |()| ()).join().unwrap();
}

/// Has few descriptors free, and then one more each time: what cannot be had for want of one is an error that
/// says so, and leaves nothing behind.
pub(super) fn with_hardly_a_handle(method: StartMethod) {
    let start = || Process::builder().start_method(method).spawn(|x: u32| x + 1, 1);
    // What the library keeps for good is there.
    assert_eq!(start().unwrap().join().unwrap(), 2);
    let (at_first, mut free) = (handles(), 0);
    loop {
        let full = Full::but(free);
        let result = start().and_then(Process::join);
        drop(full);
        match result {
            Ok(value) => break assert_eq!(value, 2),
            Err(error) => {
                assert!(error.is_start_failure(), "with {free} free: {error}");
                assert!(is_for_want_of_handles(&error), "with {free} free: {error}");
                expect_nobody_below();
                assert!(handles() <= at_first, "with {free} free");
            }
        }
        free += 1;
    }
    assert!((1..12).contains(&free), "{free}");
    // Once there are some again, all is as before.
    (0..5).for_each(|_| assert_eq!(start().unwrap().join().unwrap(), 2));
    assert!(handles() <= at_first, "{} handles, {at_first} at first", handles());
}

fn expect_nobody_below() {
    let begun = Instant::now();
    while !descendants(process::id()).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", descendants(process::id()));
        thread::sleep(Duration::from_millis(1));
    }
    assert!(active_children().is_empty());
}

/// A child that has no descriptor free asks about its parent.
pub(super) fn with_no_handle_for_the_parent(method: StartMethod) {
    let ask = |()| {
        let parent = parent_process().unwrap();
        assert_eq!(parent.pid(), std::os::unix::process::parent_id());
        let _full = Full::but(0);
        let error = parent.join_timeout(Duration::from_secs(20)).unwrap_err();
        assert!(is_for_want_of_handles(&error) && !error.is_timeout(), "{error}");
        assert!(is_for_want_of_handles(&parent.join().unwrap_err()));
        parent.is_alive()
    };
    assert!(spawn(method, ask).join().unwrap());
}

/// All descriptors but a few are taken while it lives.
struct Full {
    _taken: Vec<fs::File>,
}

impl Full {
    fn but(free: usize) -> Self {
        let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
        // SAFETY: a valid structure.
        #[allow(unsafe_code)]
        unsafe {
            assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
        }
        let mut taken: Vec<_> = std::iter::from_fn(|| fs::File::open("/dev/null").ok()).collect();
        taken.truncate(taken.len() - free);
        Self { _taken: taken }
    }
}

/// How many there are: a listing of them would need one.
fn handles() -> usize {
    // SAFETY: the call takes numbers.
    #[allow(unsafe_code)]
    (0..64).filter(|number| unsafe { libc::fcntl(*number, libc::F_GETFD) } != -1).count()
}

fn is_for_want_of_handles(error: &ProcessError) -> bool {
    error.to_string().contains("(os error 24)")
}

pub(super) fn without_outputs(method: StartMethod) {
    for number in 0..3 {
        // SAFETY: nothing of this program uses its streams from here on.
        #[allow(unsafe_code)]
        unsafe {
            libc::close(number);
        }
    }
    for _ in 0..3 {
        let child = spawn(method, |()| {
            println!("to nobody");
            eprintln!("to nobody");
            5
        });
        assert_eq!(child.join().unwrap(), 5);
        let file: ipc_core::Handle =
            std::os::fd::OwnedFd::from(fs::File::open("/proc/version").unwrap()).into();
        let read = |file: ipc_core::Handle| {
            std::io::read_to_string(fs::File::from(std::os::fd::OwnedFd::from(file))).unwrap()
        };
        let child = Process::builder().start_method(method).spawn(read, file).unwrap();
        assert!(child.join().unwrap().starts_with("Linux"));
    }
}

pub(super) fn lose_the_executable(method: StartMethod) {
    const COPY: &str = "MP_PROCESS_COPY";
    if env::var_os(COPY).is_none() {
        let folder = PathBuf::from(format!("{}/moved-{}", env::temp_dir().display(), process::id()));
        fs::create_dir(&folder).unwrap();
        let copy = folder.join("program");
        fs::copy("/proc/self/exe", &copy).unwrap();
        let status = Command::new(&copy).env(COPY, &copy).status().unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert!(status.success());
        return;
    }
    let path = PathBuf::from(env::var_os(COPY).unwrap());
    let check = || {
        assert_eq!(spawn(method, |()| 5).join().unwrap(), 5);
        assert_eq!(
            Process::spawn(|()| Process::spawn(|()| 6, ()).unwrap().join().unwrap(), ())
                .unwrap()
                .join()
                .unwrap(),
            6
        );
    };
    let other = path.with_extension("old");
    fs::rename(&path, &other).unwrap();
    check();
    symlink("/bin/false", &path).unwrap();
    check();
    fs::remove_file(&other).unwrap();
    check();
}

pub(super) fn in_a_removed_directory(method: StartMethod) {
    let folder = env::temp_dir().join(format!("adrift-{}", process::id()));
    fs::create_dir(&folder).unwrap();
    env::set_current_dir(&folder).unwrap();
    fs::remove_dir(&folder).unwrap();
    assert_eq!(spawn(method, |()| 5).join().unwrap(), 5);
}
