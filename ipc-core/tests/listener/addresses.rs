//! What an address looks like, and that each kind connects.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

use ipc_core::{
    Address, AddressError, BindError, ConnectError, ConnectOptions, Listener, ListenerOptions, Packet,
    connect, connect_link, connect_link_with,
};
use mp_testkit::harness::Skip;
use mp_testkit::transport::{Ends, conformance};

use crate::{LATE, Outcome, key, talks};

pub(crate) fn texts() -> Outcome {
    let same = [
        ("unix:run/jobs", Address::file("run/jobs")),
        ("abstract:jobs", Address::Abstract("jobs".into())),
        ("tcp:localhost:5000", Address::tcp("localhost", 5000)),
        ("tcp:[fe80::1%2]:1", Address::tcp("fe80::1%2", 1)),
        ("pipe:jobs", Address::NamedPipe("jobs".into())),
    ];
    for (text, address) in same {
        assert_eq!(text.parse::<Address>()?, address);
        assert_eq!(address.to_string(), text);
    }
    let shorter = [
        ("/run/jobs", Address::file("/run/jobs")),
        ("./jobs", Address::file("./jobs")),
        ("@jobs", Address::Abstract("jobs".into())),
        ("127.0.0.1:80", Address::tcp("127.0.0.1", 80)),
        ("[::1]:80", Address::tcp("::1", 80)),
        (r"\\.\pipe\jobs", Address::NamedPipe("jobs".into())),
    ];
    for (text, address) in shorter {
        assert_eq!(text.parse::<Address>()?, address);
    }
    for text in
        ["", "jobs", "unix:", "@", "tcp:host", "host:port", "::1:80", "[::1:80", ":80", "a:70000", "@\0"]
    {
        assert!(text.parse::<Address>().is_err(), "{text}");
    }
    let error: AddressError = "jobs".parse::<Address>().unwrap_err();
    assert!(error.to_string().starts_with("`jobs` is not an address: write `unix:PATH`"), "{error}");
    Ok(())
}

pub(crate) fn serde_forms() -> Outcome {
    let (tx, rx) = ipc_core::pipe::<Vec<Address>>()?;
    let addresses = vec![Address::auto()?, Address::auto_file()?, Address::tcp("::", 7)];
    tx.send(&addresses)?;
    assert_eq!(rx.recv()?, addresses);
    let unwritable = Address::File(OsStr::from_bytes(b"\xff").into());
    let error = tx.send(&vec![unwritable]).unwrap_err().to_string();
    assert!(error.ends_with("could not be encoded: the path of a local socket is not Unicode"), "{error}");
    let mut packet = Packet::new();
    packet.append("jobs")?;
    let error = packet.read::<Address>().unwrap_err().to_string();
    assert!(error.contains("`jobs` is not an address: write `unix:PATH`"), "{error}");
    Ok(())
}

pub(crate) fn each_kind_connects() -> Outcome {
    talks(&Listener::bind(&Address::auto()?)?, ConnectOptions::new())?;
    talks(&Listener::bind(&Address::auto_file()?)?, ConnectOptions::new())?;
    let open = ListenerOptions::new().anyone();
    let listener = Listener::bind_with(&Address::tcp("127.0.0.1", 0), open)?;
    assert!(matches!(listener.address(), Address::Tcp { port: 1.., .. }));
    talks(&listener, ConnectOptions::new())
}

pub(crate) fn a_host_of_version_six() -> Option<Skip> {
    let options = ListenerOptions::new().authkey(key("k"));
    let listener = match Listener::bind_with(&Address::tcp("::1", 0), options) {
        Ok(listener) => listener,
        Err(error @ BindError::Io { .. }) => return Some(Skip(format!("no version six here: {error}"))),
        Err(error) => panic!("{error}"),
    };
    assert!(listener.address().to_string().starts_with("tcp:[::1]:"));
    talks(&listener, ConnectOptions::new().authkey(key("k"))).unwrap();
    None
}

pub(crate) fn a_host_by_name() -> Outcome {
    let options = ListenerOptions::new().authkey(key("k"));
    let listener = Listener::bind_with(&Address::tcp("localhost", 0), options)?;
    let Address::Tcp { port, .. } = listener.address() else { panic!("{listener:?}") };
    // Whichever of the host's addresses it listens on, the client finds it.
    let client = connect_link(&Address::tcp("localhost", *port), ConnectOptions::new().authkey(key("k")))?;
    listener.accept_link(std::time::Instant::now().checked_add(LATE))?;
    drop(client);
    let unknown = Address::tcp("no-such-host.invalid", 1);
    let result = connect_link(&unknown, ConnectOptions::new().timeout(LATE));
    assert!(matches!(result, Err(ConnectError::Io(_) | ConnectError::NoListener(_))), "{result:?}");
    Ok(())
}

pub(crate) fn names_of_other_systems() -> Outcome {
    let pipe = Address::NamedPipe("jobs".into());
    let patient = ConnectOptions::new().timeout(LATE).wait_for_listener();
    let typed = connect::<u8, u8>(&pipe, ConnectOptions::new().authkey(key("k"))).map(drop);
    let refused = [
        Listener::bind(&pipe).map(drop).map_err(of_binding),
        Listener::bind_with(&pipe, ListenerOptions::new().authkey(key("k"))).map(drop).map_err(of_binding),
        typed.map_err(of_connecting),
        connect_link(&pipe, ConnectOptions::new()).map(drop).map_err(of_connecting),
        connect_link(&pipe, patient).map(drop).map_err(of_connecting),
        connect_link_with(&pipe, ConnectOptions::new(), Some(&mut Packet::new()))
            .map(drop)
            .map_err(of_connecting),
    ];
    for result in refused {
        let (kind, text) = result.unwrap_err();
        assert_eq!(kind, io::ErrorKind::Unsupported);
        assert!(
            text.contains("no named pipes on this platform: use `unix:PATH` or `tcp:HOST:PORT`"),
            "{text}"
        );
    }
    // What does not work here can still be named, kept and sent to where it does.
    assert_eq!("pipe:jobs".parse::<Address>()?, pipe);
    let long = Address::file("/tmp/".to_owned() + &"x".repeat(200));
    assert!(matches!(Listener::bind(&long), Err(BindError::Io { .. })));
    Ok(())
}

fn of_binding(error: BindError) -> (io::ErrorKind, String) {
    match &error {
        BindError::Io { source, .. } => (source.kind(), error.to_string()),
        other => panic!("{other}"),
    }
}

fn of_connecting(error: ConnectError) -> (io::ErrorKind, String) {
    match &error {
        ConnectError::Io(source) => (source.kind(), error.to_string()),
        other => panic!("{other}"),
    }
}

pub(crate) fn links_conform() -> Outcome {
    let local = Listener::bind(&Address::auto()?)?;
    conformance(|| ends(&local));
    let options = ListenerOptions::new().authkey(key("k"));
    let tcp = Listener::bind_with(&Address::tcp("127.0.0.1", 0), options)?;
    conformance(|| ends(&tcp));
    Ok(())
}

fn ends(listener: &Listener) -> Ends {
    let mut options = ConnectOptions::new();
    if !listener.address().is_local() {
        options = options.authkey(key("k"));
    }
    let client = connect_link(listener.address(), options).unwrap();
    (client, listener.accept_link(None).unwrap().into_link())
}
