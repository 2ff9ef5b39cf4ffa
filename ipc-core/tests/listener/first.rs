//! A first message that goes with the client's proof, and the word that comes with the listener's.

use std::io::{Read, Write};
use std::time::Instant;

use ipc_core::link::Link;
use ipc_core::{
    AcceptError, ConnectError, ConnectOptions, Greeted, Listener, ListenerOptions, Message, Packet,
    RecvError, connect_link_with, pipe,
};

use crate::{LATE, Outcome, SOON, bare, bound, bound_tcp, greeting, key};

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

fn say_hello(listener: &Listener, secret: &str) -> Result<Greeted, ConnectError> {
    let options = ConnectOptions::new().authkey(key(secret)).timeout(LATE);
    connect_link_with(listener.address(), options, Some(&mut packet(1)))
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

pub(crate) fn goes_with_the_proof() -> Outcome {
    for listener in listeners()? {
        // Nobody has accepted anything: it is a thread of the listener's that has proven the key.
        let client = say_hello(&listener, SECRET)?.link;
        let server = take_hello(&listener)?;
        server.send(&mut packet(2), None)?;
        assert_eq!(receive::<i32>(&*client)?, 2);
        client.send(&mut packet(4), None)?;
        assert_eq!(receive::<i32>(&*server)?, 4);
    }
    Ok(())
}

pub(crate) fn a_listener_that_ends_instead() -> Outcome {
    for listener in listeners()? {
        let client = say_hello(&listener, SECRET)?.link;
        drop(take_hello(&listener)?);
        let result = client.recv(&mut Packet::new(), Instant::now().checked_add(LATE));
        assert!(matches!(result, Err(RecvError::Closed)), "{result:?}");
    }
    Ok(())
}

pub(crate) fn has_no_handles() -> Outcome {
    let [listener, _] = listeners()?;
    let (tx, _rx) = pipe::<u8>()?;
    let options = ConnectOptions::new().authkey(key(SECRET)).timeout(LATE);
    let result = connect_link_with(listener.address(), options, Some(&mut packet(tx)));
    assert!(matches!(result, Err(ConnectError::Io(_))), "{result:?}");
    assert!(matches!(listener.accept_timeout::<(), ()>(SOON), Err(AcceptError::Timeout)));
    Ok(())
}

/// One that no socket has room for goes whole, and one that the listener does not take is told of.
pub(crate) fn is_as_long_as_the_listener_takes() -> Outcome {
    let long = |count: usize| packet(vec![7u8; count]);
    let most = 4 << 20;
    let options = || ListenerOptions::new().authkey(key(SECRET)).max_message(most);
    for listener in [bound(options())?, bound_tcp(options())?] {
        let connect = |first: &mut Packet| {
            let options = ConnectOptions::new().authkey(key(SECRET)).timeout(LATE);
            connect_link_with(listener.address(), options, Some(first))
        };
        for count in [2000, 2048, 100_000, most - 100] {
            std::thread::scope(|scope| -> Outcome {
                let client = scope.spawn(|| connect(&mut long(count)));
                let server = listener.accept_link(Instant::now().checked_add(LATE))?.into_link();
                assert_eq!(receive::<Vec<u8>>(&*server)?.len(), count);
                client.join().unwrap()?;
                Ok(())
            })?;
        }
        let result = connect(&mut long(most + 1));
        assert!(
            matches!(&result, Err(ConnectError::Io(error)) if error.to_string().contains("at most")),
            "{result:?}"
        );
    }
    let listener = bound(ListenerOptions::new().authkey(key(SECRET)).max_message(100))?;
    let options = ConnectOptions::new().authkey(key(SECRET)).timeout(LATE);
    let result = connect_link_with(listener.address(), options, Some(&mut long(200)));
    assert!(
        matches!(&result, Err(ConnectError::Io(error)) if error.to_string().contains("at most 100")),
        "{result:?}"
    );
    Ok(())
}

pub(crate) fn the_word_is_for_those_with_the_key() -> Outcome {
    let word: [u8; 32] = std::array::from_fn(|place| place as u8 + 1);
    for (has_key, options) in
        [(true, ListenerOptions::new().authkey(key(SECRET))), (false, ListenerOptions::new())]
    {
        let listener = bound(options.word(word))?;
        let options = || ConnectOptions::new().timeout(LATE);
        let keyed = || if has_key { options().authkey(key(SECRET)) } else { options() };
        assert_eq!(connect_link_with(listener.address(), keyed(), None)?.word, word);
        listener.set_word([7; 32]);
        assert_eq!(connect_link_with(listener.address(), keyed(), None)?.word, [7; 32]);
        let mut stranger = bare(listener.address())?;
        let mut said = greeting();
        if has_key {
            said[9] = 1;
            said.extend([0; 32]);
        }
        stranger.write_all(&said)?;
        let mut heard = vec![0; if has_key { 56 } else { 88 }];
        stranger.read_exact(&mut heard)?;
        assert_eq!(heard.ends_with(&[7; 32]), !has_key);
        let mut more = Vec::new();
        if has_key {
            stranger.read_to_end(&mut more)?;
        }
        assert_eq!(more, [], "it is told more than that it is refused");
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
