//! Both links carry a pool of processes.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use example_links::{InProcessLink, TlsLink};
use ipc_core::link::Link;
use ipc_core::{Address, ConnectOptions, Listener, Packet, connect_link};
use mp_pool::{Pool, Transport};
use mp_process::Process;
use mp_testkit::chaos;
use mp_testkit::harness::Suite;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

const LATE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let trials = mp_testkit::trials![
        tls_carries_a_pool,
        a_link_in_this_process_carries_a_pool,
        strangers_are_turned_away,
        a_worker_that_cannot_connect_is_an_error,
        a_replacement_killed_on_its_way_is_replaced,
        workers_killed_in_the_middle_of_messages_cost_one_task_each,
    ];
    // What serves the whole program keeps a few handles for good.
    Suite::new(trials).warm_up(|| Process::spawn(|()| (), ()).unwrap().join().unwrap()).run()
}

fn tls_carries_a_pool() {
    carries(Pool::builder().processes(2).transport(Tls::new(), connect_by_tls).build().unwrap());
}

fn a_link_in_this_process_carries_a_pool() {
    let here = Here(Listener::bind(&Address::auto_file().unwrap()).unwrap());
    carries(Pool::builder().processes(2).transport(here, connect_by_socket).build().unwrap());
}

fn carries(pool: Pool) {
    let square = |x: u64| x * x;
    assert!(pool.map(square, 0..5000).unwrap().into_iter().eq((0..5000).map(square)));
    let texts: Result<Vec<String>, _> = pool.imap(|x: u32| x.to_string(), 0..500).collect();
    assert!(texts.unwrap().into_iter().eq((0..500).map(|x| x.to_string())));
    // Larger than what lies on the way.
    let large: Vec<Vec<u8>> = (0..6).map(|byte| vec![byte; 8 << 20]).collect();
    assert_eq!(pool.map(|bytes: Vec<u8>| bytes, large.clone()).unwrap(), large);
    let shared = pool.share(&large[1]).unwrap();
    assert_eq!(shared.map(|bytes, x: usize| usize::from(bytes[x]) + x, 0..100).unwrap()[99], 100);
    drop(shared);
    // A death is a death.
    let error = pool.apply(|()| chaos::kill(std::process::id()).unwrap(), ()).unwrap_err();
    assert_eq!((error.is_worker_died(), error.signal()), (true, Some(9)), "{error}");
    let later = pool.apply_async(|()| thread::sleep(LATE), ());
    later.cancel();
    assert!(later.get().is_err());
    assert_eq!((pool.apply(square, 3).unwrap(), pool.workers()), (9, 2));
    // A handle cannot go this way, and harms nobody.
    let (_tx, rx) = ipc_core::pipe::<u8>().unwrap();
    assert!(pool.apply(|rx: ipc_core::Receiver<u8>| drop(rx), rx).is_err());
    assert_eq!(pool.map(square, 0..10).unwrap()[9], 81);
    pool.join();
}

fn strangers_are_turned_away() {
    let tls = Tls::new();
    let address = tls.address().unwrap();
    let stranger = thread::spawn(move || {
        let link = connect_by_tls(address).unwrap();
        let mut guess = Packet::new();
        guess.extend_bytes(&[7; 32]);
        link.send(&mut guess, Some(Instant::now() + LATE)).unwrap();
        // Nothing is said to it.
        link.recv(&mut Packet::new(), Some(Instant::now() + LATE)).is_err()
    });
    // The stranger is the first to come.
    thread::sleep(Duration::from_millis(50));
    let pool = Pool::builder().processes(1).transport(tls, connect_by_tls).build().unwrap();
    assert!(stranger.join().unwrap());
    assert_eq!(pool.apply(|x: u32| x + 1, 1).unwrap(), 2);
}

fn a_worker_that_cannot_connect_is_an_error() {
    let nowhere = |_: String| Err(io::Error::other("no way there"));
    let error = Pool::builder().processes(1).transport(Tls::new(), nowhere).build().unwrap_err();
    assert!(error.is_broken() && error.to_string().contains("no way there"), "{error}");
}

/// The next worker to find the file that a port's name leads to kills itself.
fn doom(port: &str) -> PathBuf {
    std::env::temp_dir().join(format!("example-links-doom-{port}"))
}

fn connect_unless_doomed(address: String) -> io::Result<Box<dyn Link>> {
    if std::fs::remove_file(doom(address.split(':').next().unwrap_or_default())).is_ok() {
        chaos::kill(std::process::id())?;
    }
    connect_by_tls(address)
}

