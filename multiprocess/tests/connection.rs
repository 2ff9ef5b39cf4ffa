//! Pipes and connections: whole messages, in order, to the end.

mod common;

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::thread::sleep;
use std::time::Duration;

use common::{LONG, SHORT, spawn, suite};
use multiprocess::{Connection, Handle, Receiver, RecvError, SendError, Sender, StartMethod, duplex, pipe};

suite! {
    started: [
        objects_bytes_and_lists_come_back,
        a_large_message_arrives_whole,
        an_end_is_told_when_the_peer_has_gone,
        an_end_is_told_when_the_peer_was_killed,
        the_parents_end_is_gone_once_it_was_given_away,
        polling_elsewhere_takes_no_part_of_a_message,
        a_file_travels,
        a_file_of_a_high_number_travels,
        connections_travel_and_are_used,
        both_directions_at_once_with_large_messages,
    ],
    plain: [
        polling_waits_and_takes_nothing,
        an_empty_message_is_one,
        messages_are_not_merged,
        bytes_are_received_into_a_buffer,
        sending_to_nobody_is_an_error,
        a_message_of_another_type_is_an_error,
        a_message_can_be_sent_with_a_timeout,
        an_end_outside_a_message_is_an_error,
    ],
}

/// Sends everything back until nothing comes.
fn echo<T: multiprocess::Message>(conn: Connection<T, T>) {
    while let Ok(value) = conn.recv() {
        conn.send(&value).unwrap();
    }
}

type Object = (Vec<f64>, Option<String>, Vec<u8>);

fn objects_bytes_and_lists_come_back(method: StartMethod) {
    let (here, there) = duplex::<Object, Object>().unwrap();
    let child = spawn(method, echo, there).unwrap();
    let objects: [Object; 3] = [
        (vec![1.0, 2.5, -3.0], Some("hello \u{1f98a}".to_owned()), vec![]),
        (vec![], None, b"bytes\0".to_vec()),
        (vec![f64::INFINITY; 1000], Some(String::new()), vec![255; 1000]),
    ];
    for object in &objects {
        here.send(object).unwrap();
        assert_eq!(&here.recv().unwrap(), object);
    }
    drop(here);
    child.join().unwrap();
}

fn a_large_message_arrives_whole(method: StartMethod) {
    let (here, there) = duplex::<Vec<u32>, Vec<u32>>().unwrap();
    let child = spawn(method, echo, there).unwrap();
    let large: Vec<u32> = (0..1 << 20).collect();
    here.send(&large).unwrap();
    assert!(here.recv().unwrap() == large);
    drop(here);
    child.join().unwrap();
}

fn an_end_is_told_when_the_peer_has_gone(method: StartMethod) {
    let (tx, rx) = pipe::<u8>().unwrap();
    let child = spawn(method, |tx: Sender<u8>| tx.send(&1).unwrap(), tx).unwrap();
    child.join().unwrap();
    assert_eq!(rx.recv().unwrap(), 1);
    assert!(rx.poll(LONG).unwrap(), "an end can be received");
    assert!(matches!(rx.recv(), Err(RecvError::Closed)));
    assert!(matches!(rx.try_recv(), Err(RecvError::Closed)));
}

fn an_end_is_told_when_the_peer_was_killed(method: StartMethod) {
    let (here, there) = duplex::<u8, u8>().unwrap();
    let child = spawn(method, echo, there).unwrap();
    here.send(&1).unwrap();
    assert_eq!(here.recv().unwrap(), 1);
    child.kill().unwrap();
    assert!(matches!(here.recv_timeout(LONG), Err(RecvError::Closed)));
    assert!(matches!(here.send(&2), Err(SendError::Closed)));
    child.join().unwrap_err();
}

fn the_parents_end_is_gone_once_it_was_given_away(method: StartMethod) {
    let (here, there) = duplex::<String, String>().unwrap();
    let child = spawn(method, |conn: Connection<String, String>| conn.send(&"hello".into()).unwrap(), there);
    assert_eq!(here.recv().unwrap(), "hello");
    child.unwrap().join().unwrap();
    assert!(matches!(here.recv(), Err(RecvError::Closed)), "no copy of the other end is left here");
}

fn polling_elsewhere_takes_no_part_of_a_message(method: StartMethod) {
    let (tx, rx) = pipe::<String>().unwrap();
    let receive = |rx: Receiver<String>| {
        let mut lens = Vec::new();
        while rx.poll(LONG).unwrap() {
            match rx.recv() {
                Ok(text) => lens.push(text.len()),
                Err(_) => break,
            }
        }
        lens
    };
    let child = spawn(method, receive, rx).unwrap();
    let lens = [1, 100_000, 0, 3];
    for len in lens {
        tx.send(&"x".repeat(len)).unwrap();
        sleep(SHORT / 4);
    }
    drop(tx);
    assert_eq!(child.join().unwrap(), lens);
}

fn polling_waits_and_takes_nothing() {
    let (tx, rx) = pipe::<u8>().unwrap();
    assert!(!rx.poll(Duration::ZERO).unwrap());
    assert!(!rx.poll(SHORT).unwrap());
    tx.send(&1).unwrap();
    for _ in 0..3 {
        assert!(rx.poll(Duration::ZERO).unwrap());
    }
    assert_eq!(rx.recv().unwrap(), 1);
    assert!(!rx.poll(Duration::ZERO).unwrap());
    assert!(matches!(rx.try_recv(), Err(RecvError::Timeout)));
}

