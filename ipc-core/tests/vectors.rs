//! Vectors of numbers over channels: in the memory that they stay in.

use std::time::Duration;

use ipc_core::link::{PipeLink, RingLink, RingOptions, SocketLink};
use ipc_core::{Message, Receiver, RecvError, Sender, pipe};

const SOON: Duration = Duration::from_millis(20);
const LATE: Duration = Duration::from_secs(60);

/// Ends over each kind of link.
fn channels<T: Message>() -> Vec<(Sender<T>, Receiver<T>)> {
    let (tx, rx) = RingLink::pipe(RingOptions::default()).unwrap();
    let small = RingLink::pipe(RingOptions::default().capacity(4096)).unwrap();
    let sockets = SocketLink::pair().unwrap();
    let pipes = PipeLink::pair().unwrap();
    vec![
        (Sender::over(tx), Receiver::over(rx)),
        (Sender::over(small.0), Receiver::over(small.1)),
        (Sender::over(sockets.0), Receiver::over(sockets.1)),
        (Sender::over(pipes.0), Receiver::over(pipes.1)),
    ]
}

fn there<T: Message + Sync + PartialEq + std::fmt::Debug>(value: &T) {
    for (tx, rx) in channels::<T>() {
        std::thread::scope(|scope| {
            scope.spawn(|| (0..3).for_each(|_| tx.send(value).unwrap()));
            assert_eq!(&rx.recv().unwrap(), value);
            let mut there = rx.recv_timeout(LATE).unwrap();
            rx.recv_into(&mut there).unwrap();
            assert_eq!(&there, value);
        });
    }
}

#[test]
fn each_kind_of_number_arrives_at_each_size() {
    for len in [0, 1, 7, 1000, 16_383, 16_384, 70_001, 1 << 20] {
        there(&(0..len).map(|number| number as u8).collect::<Vec<u8>>());
        there(&(0..len as u32).map(|number| f64::from(number) / 3.0).collect::<Vec<f64>>());
    }
    let len = 40_001i32;
    there(&(0..len).map(|number| number as i16).collect::<Vec<i16>>());
    there(&(0..len).map(|number| -number).collect::<Vec<i32>>());
    there(&(0..len).map(|number| i128::from(number) << 80).collect::<Vec<i128>>());
    there(&(0..len).map(|number| number.to_string()).collect::<Vec<String>>());
}

/// Lengths are not kept in 31 bits anywhere, nor in 32 minus what stands around them.
#[test]
#[ignore = "takes seven gigabytes of memory: `cargo test --release -p ipc-core --test vectors -- --ignored`"]
fn more_than_two_gigabytes_arrive() {
    const LEN: usize = (2 << 30) + 5;
    let mut sent = vec![0u8; LEN];
    sent.chunks_mut(1 << 20).enumerate().for_each(|(number, part)| part[0] = number as u8 | 1);
    for (tx, rx) in channels() {
        std::thread::scope(|scope| {
            scope.spawn(|| tx.send(&sent).unwrap());
            assert!(rx.recv().unwrap() == sent, "other bytes came");
        });
    }
}

#[test]
fn a_hundred_megabytes_arrive() {
    let (tx, rx) = pipe::<Vec<f64>>().unwrap();
    let numbers: Vec<f64> = (0..12_500_000).map(f64::from).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| tx.send(&numbers).unwrap());
        assert!(rx.recv().unwrap() == numbers, "other numbers came");
    });
}

#[test]
fn memory_that_is_there_is_used_again() {
    for (tx, rx) in channels::<Vec<f64>>() {
        let numbers = vec![2.5; 10_000];
        let mut there: Vec<f64> = Vec::with_capacity(20_000);
        let memory = there.as_ptr();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..10).for_each(|_| tx.send(&numbers).unwrap()));
            for _ in 0..10 {
                rx.recv_into_timeout(&mut there, LATE).unwrap();
                assert_eq!(there, numbers);
                assert_eq!(there.as_ptr(), memory);
            }
        });
    }
}

#[test]
fn half_a_vector_waits_for_the_next_call() {
    for (tx, rx) in channels::<Vec<u16>>() {
        let numbers: Vec<u16> = (0..300_000).map(|number| number as u16).collect();
        // No room for all of it: what is there is sent, and the rest with the receiving.
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| tx.send(&numbers).unwrap());
            let mut there = vec![1, 2, 3];
            while let Err(error) = rx.try_recv_into(&mut there) {
                assert!(matches!(error, RecvError::Timeout), "{error}");
                std::thread::sleep(Duration::from_micros(100));
            }
            assert!(there == numbers, "other numbers came");
            sender.join().unwrap();
        });
        assert!(matches!(rx.recv_timeout(SOON), Err(RecvError::Timeout)));
    }
}

#[test]
fn a_vector_of_another_kind_is_an_error_and_no_more() {
    let (tx, rx) = RingLink::pipe(RingOptions::default()).unwrap();
    let (bytes, words) = (Sender::<Vec<u8>>::over(tx), Receiver::<Vec<u32>>::over(rx));
    bytes.send(&vec![0; 400]).unwrap();
    let mut there = vec![7; 100];
    assert!(matches!(words.recv_into(&mut there), Err(RecvError::Decode(_))));
    assert!(there.is_empty() && there.capacity() >= 100);
    bytes.send_bytes(&[0; 400]).unwrap();
    assert!(matches!(words.recv(), Err(RecvError::Decode(_))));
    bytes.send_bytes(b"short").unwrap();
    assert!(matches!(words.recv(), Err(RecvError::Decode(_))));
}

#[test]
fn what_there_is_room_for_is_sent_without_waiting() {
    let (tx, rx) = RingLink::pipe(RingOptions::default().capacity(256 << 10)).unwrap();
    let (tx, rx) = (Sender::<Vec<u8>>::over(tx), Receiver::<Vec<u8>>::over(rx));
    for len in [20_000, 60_000, 200_000] {
        let bytes = vec![len as u8; len];
        for _ in 0..20 {
            tx.try_send(&bytes).unwrap();
            assert!(rx.try_recv().unwrap() == bytes, "other bytes came");
        }
    }
    // A second one finds no room, and nothing of it is left behind.
    let bytes = vec![1; 200_000];
    tx.try_send(&bytes).unwrap();
    assert!(matches!(tx.try_send(&bytes), Err(ipc_core::SendError::Timeout)));
    assert!(rx.try_recv().unwrap() == bytes, "other bytes came");
    assert!(matches!(rx.try_recv(), Err(RecvError::Timeout)));
}
