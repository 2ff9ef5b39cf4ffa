//! Kernels that lack a system call, played by a filter that answers as they would: each is
//! enough, or is an error in words, and nobody hangs.
//!
//! # Safety
//! The filter is a valid list of instructions, which the kernel copies.

#![allow(unsafe_code)]

use std::process::{self, ExitCode};
use std::time::Duration;
use std::{env, ptr};

use ipc_core::{pipe, wait};
use mp_process::{ForkServer, Process, ProcessError, StartMethod};
use mp_testkit::Program;
use mp_testkit::harness::{Suite, Trial};

/// Names what is missing, and the start method.
const LACKS: &str = "MP_PROCESS_LACKS";
const LIMIT: Duration = Duration::from_secs(20);
const METHODS: [(&str, StartMethod); 3] =
    [("spawn", StartMethod::Spawn), ("forkserver", StartMethod::ForkServer), ("fork", StartMethod::Fork)];

/// What is missing, and what a program is told by each method: nothing where it is not needed,
/// and one of two texts where it depends on who is first.
type Kernel = (&'static str, &'static [Range], [&'static str; 3]);
/// System calls by their numbers, the first and the last, and the answer to them.
type Range = (i64, i64, i32);

const fn one(number: i64) -> Range {
    (number, number, libc::ENOSYS)
}

const KERNELS: &[Kernel] = &[
    // All that came after Linux 5.4; numbers are the same everywhere since then.
    ("what_came_after_5_4", &[(436, 600, libc::ENOSYS)], FINE),
    ("clone3", &[one(libc::SYS_clone3)], FINE),
    ("close_range", &[one(libc::SYS_close_range)], FINE),
    ("unshare", &[one(libc::SYS_unshare)], FINE),
    (
        "memfd_create",
        &[one(libc::SYS_memfd_create)],
        [
            "the argument could not be sent: a value of type `alloc::vec::Vec<u8>` could not be encoded: no memory \
             could be had for it: Function not implemented (os error 38)",
            "the argument could not be sent: a value of type `alloc::vec::Vec<u8>` could not be encoded: no memory \
             could be had for it: Function not implemented (os error 38)",
            "the function returned, but process PID could not send its value back: no memory could be had for it: \
             Function not implemented (os error 38)",
        ],
    ),
    // A program that is executed has its handle from the call that made it.
    (
        "pidfd_open",
        &[one(libc::SYS_pidfd_open)],
        [
            // A message that is there already needs no wait for it.
            "receiving failed: Function not implemented (os error 38)|",
            // The server may end before it can say why.
            "the process could not be started: the server of forks cannot go on: Function not implemented \
             (os error 38)|the process could not be started: the server of forks has ended",
            "the process could not be started: Function not implemented (os error 38)",
        ],
    ),
    (
        "pidfd_send_signal",
        &[one(libc::SYS_pidfd_send_signal)],
        ["signalling a process failed: Function not implemented (os error 38)"; 3],
    ),
    (
        "waitid",
        &[one(libc::SYS_waitid)],
        ["waiting for a process failed: Function not implemented (os error 38)"; 3],
    ),
    (
        "socketpair",
        &[one(libc::SYS_socketpair)],
        ["the process could not be started: Function not implemented (os error 38)"; 3],
    ),
    (
        "sendmsg",
        &[one(libc::SYS_sendmsg)],
        [
            "the process could not be started: sending failed: Function not implemented (os error 38)",
            "the process could not be started: the server of forks cannot go on: sending failed: Function not \
             implemented (os error 38)",
            "the process PID exited with code 0 before its function returned",
        ],
    ),
    ("prctl", &[one(libc::SYS_prctl)], FINE),
    // As a container forbids what takes rights, and what it does not know.
    ("unshare_by_a_container", &[(libc::SYS_unshare, libc::SYS_unshare, libc::EPERM)], FINE),
    (
        "clone3_and_pidfds_by_a_container",
        &[(424, 435, libc::EPERM)],
        [
            "signalling a process failed: Operation not permitted (os error 1)",
            "the process could not be started: the server of forks cannot go on: Operation not permitted \
             (os error 1)|the process could not be started: the server of forks has ended",
            "the process could not be started: Operation not permitted (os error 1)",
        ],
    ),
];

const FINE: [&str; 3] = [""; 3];

fn main() -> ExitCode {
    if let Ok(role) = env::var(LACKS) {
        let (lacks, method) = role.split_once(' ').expect("a kernel and a method");
        let (_, missing, _) = KERNELS.iter().find(|kernel| kernel.0 == lacks).expect("a known one");
        let is_child = env::var_os("MULTIPROCESS_CHILD").is_some();
        if !is_child {
            lack(missing);
        }
        mp_process::init();
        let method = METHODS.iter().find(|known| known.0 == method).expect("a known method").1;
        if let Err(error) = work(method) {
            println!("{error}");
        }
        return ExitCode::SUCCESS;
    }
    let trials = KERNELS.iter().flat_map(|(lacks, _, told)| {
        METHODS.into_iter().zip(told).map(move |((method, _), told)| {
            Trial::new(format!("without_{lacks}::{method}"), move || {
                let program = Program::this().unwrap().env(LACKS, format!("{lacks} {method}"));
                let finished = program.run(LIMIT).unwrap().expect_success();
                let text = without_pid(finished.stdout.trim_end());
                assert!(told.split('|').any(|told| told == text), "{finished:?}, not {told}");
            })
        })
    });
    Suite::new(trials.collect()).run()
}

/// The text with `PID` in the place of a process's id.
fn without_pid(text: &str) -> String {
    let mut words: Vec<&str> = text.split(' ').collect();
    for at in 1..words.len() {
        if words[at - 1] == "process" && words[at].parse::<u32>().is_ok() {
            words[at] = "PID";
        }
    }
    words.join(" ")
}

/// What a program does with processes.
fn work(method: StartMethod) -> Result<(), Box<dyn std::error::Error>> {
    // What cannot be killed is not waited for.
    let builder = || Process::builder().start_method(method).join_at_exit(Duration::from_millis(100));
    let child = builder().spawn(|(a, b): (u32, u32)| a * b, (6, 7))?;
    assert_eq!(child.join()?, 42);
    let large = builder().spawn(|bytes: Vec<u8>| bytes, vec![7; 300_000])?;
    assert_eq!(large.join()?.len(), 300_000);
    let child = builder().spawn(|()| process::exit(3), ())?;
    assert_eq!(told(child.join())?.exit_code(), Some(3));
    let child = builder().spawn(|()| std::thread::sleep(Duration::from_secs(600)), ())?;
    let ready = wait(&[&child.sentinel()], Some(Duration::ZERO))?;
    assert!(ready.is_empty(), "it has ended");
    child.kill()?;
    assert_eq!(told(child.join())?.signal(), Some(9));
    let (tx, rx) = pipe::<String>()?;
    let child = builder().spawn(|tx: ipc_core::Sender<String>| tx.send(&"text".to_owned()).is_ok(), tx)?;
    assert_eq!(rx.recv_timeout(Duration::from_secs(20))?, "text");
    assert!(child.join()?);
    if method == StartMethod::ForkServer {
        let server = ForkServer::start(|()| (), ())?;
        let child = builder().fork_server(&server).spawn(|()| 7, ())?;
        assert_eq!(child.join()?, 7);
    }
    Ok(())
}

/// How a process ended; another error is passed on.
fn told(result: Result<(), ProcessError>) -> Result<ProcessError, ProcessError> {
    match result {
        Err(error) if error.status().is_some() => Ok(error),
        Err(error) => Err(error),
        Ok(()) => panic!("it ended well"),
    }
}

/// Has these calls answered so from now on, in this process and in all below it.
fn lack(missing: &[Range]) {
    let mut program = vec![load_number()];
    for (first, last, answer) in missing {
        program.extend(answer_between(*first as u32, *last as u32, *answer));
    }
    program.push(instruction(RETURN, libc::SECCOMP_RET_ALLOW));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: see the head of this file.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let set = libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &filter, ptr::null::<()>());
        assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    }
}

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const IF_AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const IF_MORE: u32 = libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

fn load_number() -> libc::sock_filter {
    // The number is the first field of what a filter sees.
    instruction(LOAD, 0)
}

fn answer_between(first: u32, last: u32, answer: i32) -> [libc::sock_filter; 3] {
    let jump = |code, than, yes, no| libc::sock_filter { code: code as u16, jt: yes, jf: no, k: than };
    let refuse = instruction(RETURN, libc::SECCOMP_RET_ERRNO | answer as u32);
    [jump(IF_AT_LEAST, first, 0, 2), jump(IF_MORE, last, 1, 0), refuse]
}

fn instruction(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}
