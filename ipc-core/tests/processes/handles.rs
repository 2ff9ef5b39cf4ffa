//! Handles on their way to another process.
//!
//! # Safety
//! Limits of this process are set by plain system calls, and set back.

#![allow(unsafe_code, reason = "a limit is set")]

use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::Duration;

use ipc_core::link::SocketLink;
use ipc_core::{Handle, Receiver, RecvError, Sender, pipe};

use crate::child::{Job, Worker};

pub(crate) fn arrive() {
    let (tx, rx) = pipe::<Vec<Handle>>().unwrap();
    let (socket_tx, socket_rx) = SocketLink::pair().unwrap();
    let ends = [(tx, rx), (Sender::over(socket_tx), Receiver::over(socket_rx))];
    for (tx, rx) in ends {
        let worker = Worker::start(&Job::SendFiles(tx, 2));
        for _ in 0..200 {
            for handle in rx.recv().unwrap() {
                assert!(File::from(OwnedFd::from(handle)).metadata().unwrap().len() > 0);
            }
        }
        drop(worker);
        while rx.recv().is_ok() {}
    }
}

pub(crate) fn many() {
    // More than the kernel takes with one packet, and than its socket holds at once.
    let (tx, rx) = pipe::<Vec<Handle>>().unwrap();
    let _worker = Worker::start(&Job::SendFiles(tx, 600));
    for _ in 0..5 {
        assert_eq!(rx.recv_timeout(Duration::from_secs(20)).unwrap().len(), 600);
    }
}

pub(crate) fn limit() {
    let (ring_tx, ring_rx) = pipe().unwrap();
    let (socket_tx, socket_rx) = SocketLink::pair().unwrap();
    for (tx, rx) in [(ring_tx, ring_rx), (Sender::over(socket_tx), Receiver::over(socket_rx))] {
        let (tell, told) = pipe::<String>().unwrap();
        let _worker = Worker::start(&Job::FewFiles(rx, tell));
        assert_eq!(told.recv().unwrap(), "ready");
        let file: Handle = OwnedFd::from(File::open("/dev/null").unwrap()).into();
        for count in [1, 40, 0, 2, 40, 40, 3] {
            tx.send(&(0..count).map(|_| file.try_clone().unwrap()).collect()).unwrap();
        }
        drop(tx);
        let told: Vec<String> = told.iter().map(Result::unwrap).collect();
        assert_eq!(told, ["1", "lost", "0", "2", "lost", "lost", "3"]);
    }
}

/// In the child: no more than ten more handles may be opened.
pub(crate) fn receive_few(rx: &Receiver<Vec<Handle>>, tell: &Sender<String>) {
    // What starts at the first sleep is not to count.
    assert!(rx.recv_timeout(Duration::from_millis(1)).is_err());
    let most = crate::open_handles() as u64 + 10;
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: the call reads the structure.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    tell.send(&"ready".to_owned()).unwrap();
    loop {
        let text = match rx.recv() {
            Ok(handles) => handles.len().to_string(),
            Err(RecvError::Closed) => return,
            Err(RecvError::Io(_)) => "lost".to_owned(),
            Err(other) => other.to_string(),
        };
        tell.send(&text).unwrap();
    }
}
