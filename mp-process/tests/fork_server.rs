//! Servers of forks in which something was prepared.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::{self, ExitCode};
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::Handle;
use mp_process::{ForkServer, Process, ProcessError, StartMethod};
use mp_testkit::chaos::{self, descendants};
use mp_testkit::harness::Suite;

fn main() -> ExitCode {
    mp_process::init();
    let trials = mp_testkit::trials![
        children_find_what_was_prepared,
        the_plain_server_is_not_prepared,
        two_servers_do_not_know_each_other,
        a_panic_of_the_preparation_is_an_error,
        an_exit_of_the_preparation_is_an_error,
        what_the_preparation_has_for_the_exit_is_not_for_children,
        threads_left_behind_are_an_error,
        a_dead_server_is_replaced_and_prepared_again,
        children_outlive_the_handle_of_their_server,
        children_that_end_by_every_means_are_reported,
        a_child_may_drop_its_copy_of_a_server,
        a_child_has_no_link_but_its_own,
        a_server_that_is_given_up_leaves_no_child,
        a_stuck_server_holds_up_its_own_children_alone,
    ];
    Suite::new(trials).warm_up(start_servers).run()
}

/// The plain one, and one for children with arguments of their own, are kept for good.
fn start_servers() {
    child_of(&Source::Plain);
    let other = Process::builder().start_method(StartMethod::ForkServer).args(["other"]);
    other.spawn(|()| (), ()).unwrap().join().unwrap();
}

/// Where a child comes from.
enum Source {
    Plain,
    Server(ForkServer),
}

static PREPARED: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn prepare(word: String) {
    PREPARED.lock().unwrap().push(format!("{word} by {}", process::id()));
}

fn prepared((): ()) -> Vec<String> {
    PREPARED.lock().unwrap().clone()
}

/// What a child finds.
fn child_of(source: &Source) -> Vec<String> {
    let builder = Process::builder();
    let builder = match source {
        Source::Plain => builder.start_method(StartMethod::ForkServer),
        Source::Server(server) => builder.fork_server(server),
    };
    builder.spawn(prepared, ()).unwrap().join().unwrap()
}

fn server(word: &str) -> Source {
    Source::Server(ForkServer::start(prepare, word.to_owned()).unwrap())
}

/// The living servers of this process.
fn servers() -> Vec<u32> {
    let all = descendants(process::id()).into_iter();
    all.filter(|below| below.name == "mp-fork-server" && !below.is_zombie()).map(|below| below.pid).collect()
}

fn children_find_what_was_prepared() {
    let server = server("tables");
    let first = child_of(&server);
    assert!(first.len() == 1 && first[0].starts_with("tables by "), "{first:?}");
    for _ in 0..20 {
        assert_eq!(child_of(&server), first);
    }
}

fn the_plain_server_is_not_prepared() {
    let _server = server("tables");
    assert!(child_of(&Source::Plain).is_empty());
    assert!(prepared(()).is_empty());
}

fn two_servers_do_not_know_each_other() {
    let (one, two) = (server("one"), server("two"));
    assert!(child_of(&one)[0].starts_with("one"));
    assert!(child_of(&two)[0].starts_with("two"));
}

fn refused(prepare: fn(())) -> ProcessError {
    let error = ForkServer::start(prepare, ()).unwrap_err();
    assert!(error.is_start_failure(), "{error}");
    error
}

fn a_panic_of_the_preparation_is_an_error() {
    let error = refused(|()| panic!("no tables")).to_string();
    assert!(error.contains("no tables") && error.contains("fork_server.rs"), "{error}");
}

/// Writes where a child's output leads.
struct Tells;

impl Drop for Tells {
    fn drop(&mut self) {
        let _ = writeln!(std::io::stdout(), "a value of the server was dropped");
    }
}

thread_local! {
    static TELLS: Cell<Option<Tells>> = const { Cell::new(None) };
}

extern "C" fn tell() {
    let _ = writeln!(std::io::stdout(), "a handler of the server ran");
}

fn what_the_preparation_has_for_the_exit_is_not_for_children() {
    if cfg!(not(target_env = "gnu")) {
        return;
    }
    let register = |()| {
        TELLS.set(Some(Tells));
        // SAFETY: the handler has the signature asked for.
        #[allow(unsafe_code)]
        unsafe {
            libc::atexit(tell);
        }
    };
    let server = ForkServer::start(register, ()).unwrap();
    let path = std::env::temp_dir().join(format!("told-{}", process::id()));
    // Values are spared where the function returns.
    let exit = |()| {
        std::mem::forget(TELLS.take());
        process::exit(3)
    };
    for end in [|()| (), exit] {
        let output = Handle::from(OwnedFd::from(File::create(&path).unwrap()));
        let child = Process::builder().fork_server(&server).stdout(output).spawn::<(), ()>(end, ()).unwrap();
        let ended = child.join();
        assert_eq!(fs::read_to_string(&path).unwrap(), "", "{ended:?}");
    }
    fs::remove_file(&path).unwrap();
}

fn an_exit_of_the_preparation_is_an_error() {
    let error = refused(|()| process::exit(3)).to_string();
    assert!(error.contains("exited with code 3"), "{error}");
    let error = refused(|()| process::abort()).to_string();
    assert!(error.contains("SIGABRT"), "{error}");
}

