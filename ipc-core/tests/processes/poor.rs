//! Processes that may open few handles: none is kept, and none is missing.
//!
//! # Safety
//! Limits and the user of a child are set by plain system calls.

#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::Duration;

use ipc_core::link::SocketLink;
use ipc_core::{Address, ConnectOptions, Connection, Handle, Listener, Receiver, Sender, connect, pipe};
use serde::{Deserialize, Serialize};

use crate::child::{Job, Worker};

const LIMIT: u64 = 64;
/// The user `nobody`.
const NOBODY: u32 = 65_534;
const CONNECTIONS: usize = 100;

#[derive(Serialize, Deserialize)]
pub(crate) struct Orders {
    as_nobody: bool,
    count: usize,
    rx: Receiver<Handle>,
    tx: Sender<Handle>,
    tell: Sender<String>,
}

pub(crate) fn limited() {
    run(false);
}

/// The kernel lets root have more handles on the way than others.
pub(crate) fn limited_as_nobody() {
    // SAFETY: it only asks.
    if unsafe { libc::geteuid() } != 0 {
        println!("          skipped: only root can become somebody else");
        return;
    }
    run(true);
}

fn run(as_nobody: bool) {
    // In a soak as many as anybody could want.
    let count = if crate::soak().is_some() { 100_000 } else { 3_000 };
    for name in ["ring", "socket"] {
        let ((tx, their_rx), (their_tx, rx)) = if name == "ring" {
            (pipe().unwrap(), pipe().unwrap())
        } else {
            let (there, back) = (SocketLink::pair().unwrap(), SocketLink::pair().unwrap());
            let ends = |(tx, rx)| (Sender::over(tx), Receiver::over(rx));
            (ends(there), ends(back))
        };
        let (tell, told) = pipe().unwrap();
        let orders = Orders { as_nobody, count, rx: their_rx, tx: their_tx, tell };
        let _worker = Worker::start(&Job::Poor(orders));
        assert_eq!(told.recv().unwrap(), "ready", "{name}");
        let null: Handle = OwnedFd::from(File::open("/dev/null").unwrap()).into();
        (0..count).for_each(|_| tx.send(&null).unwrap());
        // More are on the way now than the child may have.
        std::thread::sleep(Duration::from_millis(50));
        (0..count).for_each(|_| drop(rx.recv().unwrap()));
        assert_eq!(told.recv().unwrap(), "done", "{name}");
    }
}

/// In the child.
pub(crate) fn obey(orders: &Orders) {
    // What starts at the first sleep is not to count.
    assert!(orders.rx.recv_timeout(Duration::from_millis(1)).is_err());
    become_poor(orders.as_nobody);
    let before = crate::open_handles();
    orders.tell.send(&"ready".to_owned()).unwrap();
    for _ in 0..orders.count {
        drop(orders.rx.recv().unwrap());
    }
    let null: Handle = OwnedFd::from(File::open("/dev/null").unwrap()).into();
    (0..orders.count).for_each(|_| orders.tx.send(&null).unwrap());
    drop(null);
    for _ in 0..CONNECTIONS / 10 {
        meet(CONNECTIONS / 10);
    }
    let after = crate::settled_handles(before);
    let word = if after == before { "done".to_owned() } else { format!("{before} handles, then {after}") };
    orders.tell.send(&word).unwrap();
}

/// Connections, one after the other, over each of which a handle goes.
fn meet(count: usize) {
    let listener = Listener::bind(&Address::auto().unwrap()).unwrap();
    for _ in 0..count {
        let client: Connection<Handle, u8> = connect(listener.address(), ConnectOptions::new()).unwrap();
        let server: Connection<u8, Handle> = listener.accept().unwrap();
        client.send(&OwnedFd::from(File::open("/dev/null").unwrap()).into()).unwrap();
        server.recv().unwrap();
        server.send(&1).unwrap();
        assert_eq!(client.recv().unwrap(), 1);
    }
}

fn become_poor(as_nobody: bool) {
    let limit = libc::rlimit { rlim_cur: LIMIT, rlim_max: LIMIT };
    // SAFETY: the call reads the structure.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    if as_nobody {
        // SAFETY: no memory is touched. The last two undo what the change of the user does.
        unsafe {
            assert_eq!(libc::setgid(NOBODY), 0);
            assert_eq!(libc::setuid(NOBODY), 0);
            libc::prctl(libc::PR_SET_DUMPABLE, 1);
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        }
    }
}
