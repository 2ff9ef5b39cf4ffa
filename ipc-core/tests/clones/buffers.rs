//! A buffer that is made small, which the kernel would fill with half a chunk.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ipc_core::link::SocketLink;
use ipc_core::{Receiver, RecvError, SendError, Sender, pipe};
use mp_process::StartMethod;
use mp_testkit::chaos;
use rustix::net::sockopt;

use crate::{Ends, LONG, Numbered, SHORT, chatter_for_ever, end, over, spawn};

/// What fits one chunk, and not half of one.
const ONE_CHUNK: usize = 3900;

/// A socket whose sender has the smallest buffer that there is.
fn narrow() -> (Ends<Numbered>, OwnedFd) {
    let (tx, rx) = SocketLink::pair().unwrap();
    let socket: OwnedFd = tx.handle().try_clone().unwrap().into();
    sockopt::set_socket_send_buffer_size(&socket, 1).unwrap();
    (over((tx, rx)), socket)
}

/// The kernel would take a chunk in two halves, and what is between them at a kill or a
/// deadline would be missing for ever.
pub(crate) fn a_small_buffer_splits_no_chunk(method: StartMethod) {
    let ((tx, rx), socket) = narrow();
    let mut expected = HashMap::new();
    let mut random = chaos::Rng::new(3);
    let long =
        |number| Numbered { sender: 0, number, bytes: vec![number as u8; 30_000].into(), handle: None };
    let mut number = 0;
    for sender in 1..=20 {
        let child = spawn(method, chatter_for_ever, (tx.clone(), sender)).unwrap();
        assert!(rx.poll(LONG).unwrap());
        // Deadlines pass in the middle of messages, of which the rest then never comes.
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| {
                (0..20).for_each(|_| match tx.send_timeout(&long(number), Duration::from_micros(200)) {
                    Ok(()) => number += 1,
                    Err(error) => assert!(matches!(error, SendError::Timeout), "{error}"),
                });
            });
            let until = Instant::now() + random.pause(Duration::from_millis(20));
            while Instant::now() < until || !sending.is_finished() {
                match rx.recv_timeout(SHORT) {
                    Ok(message) if message.sender == 0 => {
                        assert_eq!(message.bytes, long(message.number).bytes);
                    }
                    Ok(message) => message.check(&mut expected),
                    Err(RecvError::Timeout) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
        sockopt::set_socket_send_buffer_size(&socket, 1).unwrap();
        end(child);
    }
    drop((tx, socket));
    let last = loop {
        match rx.recv_timeout(LONG) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(last, RecvError::Closed | RecvError::Cut), "{last}");
}

/// Short and long by turns: with something in it a small buffer takes half a chunk and not the rest.
fn of_one_chunk(sender: u64, number: u64) -> Numbered {
    let len = if number.is_multiple_of(2) { 10 } else { ONE_CHUNK };
    Numbered { sender, number, bytes: vec![(sender * 100 + number) as u8; len].into(), handle: None }
}

fn fill((tx, sender): (Sender<Numbered>, u64)) {
    (0..).try_for_each(|number| tx.send(&of_one_chunk(sender, number))).unwrap_or(());
}

/// Checks messages as they come, until `is_last` says so of what each sender has sent, or one is cut.
fn receive(rx: &Receiver<Numbered>, next: &mut [u64; 2], is_last: impl Fn(&[u64; 2]) -> bool) -> bool {
    while !is_last(next) {
        let message = match rx.recv_timeout(LONG) {
            Ok(message) => message,
            Err(RecvError::Cut) => return true,
            Err(error) => panic!("{error}"),
        };
        let expected = &mut next[message.sender as usize];
        let right = of_one_chunk(message.sender, *expected);
        assert_eq!((message.number, message.bytes), (right.number, right.bytes), "torn");
        *expected += 1;
    }
    false
}

/// Somebody makes the buffer small again and again, also between a sender's look at it and its
/// chunk; that one is killed while the second half waits for room.
pub(crate) fn a_chunk_that_went_out_in_two_is_a_message_cut(method: StartMethod) {
    const ROUNDS: u32 = 50;
    let mut cut = 0;
    for _ in 0..ROUNDS {
        let ((tx, rx), socket) = narrow();
        let child = spawn(method, fill, (tx.clone(), 1)).unwrap();
        let is_over = AtomicBool::new(false);
        let mut next = [0, 0];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    sockopt::set_socket_send_buffer_size(&socket, 1).unwrap();
                }
            });
            assert!(rx.poll(LONG).unwrap());
            // Until the buffer is full.
            std::thread::sleep(Duration::from_millis(3));
            end(child);
            is_over.store(true, Ordering::Relaxed);
        });
        std::thread::scope(|scope| {
            // Ends early once nobody receives.
            scope.spawn(|| (0..3).try_for_each(|number| tx.send(&of_one_chunk(0, number))));
            cut += u32::from(receive(&rx, &mut next, |next| next[0] == 3));
            drop(rx);
        });
    }
    println!("{cut} of {ROUNDS} were cut");
}

