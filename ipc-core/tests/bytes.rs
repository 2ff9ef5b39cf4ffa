//! Bytes over each kind of end, as they are.

use std::thread;
use std::time::{Duration, Instant};

use ipc_core::link::{PipeLink, RingLink, RingOptions, SocketLink};
use ipc_core::{
    Address, ConnectOptions, Connection, Listener, ListenerOptions, Receiver, RecvError, SendError, Sender,
    connect, duplex,
};

type Ends = (Sender<()>, Receiver<()>);

const SOON: Duration = Duration::from_millis(20);

/// Every link, with its name.
fn each() -> Vec<(&'static str, Ends)> {
    let ring = RingLink::pipe(RingOptions::default()).unwrap();
    let pipe = PipeLink::pair().unwrap();
    let socket = SocketLink::pair().unwrap();
    vec![
        ("ring", (Sender::over(ring.0), Receiver::over(ring.1))),
        ("pipe", (Sender::over(pipe.0), Receiver::over(pipe.1))),
        ("socket", (Sender::over(socket.0), Receiver::over(socket.1))),
    ]
}

fn tcp() -> (Connection<(), ()>, Connection<(), ()>) {
    let most = 5 << 30;
    let options = ListenerOptions::new().anyone().max_message(most);
    let listener = Listener::bind_with(&Address::tcp("127.0.0.1", 0), options).unwrap();
    let address = listener.address().clone();
    let client = thread::spawn(move || connect(&address, ConnectOptions::new().max_message(most)).unwrap());
    (listener.accept().unwrap(), client.join().unwrap())
}

#[test]
fn a_message_of_no_bytes_is_a_message() {
    for (name, (tx, rx)) in each() {
        tx.send_bytes(b"").unwrap();
        tx.try_send_bytes(b"").unwrap();
        let mut bytes = vec![1];
        rx.recv_bytes(&mut bytes).unwrap();
        assert!(bytes.is_empty(), "{name}");
        assert_eq!(rx.recv_bytes_into(&mut []).unwrap(), 0, "{name}");
        assert!(matches!(rx.try_recv_bytes(&mut bytes), Err(RecvError::Timeout)), "{name}");
    }
}

#[test]
fn a_buffer_too_short_loses_nothing() {
    for (name, (tx, rx)) in each() {
        for size in [1, 100, 60_000] {
            tx.send_bytes(&vec![size as u8; size]).unwrap();
            let mut buffer = vec![0; size + 1];
            for _ in 0..3 {
                let error = rx.recv_bytes_into(&mut buffer[..size - 1]).unwrap_err();
                assert!(
                    matches!(error, RecvError::BufferTooShort { needed } if needed == size),
                    "{name}: {error}"
                );
                assert!(error.to_string().contains(&size.to_string()), "{error}");
                assert!(rx.poll(Duration::ZERO).unwrap(), "{name}");
            }
            assert_eq!(rx.recv_bytes_into(&mut buffer).unwrap(), size, "{name}");
            assert_eq!(buffer[..size], vec![size as u8; size], "{name}");
            assert_eq!(buffer[size], 0, "{name}: what is behind the message is left alone");
        }
    }
}

#[test]
fn both_ways_over_tcp() {
    let (server, client) = tcp();
    for (from, to) in [(&server, &client), (&client, &server)] {
        from.send_bytes(&[7; 300]).unwrap();
        let mut buffer = [0; 300];
        let result = to.recv_bytes_into(&mut buffer[..299]);
        assert!(matches!(result, Err(RecvError::BufferTooShort { needed: 300 })), "{result:?}");
        assert_eq!(to.recv_bytes_into_timeout(&mut buffer, Duration::from_secs(20)).unwrap(), 300);
        assert_eq!(buffer, [7; 300]);
    }
}

#[test]
fn every_form_keeps_its_deadline() {
    for (name, (tx, rx)) in each() {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4];
        let begun = Instant::now();
        assert!(matches!(rx.recv_bytes_timeout(&mut bytes, SOON), Err(RecvError::Timeout)), "{name}");
        assert!(matches!(rx.recv_bytes_into_timeout(&mut buffer, SOON), Err(RecvError::Timeout)), "{name}");
        assert!(begun.elapsed() >= 2 * SOON, "{name}");
        assert!(matches!(rx.try_recv_bytes_into(&mut buffer), Err(RecvError::Timeout)), "{name}");
        let filled = (0..).find_map(|_| tx.try_send_bytes(&[1; 5_000]).err()).unwrap();
        assert!(matches!(filled, SendError::Timeout), "{name}: {filled}");
        let begun = Instant::now();
        assert!(matches!(tx.send_bytes_timeout(&[1; 5_000], SOON), Err(SendError::Timeout)), "{name}");
        assert!(begun.elapsed() >= SOON, "{name}");
    }
}

#[test]
fn a_connection_speaks_bytes_both_ways() {
    let (here, there) = duplex::<(), ()>().unwrap();
    here.try_send_bytes(b"question").unwrap();
    let mut buffer = [0; 16];
    let len = there.recv_bytes_into(&mut buffer).unwrap();
    there.send_bytes_timeout(&buffer[..len], Duration::from_secs(20)).unwrap();
    let mut bytes = Vec::new();
    here.recv_bytes_timeout(&mut bytes, Duration::from_secs(20)).unwrap();
    assert_eq!(bytes, b"question");
}

#[test]
#[ignore = "takes 10 GiB of memory"]
fn a_message_of_more_than_four_gigabytes() {
    const LEN: usize = (4 << 30) + 4097;
    let (server, client) = tcp();
    let talk = |name: &str, send: &(dyn Fn(&[u8]) + Sync), receive: &dyn Fn(&mut Vec<u8>)| {
        // Pages that nobody writes take no memory here.
        let mut bytes = vec![0; LEN];
        bytes[LEN - 1] = 1;
        (0..LEN).step_by(1 << 20).for_each(|place| bytes[place] = (place >> 20) as u8);
        let mut received = Vec::new();
        thread::scope(|scope| {
            scope.spawn(move || send(&bytes));
            receive(&mut received);
        });
        assert_eq!(received.len(), LEN, "{name}");
        let is_right = (0..LEN).step_by(1 << 20).all(|place| received[place] == (place >> 20) as u8);
        assert!(is_right && received[LEN - 1] == 1, "{name}");
        println!("{name}: {LEN} bytes came");
    };
    for (name, (tx, rx)) in each() {
        talk(name, &|bytes| tx.send_bytes(bytes).unwrap(), &|buffer| rx.recv_bytes(buffer).unwrap());
    }
    talk("tcp", &|bytes| server.send_bytes(bytes).unwrap(), &|buffer| client.recv_bytes(buffer).unwrap());
}
