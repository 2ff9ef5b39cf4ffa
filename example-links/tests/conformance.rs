//! Both links keep the promises of the trait.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use example_links::{InProcessLink, TlsLink};
use ipc_core::{Connection, RecvError};
use mp_testkit::transport::conformance;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

const LATE: Duration = Duration::from_secs(30);

#[test]
fn in_process() {
    conformance(|| {
        let (a, b) = InProcessLink::pair().unwrap();
        (Box::new(a), Box::new(b))
    });
}

#[test]
fn tls() {
    let parties = Parties::new();
    conformance(|| {
        let (client, server) = parties.meet();
        (Box::new(client), Box::new(server))
    });
}

#[test]
fn typed_ends_stand_on_both() {
    fn talk(a: Connection<String, usize>, b: &Connection<usize, String>) {
        a.send(&"four".to_owned()).unwrap();
        b.send(&b.recv().unwrap().len()).unwrap();
        assert_eq!(a.recv_timeout(LATE).unwrap(), 4);
        drop(a);
        assert!(matches!(b.recv_timeout(LATE), Err(RecvError::Closed)));
    }
    let (a, b) = InProcessLink::pair().unwrap();
    talk(Connection::over(a), &Connection::over(b));
    let (a, b) = Parties::new().meet();
    talk(Connection::over(a), &Connection::over(b));
}

#[test]
fn an_end_that_nobody_signed_for_is_a_cut() {
    let parties = Parties::new();
    let (client, server) = sockets();
    let cut = client.try_clone().unwrap();
    let (client, server) = parties.greet(client, server);
    let (a, b) = (Connection::<u8, u8>::over(client), Connection::<u8, u8>::over(server));
    a.send(&1).unwrap();
    cut.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(b.recv_timeout(LATE).unwrap(), 1);
    assert!(matches!(b.recv_timeout(LATE), Err(RecvError::Cut)));
    assert!(matches!(b.recv_timeout(LATE), Err(RecvError::Closed)));
}

/// A server with a certificate of its own making, and a client that knows it.
struct Parties {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

impl Parties {
    fn new() -> Self {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = own.cert.der().clone();
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let mut known = RootCertStore::empty();
        known.add(certificate.clone()).unwrap();
        let client = ClientConfig::builder().with_root_certificates(known).with_no_client_auth();
        let server = ServerConfig::builder().with_no_client_auth();
        let mut server = server.with_single_cert(vec![certificate], key).unwrap();
        server.send_tls13_tickets = 0;
        Self { client: Arc::new(client), server: Arc::new(server) }
    }

    fn meet(&self) -> (TlsLink, TlsLink) {
        let (client, server) = sockets();
        self.greet(client, server)
    }

    fn greet(&self, client: TcpStream, server: TcpStream) -> (TlsLink, TlsLink) {
        let config = Arc::clone(&self.server);
        let server = thread::spawn(move || TlsLink::server(server, config, LATE).unwrap());
        let name = "localhost".try_into().unwrap();
        let client = TlsLink::client(client, Arc::clone(&self.client), name, LATE).unwrap();
        (client, server.join().unwrap())
    }
}
