//! What a child is given, and what it is refused, under each start method.

mod common;
#[path = "common/streams.rs"]
mod streams;

use std::io::{Read, Write, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::{env, fs};

use common::{builder, spawn};
use ipc_core::Handle;
use mp_process::{OutOfMemory, Process, Resource, StartMethod, Stdio};
use streams::{stream, text};

common::tests![
    environment_and_directory_are_given,
    what_no_system_takes_is_refused_in_words,
    the_end_of_the_cpu_time_is_told_in_words,
    streams_are_given,
    streams_lead_nowhere_or_where_those_of_the_parent_lead,
    limits_and_niceness_are_given,
    arguments_are_given_or_refused,
    another_executable_is_started_if_it_is_of_this_build,
    an_executable_of_another_format_is_told_in_words,
    orders_of_another_format_are_answered_in_words,
    a_directory_that_is_not_there_is_a_refusal,
];

fn main() -> std::process::ExitCode {
    common::run(TESTS)
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

fn streams_lead_nowhere_or_where_those_of_the_parent_lead(method: StartMethod) {
    let below = |(method, inherits): (StartMethod, bool)| {
        let leads =
            |()| ["0", "1", "2"].map(|number| fs::read_link(format!("/proc/self/fd/{number}")).unwrap());
        let child = builder(method).stdout(Stdio::null());
        let child = if inherits { child.stdin(Stdio::inherit()) } else { child };
        child.spawn(leads, ()).unwrap().join().unwrap()
    };
    for inherits in [false, true] {
        let (input, _output) = pipe().unwrap();
        let (_reader, stdout) = stream();
        let (_reader, stderr) = stream();
        let child = builder(method).stdin(Handle::from(OwnedFd::from(input))).stdout(stdout).stderr(stderr);
        let [stdin, stdout, stderr] = child
            .spawn(below, (method, inherits))
            .unwrap()
            .join()
            .unwrap()
            .map(|lead| lead.display().to_string());
        assert_eq!((stdin != "/dev/null", stdout.as_str()), (inherits, "/dev/null"), "{stdin}");
        assert!(stderr.starts_with("pipe:"), "{stderr}");
    }
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
