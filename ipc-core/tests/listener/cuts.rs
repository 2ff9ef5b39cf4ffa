//! Connections that are cut, or on which all is silent, after each byte of the handshake; and a listener that
//! says what it has heard.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ipc_core::{
    Address, ConnectError, ConnectOptions, Listener, ListenerOptions, Packet, RecvError, connect_link_with,
};

use crate::{LATE, Outcome, SOON, bound, bound_tcp, key, talks};

const HELLO: usize = 56;
const PROOF: usize = 32;
const WORD: usize = 32;

/// One side of a relay.
trait Line: Read + Write + Send + Sync + Sized {
    fn twin(&self) -> Self;
    fn end(&self);
}

impl Line for TcpStream {
    fn twin(&self) -> Self {
        self.try_clone().unwrap()
    }

    fn end(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

impl Line for UnixStream {
    fn twin(&self) -> Self {
        self.try_clone().unwrap()
    }

    fn end(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

/// What becomes of a connection of which so many bytes have passed.
#[derive(Clone, Copy)]
struct Fate {
    to_listener: usize,
    to_client: usize,
    is_cut: bool,
}

impl Fate {
    /// Passes bytes on in both directions until the first of them has had its share.
    fn befalls(self, client: &impl Line, listener: &impl Line) {
        std::thread::scope(|scope| {
            scope.spawn(|| self.pass(client, listener, self.to_listener));
            scope.spawn(|| self.pass(listener, client, self.to_client));
        });
        client.end();
        listener.end();
    }

    fn pass(self, from: &impl Line, to: &impl Line, most: usize) {
        let _ = std::io::copy(&mut from.twin().take(most as u64), &mut to.twin());
        if !self.is_cut {
            // What comes then stays here, until the side that says it ends.
            let _ = std::io::copy(&mut from.twin(), &mut std::io::sink());
        }
        from.end();
        to.end();
    }
}

/// A client over a relay.
fn say_hello(listener: &Listener, fate: Fate, options: ConnectOptions) -> Option<ConnectError> {
    let mut first = Packet::new();
    first.append(&1).unwrap();
    let options = options.authkey(key("cut"));
    let deadline = Instant::now().checked_add(if fate.is_cut { LATE } else { SOON });
    // Whose proof does not come to the listener is not answered.
    let connect = |address: Address| match connect_link_with(&address, options, Some(&mut first)) {
        Err(error) => Some(error),
        Ok(greeted) => match greeted.link.recv(&mut Packet::new(), deadline).err()? {
            RecvError::Closed | RecvError::Cut => Some(ConnectError::Closed),
            RecvError::Timeout => Some(ConnectError::Timeout),
            RecvError::Io(error) => Some(error.into()),
            error => panic!("{error}"),
        },
    };
    match listener.address() {
        Address::Tcp { host, port } => {
            let relay = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = Address::tcp("127.0.0.1", relay.local_addr().unwrap().port());
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let listener = TcpStream::connect((host.as_str(), *port)).unwrap();
                    fate.befalls(&relay.accept().unwrap().0, &listener);
                });
                connect(address)
            })
        }
        Address::Abstract(name) => {
            let Ok(address @ Address::Abstract(_)) = Address::auto() else { panic!("not a name") };
            let Address::Abstract(own) = &address else { unreachable!() };
            let at = |name: &String| SocketAddr::from_abstract_name(name).unwrap();
            let relay = UnixListener::bind_addr(&at(own)).unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let listener = UnixStream::connect_addr(&at(name)).unwrap();
                    fate.befalls(&relay.accept().unwrap().0, &listener);
                });
                connect(address.clone())
            })
        }
        other => panic!("no relay for {other}"),
    }
}

fn listeners() -> Result<[Listener; 2], Box<dyn std::error::Error>> {
    let options = || ListenerOptions::new().authkey(key("cut"));
    Ok([bound(options())?, bound_tcp(options())?])
}

fn fates(is_cut: bool, step: usize) -> impl Iterator<Item = Fate> {
    let all = usize::MAX;
    let up = (0..HELLO + PROOF + PROOF).step_by(step).map(move |bytes| (bytes, all));
    let down = (0..HELLO + WORD + PROOF).step_by(step).map(move |bytes| (all, bytes));
    up.chain(down).map(move |(to_listener, to_client)| Fate { to_listener, to_client, is_cut })
}

/// Takes those who were let in, and answers them, as a server does.
fn serve(listener: &Listener, is_over: &AtomicBool) {
    let mut links = Vec::new();
    while !is_over.load(Ordering::SeqCst) {
        let Ok(accepted) = listener.accept_link(Instant::now().checked_add(SOON)) else { continue };
        let (link, mut packet) = (accepted.into_link(), Packet::new());
        if link.recv(&mut packet, Instant::now().checked_add(LATE)).is_ok() {
            let _ = link.send(&mut packet, None);
        }
        links.push(link);
    }
}

fn each_fate(is_cut: bool, step: usize, check: impl Fn(ConnectError)) -> Outcome {
    for listener in listeners()? {
        let is_over = AtomicBool::new(false);
        let errors: Vec<_> = std::thread::scope(|scope| {
            scope.spawn(|| serve(&listener, &is_over));
            let options = || ConnectOptions::new().timeout(if is_cut { LATE } else { SOON });
            let errors = fates(is_cut, step).map(|fate| say_hello(&listener, fate, options())).collect();
            is_over.store(true, Ordering::SeqCst);
            errors
        });
        errors.into_iter().for_each(|error| check(error.expect("it has not heard all")));
        while listener.try_accept::<(), ()>().is_ok() {}
        talks(&listener, ConnectOptions::new().authkey(key("cut")))?;
    }
    Ok(())
}

pub(crate) fn after_each_byte() -> Outcome {
    each_fate(true, 1, |error| {
        assert!(matches!(error, ConnectError::Closed | ConnectError::Io(_)), "{error:?}");
    })
}

pub(crate) fn silent_after_some_bytes() -> Outcome {
    each_fate(false, 11, |error| assert!(matches!(error, ConnectError::Timeout), "{error:?}"))
}

/// It knows nothing, and says the client's own words to it.
pub(crate) fn a_listener_that_reflects() -> Outcome {
    let relay = TcpListener::bind("127.0.0.1:0")?;
    let address = Address::tcp("127.0.0.1", relay.local_addr()?.port());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut client, _) = relay.accept().unwrap();
            let mut said = [0; HELLO + PROOF];
            client.read_exact(&mut said).unwrap();
            client.write_all(&[&said, &said[HELLO..]].concat()).unwrap();
            let _ = client.read_to_end(&mut Vec::new());
        });
        let mut first = Packet::new();
        first.append(&1).unwrap();
        let options = ConnectOptions::new().authkey(key("k")).timeout(LATE);
        let result = connect_link_with(&address, options, Some(&mut first));
        assert!(matches!(result, Err(ConnectError::Impostor)), "{result:?}");
    });
    Ok(())
}
