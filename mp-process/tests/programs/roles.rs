//! The programs that the trials run.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use std::{env, process};

use mp_process::{OutOfMemory, Process, Resource, StartMethod};
use mp_testkit::chaos::{self, descendants};

pub(super) type Role = (&'static str, fn(StartMethod));

/// The programs, by name.
pub(super) const ROLES: &[Role] = &[
    ("tree", tree),
    ("starter", start_for_ever),
    ("collector", collect_everything),
    ("ignorer", ignore_ends),
    ("poor", with_few_handles),
    ("moved", lose_the_executable),
    ("exit_in_thread", exit_in_a_thread_while_main_is_stuck),
    ("patient", leave_main_while_children_run),
    ("impatient", leave_main_while_a_child_is_stuck),
    ("silent", without_outputs),
    ("crowd", start_from_many_threads),
    ("threads_of_children", start_in_threads_of_children),
    ("blocked", with_blocked_signals),
    ("server_killed", lose_the_server),
    ("spare_killed", lose_the_spare),
    ("ctrl_c", be_interrupted),
    ("depth", dig),
    ("handlers", with_handlers),
    ("unlimited", with_unlimited_stack),
    ("adrift", in_a_removed_directory),
    ("hungry", with_little_memory),
    ("dumping", with_a_core_file),
    ("fork_captures", fork_with_captures),
    ("unfinished", leave_output_unfinished),
];

fn spawn<R: ipc_core::Message>(method: StartMethod, function: fn(()) -> R) -> Process<R> {
    Process::builder().start_method(method).spawn(function, ()).unwrap()
}

fn say(word: &str) {
    println!("{word}");
    std::io::stdout().flush().unwrap();
}

fn sleep_long(_: ()) {
    thread::sleep(Duration::from_secs(600));
}

fn descend((method, depth): (StartMethod, u32)) {
    say("here");
    if depth > 0 {
        let below = Process::builder().start_method(method).spawn(descend, (method, depth - 1)).unwrap();
        let _ = below.join();
    }
    sleep_long(());
}

fn tree(method: StartMethod) {
    let _children: Vec<_> = (0..2)
        .map(|_| Process::builder().start_method(method).spawn(descend, (method, 2)).unwrap())
        .collect();
    sleep_long(());
}

fn start_for_ever(method: StartMethod) {
    let mut children = Vec::new();
    loop {
        children.push(spawn(method, sleep_long));
        if children.len() > 3 {
            children.remove(0).kill().unwrap();
        }
    }
}

fn collect_everything(method: StartMethod) {
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

fn ignore_ends(method: StartMethod) {
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

fn with_few_handles(method: StartMethod) {
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

fn lose_the_executable(method: StartMethod) {
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

fn exit_in_a_thread_while_main_is_stuck(method: StartMethod) {
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

fn leave_main_while_children_run(method: StartMethod) {
    let finish = |()| {
        thread::sleep(Duration::from_millis(300));
        say("done");
    };
    drop(spawn(method, finish));
    std::mem::forget(spawn(method, finish));
}

fn leave_main_while_a_child_is_stuck(method: StartMethod) {
    let stuck = Process::builder().start_method(method).join_at_exit(Duration::from_millis(300));
    drop(stuck.spawn(sleep_long, ()).unwrap());
    let killed = Process::builder().start_method(method).kill_on_drop(true);
    std::mem::forget(killed.spawn(sleep_long, ()).unwrap());
}

/// Has half a line in each buffer when a child is made.
fn leave_output_unfinished(method: StartMethod) {
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

fn without_outputs(method: StartMethod) {
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

fn start_from_many_threads(method: StartMethod) {
    let threads: Vec<_> = (0..16)
        .map(|number: u32| {
            thread::spawn(move || {
                for round in 0..8 {
                    let builder = Process::builder().start_method(method);
                    let child = builder.spawn(|x: u32| 2 * x, number * 100 + round).unwrap();
                    assert_eq!(child.join().unwrap(), 2 * (number * 100 + round));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

fn start_in_threads_of_children(method: StartMethod) {
    let parent = |method: StartMethod| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                thread::spawn(move || {
                    let child = Process::builder().start_method(method).spawn(|x: u32| x + 1, 1);
                    child.unwrap().join().unwrap()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<u32>()
    };
    let child = Process::builder().start_method(method).spawn(parent, method).unwrap();
    assert_eq!(child.join().unwrap(), 8);
}

fn with_blocked_signals(method: StartMethod) {
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

fn with_handlers(method: StartMethod) {
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

fn with_unlimited_stack(method: StartMethod) {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a valid structure.
    #[allow(unsafe_code)]
    let raised = unsafe { libc::setrlimit(libc::RLIMIT_STACK, &limit) } == 0;
    let child = spawn(method, |()| {
        // SAFETY: a wild write, which the kernel answers with a signal.
        #[allow(unsafe_code)]
        unsafe {
            (8 as *mut u8).write_volatile(1);
        }
    });
    let error = child.join().unwrap_err();
    assert!(!raised || !error.is_stack_overflow(), "{error}");
    assert_eq!(error.signal(), Some(11), "{error}");
}

fn in_a_removed_directory(method: StartMethod) {
    let folder = env::temp_dir().join(format!("adrift-{}", process::id()));
    fs::create_dir(&folder).unwrap();
    env::set_current_dir(&folder).unwrap();
    fs::remove_dir(&folder).unwrap();
    assert_eq!(spawn(method, |()| 5).join().unwrap(), 5);
}

/// Lives in a control group with little memory, where it may make one.
fn with_little_memory(method: StartMethod) {
    let Some(group) = group_with_memory(96 << 20) else {
        println!("skipped: no control group can be made here");
        return;
    };
    let eat = |()| vec![1u8; 1 << 30].iter().map(|byte| u64::from(*byte)).sum::<u64>();
    let error = spawn(method, eat).join().unwrap_err();
    assert_eq!(error.signal(), Some(9), "{error}");
    assert_eq!(error.status().unwrap().out_of_memory(), Some(OutOfMemory::Killed), "{error}");
    assert!(error.to_string().contains("no memory left"), "{error}");
    // A death of another kind is not taken for one of these.
    let child = spawn(method, |()| chaos::kill(process::id()).unwrap());
    assert!(!child.join().unwrap_err().is_out_of_memory());
    // The group goes when this process has left it.
    let _ = fs::write(group.parent().unwrap().join("cgroup.procs"), process::id().to_string());
    for child in descendants(process::id()) {
        let _ = fs::write(group.parent().unwrap().join("cgroup.procs"), child.pid.to_string());
    }
    fs::remove_dir(&group).unwrap();
}

/// A new control group, which this process has entered.
fn group_with_memory(bytes: u64) -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let (root, own, limit) = groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        match (fields.next()?, fields.next()?) {
            ("memory", path) => Some(("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes")),
            ("", path) if PathBuf::from(format!("/sys/fs/cgroup{path}/memory.max")).exists() => {
                Some(("/sys/fs/cgroup", path, "memory.max"))
            }
            _ => None,
        }
    })?;
    let group = PathBuf::from(format!("{root}{own}/mp-process-{}", process::id()));
    fs::create_dir(&group).ok()?;
    let entered = fs::write(group.join(limit), bytes.to_string())
        .and_then(|()| fs::write(group.join("cgroup.procs"), process::id().to_string()));
    let _ = fs::write(group.join("memory.swappiness"), "0");
    let _ = fs::write(group.join("memory.swap.max"), "0");
    entered.map_err(|_| fs::remove_dir(&group)).ok().map(|()| group)
}

fn with_a_core_file(method: StartMethod) {
    let folder = env::temp_dir().join(format!("core-{}", process::id()));
    fs::create_dir(&folder).unwrap();
    let child = |most: u64| {
        let builder = Process::builder().start_method(method).current_dir(&folder);
        let child = builder.limit(Resource::CoreSize, most).spawn(|()| process::abort(), ()).unwrap();
        Process::<()>::join(child).unwrap_err().status().unwrap()
    };
    let (none, some) = (child(0), child(u64::MAX));
    let has_dumped = fs::read_dir(&folder).unwrap().next().is_some();
    fs::remove_dir_all(&folder).unwrap();
    assert!(!none.core_dumped(), "{none}");
    // Where it goes is the system's to say.
    assert!(some.core_dumped() || !has_dumped, "{some}");
    assert_eq!(some.core_dumped(), some.to_string().contains("dumped core"), "{some}");
}

fn dig(method: StartMethod) {
    fn deeper((method, left): (StartMethod, u32)) -> u32 {
        if left == 0 {
            return 0;
        }
        let child = Process::builder().start_method(method).spawn(deeper, (method, left - 1));
        1 + child.unwrap().join().unwrap()
    }
    assert_eq!(deeper((method, 12)), 12);
}

fn lose_the_server(method: StartMethod) {
    let (go_on, goes_on) = ipc_core::pipe::<()>().unwrap();
    let wait = |goes_on: ipc_core::Receiver<()>| goes_on.recv().unwrap();
    let child = Process::builder().start_method(method).spawn(wait, goes_on).unwrap();
    let server = descendants(process::id()).into_iter().find(|below| below.name == "mp-fork-server").unwrap();
    // SAFETY: only sends a signal, that of Ctrl-C.
    #[allow(unsafe_code)]
    unsafe {
        libc::kill(i32::try_from(server.pid).unwrap(), libc::SIGINT);
    }
    assert_eq!(spawn(method, |()| 4).join().unwrap(), 4);
    assert!(chaos::state(server.pid).is_some_and(|state| state != 'Z'));
    chaos::kill(server.pid).unwrap();
    // It lives on, and its value comes.
    assert!(child.is_alive());
    go_on.send(&()).unwrap();
    child.join().unwrap();
    // One child was forked ahead; for the next one there is a new server.
    assert_eq!(spawn(method, |()| 5).join().unwrap(), 5);
    let lost = spawn(method, sleep_long);
    chaos::kill(living("mp-fork-server").unwrap()).unwrap();
    thread::sleep(Duration::from_millis(50));
    lost.kill().unwrap();
    // Where the server is its parent, its status has nobody to tell it.
    let status = lost.join().unwrap_err().status().unwrap();
    assert!(status.is_unknown() || status.signal() == Some(9), "{status}");
    for _ in 0..3 {
        assert_eq!(spawn(method, |()| 3).join().unwrap(), 3);
    }
}

/// A process below this one that has this name.
fn living(name: &str) -> Option<u32> {
    let all = descendants(process::id());
    all.into_iter().find(|below| below.name == name && !below.is_zombie()).map(|below| below.pid)
}

/// Kills the child that is kept ready, each time.
fn lose_the_spare(method: StartMethod) {
    for round in 0..20 {
        assert_eq!(spawn(method, |()| 3).join().unwrap(), 3);
        if round % 2 == 0 {
            let deadline = Instant::now() + Duration::from_secs(20);
            let spare = loop {
                match living("mp-fork-spare") {
                    Some(spare) => break spare,
                    None => assert!(Instant::now() < deadline, "no child is kept ready"),
                }
            };
            chaos::kill(spare).unwrap();
            while chaos::state(spare).is_some_and(|state| state != 'Z') {
                thread::yield_now();
            }
        }
    }
    // The last of them was collected, and so was each that was killed.
    let has_zombies = || descendants(process::id()).iter().any(|below| below.is_zombie());
    let deadline = Instant::now() + Duration::from_secs(20);
    while has_zombies() {
        assert!(Instant::now() < deadline, "some are not collected");
        assert_eq!(spawn(method, |()| 3).join().unwrap(), 3);
    }
}

fn be_interrupted(method: StartMethod) {
    let child = spawn(method, |()| {
        say("started");
        thread::sleep(Duration::from_millis(400));
        say("still there");
        sleep_long(());
    });
    let _ = child.join();
}

fn fork_with_captures(_: StartMethod) {
    let words = vec!["one".to_owned(), "two".to_owned()];
    let borrowed = &words;
    let count = Process::fork(|| borrowed.len()).unwrap();
    assert_eq!(count.join().unwrap(), 2);
    let joined = Process::builder().name("joiner").env("MP_A", "1");
    let joined = joined.fork(move || {
        let name = mp_process::current_process().name().to_owned();
        format!("{} {name} {}", words.join("+"), env::var("MP_A").unwrap())
    });
    assert_eq!(joined.unwrap().join().unwrap(), "one+two joiner 1");
    let error = Process::<()>::fork(|| panic!("in a fork")).unwrap().join().unwrap_err();
    assert_eq!(error.panic().unwrap().message(), "in a fork");
    let big = Process::fork(|| vec![3u8; 4_000_000]).unwrap();
    assert_eq!(big.join().unwrap().len(), 4_000_000);
    let (sender, waiting) = std::sync::mpsc::sync_channel::<()>(0);
    let busy = move || {
        waiting.recv().unwrap();
        waiting.recv().is_ok()
    };
    let thread = thread::Builder::new().name("busy".into()).spawn(busy).unwrap();
    sender.send(()).unwrap();
    let error = Process::fork(|| ()).unwrap_err();
    assert!(error.is_threads() && error.to_string().contains("busy"), "{error}");
    drop(sender);
    thread.join().unwrap();
    // The kernel may list a thread for a moment after it was joined.
    Process::fork(|| ()).unwrap().join().unwrap();
}
