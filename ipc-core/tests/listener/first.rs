//! A first message that goes with the client's proof, and the listener's proof that comes with the answer.

use std::time::Instant;

use ipc_core::link::Link;
use ipc_core::{
    ConnectError, ConnectOptions, Connection, Listener, ListenerOptions, Message, Packet, Sender,
    connect_link_with, pipe,
};

use crate::{LATE, Outcome, SOON, bound, bound_tcp, key};

const SECRET: &str = "first";

fn listeners() -> Result<[Listener; 2], Box<dyn std::error::Error>> {
    let options = || ListenerOptions::new().authkey(key(SECRET));
    Ok([bound(options())?, bound_tcp(options())?])
}

fn packet(value: impl Message) -> Packet {
    let mut packet = Packet::new();
    packet.append(&value).unwrap();
    packet
}

fn say_hello(listener: &Listener, secret: &str) -> Result<Box<dyn Link>, ConnectError> {
    let options = ConnectOptions::new().authkey(key(secret)).timeout(LATE);
    connect_link_with(listener.address(), options, &mut packet(1))
}

fn take_hello(listener: &Listener) -> Result<Box<dyn Link>, Box<dyn std::error::Error>> {
    let server = listener.accept_link(Instant::now().checked_add(LATE))?.into_link();
    assert_eq!(receive::<i32>(&*server)?, 1);
    Ok(server)
}

fn receive<T: Message>(link: &dyn Link) -> Result<T, Box<dyn std::error::Error>> {
    let mut packet = Packet::new();
    link.recv(&mut packet, Instant::now().checked_add(LATE))?;
    Ok(packet.read()?)
}

pub(crate) fn is_answered_with_the_proof() -> Outcome {
    for listener in listeners()? {
        std::thread::scope(|scope| -> Outcome {
            let client = scope.spawn(|| say_hello(&listener, SECRET));
            let server = take_hello(&listener)?;
            std::thread::sleep(SOON);
            assert!(!client.is_finished(), "nothing was proven to it");
            server.send(&mut packet(2), None)?;
            server.send(&mut packet(3), None)?;
            let client = client.join().unwrap()?;
            assert_eq!((receive::<i32>(&*client)?, receive::<i32>(&*client)?), (2, 3));
            client.send(&mut packet(4), None)?;
            assert_eq!(receive::<i32>(&*server)?, 4);
            Ok(())
        })?;
    }
    Ok(())
}

pub(crate) fn a_listener_that_ends_instead() -> Outcome {
    for listener in listeners()? {
        std::thread::scope(|scope| -> Outcome {
            let client = scope.spawn(|| say_hello(&listener, SECRET));
            drop(take_hello(&listener)?);
            let result = client.join().unwrap();
            assert!(matches!(result, Err(ConnectError::Closed | ConnectError::Io(_))), "{result:?}");
            Ok(())
        })?;
    }
    Ok(())
}

pub(crate) fn a_listener_that_is_silent() -> Outcome {
    for listener in listeners()? {
        let options = ConnectOptions::new().authkey(key(SECRET)).timeout(SOON);
        let result = connect_link_with(listener.address(), options, &mut packet(1));
        assert!(matches!(result, Err(ConnectError::Timeout)), "{result:?}");
    }
    Ok(())
}

pub(crate) fn the_proof_goes_before_handles_and_before_the_link_leaves() -> Outcome {
    let [listener, _] = listeners()?;
    let ways: [fn(Box<dyn Link>) -> Outcome; 3] = [
        |server| {
            let (tx, rx) = pipe::<u8>()?;
            server.send(&mut packet(tx), None)?;
            assert_eq!(rx.recv_timeout(LATE)?, 7);
            Ok(())
        },
        |server| {
            let (tx, rx) = pipe::<Connection<Sender<u8>, u8>>()?;
            tx.send(&Connection::over(server))?;
            let (to_client, rx_there) = pipe::<u8>()?;
            rx.recv_timeout(LATE)?.send(&to_client)?;
            assert_eq!(rx_there.recv_timeout(LATE)?, 7);
            Ok(())
        },
        |server| {
            server.flush(Instant::now().checked_add(LATE))?;
            std::thread::sleep(SOON);
            let (tx, rx) = pipe::<u8>()?;
            server.send(&mut packet(tx), None)?;
            assert_eq!(rx.recv_timeout(LATE)?, 7);
            Ok(())
        },
    ];
    for way in ways {
        std::thread::scope(|scope| -> Outcome {
            let client = scope.spawn(|| {
                let client = say_hello(&listener, SECRET).unwrap();
                receive::<Sender<u8>>(&*client).unwrap().send(&7).unwrap();
            });
            way(take_hello(&listener)?)?;
            client.join().unwrap();
            Ok(())
        })?;
    }
    Ok(())
}

pub(crate) fn a_wrong_key_is_told_at_once() -> Outcome {
    for listener in listeners()? {
        let result = say_hello(&listener, "another");
        assert!(matches!(result, Err(ConnectError::WrongKey)), "{result:?}");
    }
    let unknown = bound(ListenerOptions::new())?;
    assert!(matches!(say_hello(&unknown, SECRET), Err(ConnectError::KeyUnexpected)));
    Ok(())
}
