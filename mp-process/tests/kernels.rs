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

/// What is missing, and whether all works without it.
type Kernel = (&'static str, &'static [Range], bool);
/// System calls by their numbers, the first and the last, and the answer to them.
type Range = (i64, i64, i32);

const fn one(number: i64) -> Range {
    (number, number, libc::ENOSYS)
}

const KERNELS: &[Kernel] = &[
    // All that came after Linux 5.4; numbers are the same everywhere since then.
    ("what_came_after_5_4", &[(436, 600, libc::ENOSYS)], true),
    ("clone3", &[one(libc::SYS_clone3)], true),
    ("close_range", &[one(libc::SYS_close_range)], true),
    ("unshare", &[one(libc::SYS_unshare)], true),
    ("memfd_create", &[one(libc::SYS_memfd_create)], false),
    ("pidfd_open", &[one(libc::SYS_pidfd_open)], false),
    ("pidfd_send_signal", &[one(libc::SYS_pidfd_send_signal)], false),
    ("waitid", &[one(libc::SYS_waitid)], false),
    ("socketpair", &[one(libc::SYS_socketpair)], false),
    ("sendmsg", &[one(libc::SYS_sendmsg)], false),
    ("prctl", &[one(libc::SYS_prctl)], false),
    // As a container forbids what takes rights, and what it does not know.
    ("unshare_by_a_container", &[(libc::SYS_unshare, libc::SYS_unshare, libc::EPERM)], true),
    ("clone3_and_pidfds_by_a_container", &[(424, 435, libc::EPERM)], false),
];

fn main() -> ExitCode {
    if let Ok(role) = env::var(LACKS) {
        let (lacks, method) = role.split_once(' ').expect("a kernel and a method");
        let (_, missing, is_enough) = KERNELS.iter().find(|kernel| kernel.0 == lacks).expect("a known one");
        let is_child = env::var_os("MULTIPROCESS_CHILD").is_some();
        if !is_child {
            lack(missing);
        }
        mp_process::init();
        let method = METHODS.iter().find(|known| known.0 == method).expect("a known method").1;
        let result = work(method);
        // Without what it needs it says so, and ends.
        match (&result, is_enough) {
            (Err(error), true) => panic!("{lacks} is not needed: {error}"),
            (Err(error), false) => println!("without {lacks}: {error}"),
            (Ok(()), _) => println!("all is well without {lacks}"),
        }
        return ExitCode::SUCCESS;
    }
    let trials = KERNELS.iter().flat_map(|(lacks, ..)| {
        METHODS.map(|(method, _)| {
            Trial::new(format!("without_{lacks}::{method}"), move || {
                let program = Program::this().unwrap().env(LACKS, format!("{lacks} {method}"));
                let finished = program.run(LIMIT).unwrap().expect_success();
                assert!(finished.stdout.contains("without"), "{finished:?}");
            })
        })
    });
    Suite::new(trials.collect()).run()
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