fn threads_left_behind_are_an_error() {
    let error = refused(|()| drop(thread::spawn(|| thread::sleep(Duration::from_secs(60)))));
    assert!(error.to_string().contains("threads"), "{error}");
}

fn a_dead_server_is_replaced_and_prepared_again() {
    let before = servers();
    let server = server("tables");
    let first = child_of(&server);
    let pid = servers().into_iter().find(|pid| !before.contains(pid)).unwrap();
    assert!(first[0].ends_with(&format!("by {pid}")), "{first:?}, not by {pid}");
    chaos::kill(pid).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    // One child may have been forked ahead.
    while child_of(&server) == first {
        assert!(Instant::now() < deadline, "it is not replaced");
    }
    assert_eq!(child_of(&server).len(), 1);
}

fn children_outlive_the_handle_of_their_server() {
    let server = ForkServer::start(prepare, "tables".to_owned()).unwrap();
    let child = Process::builder().fork_server(&server);
    let nap = |()| {
        thread::sleep(Duration::from_millis(100));
        prepared(()).len()
    };
    let child = child.spawn(nap, ()).unwrap();
    drop(server);
    assert_eq!(child.join().unwrap(), 1);
}

fn children_that_end_by_every_means_are_reported() {
    let server = ForkServer::start(prepare, "tables".to_owned()).unwrap();
    let start = |function: fn(())| Process::builder().fork_server(&server).spawn(function, ()).unwrap();
    let error = |child: Process<()>| child.join().unwrap_err();
    assert_eq!(error(start(|()| process::exit(3))).exit_code(), Some(3));
    assert_eq!(error(start(|()| process::abort())).signal(), Some(6));
    assert_eq!(error(start(|()| panic!("by a panic"))).panic().unwrap().message(), "by a panic");
    let child = start(|()| thread::sleep(Duration::from_secs(60)));
    child.kill().unwrap();
    assert_eq!(error(child).signal(), Some(9));
}

fn a_server_that_is_given_up_leaves_no_child() {
    let unknown = || descendants(process::id()).into_iter().filter(|below| below.is_zombie()).count();
    let before = unknown();
    for number in 0..40 {
        // Its server has just been asked for the next child.
        let builder = Process::builder().start_method(StartMethod::ForkServer).args([format!("{number}")]);
        builder.spawn(|()| (), ()).unwrap().join().unwrap();
    }
    // The last one may have been killed before it could tell of the child.
    let deadline = Instant::now() + Duration::from_secs(20);
    while unknown() != before {
        assert!(Instant::now() < deadline, "zombies are left");
        let _ = mp_process::active_children();
    }
}

fn a_stuck_server_holds_up_its_own_children_alone() {
    let before = servers();
    let start = |word: &str| {
        let builder = Process::builder().start_method(StartMethod::ForkServer).args([word]);
        builder.spawn(|x: u32| x + 1, 1).unwrap().join().unwrap()
    };
    start("stuck");
    let pid = servers().into_iter().find(|pid| !before.contains(pid)).unwrap();
    chaos::stop(pid).unwrap();
    let (say, hear) = mpsc::channel();
    let starter = thread::spawn(move || {
        // One child may have been forked ahead.
        for _ in 0..2 {
            say.send(()).unwrap();
            start("stuck");
        }
    });
    hear.recv().unwrap();
    let _second = hear.recv_timeout(Duration::from_secs(1));
    thread::sleep(Duration::from_millis(100));
    for word in ["other", "another"] {
        assert_eq!(start(word), 2);
    }
    assert!(child_of(&Source::Plain).is_empty());
    assert!(!starter.is_finished(), "it was not stuck, or others waited for it");
    chaos::cont(pid).unwrap();
    starter.join().unwrap();
    // Those too many are given up.
    start("other");
}

fn a_child_may_drop_its_copy_of_a_server() {
    let servers_before = servers();
    let server = ForkServer::start(prepare, "tables".to_owned()).unwrap();
    let pid = servers().into_iter().find(|pid| !servers_before.contains(pid)).unwrap();
    // A fork beside other threads is refused, so one of the library's processes does it.
    let child = Process::spawn(
        |()| {
            let server = ForkServer::start(prepare, "tables".to_owned()).unwrap();
            let copy = server.clone();
            let child = Process::fork(move || drop(copy)).unwrap();
            child.join().unwrap();
            servers().len()
        },
        (),
    );
    assert_eq!(child.unwrap().join().unwrap(), 1);
    assert!(servers().contains(&pid));
    drop(server);
}

fn sockets((): ()) -> usize {
    let all = fs::read_dir("/proc/self/fd").unwrap();
    let leads = all.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    leads.filter(|lead| lead.to_string_lossy().starts_with("socket:")).count()
}

/// The server has a link of its own, and keeps one to each of its children.
fn a_child_has_no_link_but_its_own() {
    let server = ForkServer::start(prepare, "tables".to_owned()).unwrap();
    let sleep = |()| thread::sleep(Duration::from_secs(600));
    let start = || Process::builder().fork_server(&server);
    let siblings: Vec<_> = (0..3).map(|_| start().spawn(sleep, ()).unwrap()).collect();
    let executed = Process::spawn(sockets, ()).unwrap().join().unwrap();
    assert_eq!(start().spawn(sockets, ()).unwrap().join().unwrap(), executed);
    for sibling in siblings {
        sibling.kill().unwrap();
        assert_eq!(sibling.join().unwrap_err().signal(), Some(9));
    }
}
