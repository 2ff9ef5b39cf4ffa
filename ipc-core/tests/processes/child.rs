//! What the children do.
//!
//! # Safety
//! Each call is one of the C library that needs no promise, or says which it keeps.

#![allow(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use ipc_core::link::{Link, PipeLink, SocketLink};
use ipc_core::{Handle, Receiver, Sender};
use serde::{Deserialize, Serialize};

use crate::{kills, scribble};

const CHILD: &str = "IPC_CORE_TEST_CHILD";

/// A child's work.
#[derive(Serialize, Deserialize)]
pub(crate) enum Job {
    /// Send one message of this length, and then hold the end.
    SendOne(Sender<Vec<u8>>, usize),
    /// Hold the end and do nothing.
    HoldSender(Sender<Vec<u8>>),
    HoldReceiver(Receiver<Vec<u8>>),
    /// Send numbered messages without end.
    Count(Sender<Vec<u8>>),
    /// Fork, tell the child's id, and hold the end in both.
    Fork(Sender<Vec<u8>>),
    /// Send so many open files.
    SendFiles(Sender<Vec<Handle>>, usize),
    /// Receive files where only a few may be open; tell what came.
    FewFiles(Receiver<Vec<Handle>>, Sender<String>),
    /// Write where nobody reads, in a program that would be ended by the signal; tell what came of it.
    BreakPipe(Sender<String>),
    /// Do all that takes handles where 64 may be open.
    Poor(crate::poor::Orders),
    ScribbleAsSender(Sender<Vec<u8>>, u64),
    ScribbleAsReceiver(Receiver<Vec<u8>>, u64),
    /// Send, or receive and check, until killed.
    Talk(Sender<kills::Numbered>),
    Listen(Receiver<kills::Numbered>, Sender<u64>),
}

/// A child process; killed when dropped.
pub(crate) struct Worker(Child);

impl Worker {
    pub(crate) fn start(job: &Job) -> Self {
        let (ours, theirs) = SocketLink::pair().unwrap();
        let stdin = OwnedFd::from(theirs.into_handle());
        let child = Command::new("/proc/self/exe").env(CHILD, "1").stdin(Stdio::from(stdin)).spawn().unwrap();
        Sender::over(ours).send(job).unwrap();
        Self(child)
    }

    pub(crate) fn kill(&mut self) {
        self.signal(libc::SIGKILL);
        self.0.wait().unwrap();
    }

    /// Waits until it sleeps: it has done what it does at once.
    pub(crate) fn await_sleep(&self) {
        let stat = format!("/proc/{}/stat", self.0.id());
        let begun = std::time::Instant::now();
        // The state stands behind the name, which ends with a bracket.
        while !std::fs::read_to_string(&stat).unwrap().rsplit(')').next().unwrap().starts_with(" S") {
            assert!(begun.elapsed() < Duration::from_secs(20), "it does not sleep");
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn signal(&self, signal: i32) {
        signal_process(self.0.id(), signal);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn signal_process(id: u32, signal: i32) {
    // SAFETY: no memory is touched.
    unsafe { libc::kill(id as i32, signal) };
}

pub(crate) fn run_if_child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    // SAFETY: no memory is touched.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let socket = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let link = SocketLink::from_handle(Handle::from(socket)).trust_peer();
    let job = Receiver::<Job>::over(link).recv();
    // A parent that ended meanwhile is no failure of this child.
    if let Ok(job) = job {
        run(job);
    }
    std::process::exit(0);
}

fn run(job: Job) {
    match job {
        Job::SendOne(tx, len) => {
            let _ = tx.send_bytes(&vec![7; len]);
            sleep_for_ever(&tx)
        }
        Job::HoldSender(tx) => sleep_for_ever(&tx),
        Job::HoldReceiver(rx) => sleep_for_ever(&rx),
        Job::Count(tx) => {
            (0u64..).take_while(|number| tx.send_bytes(&number.to_le_bytes()).is_ok()).for_each(drop)
        }
        Job::Fork(tx) => {
            // SAFETY: the child only sleeps.
            let sibling = unsafe { libc::fork() };
            if sibling > 0 {
                tx.send_bytes(&sibling.to_le_bytes()).unwrap();
            }
            sleep_for_ever(&tx)
        }
        Job::SendFiles(tx, count) => {
            let file: Handle = OwnedFd::from(std::fs::File::open("/proc/self/exe").unwrap()).into();
            let files = || (0..count).map(|_| file.try_clone().unwrap()).collect();
            while tx.send(&files()).is_ok() {}
        }
        Job::BreakPipe(tell) => {
            // SAFETY: no memory is touched.
            unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
            let (tx, rx) = PipeLink::pair().unwrap();
            drop(rx);
            let result = Sender::<u8>::over(tx).send(&1);
            tell.send(&format!("{result:?}")).unwrap();
            // A part of this one is in the pipe when its last reader goes.
            let (tx, rx) = PipeLink::pair().unwrap();
            let reader = thread::spawn(move || {
                while !rx.poll(None).unwrap() {}
                thread::sleep(Duration::from_millis(50));
            });
            let result = Sender::<Vec<u8>>::over(tx).send(&vec![1; 1 << 20]);
            reader.join().unwrap();
            tell.send(&format!("{result:?}")).unwrap();
        }
        Job::Poor(orders) => crate::poor::obey(&orders),
        Job::FewFiles(rx, tell) => crate::handles::receive_few(&rx, &tell),
        Job::ScribbleAsSender(tx, seed) => scribble::scribble_as_sender(&tx, seed),
        Job::ScribbleAsReceiver(rx, seed) => scribble::scribble_as_receiver(&rx, seed),
        Job::Talk(tx) => kills::talk(&tx),
        Job::Listen(rx, progress) => kills::listen(&rx, &progress),
    }
}

fn sleep_for_ever<T>(_held: &T) -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

pub(crate) fn stay_on_cpu(cpu: usize) {
    // SAFETY: the set is plain data that the calls fill and read.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    assert_eq!(result, 0);
}

/// Has the kernel end this process after `limit`, or takes that back.
pub(crate) fn end_after(limit: Option<Duration>) {
    let seconds = limit.map_or(0, |limit| limit.as_secs() as u32);
    // SAFETY: no memory is touched; the default action of the signal ends the process.
    unsafe { libc::alarm(seconds) };
}
