//! Keys: right, wrong, missing, empty, and what they earn.

use std::io::{Read, Write};
use std::time::Instant;

use ipc_core::{
    AcceptError, Address, BindError, ConnectError, ConnectOptions, ListenerOptions, Packet, connect_link,
    decoding_from_own_tree,
};
use serde::{Deserialize, Serialize};

use crate::{LATE, Outcome, SOON, Talk, bare, bound, bound_tcp, call, greeting, key, talks};

pub(crate) fn the_same_on_both_sides() -> Outcome {
    talks(&bound(ListenerOptions::new().authkey(key("k")))?, ConnectOptions::new().authkey(key("k")))?;
    talks(&bound_tcp(ListenerOptions::new().authkey(key("k")))?, ConnectOptions::new().authkey(key("k")))
}

pub(crate) fn a_wrong_one_is_refused_and_delays_nobody() -> Outcome {
    let listener = bound(ListenerOptions::new().authkey(key("right")))?;
    for wrong in ["wrong", "righ", "right ", ""] {
        let result = call(&listener, ConnectOptions::new().authkey(key(wrong)));
        assert!(matches!(result, Err(ConnectError::WrongKey)), "{result:?}");
    }
    assert!(matches!(listener.accept_timeout::<(), ()>(SOON), Err(AcceptError::Timeout)));
    talks(&listener, ConnectOptions::new().authkey(key("right")))
}

pub(crate) fn one_side_only() -> Outcome {
    let begun = Instant::now();
    let with = bound(ListenerOptions::new().authkey(key("k")))?;
    assert!(matches!(call(&with, ConnectOptions::new()), Err(ConnectError::KeyMissing)));
    let without = bound(ListenerOptions::new())?;
    let result = call(&without, ConnectOptions::new().authkey(key("k")));
    assert!(matches!(result, Err(ConnectError::KeyUnexpected)), "{result:?}");
    // At once, and not when a deadline passes.
    assert!(begun.elapsed() < std::time::Duration::from_secs(8));
    talks(&with, ConnectOptions::new().authkey(key("k")))?;
    talks(&without, ConnectOptions::new())
}

pub(crate) fn an_empty_one_is_a_key() -> Outcome {
    let listener = bound(ListenerOptions::new().authkey(key("")))?;
    assert!(matches!(call(&listener, ConnectOptions::new()), Err(ConnectError::KeyMissing)));
    talks(&listener, ConnectOptions::new().authkey(key("")))
}

pub(crate) fn the_network_asks_for_one() -> Outcome {
    for options in [ListenerOptions::new(), ListenerOptions::new().authkey(key(""))] {
        let error = bound_tcp(options).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(BindError::NeedsKey)), "{error}");
    }
    bound_tcp(ListenerOptions::new().anyone()).map(drop)
}

/// Who answers with the bytes that the listener sent has proven nothing, and hears nothing that was made of the key.
pub(crate) fn a_thief_without_the_key() -> Outcome {
    let listener = bound(ListenerOptions::new().authkey(key("k")))?;
    for proof in [[0; 32], [7; 32]] {
        let mut thief = bare(listener.address())?;
        let mut said = greeting();
        said[9] = 1;
        said.extend(proof);
        thief.write_all(&said)?;
        let mut heard = Vec::new();
        thief.read_to_end(&mut heard)?;
        assert_eq!((heard.len(), heard[9]), (56, 3), "refused, and told nothing");
        let mut late = bare(listener.address())?;
        late.write_all(&said[..56])?;
        late.write_all(&heard[24..])?;
        heard.clear();
        late.read_to_end(&mut heard)?;
        assert_eq!((heard.len(), heard[9]), (56, 3), "refused, and told nothing");
    }
    assert!(matches!(listener.try_accept::<(), ()>(), Err(AcceptError::Timeout)));
    Ok(())
}

/// The greeting of one who has the key is of no use to whoever has heard it.
pub(crate) fn one_who_says_again_what_a_client_said() -> Outcome {
    let ear = std::net::TcpListener::bind("127.0.0.1:0")?;
    let deaf = Address::tcp("127.0.0.1", ear.local_addr()?.port());
    let mut said = [0; 88];
    std::thread::scope(|scope| -> Outcome {
        let client =
            scope.spawn(|| connect_link(&deaf, ConnectOptions::new().authkey(key("k")).timeout(LATE)));
        ear.accept()?.0.read_exact(&mut said)?;
        assert!(client.join().unwrap().is_err());
        Ok(())
    })?;
    let listener = bound(ListenerOptions::new().authkey(key("k")))?;
    let mut replies: Vec<[u8; 120]> = Vec::new();
    for proof in 0..3 {
        let mut thief = bare(listener.address())?;
        thief.write_all(&said)?;
        let mut heard = [0; 120];
        thief.read_exact(&mut heard)?;
        // The listener's own proof, the caller's, and the one that the listener gave before.
        let proofs = [&heard[88..], &said[56..], replies.first().map_or(&[0; 32], |reply| &reply[88..])];
        thief.write_all(proofs[proof])?;
        assert_eq!(thief.read(&mut [0])?, 0, "it is let in");
        replies.push(heard);
    }
    assert!(replies[0][88..] != replies[1][88..], "a proof given twice");
    assert!(matches!(listener.try_accept::<(), ()>(), Err(AcceptError::Timeout)));
    talks(&listener, ConnectOptions::new().authkey(key("k")))
}

/// Says whether it was decoded as a word of this program's tree.
#[derive(Debug, Serialize)]
struct Asks(());

impl<'de> Deserialize<'de> for Asks {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        <()>::deserialize(from)?;
        if decoding_from_own_tree() { Ok(Self(())) } else { Err(serde::de::Error::custom("a stranger's")) }
    }
}

pub(crate) fn trust_follows_a_proof() -> Outcome {
    let error = bound(ListenerOptions::new().trust_peers()).unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(BindError::NothingToTrust)), "{error}");
    for trusts in [false, true] {
        let (mut here, mut there) =
            (ListenerOptions::new().authkey(key("k")), ConnectOptions::new().authkey(key("k")));
        if trusts {
            (here, there) = (here.trust_peers(), there.trust_peer());
        }
        let listener = bound(here)?;
        let client = connect_link(listener.address(), there)?;
        let server = listener.accept_link(None)?.into_link();
        for (from, to) in [(&client, &server), (&server, &client)] {
            let mut packet = Packet::new();
            packet.append(&Asks(()))?;
            from.send(&mut packet, None)?;
            to.recv(&mut packet, Instant::now().checked_add(LATE))?;
            assert_eq!(packet.read::<Asks>().is_ok(), trusts);
        }
    }
    let listener = bound(ListenerOptions::new())?;
    let result = call(&listener, ConnectOptions::new().trust_peer());
    assert!(matches!(result, Err(ConnectError::NothingToTrust)), "{result:?}");
    let _: Result<Talk, _> = listener.try_accept();
    Ok(())
}