fn a_replacement_killed_on_its_way_is_replaced() {
    let tls = Tls::new();
    let port = tls.listener.local_addr().unwrap().port().to_string();
    let pool = Pool::builder().processes(1).transport(tls, connect_unless_doomed).build().unwrap();
    for round in 0..3 {
        std::fs::write(doom(&port), "").unwrap();
        chaos::kill(pool.pids()[0]).unwrap();
        // The task may have been sent to the one that was killed.
        let _ = pool.apply(|x: u32| x + 1, 1);
        assert_eq!(pool.apply(|x: u32| x + 1, round).unwrap(), round + 1);
        assert!(!doom(&port).exists());
    }
}

fn workers_killed_in_the_middle_of_messages_cost_one_task_each() {
    let pool = Pool::builder().processes(2).transport(Tls::new(), connect_by_tls).build().unwrap();
    let through = |bytes: Vec<u8>| bytes;
    for round in 0..10 {
        let later: Vec<_> = (0..4).map(|byte| pool.apply_async(through, vec![byte; 8 << 20])).collect();
        thread::sleep(Duration::from_millis(4 * round));
        pool.pids().into_iter().for_each(|pid| drop(chaos::kill(pid)));
        for (byte, result) in (0..).zip(later) {
            match result.get() {
                Ok(bytes) => assert!(bytes.len() == 8 << 20 && bytes.iter().all(|one| *one == byte)),
                Err(error) => assert!(error.is_worker_died(), "{error}"),
            }
        }
    }
}

/// Workers connect by TLS, to a server with a certificate of its own making.
#[derive(Debug)]
struct Tls {
    listener: TcpListener,
    config: Arc<ServerConfig>,
    certificate: CertificateDer<'static>,
}

impl Tls {
    fn new() -> Self {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = own.cert.der().clone();
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let server = ServerConfig::builder().with_no_client_auth();
        let mut server = server.with_single_cert(vec![certificate.clone()], key).unwrap();
        server.send_tls13_tickets = 0;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { listener, config: Arc::new(server), certificate }
    }
}

impl Transport for Tls {
    /// The port, and the certificate that is to be believed.
    fn address(&self) -> io::Result<String> {
        let certificate: String = self.certificate.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("{}:{certificate}", self.listener.local_addr()?.port()))
    }

    fn accept(&self, deadline: Instant) -> io::Result<Option<Box<dyn Link>>> {
        loop {
            match self.listener.accept() {
                Ok((socket, _)) => {
                    socket.set_nonblocking(false)?;
                    let link = TlsLink::server(socket, Arc::clone(&self.config), LATE);
                    return Ok(link.ok().map(|link| Box::new(link) as _));
                }
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                Err(_) if Instant::now() >= deadline => return Ok(None),
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

fn connect_by_tls(address: String) -> io::Result<Box<dyn Link>> {
    let (port, certificate) = address.split_once(':').ok_or(io::ErrorKind::InvalidInput)?;
    let digits = certificate.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).unwrap_or_default());
    let certificate: Result<Vec<u8>, _> = digits.map(|two| u8::from_str_radix(two, 16)).collect();
    let mut known = RootCertStore::empty();
    known.add(certificate.map_err(io::Error::other)?.into()).map_err(io::Error::other)?;
    let config = ClientConfig::builder().with_root_certificates(known).with_no_client_auth();
    let port: u16 = port.parse().map_err(io::Error::other)?;
    let name = "localhost".try_into().map_err(io::Error::other)?;
    let socket = TcpStream::connect(("127.0.0.1", port))?;
    Ok(Box::new(TlsLink::client(socket, Arc::new(config), name, LATE)?))
}

/// Threads of this process stand between the pool and its workers, and pass on what comes.
#[derive(Debug)]
struct Here(Listener);

impl Transport for Here {
    fn address(&self) -> io::Result<String> {
        match self.0.address() {
            Address::File(path) => Ok(path.display().to_string()),
            other => Err(io::Error::other(format!("{other:?} is no file"))),
        }
    }

    fn accept(&self, deadline: Instant) -> io::Result<Option<Box<dyn Link>>> {
        let Ok(accepted) = self.0.accept_link(Some(deadline)) else { return Ok(None) };
        let worker: Arc<dyn Link> = Arc::from(accepted.into_link());
        let (near, far) = InProcessLink::pair()?;
        let far: Arc<dyn Link> = Arc::new(far);
        let (to, from) = (Arc::clone(&worker), Arc::clone(&far));
        thread::spawn(move || pass_on(&*from, &*to));
        thread::spawn(move || pass_on(&*worker, &*far));
        Ok(Some(Box::new(near)))
    }
}

/// Passes messages on until one of the two ends; then the other one is not kept.
fn pass_on(from: &dyn Link, to: &dyn Link) {
    let mut packet = Packet::new();
    while from.recv(&mut packet, None).is_ok() && to.send(&mut packet, None).is_ok() {}
}

fn connect_by_socket(path: String) -> io::Result<Box<dyn Link>> {
    connect_link(&Address::file(path), ConnectOptions::default()).map_err(io::Error::other)
}