/// As above, of a sender whose deadline passes between the two: nobody may send behind the first.
pub(crate) fn a_chunk_given_up_half_way_ends_the_channel() {
    const ROUNDS: u32 = 200;
    let mut cut = 0;
    for _ in 0..ROUNDS {
        let ((tx, rx), socket) = narrow();
        let (mover, moved) = pipe::<Sender<Numbered>>().unwrap();
        mover.send(&tx.clone()).unwrap();
        let other = moved.recv().unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    sockopt::set_socket_send_buffer_size(&socket, 1).unwrap();
                }
            });
            for number in 0..2 {
                let sent = tx.send_timeout(&of_one_chunk(0, number), Duration::from_millis(3));
                assert!(matches!(sent, Ok(()) | Err(SendError::Timeout)), "{sent:?}");
            }
            is_over.store(true, Ordering::Relaxed);
        });
        let error = loop {
            if let Err(error) = rx.try_recv() {
                break error;
            }
        };
        let sent = other.try_send(&of_one_chunk(1, 1));
        match (error, sent) {
            (RecvError::Timeout, Ok(())) => assert_eq!(rx.recv_timeout(LONG).unwrap().sender, 1),
            (RecvError::Cut, Err(SendError::Closed)) => cut += 1,
            other => panic!("{other:?}"),
        }
    }
    println!("{cut} of {ROUNDS} were cut");
}

/// One that is stopped between the two halves of a chunk has the turn: who receives and who sends is kept
/// to their deadlines, and nothing is missing when it goes on.
pub(crate) fn a_sender_stopped_in_the_middle_of_a_chunk_keeps_nobody(method: StartMethod) {
    const ROUNDS: u32 = 8;
    for _ in 0..ROUNDS {
        let ((tx, rx), socket) = narrow();
        let child = spawn(method, fill, (tx.clone(), 1)).unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    sockopt::set_socket_send_buffer_size(&socket, 1).unwrap();
                }
            });
            assert!(rx.poll(LONG).unwrap());
            std::thread::sleep(Duration::from_millis(3));
            chaos::stop(child.pid()).unwrap();
            is_over.store(true, Ordering::Relaxed);
        });
        let mut next = [0, 0];
        let mut there = u64::MAX;
        while next[1] < there {
            let begun = Instant::now();
            match rx.recv_timeout(SHORT) {
                Ok(message) => {
                    assert_eq!((message.sender, message.number), (1, next[1]));
                    next[1] += 1;
                }
                Err(RecvError::Timeout) => there = next[1],
                Err(error) => panic!("{error}"),
            }
            assert!(begun.elapsed() < LONG);
        }
        match tx.send_timeout(&of_one_chunk(0, 0), SHORT) {
            // It was stopped outside of its turn.
            Ok(()) => assert!(!receive(&rx, &mut next, |next| next[0] == 1)),
            Err(error) => assert!(matches!(error, SendError::Timeout), "{error}"),
        }
        chaos::cont(child.pid()).unwrap();
        assert!(!receive(&rx, &mut next, |next| next[1] >= there + 20), "a message was cut by a stop");
        end(child);
    }
}