fn an_empty_message_is_one() {
    let (tx, rx) = pipe::<String>().unwrap();
    tx.send_bytes(b"").unwrap();
    assert!(rx.poll(LONG).unwrap() && rx.poll(Duration::ZERO).unwrap());
    let mut bytes = vec![1];
    rx.recv_bytes(&mut bytes).unwrap();
    assert_eq!(bytes, b"");
    let texts = ["hello", "", "world", "", ""];
    texts.iter().for_each(|text| tx.send(&(*text).to_owned()).unwrap());
    drop(tx);
    assert_eq!(rx.iter().map(Result::unwrap).collect::<Vec<_>>(), texts);
}

fn messages_are_not_merged() {
    let (here, there) = duplex::<u8, u8>().unwrap();
    here.send_bytes(b"a").unwrap();
    here.send_bytes(b"bcd").unwrap();
    let mut bytes = Vec::new();
    assert!(there.poll(LONG).unwrap());
    there.recv_bytes(&mut bytes).unwrap();
    assert_eq!(bytes, b"a");
    assert!(there.poll(LONG).unwrap() && there.poll(LONG).unwrap());
    there.recv_bytes(&mut bytes).unwrap();
    assert_eq!(bytes, b"bcd");
}

fn bytes_are_received_into_a_buffer() {
    let (tx, rx) = pipe::<u8>().unwrap();
    let (small, large) = (vec![1; 10], vec![2; 100_000]);
    let mut buffer = Vec::with_capacity(200_000);
    let place = buffer.as_ptr();
    std::thread::scope(|scope| {
        scope.spawn(|| [&small, &large].map(|bytes| tx.send_bytes(bytes).unwrap()));
        for bytes in [&small, &large] {
            rx.recv_bytes(&mut buffer).unwrap();
            assert!(buffer == *bytes);
        }
    });
    assert_eq!(buffer.as_ptr(), place, "the buffer had room");
}

fn sending_to_nobody_is_an_error() {
    let (tx, rx) = pipe::<u8>().unwrap();
    drop(rx);
    assert!(matches!(tx.send(&1), Err(SendError::Closed)));
}

fn a_message_of_another_type_is_an_error() {
    let (tx, rx) = pipe::<u64>().unwrap();
    tx.send_bytes(b"no number").unwrap();
    tx.send(&7).unwrap();
    assert!(matches!(rx.recv(), Err(RecvError::Decode(_))));
    assert_eq!(rx.recv().unwrap(), 7, "the next one can be received");
}

fn a_message_can_be_sent_with_a_timeout() {
    let (tx, rx) = pipe::<Vec<u8>>().unwrap();
    let message = vec![0; 1 << 16];
    let sent = (0..).take_while(|_| tx.send_timeout(&message, SHORT).is_ok()).count();
    assert!(matches!(tx.try_send(&message), Err(SendError::Timeout)));
    drop(tx);
    let (whole, rest): (Vec<_>, Vec<_>) = rx.iter().partition(Result::is_ok);
    assert_eq!(whole.len(), sent, "what could not be sent did not come");
    // One that had begun was not completed any more.
    assert!(matches!(rest[..], [] | [Err(RecvError::Cut)]), "{rest:?}");
}

fn an_end_outside_a_message_is_an_error() {
    let (tx, _rx) = pipe::<u8>().unwrap();
    assert!(serde_json::to_string(&tx).is_err());
}

fn read(file: Handle) -> String {
    let mut text = String::new();
    File::from(OwnedFd::from(file)).read_to_string(&mut text).unwrap();
    text
}

fn a_file_travels(method: StartMethod) {
    let (tx, rx) = pipe::<Handle>().unwrap();
    let child = spawn(method, |rx: Receiver<Handle>| read(rx.recv().unwrap()), rx).unwrap();
    tx.send(&Handle::from(OwnedFd::from(File::open("/proc/version").unwrap()))).unwrap();
    assert!(child.join().unwrap().starts_with("Linux"));
}

fn a_file_of_a_high_number_travels(method: StartMethod) {
    let below: Vec<_> = (0..300).map(|_| File::open("/dev/null").unwrap()).collect();
    let (tx, rx) = pipe::<Handle>().unwrap();
    let child = spawn(method, |rx: Receiver<Handle>| read(rx.recv().unwrap()), rx).unwrap();
    tx.send(&Handle::from(OwnedFd::from(File::open("/proc/version").unwrap()))).unwrap();
    drop(below);
    assert!(child.join().unwrap().starts_with("Linux"));
}

fn connections_travel_and_are_used(method: StartMethod) {
    type Ends = (Connection<u32, u32>, Sender<u32>, Receiver<u32>);
    let (to_child, from_parent) = pipe::<Ends>().unwrap();
    let work = |rx: Receiver<Ends>| {
        let (conn, tx, rx) = rx.recv().unwrap();
        conn.send(&(conn.recv().unwrap() + 1)).unwrap();
        tx.send(&(rx.recv().unwrap() + 1)).unwrap();
    };
    let child = spawn(method, work, from_parent).unwrap();
    let (here, there) = duplex().unwrap();
    let (tx_there, rx_here) = pipe().unwrap();
    let (tx_here, rx_there) = pipe().unwrap();
    to_child.send(&(there, tx_there, rx_there)).unwrap();
    here.send(&1).unwrap();
    assert_eq!(here.recv().unwrap(), 2);
    tx_here.send(&10).unwrap();
    assert_eq!(rx_here.recv().unwrap(), 11);
    child.join().unwrap();
}

fn both_directions_at_once_with_large_messages(method: StartMethod) {
    let (here, there) = duplex::<Vec<u8>, Vec<u8>>().unwrap();
    let child = spawn(method, echo, there).unwrap();
    let large = vec![7; 1 << 20];
    for _ in 0..3 {
        here.send(&large).unwrap();
        assert!(here.recv_timeout(LONG).unwrap() == large);
    }
    drop(here);
    child.join().unwrap();
}
