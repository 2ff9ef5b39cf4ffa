//! Clients that say nothing, or nonsense, or leave early.

use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::{Duration, Instant};

use ipc_core::{AcceptError, Address, ConnectError, ConnectOptions, ListenerOptions, RecvError, SendError};

use crate::{LATE, Outcome, SOON, Talk, bare, bound, bound_tcp, call, greeting, key, talks};

/// How long silent clients are waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Within this nobody can have waited for another client's deadline.
const AT_ONCE: Duration = Duration::from_secs(30);

fn patient() -> ListenerOptions {
    ListenerOptions::new().handshake_timeout(PATIENCE)
}

pub(crate) fn a_silent_client_delays_nobody() -> Outcome {
    for listener in [bound(patient())?, bound_tcp(patient().anyone())?] {
        let begun = Instant::now();
        let _silent: Vec<_> = (0..20).map(|_| bare(listener.address())).collect::<Result<_, _>>()?;
        talks(&listener, ConnectOptions::new())?;
        assert!(begun.elapsed() < AT_ONCE);
    }
    let brief = bound(ListenerOptions::new().handshake_timeout(SOON))?;
    let mut silent = bare(brief.address())?;
    assert_eq!(silent.read(&mut [0])?, 0, "it was not put out in time");
    Ok(())
}

pub(crate) fn more_silent_clients_than_there_are_places() -> Outcome {
    let listener = bound(patient().max_handshakes(4))?;
    let _silent: Vec<_> = (0..6).map(|_| bare(listener.address())).collect::<Result<_, _>>()?;
    let begun = Instant::now();
    talks(&listener, ConnectOptions::new())?;
    assert!(begun.elapsed() < AT_ONCE);
    Ok(())
}

pub(crate) fn a_port_scan() -> Outcome {
    for listener in [bound(ListenerOptions::new())?, bound_tcp(ListenerOptions::new().authkey(key("k")))?] {
        for _ in 0..50 {
            drop(bare(listener.address())?);
        }
        assert!(matches!(listener.accept_timeout::<(), ()>(SOON), Err(AcceptError::Timeout)));
        let options = ConnectOptions::new();
        let is_local = listener.address().is_local();
        talks(&listener, if is_local { options } else { options.authkey(key("k")) })?;
    }
    Ok(())
}

pub(crate) fn nonsense_instead_of_a_greeting() -> Outcome {
    let listener = bound(ListenerOptions::new())?;
    let mut wrong_version = greeting();
    wrong_version[8] = 99;
    for nonsense in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![0; 4096], b"ipc-cor?".to_vec(), wrong_version] {
        let mut client = bare(listener.address())?;
        client.write_all(&nonsense)?;
        // Put out at once, though it might say more; with what it did not want to hear, maybe.
        match client.read_to_end(&mut Vec::new()) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
    assert!(matches!(listener.accept_timeout::<(), ()>(SOON), Err(AcceptError::Timeout)));
    talks(&listener, ConnectOptions::new())
}

/// Each side tells the other one its version, by the bytes that are the same in all.
pub(crate) fn another_version() -> Outcome {
    for options in [ListenerOptions::new(), ListenerOptions::new().authkey(key("k"))] {
        let listener = bound(options)?;
        for version in [0, 1, 3, 255] {
            let mut client = bare(listener.address())?;
            let mut said = greeting();
            said[8] = version;
            client.write_all(&said)?;
            let mut heard = Vec::new();
            client.read_to_end(&mut heard)?;
            assert_eq!((heard.len(), &heard[..9]), (56, &b"ipc-core\x02"[..]));
        }
        assert!(matches!(listener.accept_timeout::<(), ()>(SOON), Err(AcceptError::Timeout)));
    }
    let older = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = Address::tcp("127.0.0.1", older.local_addr()?.port());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for has_key in [0, 1] {
                let (mut client, _) = older.accept().unwrap();
                client.read_exact(&mut [0; 56]).unwrap();
                let mut said = greeting();
                (said[8], said[9]) = (1, has_key);
                client.write_all(&said).unwrap();
            }
        });
        for options in [ConnectOptions::new(), ConnectOptions::new().authkey(key("k"))] {
            let result = ipc_core::connect_link(&address, options.timeout(LATE));
            assert!(matches!(result, Err(ConnectError::Version(1))), "{result:?}");
        }
    });
    Ok(())
}

