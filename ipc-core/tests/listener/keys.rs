//! Keys: right, wrong, missing, empty, and what they earn.

use std::io::{Read, Write};
use std::time::Instant;

use ipc_core::{
    AcceptError, BindError, ConnectError, ConnectOptions, ListenerOptions, Packet, connect_link,
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

/// Who answers with the bytes that the listener sent has proven nothing.
pub(crate) fn a_thief_without_the_key() -> Outcome {
    let listener = bound(ListenerOptions::new().authkey(key("k")))?;
    let mut thief = bare(listener.address())?;
    let mut said = greeting();
    said[9] = 1;
    thief.write_all(&said)?;
    let mut heard = [0; 56];
    thief.read_exact(&mut heard)?;
    thief.write_all(&heard[24..])?;
    let mut verdict = Vec::new();
    thief.read_to_end(&mut verdict)?;
    assert_eq!(verdict, [0; 33], "refused, and told nothing");
    assert!(matches!(listener.try_accept::<(), ()>(), Err(AcceptError::Timeout)));
    Ok(())
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
