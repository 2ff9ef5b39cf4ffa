//! `Listener` and `connect`: connections between strangers.

mod common;

use std::time::{Duration, Instant};

use common::{LONG, SHORT, spawn, suite};
use multiprocess::ipc::{
    AcceptError, Address, AuthKey, BindError, ConnectError, ConnectOptions, Listener, ListenerOptions,
    connect,
};
use multiprocess::{Connection, Receiver, StartMethod, pipe, wait};

suite! {
    started: [
        a_child_connects_at_each_kind_of_address,
        what_was_sent_before_accept_is_received,
        an_accepted_connection_travels,
    ],
    plain: [
        an_address_is_bound_once,
        a_closed_listener_accepts_nobody,
        accepting_ends_with_the_timeout,
        an_empty_key_is_a_key,
        a_wrong_key_is_refused,
        a_key_on_one_side_only_is_told_at_once,
        a_listener_is_waited_for,
        a_silent_client_holds_nobody_up,
    ],
}

type Texts = Connection<String, String>;

fn key() -> AuthKey {
    AuthKey::from(b"a key".as_slice())
}

/// A listener at each kind of address.
fn listeners() -> [Listener; 3] {
    let addresses = [Address::auto(), Address::auto_file(), Ok(Address::tcp("127.0.0.1", 0))];
    let listen = |address| Listener::bind_with(&address, ListenerOptions::new().authkey(key()));
    addresses.map(|address| listen(address.unwrap()).unwrap())
}

fn dial(address: &Address) -> Texts {
    connect(address, ConnectOptions::new().authkey(key())).unwrap()
}

fn greet(address: Address) -> String {
    let conn = dial(&address);
    conn.send(&"hello".to_owned()).unwrap();
    conn.recv().unwrap()
}

fn a_child_connects_at_each_kind_of_address(method: StartMethod) {
    for listener in listeners() {
        let child = spawn(method, greet, listener.address().clone()).unwrap();
        let conn: Texts = listener.accept_timeout(LONG).unwrap();
        assert_eq!(conn.recv().unwrap(), "hello");
        conn.send(&"world".to_owned()).unwrap();
        assert_eq!(child.join().unwrap(), "world");
    }
}

fn what_was_sent_before_accept_is_received(method: StartMethod) {
    let leave = |address: Address| dial(&address).send(&"hello".to_owned()).unwrap();
    for listener in listeners() {
        spawn(method, leave, listener.address().clone()).unwrap().join().unwrap();
        let conn: Texts = listener.accept_timeout(LONG).unwrap();
        assert!(conn.poll(LONG).unwrap());
        assert_eq!(conn.recv().unwrap(), "hello");
        assert!(conn.recv().is_err());
    }
}

fn an_accepted_connection_travels(method: StartMethod) {
    for listener in listeners() {
        let (tx, rx) = pipe::<Texts>().unwrap();
        let shout = |rx: Receiver<Texts>| {
            let conn = rx.recv().unwrap();
            conn.send(&conn.recv().unwrap().to_uppercase()).unwrap();
        };
        let child = spawn(method, shout, rx).unwrap();
        let client = dial(listener.address());
        tx.send(&listener.accept_timeout(LONG).unwrap()).unwrap();
        client.send(&"hello".to_owned()).unwrap();
        assert_eq!(client.recv_timeout(LONG).unwrap(), "HELLO");
        child.join().unwrap();
    }
}

fn an_address_is_bound_once() {
    for listener in listeners() {
        let options = ListenerOptions::new().authkey(key());
        let again = Listener::bind_with(listener.address(), options);
        assert!(matches!(again, Err(BindError::InUse(_))), "{:?}", listener.address());
    }
}

fn a_closed_listener_accepts_nobody() {
    for listener in listeners() {
        listener.close();
        listener.close();
        assert!(matches!(listener.accept::<u8, u8>(), Err(AcceptError::Closed)));
        let client = connect::<u8, u8>(listener.address(), ConnectOptions::new().authkey(key()));
        assert!(matches!(client, Err(ConnectError::NoListener(_))));
    }
}

fn accepting_ends_with_the_timeout() {
    let listener = Listener::bind(&Address::auto().unwrap()).unwrap();
    let start = Instant::now();
    assert!(matches!(listener.try_accept::<u8, u8>(), Err(AcceptError::Timeout)));
    assert!(matches!(listener.accept_timeout::<u8, u8>(SHORT), Err(AcceptError::Timeout)));
    assert!(start.elapsed() >= SHORT);
}

/// Whether a client with `theirs` gets in where `ours` is asked for.
fn try_keys(ours: Option<&[u8]>, theirs: Option<&[u8]>) -> Result<(), ConnectError> {
    let mut options = ListenerOptions::new();
    if let Some(key) = ours {
        options = options.authkey(AuthKey::from(key));
    }
    let listener = Listener::bind_with(&Address::auto().unwrap(), options).unwrap();
    let mut options = ConnectOptions::new().timeout(LONG);
    if let Some(key) = theirs {
        options = options.authkey(AuthKey::from(key));
    }
    connect::<u8, u8>(listener.address(), options)?.send(&1).unwrap();
    assert_eq!(listener.accept_timeout::<u8, u8>(LONG).unwrap().recv().unwrap(), 1);
    Ok(())
}

fn an_empty_key_is_a_key() {
    try_keys(Some(b""), Some(b"")).unwrap();
    assert!(matches!(try_keys(Some(b""), None), Err(ConnectError::KeyMissing)));
}

fn a_wrong_key_is_refused() {
    try_keys(Some(b"right"), Some(b"right")).unwrap();
    assert!(matches!(try_keys(Some(b"right"), Some(b"wrong")), Err(ConnectError::WrongKey)));
}

fn a_key_on_one_side_only_is_told_at_once() {
    try_keys(None, None).unwrap();
    assert!(matches!(try_keys(Some(b"key"), None), Err(ConnectError::KeyMissing)));
    assert!(matches!(try_keys(None, Some(b"key")), Err(ConnectError::KeyUnexpected)));
}

fn a_listener_is_waited_for() {
    let listener = Listener::bind(&Address::auto().unwrap()).unwrap();
    assert_eq!(wait(&[&listener], Some(Duration::ZERO)).unwrap(), []);
    let _client = connect::<u8, u8>(listener.address(), ConnectOptions::new()).unwrap();
    assert_eq!(wait(&[&listener], Some(LONG)).unwrap(), [0]);
    listener.try_accept::<u8, u8>().unwrap();
}

fn a_silent_client_holds_nobody_up() {
    let [_, _, listener] = listeners();
    let Address::Tcp { host, port } = listener.address() else { panic!("a port") };
    let _silent = std::net::TcpStream::connect((host.as_str(), *port)).unwrap();
    let client = dial(listener.address());
    client.send(&"hello".to_owned()).unwrap();
    let conn: Texts = listener.accept_timeout(LONG).unwrap();
    assert_eq!(conn.recv().unwrap(), "hello");
}
