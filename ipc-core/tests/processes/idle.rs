//! What a wait costs while nothing happens.
//!
//! # Safety
//! The call fills the structure that it is given.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ipc_core::link::{PipeLink, SocketLink};
use ipc_core::{Connection, Receiver, WaitSet, duplex, pipe, wait};

const TIME: Duration = Duration::from_millis(500);

/// What `waits` takes of the processor, at its best: on a machine that is shared, time of others may be
/// counted too.
fn least_cost_of(waits: impl Fn()) -> Duration {
    let mut least = Duration::MAX;
    for _ in 0..8 {
        let before = processor_time();
        waits();
        least = least.min(processor_time() - before);
        if least < TIME / 5 {
            break;
        }
    }
    least
}

/// Five threads wait in every way; each alone, if it polled, would take the whole time.
pub(crate) fn waits_cost_nothing() {
    let (_ring, ring) = pipe::<u8>().unwrap();
    let (_pipe, over_pipe) = PipeLink::pair().unwrap();
    let (_socket, over_socket) = SocketLink::pair().unwrap();
    let (over_pipe, over_socket) = (Receiver::<u8>::over(over_pipe), Receiver::<u8>::over(over_socket));
    let (full, _kept) = pipe::<Vec<u8>>().unwrap();
    while full.try_send(&vec![0; 10_000]).is_ok() {}
    let (_other, other) = pipe::<u8>().unwrap();
    let set = WaitSet::new().unwrap();
    set.add(1, Arc::new(other)).unwrap();
    let spent = least_cost_of(|| {
        thread::scope(|scope| {
            scope.spawn(|| assert!(ring.recv_timeout(TIME).is_err()));
            scope.spawn(|| assert!(over_pipe.recv_timeout(TIME).is_err()));
            scope.spawn(|| assert!(wait(&[&over_socket], Some(TIME)).unwrap().is_empty()));
            scope.spawn(|| assert!(set.wait(Some(TIME)).unwrap().is_empty()));
            scope.spawn(|| assert!(full.send_timeout(&vec![0; 10_000], TIME).is_err()));
        });
    });
    assert!(spent < TIME / 5, "five waits of {TIME:?} took {spent:?} of the processor");
}

/// Who has woken somebody looks for an answer for longer before it sleeps, and that once: here there is none.
pub(crate) fn waits_after_a_wake_cost_nothing() {
    let spent = least_cost_of(|| {
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| wake_and_wait(duplex().unwrap()));
                scope.spawn(|| {
                    let (a, b) = SocketLink::pair().unwrap();
                    wake_and_wait((Connection::over(a), Connection::over(b)));
                });
            }
        });
    });
    assert!(spent < TIME / 5, "four waits of {TIME:?} took {spent:?} of the processor");
}

fn wake_and_wait((near, far): (Connection<u8, u8>, Connection<u8, u8>)) {
    thread::scope(|scope| {
        let answering = scope.spawn(move || {
            far.send(&far.recv().unwrap()).unwrap();
            far.recv().unwrap();
            // It keeps the end, and says no more.
            far
        });
        // Long enough for the other one to sleep.
        thread::sleep(TIME / 50);
        near.send(&1).unwrap();
        near.recv().unwrap();
        thread::sleep(TIME / 50);
        near.send(&2).unwrap();
        assert!(near.recv_timeout(TIME).is_err());
        drop(answering.join().unwrap());
    });
}

/// Of all threads of this process.
fn processor_time() -> Duration {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the call fills the structure.
    let usage = unsafe {
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()), 0);
        usage.assume_init()
    };
    let time = |of: libc::timeval| Duration::new(of.tv_sec as u64, of.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}
