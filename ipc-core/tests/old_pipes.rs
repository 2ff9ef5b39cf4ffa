//! Pipes on a kernel before Linux 6.4, which cannot be told that one call is not to wait:
//! ours are non-blocking there, and keep the same promises.
//!
//! The program calls itself with the look of such a kernel: `uname` tells an old version, and
//! a filter refuses the flag as old kernels do.
//!
//! # Safety
//! The filter is a valid list of instructions, which the kernel copies.

#![allow(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, fs, ptr};

use ipc_core::link::{Link, PipeLink};
use ipc_core::{Packet, Receiver, RecvError, SendError, Sender};
use mp_process::Process;
use mp_testkit::harness::{Suite, Trial};
use mp_testkit::transport::conformance;
use mp_testkit::{Program, chaos};

/// Names the one test that this program is to run on the old kernel.
const ALONE: &str = "IPC_CORE_TEST_OLD_PIPES";
const LONG: Duration = Duration::from_secs(30);

const TESTS: &[(&str, fn())] = &[
    ("pipes_are_made_non_blocking", pipes_are_made_non_blocking),
    ("pipe", || conformance(|| boxed(PipeLink::pair().unwrap(), false))),
    ("shared_pipe", || conformance(|| boxed(PipeLink::pair().unwrap(), true))),
    ("killed_ends_are_noticed", killed_ends_are_noticed),
];

fn main() -> ExitCode {
    if let Ok(name) = env::var(ALONE) {
        if env::var_os("MULTIPROCESS_CHILD").is_none() {
            look_old();
        }
        mp_process::init();
        let (_, test) = TESTS.iter().find(|(known, _)| *known == name).expect("a known test");
        test();
        return ExitCode::SUCCESS;
    }
    let trials = TESTS.iter().map(|(name, _)| {
        Trial::new(*name, move || {
            let program = Program::this().expect("this program").env(ALONE, *name);
            program.run(Duration::from_secs(200)).expect("an end").expect_success();
        })
    });
    Suite::new(trials.collect()).run()
}

fn boxed((a, b): (PipeLink, PipeLink), is_shared: bool) -> (Box<dyn Link>, Box<dyn Link>) {
    if is_shared {
        drop(a.share().unwrap());
    }
    (Box::new(a), Box::new(b))
}

fn pipes_are_made_non_blocking() {
    let non_blocking = || {
        let numbers: Vec<_> =
            fs::read_dir("/proc/self/fdinfo").unwrap().map(|entry| entry.unwrap()).collect();
        let flags = numbers.iter().filter_map(|number| {
            // The folder that was read has gone.
            let info = fs::read_to_string(number.path()).ok()?;
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
            i32::from_str_radix(flags.trim(), 8).ok()
        });
        flags.filter(|flags| flags & libc::O_NONBLOCK != 0).count()
    };
    let before = non_blocking();
    let _ends = PipeLink::pair().unwrap();
    assert_eq!(non_blocking(), before + 2);
}

fn chatter((tx, ready): (Sender<Vec<u8>>, Sender<()>)) {
    ready.send(&()).unwrap();
    while tx.send(&vec![7; 10_000]).is_ok() {}
}

fn listen(rx: Receiver<Vec<u8>>) {
    rx.iter().for_each(|message| drop(message.unwrap()));
}

/// In another process, which waits in the kernel: for room, for a message, and for ever.
fn killed_ends_are_noticed() {
    let pair = || PipeLink::pair().unwrap();
    for _ in 0..5 {
        let (tx, rx) = pair();
        let (ready, is_ready) = ipc_core::pipe().unwrap();
        let rx: Receiver<Vec<u8>> = Receiver::over(rx);
        let child = Process::spawn(chatter, (Sender::over(tx), ready)).unwrap();
        is_ready.recv_timeout(LONG).unwrap();
        (0..50).for_each(|_| assert_eq!(rx.recv_timeout(LONG).unwrap(), [7; 10_000]));
        child.kill().unwrap();
        let last = loop {
            match rx.recv_timeout(LONG) {
                Ok(message) => assert_eq!(message, [7; 10_000]),
                Err(error) => break error,
            }
        };
        assert!(matches!(last, RecvError::Closed | RecvError::Cut), "{last}");
        assert!(child.join().is_err());

        let (tx, rx) = pair();
        let tx: Sender<Vec<u8>> = Sender::over(tx);
        let child = Process::spawn(listen, Receiver::over(rx)).unwrap();
        (0..50).for_each(|_| tx.send_timeout(&vec![1; 100_000], LONG).unwrap());
        chaos::stop(child.pid()).unwrap();
        let late = loop {
            if let Err(error) = tx.send_timeout(&vec![1; 100_000], Duration::from_millis(20)) {
                break error;
            }
        };
        assert!(matches!(late, SendError::Timeout), "{late}");
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| tx.send(&vec![1; 100_000]));
            child.kill().unwrap();
            let end = sending.join().unwrap();
            assert!(matches!(end, Err(SendError::Closed)), "{end:?}");
        });
        assert!(child.join().is_err());
    }
    let (_tx, rx) = pair();
    let begun = Instant::now();
    assert!(matches!(rx.recv(&mut Packet::new(), Some(begun)), Err(RecvError::Timeout)));
}

/// From now on, in this process and in all below it.
fn look_old() {
    // To the flags, the last argument of `preadv2` and `pwritev2`, whose numbers are neighbours.
    let mut program = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 3, libc::SYS_preadv2),
        step(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K, 2, 0, libc::SYS_pwritev2),
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, FLAGS),
        step(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K, 1, 0, 0),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW.into()),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, REFUSE),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: see the head of this file.
    unsafe {
        assert!(libc::personality(libc::UNAME26 as libc::c_ulong) >= 0);
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let set = libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &filter, ptr::null::<()>());
        assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    }
}

/// Where a filter sees the sixth argument.
const FLAGS: i64 = 16 + 5 * 8;
const REFUSE: i64 = libc::SECCOMP_RET_ERRNO as i64 | libc::EOPNOTSUPP as i64;

fn step(code: u32, jt: u8, jf: u8, k: i64) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k: k as u32 }
}
