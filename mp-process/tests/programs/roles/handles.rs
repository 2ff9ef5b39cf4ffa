//! Programs that have few handles, or lose the file or the directory that they run in.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use mp_process::{Process, ProcessError, StartMethod, active_children, parent_process};
use mp_testkit::chaos::{self, Descendant, descendants};

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
/// says so, at once, and leaves nothing behind.
pub(super) fn with_hardly_a_handle(method: StartMethod) {
    let start = |args: Option<String>| {
        let builder = Process::builder().start_method(method);
        let builder = if let Some(word) = args { builder.args([word]) } else { builder };
        builder.spawn(|x: u32| x + 1, 1)
    };
    for prepare in surprises(method) {
        // What the library keeps for good is there.
        for args in [prepare(method), None] {
            assert_eq!(start(args).unwrap().join().unwrap(), 2);
        }
        let at_first = handles();
        let mut free = 0;
        loop {
            let args = prepare(method);
            let full = Full::but(free);
            let begun = Instant::now();
            let result = start(args).and_then(Process::join);
            let took = begun.elapsed();
            drop(full);
            assert!(took < Duration::from_secs(20), "with {free} free: {took:?}");
            match result {
                Ok(value) => break assert_eq!(value, 2),
                Err(error) => {
                    assert!(error.is_start_failure(), "with {free} free: {error}");
                    assert!(is_for_want_of_handles(&error), "with {free} free: {error}");
                    // One that was killed is collected when its server is asked.
                    expect_below(is_of_a_server);
                    assert!(handles() <= at_first, "with {free} free");
                }
            }
            free += 1;
        }
        assert!((1..12).contains(&free), "{free}");
        // Once there are some again, all is as before.
        (0..5).for_each(|_| assert_eq!(start(None).unwrap().join().unwrap(), 2));
        expect_below(|one| is_of_a_server(one) && !one.is_zombie());
        assert!(handles() <= at_first, "{} handles, {at_first} at first", handles());
    }
    a_tree_that_cannot_be_looked_for_is_killed_at_its_root(method);
}

/// What becomes of a server and of the child that it has forked ahead before a start, and the arguments
/// that this one gives its child.
fn surprises(method: StartMethod) -> Vec<fn(StartMethod) -> Option<String>> {
    let all: [fn(StartMethod) -> Option<String>; 5] = [
        |_| None,
        |_| kill("mp-fork-spare"),
        |_| kill("mp-fork-server"),
        |_| kill("mp-fork-spare").or_else(|| kill("mp-fork-server")),
        others,
    ];
    all[..if method == StartMethod::ForkServer { all.len() } else { 1 }].to_vec()
}

/// Arguments that no child has had, which another server is for.
fn others(_method: StartMethod) -> Option<String> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    Some(COUNT.fetch_add(1, Ordering::Relaxed).to_string())
}

/// Kills all that are called so, and waits until they have ended.
fn kill(name: &str) -> Option<String> {
    for one in descendants(process::id()).into_iter().filter(|one| one.name == name) {
        chaos::kill(one.pid).unwrap();
        while chaos::state(one.pid).is_some_and(|state| state != 'Z') {
            thread::yield_now();
        }
    }
    None
}

fn is_of_a_server(one: &Descendant) -> bool {
    ["mp-fork-server", "mp-fork-spare"].contains(&one.name.as_str())
}

/// Soon there are none but such ones below, two servers and what they have forked ahead at most.
fn expect_below(is_expected: impl Fn(&Descendant) -> bool) {
    let begun = Instant::now();
    let is_so = |below: &[Descendant]| below.len() <= 4 && below.iter().all(&is_expected);
    while !is_so(&descendants(process::id())) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", descendants(process::id()));
        thread::sleep(Duration::from_millis(1));
        assert!(active_children().is_empty());
    }
}

fn a_tree_that_cannot_be_looked_for_is_killed_at_its_root(method: StartMethod) {
    let child = spawn(method, sleep_long);
    let full = Full::but(0);
    let result = child.kill_tree();
    drop(full);
    assert!(is_for_want_of_handles(&result.unwrap_err()));
    assert_eq!(child.join().unwrap_err().signal(), Some(9));
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
        assert!(is_for_want_of_handles(&parent.sentinel().unwrap_err()));
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
