//! Values that misbehave, children that are stuck, and what a child is given, under
//! each start method.

mod common;

use std::cell::Cell;
use std::fs;
use std::io::{Read, Write, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::parent_id;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, thread};

use common::{builder, spawn};
use ipc_core::{Handle, wait};
use mp_process::{
    OutOfMemory, Process, Resource, StartMethod, Stdio, active_children, current_process, parent_process,
};
use mp_testkit::chaos::descendants;
use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

common::tests![
    a_panic_while_encoding_the_value_is_an_error,
    a_panic_while_decoding_the_argument_is_an_error,
    a_panic_while_dropping_the_value_is_an_error,
    a_payload_that_panics_when_dropped_is_an_error,
    a_payload_thrown_without_the_hook_keeps_its_own_text,
    a_panic_of_the_task_prints_nothing_and_one_of_a_thread_prints,
    exit_handlers_of_the_child_run,
    exit_handlers_of_the_parent_do_not_run,
    values_of_threads_of_the_parent_are_not_dropped,
    values_of_threads_of_the_child_are_dropped,
    what_c_code_has_written_is_flushed,
    a_stopped_child_with_a_large_argument_holds_nobody_up,
    at_most_two_handles_per_child_and_none_after_join,
    a_joined_process_holds_no_handle,
    environment_and_directory_are_given,
    what_no_system_takes_is_refused_in_words,
    the_end_of_the_cpu_time_is_told_in_words,
    streams_are_given,
    limits_and_niceness_are_given,
    arguments_are_given_or_refused,
    servers_of_many_arguments_are_not_kept,
    another_executable_is_started_if_it_is_of_this_build,
    an_executable_of_another_format_is_told_in_words,
    orders_of_another_format_are_answered_in_words,
    a_directory_that_is_not_there_is_a_refusal,
    parents_and_children_know_each_other,
    the_end_of_a_parent_is_waited_for,
    a_whole_tree_is_killed,
    interrupts_are_for_the_owner_of_the_tree,
    an_interrupt_ends_a_child_that_has_it_so,
    an_argument_is_dropped_here_once_it_is_sent,
    a_child_has_few_handles,
    exit_status_says_how,
];

fn main() -> std::process::ExitCode {
    common::run(TESTS)
}

struct PanicsWhenEncoded;

impl Serialize for PanicsWhenEncoded {
    fn serialize<S: Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        panic!("no encoding")
    }
}

impl<'de> Deserialize<'de> for PanicsWhenEncoded {
    fn deserialize<D: Deserializer<'de>>(_deserializer: D) -> Result<Self, D::Error> {
        Ok(Self)
    }
}

fn a_panic_while_encoding_the_value_is_an_error(method: StartMethod) {
    let error = spawn(method, |()| PanicsWhenEncoded, ()).unwrap().join().map(drop).unwrap_err();
    assert!(error.is_codec(), "{error}");
    assert!(error.to_string().contains("no encoding"), "{error}");
}

struct PanicsWhenDecoded;

impl Serialize for PanicsWhenDecoded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for PanicsWhenDecoded {
    fn deserialize<D: Deserializer<'de>>(_deserializer: D) -> Result<Self, D::Error> {
        panic!("no decoding")
    }
}

fn a_panic_while_decoding_the_argument_is_an_error(method: StartMethod) {
    let error = spawn(method, |_: PanicsWhenDecoded| (), PanicsWhenDecoded).unwrap().join().unwrap_err();
    assert!(error.is_codec(), "{error}");
    assert!(error.to_string().contains("no decoding"), "{error}");
    let error = spawn(method, |()| PanicsWhenDecoded, ()).unwrap().join().map(drop).unwrap_err();
    assert!(error.is_codec(), "{error}");
}

#[derive(serde::Serialize, serde::Deserialize)]
struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        if current_process().is_child() {
            panic!("no dropping");
        }
    }
}