pub(crate) fn a_greeting_bit_by_bit() -> Outcome {
    let listener = bound(ListenerOptions::new())?;
    let mut client = bare(listener.address())?;
    for byte in greeting() {
        client.write_all(&[byte])?;
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut heard = [0; 88];
    client.read_exact(&mut heard)?;
    let _: Talk = listener.accept_timeout(LATE)?;
    Ok(())
}

pub(crate) fn a_client_that_has_gone_before_accept() -> Outcome {
    for listener in [bound(ListenerOptions::new())?, bound_tcp(ListenerOptions::new().anyone())?] {
        let client = call(&listener, ConnectOptions::new())?;
        client.send(&"last words".to_owned())?;
        drop(client);
        let server: Talk = listener.accept_timeout(LATE)?;
        assert_eq!(server.recv_timeout(LATE)?, "last words");
        assert!(matches!(server.recv_timeout(LATE), Err(RecvError::Closed)));
    }
    Ok(())
}

/// A frame that says it is a tebibyte long is refused before memory is set aside.
pub(crate) fn a_huge_frame() -> Outcome {
    let listener = bound(ListenerOptions::new().max_message(1000))?;
    let mut client = bare(listener.address())?;
    client.write_all(&greeting())?;
    client.read_exact(&mut [0; 88])?;
    let server: Talk = listener.accept_timeout(LATE)?;
    client.write_all(b"mpf2\0\0\0\0")?;
    client.write_all(&(1u64 << 40).to_le_bytes())?;
    let result = server.recv_timeout(LATE);
    assert!(matches!(result, Err(RecvError::Protocol(_))), "{result:?}");
    Ok(())
}

pub(crate) fn a_message_longer_than_the_peer_takes() -> Outcome {
    let listener = bound(ListenerOptions::new().max_message(1000))?;
    let client = call(&listener, ConnectOptions::new().max_message(500))?;
    let server: Talk = listener.accept_timeout(LATE)?;
    let error = client.send_bytes(&[0; 1001]).unwrap_err();
    assert!(matches!(error, SendError::Encode(_)), "{error:?}");
    assert!(error.to_string().contains("the peer takes at most 1000"), "{error}");
    assert!(server.send_bytes(&[0; 501]).is_err());
    // Nothing of it has left.
    client.send_bytes(&[7; 1000])?;
    let mut bytes = Vec::new();
    server.recv_bytes(&mut bytes)?;
    assert_eq!(bytes, [7; 1000]);
    Ok(())
}

pub(crate) fn more_clients_than_the_queue_holds() -> Outcome {
    let listener = bound(ListenerOptions::new().backlog(2))?;
    std::thread::scope(|scope| {
        for number in 0..20 {
            let listener = &listener;
            scope.spawn(move || {
                let client = call(listener, ConnectOptions::new().timeout(LATE)).unwrap();
                client.send(&number.to_string()).unwrap();
                assert_eq!(client.recv_timeout(LATE).unwrap(), "done");
            });
        }
        std::thread::sleep(SOON);
        for _ in 0..20 {
            let server: Talk = listener.accept_timeout(LATE).unwrap();
            server.recv_timeout(LATE).unwrap();
            server.send(&"done".to_owned()).unwrap();
        }
    });
    Ok(())
}

pub(crate) fn something_else_answers() -> Outcome {
    let Address::Abstract(name) = Address::auto()? else { panic!("not a name") };
    let other = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    let address = Address::Abstract(name);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut nonsense, _) = other.accept().unwrap();
            nonsense.write_all(b"220 mail").unwrap();
            // Kept open until the client has gone: it is to notice by itself.
            let _ = nonsense.read_to_end(&mut Vec::new());
            drop(other.accept().unwrap());
        });
        let result = ipc_core::connect_link(&address, ConnectOptions::new().timeout(LATE));
        assert!(matches!(result, Err(ConnectError::NotAListener)), "{result:?}");
        let result = ipc_core::connect_link(&address, ConnectOptions::new().timeout(LATE));
        assert!(matches!(result, Err(ConnectError::Closed | ConnectError::Io(_))), "{result:?}");
    });
    Ok(())
}
