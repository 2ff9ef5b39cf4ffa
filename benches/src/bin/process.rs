//! What does it cost to start a process with an empty function and to join it?
//!
//! `cargo run --release -p benches --bin process [ROUNDS]` prints the median of each
//! shape, taken in turns so that a noisy moment hits all of them. `--ballast MB` fills
//! this process's memory first.
//!
//! # Safety
//! The bare forks do nothing in the child but one write and `_exit`.

#![allow(unsafe_code)]

use std::hint::black_box;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, process};

use mp_process::{Process, StartMethod};

/// A name, what is measured, and how long it took.
type Shape = (&'static str, Box<dyn FnMut()>, Vec<Duration>);

fn main() {
    if env::args().nth(1).as_deref() == Some("--zygote") {
        return be_a_zygote();
    }
    mp_process::init();
    let mut arguments = env::args().skip(1).peekable();
    let rounds: usize = arguments.peek().and_then(|text| text.parse().ok()).unwrap_or(300);
    let ballast = env::args().skip_while(|text| text != "--ballast").nth(1);
    let megabytes: usize = ballast.and_then(|text| text.parse().ok()).unwrap_or(0);
    let ballast = black_box(vec![1u8; megabytes << 20]);
    let mut zygote = Zygote::start();
    let mut shapes: Vec<Shape> = vec![
        ("Command, an empty Rust program", Box::new(empty_program), Vec::new()),
        ("Process, spawn", Box::new(|| by(StartMethod::Spawn)), Vec::new()),
        ("bare zygote fork", Box::new(move || zygote.fork()), Vec::new()),
        ("Process, fork server", Box::new(|| by(StartMethod::ForkServer)), Vec::new()),
        ("bare fork and _exit", Box::new(bare_fork), Vec::new()),
        ("Process, fork", Box::new(|| by(StartMethod::Fork)), Vec::new()),
        ("Process::fork, a closure", Box::new(|| Process::fork(|| ()).unwrap().join().unwrap()), Vec::new()),
    ];
    for round in 0..rounds + 20 {
        for (_, run, times) in &mut shapes {
            let began = Instant::now();
            run();
            if round >= 20 {
                times.push(began.elapsed());
            }
        }
    }
    println!("{rounds} rounds, {megabytes} MB of ballast: median, best tenth, worst tenth (µs)");
    for (name, _, times) in &mut shapes {
        times.sort();
        let at = |part: usize| times[times.len() * part / 10].as_secs_f64() * 1e6;
        println!("{name:32} {:9.1} {:9.1} {:9.1}", at(5), at(1), at(9));
    }
    drop(ballast);
}

fn by(method: StartMethod) {
    Process::builder().start_method(method).spawn(|()| (), ()).unwrap().join().unwrap();
}

fn empty_program() {
    let path = env::current_exe().unwrap().with_file_name("empty");
    assert!(Command::new(path).stdin(Stdio::null()).status().unwrap().success());
}

fn bare_fork() {
    // SAFETY: see the head of this file.
    unsafe {
        match libc::fork() {
            0 => libc::_exit(0),
            pid => libc::waitpid(pid, std::ptr::null_mut(), 0),
        };
    }
}

/// A server that forks on request, and nothing else.
struct Zygote(Option<UnixStream>, Child);

impl Zygote {
    fn start() -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut program = Command::new("/proc/self/exe");
        let child = program.arg("--zygote").stdin(Stdio::from(OwnedFd::from(theirs))).spawn().unwrap();
        Self(Some(ours), child)
    }

    fn fork(&mut self) {
        let socket = self.0.as_mut().unwrap();
        socket.write_all(&[1]).unwrap();
        socket.read_exact(&mut [0]).unwrap();
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        // It ends when its input does.
        drop(self.0.take());
        self.1.wait().unwrap();
    }
}

fn be_a_zygote() {
    let stdin = std::io::stdin().as_raw_fd();
    let mut byte = [0u8];
    // SAFETY: see the head of this file; the buffers are one byte long, as is said.
    unsafe {
        while libc::read(stdin, byte.as_mut_ptr().cast(), 1) == 1 {
            match libc::fork() {
                0 => {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    libc::_exit(0)
                }
                pid => libc::waitpid(pid, std::ptr::null_mut(), 0),
            };
            libc::write(stdin, byte.as_ptr().cast(), 1);
        }
    }
    process::exit(0);
}
