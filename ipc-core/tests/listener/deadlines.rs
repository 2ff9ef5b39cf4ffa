//! Nothing waits longer than it was told to.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::{Duration, Instant};

use ipc_core::{
    AcceptError, Address, ConnectError, ConnectOptions, Listener, ListenerOptions, RecvError, connect,
    connect_link, wait,
};

use crate::{LATE, Outcome, SOON, Talk, bound, bound_tcp, call, key};

pub(crate) fn of_accept() -> Outcome {
    let listener = bound(ListenerOptions::new())?;
    assert!(matches!(listener.try_accept::<(), ()>(), Err(AcceptError::Timeout)));
    let begun = Instant::now();
    assert!(matches!(listener.accept_timeout::<(), ()>(SOON), Err(AcceptError::Timeout)));
    assert!(begun.elapsed() >= SOON);
    Ok(())
}

/// Longer than a wait that is a read may take by itself.
const LONG: Duration = Duration::from_millis(1200);

pub(crate) fn of_long_waits_for_a_message() -> Outcome {
    let listeners = [bound(with_key())?, bound_tcp(with_key())?];
    let waits = |listener: &Listener| -> Outcome {
        let client: Talk = connect(listener.address(), ConnectOptions::new().authkey(key("long")))?;
        let server: Talk = listener.accept_timeout(LATE)?;
        let begun = Instant::now();
        assert!(matches!(client.recv_timeout(LONG), Err(RecvError::Timeout)));
        assert!(begun.elapsed() >= LONG);
        std::thread::scope(|scope| -> Outcome {
            let receiver = scope.spawn(|| (client.recv_timeout(LATE), client.recv()));
            for text in ["in time", "at any time"] {
                std::thread::sleep(LONG);
                server.send(&text.to_owned())?;
            }
            let (in_time, at_any_time) = receiver.join().unwrap();
            assert_eq!((in_time?, at_any_time?), ("in time".to_owned(), "at any time".to_owned()));
            Ok(())
        })
    };
    // Side by side, since they do nothing but wait.
    std::thread::scope(|scope| {
        listeners.iter().for_each(|listener| drop(scope.spawn(move || waits(listener).unwrap())));
    });
    Ok(())
}

fn with_key() -> ListenerOptions {
    ListenerOptions::new().authkey(key("long"))
}

pub(crate) fn of_connect() -> Outcome {
    // A listener that says nothing: the deadline covers the greeting.
    let Address::Abstract(name) = Address::auto()? else { panic!("not a name") };
    let mute = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    let begun = Instant::now();
    let result = connect_link(&Address::Abstract(name), ConnectOptions::new().timeout(SOON));
    assert!(matches!(result, Err(ConnectError::Timeout)), "{result:?}");
    assert!(begun.elapsed() >= SOON);
    drop(mute);
    let nobody = [Address::auto()?, Address::auto_file()?, Address::tcp("127.0.0.1", 1)];
    for address in nobody {
        let result = connect_link(&address, ConnectOptions::new().timeout(LATE));
        assert!(matches!(result, Err(ConnectError::NoListener(_))), "{result:?}");
        let patient = ConnectOptions::new().wait_for_listener().timeout(SOON);
        let result = connect_link(&address, patient);
        assert!(matches!(result, Err(ConnectError::Timeout)), "{result:?}");
    }
    Ok(())
}

/// The kernel's queue of a listener that accepts nobody is full some day.
pub(crate) fn of_connect_to_a_full_queue() -> Outcome {
    let path = std::env::temp_dir().join(format!("ipc-core-full-{}", std::process::id()));
    let mute = UnixListener::bind(&path)?;
    rustix::net::listen(&mute, 0)?;
    let address = Address::file(&path);
    let brief = || connect_link(&address, ConnectOptions::new().timeout(SOON));
    let begun = Instant::now();
    for _ in 0..4 {
        let result = brief();
        assert!(matches!(result, Err(ConnectError::Timeout)), "{result:?}");
    }
    assert!(begun.elapsed() >= SOON * 4);
    std::fs::remove_file(&path)?;
    Ok(())
}

pub(crate) fn a_listener_that_comes_later() -> Outcome {
    let address = Address::auto_file()?;
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            connect_link(&address, ConnectOptions::new().wait_for_listener().timeout(LATE)).map(drop)
        });
        std::thread::sleep(SOON);
        let listener = Listener::bind(&address).unwrap();
        client.join().unwrap().unwrap();
        drop(listener);
    });
    Ok(())
}

pub(crate) fn wait_takes_listeners() -> Outcome {
    let (a, b) = (bound(ListenerOptions::new())?, bound_tcp(ListenerOptions::new().anyone())?);
    assert!(wait(&[&a, &b], Some(SOON))?.is_empty());
    let client = call(&b, ConnectOptions::new())?;
    assert_eq!(wait(&[&a, &b], Some(LATE))?, [1]);
    let server: Talk = b.try_accept()?;
    assert!(wait(&[&a, &b], Some(Duration::ZERO))?.is_empty());
    drop((client, server));
    Ok(())
}

pub(crate) fn close_frees_those_who_wait() -> Outcome {
    let listener = bound(ListenerOptions::new())?;
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..3).map(|_| scope.spawn(|| listener.accept::<(), ()>().map(drop))).collect();
        std::thread::sleep(SOON);
        listener.close();
        for one in waiting {
            assert!(matches!(one.join().unwrap(), Err(AcceptError::Closed)));
        }
    });
    listener.close();
    let result = call(&listener, ConnectOptions::new());
    assert!(matches!(result, Err(ConnectError::NoListener(_))), "{result:?}");
    Ok(())
}