fn a_panic_while_dropping_the_value_is_an_error(method: StartMethod) {
    let error = spawn(method, |()| PanicsWhenDropped, ()).unwrap().join().map(drop).unwrap_err();
    assert_eq!(error.panic().unwrap().message(), "no dropping");
}

fn a_payload_that_panics_when_dropped_is_an_error(method: StartMethod) {
    let child = spawn::<(), ()>(method, |()| std::panic::panic_any(PanicsWhenDropped), ()).unwrap();
    assert!(child.join().unwrap_err().is_panic());
}

fn a_payload_thrown_without_the_hook_keeps_its_own_text(method: StartMethod) {
    let throw = |()| {
        let _ = std::panic::catch_unwind(|| panic!("an earlier one"));
        std::panic::resume_unwind(Box::new("a later one"));
    };
    let error = spawn::<(), ()>(method, throw, ()).unwrap().join().unwrap_err();
    assert_eq!(error.panic().unwrap().message(), "a later one");
}

fn stream() -> (std::io::PipeReader, Stdio) {
    let (reader, writer) = pipe().unwrap();
    (reader, Handle::from(OwnedFd::from(writer)).into())
}

fn text(mut reader: impl Read) -> String {
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text
}

fn a_panic_of_the_task_prints_nothing_and_one_of_a_thread_prints(method: StartMethod) {
    let (reader, stderr) = stream();
    let both = |()| {
        let _ = thread::spawn(|| panic!("in a thread")).join();
        panic!("in the task")
    };
    let child = builder(method).stderr(stderr).spawn::<(), ()>(both, ()).unwrap();
    assert_eq!(child.join().unwrap_err().panic().unwrap().message(), "in the task");
    let printed = text(reader);
    assert!(printed.contains("in a thread"), "{printed}");
    assert!(!printed.contains("in the task"), "{printed}");
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

fn a_stopped_child_with_a_large_argument_holds_nobody_up(method: StartMethod) {
    let began = Instant::now();
    let stop_self = |size: Vec<u8>| {
        // SAFETY: stops this process, which the parent kills.
        #[allow(unsafe_code)]
        unsafe {
            libc::raise(libc::SIGSTOP);
        }
        size.len()
    };
    let child = spawn(method, stop_self, vec![1; 20_000_000]).unwrap();
    assert!(child.join_timeout(Duration::from_millis(300)).unwrap_err().is_timeout());
    child.kill().unwrap();
    assert_eq!(child.join().unwrap_err().signal(), Some(9));
    assert!(began.elapsed() < Duration::from_secs(20));
}

fn handles() -> usize {
    // The listing has one itself.
    fs::read_dir("/proc/self/fd").unwrap().count() - 1
}

fn at_most_two_handles_per_child_and_none_after_join(method: StartMethod) {
    spawn(method, |()| (), ()).unwrap().join().unwrap();
    let before = handles();
    let children: Vec<_> =
        (0..20).map(|_| spawn(method, |()| thread::sleep(Duration::from_secs(600)), ())).collect();
    assert!(handles() <= before + 40, "{} handles for 20 children", handles() - before);
    for child in children {
        let child = child.unwrap();
        child.kill().unwrap();
        assert_eq!(child.join().unwrap_err().signal(), Some(9));
    }
    assert_eq!(handles(), before);
}

fn a_joined_process_holds_no_handle(method: StartMethod) {
    spawn(method, |()| (), ()).unwrap().join().unwrap();
    let before = handles();
    let child = spawn(method, |()| 7, ()).unwrap();
    assert_eq!(child.join_timeout(Duration::from_secs(30)).unwrap(), 7);
    assert_eq!(handles(), before);
    assert!(!child.is_alive());
    assert_eq!(wait(&[&child.sentinel()], None).unwrap(), [0]);
}

fn environment_and_directory_are_given(method: StartMethod) {
    let look = |()| (env::var("MP_A").ok(), env::var("PATH").ok(), env::current_dir().unwrap());
    let child = builder(method).env("MP_A", "1").env_remove("PATH").current_dir("/proc").spawn(look, ());
    assert_eq!(child.unwrap().join().unwrap(), (Some("1".to_owned()), None, "/proc".into()));
    let child = spawn(method, look, ()).unwrap();
    assert_eq!(child.join().unwrap(), (None, env::var("PATH").ok(), env::current_dir().unwrap()));
    // What changes here after a server was started is seen by the next child.
    let before = env::current_dir().unwrap();
    env::set_current_dir("/").unwrap();
    let child = builder(method).current_dir("proc").spawn(look, ()).unwrap();
    assert_eq!(child.join().unwrap().2.to_str(), Some("/proc"));
    assert_eq!(spawn(method, look, ()).unwrap().join().unwrap().2.to_str(), Some("/"));
    env::set_current_dir(before).unwrap();
}

fn what_no_system_takes_is_refused_in_words(method: StartMethod) {
    let wrong = |refused: &dyn Fn(mp_process::Builder) -> mp_process::Builder, word: &str| {
        let error = refused(builder(method)).spawn(|()| (), ()).unwrap_err();
        assert!(error.is_start_failure() && error.to_string().contains(word), "{error}");
    };
    wrong(&|builder| builder.env("A=B", "x"), "\"A=B\" is no name of an environment variable");
    wrong(&|builder| builder.env("", "x"), "\"\" is no name of an environment variable");
    wrong(&|builder| builder.env_remove("A=B"), "no name");
    wrong(&|builder| builder.env("A", "x\0y"), "value with a zero byte");
    wrong(&|builder| builder.args(["x\0y"]), "has a zero byte");
    wrong(&|builder| builder.executable("x\0y"), "has a zero byte");
    let error = builder(method).cpus([1 << 20]).spawn(|()| (), ()).and_then(Process::join).unwrap_err();
    assert!(error.to_string().contains("CPUs [1048576]"), "{error}");
}

fn the_end_of_the_cpu_time_is_told_in_words(method: StartMethod) {
    let spin = |()| -> u32 {
        loop {
            std::hint::spin_loop();
        }
    };
    let child = builder(method).limit(Resource::CpuSeconds, 1).spawn(spin, ()).unwrap();
    let error = child.join().unwrap_err();
    assert!(error.to_string().contains("SIGXCPU"), "{error}");
}

fn streams_are_given(method: StartMethod) {
    let (mut input, output) = pipe().unwrap();
    std::io::Write::write_all(&mut &output, b"from above").unwrap();
    drop(output);
    let (reader, stdout) = stream();
    let copy = |()| {
        println!("{}!", text(std::io::stdin()));
        eprintln!("nobody reads this");
    };
    let mut nothing = [0; 0];
    let _ = input.read(&mut nothing);
    let child =
        builder(method).stdin(Handle::from(OwnedFd::from(input))).stdout(stdout).stderr(Stdio::null());
    child.spawn(copy, ()).unwrap().join().unwrap();
    assert_eq!(text(reader), "from above!\n");
}

fn limits_and_niceness_are_given(method: StartMethod) {
    let look = |()| {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let cpus = status.lines().find(|line| line.starts_with("Cpus_allowed_list")).unwrap().to_owned();
        // The nineteenth field, of which two are in front of the name's last bracket.
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let nice = stat.rsplit(')').next().unwrap().split_whitespace().nth(16).unwrap().to_owned();
        (cpus, nice, fs::read_to_string("/proc/self/limits").unwrap())
    };
    let child =
        builder(method).cpus([0]).niceness(5).limit(Resource::OpenFiles, 77).limit(Resource::CoreSize, 0);
    let (cpus, nice, limits) = child.spawn(look, ()).unwrap().join().unwrap();
    assert_eq!(cpus, "Cpus_allowed_list:\t0");
    assert_eq!(nice, "5");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert!(files.contains(" 77 "), "{files}");
    let child = builder(method).limit(Resource::Memory, 1 << 30);
    let error = child.spawn(|()| vec![1u8; 2 << 30].len(), ()).unwrap().join().unwrap_err();
    assert_eq!(error.signal(), Some(6), "{error}");
    assert_eq!(error.status().unwrap().out_of_memory(), Some(OutOfMemory::Guessed));
    assert!(error.is_out_of_memory() && error.to_string().contains("perhaps"), "{error}");
    let error = Process::<()>::join(spawn(method, |()| std::process::abort(), ()).unwrap()).unwrap_err();
    assert!(!error.is_out_of_memory(), "{error}");
}

fn arguments_are_given_or_refused(method: StartMethod) {
    let arguments = |()| env::args().skip(1).collect::<Vec<_>>();
    let given = |args: [&str; 2]| builder(method).args(args).spawn(arguments, ());
    if method == StartMethod::Fork {
        let error = given(["--one", "2"]).unwrap_err();
        assert!(error.is_start_failure() && error.to_string().contains("copy of this process"), "{error}");
    } else {
        for args in [["--one", "2"], ["--two", "3"], ["--one", "2"]] {
            assert_eq!(given(args).unwrap().join().unwrap(), args);
        }
    }
    let own: Vec<_> = env::args().skip(1).collect();
    assert_eq!(spawn(method, arguments, ()).unwrap().join().unwrap(), own);
}

/// The processes below this one that wait to fork.
fn servers() -> usize {
    let all = descendants(std::process::id()).into_iter();
    all.filter(|below| below.name == "mp-fork-server" && !below.is_zombie()).count()
}

fn servers_of_many_arguments_are_not_kept(method: StartMethod) {
    if method != StartMethod::ForkServer {
        return;
    }
    spawn(method, |()| (), ()).unwrap().join().unwrap();
    let (before, open) = (servers(), handles());
    for number in 0..12 {
        let child = builder(method).args([format!("{number}")]).spawn(|()| env::args().next_back(), ());
        assert_eq!(child.unwrap().join().unwrap(), Some(format!("{number}")));
    }
    // Those that are given up take a moment to end, also those of tests before.
    let are_gone = || {
        (servers() <= before && handles() == open) || {
            thread::sleep(Duration::from_millis(20));
            false
        }
    };
    assert!(
        (0..500).any(|_| are_gone()),
        "{} servers, {} handles; {before}, {open} before",
        servers(),
        handles()
    );
}

fn another_executable_is_started_if_it_is_of_this_build(method: StartMethod) {
    let own = env::current_exe().unwrap();
    // A failure is told by the start or by the join.
    let run = |path: &std::path::Path| builder(method).executable(path).spawn(|x: u32| x + 1, 1)?.join();
    if method == StartMethod::Fork {
        let error = run(&own).unwrap_err();
        assert!(error.is_start_failure() && error.to_string().contains("copy of this process"), "{error}");
        return;
    }
    let folder = env::temp_dir().join(format!("copied-{}-{method:?}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    let copy = folder.join("program");
    fs::copy(&own, &copy).unwrap();
    let where_it_runs = builder(method).executable(&copy).spawn(|()| env::current_exe().unwrap(), ());
    let path = where_it_runs.unwrap().join();
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(path.unwrap(), copy);
    // A program that knows nothing of this library.
    let error = run("/bin/true".as_ref()).unwrap_err();
    assert!(error.is_start_failure() && error.to_string().contains("call `multiprocess::init()`"), "{error}");
    // A program of another build, of which its build id tells: the header of the note is before it.
    fs::create_dir(&folder).unwrap();
    let mut program = fs::read(&own).unwrap();
    let header = b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0";
    let at = program.windows(header.len()).position(|bytes| bytes == header).unwrap() + header.len();
    program[at] ^= 1;
    fs::copy(&own, &copy).unwrap();
    fs::write(&copy, program).unwrap();
    let error = run(&copy).unwrap_err();
    fs::remove_dir_all(&folder).unwrap();
    assert!(error.to_string().contains("another build"), "{error}");
    // One that was deleted.
    let error = run(&copy).unwrap_err();
    assert!(error.is_start_failure(), "{error}");
    let named = format!("{} cannot be executed, which `executable` names", copy.display());
    assert!(error.to_string().contains(&named), "{error}");
}

fn an_executable_of_another_format_is_told_in_words(method: StartMethod) {
    if method == StartMethod::Fork {
        return;
    }
    let folder = env::temp_dir().join(format!("foreign-{}-{method:?}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    let path = folder.join("program");
    // It answers as a child does, in a format of its own.
    let answer = format!("mpf9{}", "0".repeat(100));
    fs::write(&path, format!("#!/bin/sh\nprintf %s {answer} >&0\nexit 1\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let started = builder(method).executable(&path).spawn(|x: u32| x + 1, 1);
    let error = started.and_then(Process::join).unwrap_err();
    fs::remove_dir_all(&folder).unwrap();
    assert!(error.is_start_failure(), "{error}");
    assert!(error.to_string().contains("another version of this library"), "{error}");
}

fn orders_of_another_format_are_answered_in_words(method: StartMethod) {
    // The others have a parent of this very build.
    if method != StartMethod::Spawn {
        return;
    }
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let theirs = fs::File::from(OwnedFd::from(theirs));
    let summons = format!("{}:{}", std::process::id(), theirs.metadata().unwrap().ino());
    let mut command = Command::new("/proc/self/exe");
    let mut child = command.env("MULTIPROCESS_CHILD", summons).stdin(theirs).spawn().unwrap();
    // It keeps the other end.
    drop(command);
    // As much as it reads before it knows: what it leaves unread would reset the connection.
    ours.write_all(format!("mpf9{}", "0".repeat(60)).as_bytes()).unwrap();
    let mut answer = Vec::new();
    ours.read_to_end(&mut answer).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("another version of this library"), "{answer}");
}

fn a_directory_that_is_not_there_is_a_refusal(method: StartMethod) {
    let error = builder(method).current_dir("/not/there").spawn(|()| (), ()).unwrap().join().unwrap_err();
    assert!(error.is_start_failure(), "{error}");
    assert!(error.to_string().contains("/not/there"), "{error}");
}

fn parents_and_children_know_each_other(method: StartMethod) {
    assert!(parent_process().is_none());
    let before = active_children().len();
    let look = |wait: ipc_core::Receiver<()>| {
        wait.recv().unwrap();
        parent_process().map(|parent| (parent.name().to_owned(), parent.pid(), parent_id()))
    };
    let (go_on, wait) = ipc_core::pipe().unwrap();
    let child = spawn(method, look, wait).unwrap();
    assert_eq!(active_children().len(), before + 1);
    assert!(active_children().iter().any(|active| active.pid() == child.pid()));
    go_on.send(&()).unwrap();
    let (name, pid, system) = child.join().unwrap().unwrap();
    assert_eq!((name.as_str(), pid), ("MainProcess", std::process::id()));
    // A server may have to be the parent of what it forks.
    assert!(system == pid || method == StartMethod::ForkServer);
    assert_eq!(active_children().len(), before);
}

/// Has this process live on when its parent ends, waits for that, and tells.
fn outlive((told, is_alive): (ipc_core::Sender<bool>, ipc_core::Sender<bool>)) {
    // SAFETY: asks for no signal.
    #[allow(unsafe_code)]
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, 0);
    }
    let parent = parent_process().unwrap();
    let sentinel = parent.sentinel();
    is_alive.send(&parent.is_alive()).unwrap();
    let ready = wait(&[&sentinel], Some(Duration::from_secs(20))).unwrap();
    told.send(&(ready == [0] && !parent.is_alive())).unwrap();
}

type Above = (StartMethod, ipc_core::Sender<bool>, ipc_core::Sender<bool>);

fn the_end_of_a_parent_is_waited_for(method: StartMethod) {
    let parent = |(method, told, is_alive): Above| {
        let child = spawn(method, outlive, (told, is_alive)).unwrap();
        child.join().unwrap();
    };
    let (told, tell) = ipc_core::pipe().unwrap();
    let (is_alive, alive) = ipc_core::pipe().unwrap();
    let child = spawn(method, parent, (method, told, is_alive)).unwrap();
    assert!(alive.recv().unwrap());
    child.kill().unwrap();
    child.join().unwrap_err();
    // A child that watches its owner by a thread, which some platforms need, does not outlive it.
    match tell.recv_timeout(Duration::from_secs(20)) {
        Ok(seen) => assert!(seen),
        Err(ipc_core::RecvError::Closed) => assert_eq!(method, StartMethod::ForkServer),
        Err(error) => panic!("{error}"),
    }
}

fn a_whole_tree_is_killed(method: StartMethod) {
    let (reader, stdout) = stream();
    let start_programs = |()| {
        let mut program = Command::new("sh").args(["-c", "sleep 600 & echo started; wait"]).spawn().unwrap();
        program.wait().unwrap();
    };
    let child = builder(method).stdout(stdout).spawn(start_programs, ()).unwrap();
    let mut line = [0; 8];
    (&reader).read_exact(&mut line).unwrap();
    assert!(child.is_alive());
    child.kill_tree().unwrap();
    assert_eq!(child.join().unwrap_err().signal(), Some(9));
    // The end of it comes when the last of them is gone.
    assert_eq!(text(reader), "");
}

thread_local! {
    static NOTHING: Cell<u32> = const { Cell::new(0) };
}

fn interrupts_are_for_the_owner_of_the_tree(method: StartMethod) {
    let (reader, stdout) = stream();
    let nap = |()| {
        println!("here");
        thread::sleep(Duration::from_millis(200));
        NOTHING.set(1);
        NOTHING.get()
    };
    let child = builder(method).stdout(stdout).spawn(nap, ()).unwrap();
    let mut line = [0; 5];
    (&reader).read_exact(&mut line).unwrap();
    child.interrupt().unwrap();
    assert_eq!(child.join().unwrap(), 1);
}

fn an_interrupt_ends_a_child_that_has_it_so(method: StartMethod) {
    let (ready, is_ready) = ipc_core::pipe().unwrap();
    let stay = |ready: ipc_core::Sender<()>| {
        // SAFETY: restores what the system does about the signal.
        #[allow(unsafe_code)]
        unsafe {
            libc::signal(libc::SIGINT, libc::SIG_DFL);
        }
        ready.send(&()).unwrap();
        thread::sleep(Duration::from_secs(600));
    };
    let child = spawn(method, stay, ready).unwrap();
    is_ready.recv().unwrap();
    child.interrupt().unwrap();
    assert_eq!(child.join().unwrap_err().signal(), Some(2));
}

/// Counts how often it is dropped in this process.
#[derive(serde::Serialize, serde::Deserialize)]
struct Counted;

static DROPPED: AtomicU32 = AtomicU32::new(0);

impl Drop for Counted {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

fn an_argument_is_dropped_here_once_it_is_sent(method: StartMethod) {
    let before = DROPPED.load(Ordering::Relaxed);
    let child = spawn(method, |counted: Counted| drop(counted), Counted).unwrap();
    assert_eq!(DROPPED.load(Ordering::Relaxed), before + 1);
    child.join().unwrap();
    assert_eq!(DROPPED.load(Ordering::Relaxed), before + 1);
}

fn a_child_has_few_handles(method: StartMethod) {
    let count = |()| handles();
    let first = spawn(method, count, ()).unwrap().join().unwrap();
    let others: Vec<_> = (0..5).map(|_| spawn(method, count, ()).unwrap()).collect();
    let counts: Vec<_> = others.into_iter().map(|child| child.join().unwrap()).collect();
    if method != StartMethod::Fork {
        assert!(counts.iter().all(|count| *count == first), "{first} {counts:?}");
        // Some more may have been inherited from whoever runs the tests.
        assert!(first <= 6 + 3, "{first}");
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
