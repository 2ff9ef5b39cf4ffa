//! Bytes that no client sends.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::{Address, ConnectOptions, Listener, ListenerOptions, Packet, connect_link};
use mp_manager::{Manager, ManagerError, ManagerServer};
use mp_testkit::chaos::Rng;
use mp_testkit::harness::{Suite, soak_time};

fn main() -> ExitCode {
    let trials = mp_testkit::trials![
        noise_before_the_handshake,
        silence_before_the_handshake,
        connections_cut_after_each_byte,
        a_client_of_another_version,
        a_listener_that_is_no_manager_of_ours,
        noise_after_the_handshake,
        changed_requests,
        one_that_comes_back_in_the_middle,
        numbers_of_others_objects,
    ];
    Suite::new(trials).warm_up(warm_up).run()
}

/// The threads that watch peers keep a few handles for good.
fn warm_up() {
    let server = Manager::builder().serve().unwrap();
    server.manager().unwrap().list::<u8>().unwrap().push(&1).unwrap();
}

fn tcp_server() -> (ManagerServer, Manager) {
    let address = Address::tcp("127.0.0.1", 0);
    let server = Manager::builder().address(address).authkey("key").max_message(1 << 20);
    // Some of what they say asks to be waited for.
    let server = server.grace(Duration::from_millis(50)).serve().unwrap();
    let manager = Manager::connect(server.address(), "key").unwrap();
    (server, manager)
}

fn raw(server: &ManagerServer) -> TcpStream {
    let Address::Tcp { host, port } = server.address() else { panic!("not over tcp") };
    let stream = TcpStream::connect((host.as_str(), *port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    stream
}

fn noise(rng: &mut Rng, most: usize) -> Vec<u8> {
    (0..rng.below(most)).map(|_| rng.next_u64() as u8).collect()
}

fn noise_before_the_handshake() {
    let (server, manager) = tcp_server();
    let list = manager.list_from(&[1]).unwrap();
    let mut rng = Rng::announced("noise_before_the_handshake");
    let begun = Instant::now();
    while begun.elapsed() < soak_time() {
        let mut stream = raw(&server);
        let _ = stream.write_all(&noise(&mut rng, 300));
        let _ = stream.read(&mut [0; 64]);
        assert_eq!(list.len().unwrap(), 1);
    }
    assert_eq!(manager.object_count().unwrap(), 1);
}

fn silence_before_the_handshake() {
    let (server, manager) = tcp_server();
    let silent: Vec<TcpStream> = (0..20).map(|_| raw(&server)).collect();
    let begun = Instant::now();
    let other = Manager::connect(server.address(), "key").unwrap();
    assert_eq!(other.object_count().unwrap(), manager.object_count().unwrap());
    assert!(begun.elapsed() < Duration::from_secs(20));
    drop(silent);
}

/// A client over a relay that passes so many bytes to the server, and so many to the client, and then cuts.
fn connect_and_cut(server: &Address, to_server: u64, to_client: u64) -> Result<Manager, ManagerError> {
    let Address::Tcp { host, port } = server else { panic!("not over tcp") };
    let relay = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::tcp("127.0.0.1", relay.local_addr().unwrap().port());
    let server = TcpStream::connect((host.as_str(), *port)).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (client, _) = relay.accept().unwrap();
            thread::scope(|scope| {
                for (from, to, most) in [(&client, &server, to_server), (&server, &client, to_client)] {
                    scope.spawn(move || {
                        let _ = std::io::copy(&mut from.take(most), &mut { to });
                        for end in [from, to] {
                            let _ = end.shutdown(Shutdown::Both);
                        }
                    });
                }
            });
        });
        // The first call may go with a key that is proven, and be cut.
        let manager = Manager::connect(&address, "key")?;
        manager.object_count()?;
        Ok(manager)
    })
}

fn connections_cut_after_each_byte() {
    let builder = Manager::builder().address(Address::tcp("127.0.0.1", 0)).authkey("key");
    // Who is not noticed to have gone takes the place of the next one.
    let server = builder.max_clients(2).grace(Duration::from_secs(60)).serve().unwrap();
    let manager = Manager::connect(server.address(), "key").unwrap();
    let list = manager.list_from(&[1]).unwrap();
    // Each way a greeting, its end, a proof, and a frame of the shortest length.
    let cuts = (0..56 + 32 + 32 + 64).map(|bytes| (bytes, u64::MAX));
    for (to_server, to_client) in cuts.chain((0..56 + 32 + 32 + 64).map(|bytes| (u64::MAX, bytes))) {
        let error = connect_and_cut(server.address(), to_server, to_client).unwrap_err();
        // One before it may not be noticed to have gone yet.
        assert!(error.is_gone() || error.is_busy(), "{to_server} {to_client}: {error}");
        assert_eq!(list.len().unwrap(), 1);
    }
    let begun = Instant::now();
    while Manager::connect(server.address(), "key").is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "somebody's place was not given back");
        thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(manager.object_count().unwrap(), 1);
}

fn options() -> ConnectOptions {
    ConnectOptions::new().authkey("key".into())
}

fn packet(bytes: &[u8]) -> Packet {
    let mut packet = Packet::new();
    packet.extend_bytes(bytes);
    packet
}

fn noise_after_the_handshake() {
    let (server, manager) = tcp_server();
    // Numbers that noise does not name by chance: it may rightly publish an object that is there.
    (0..5000).for_each(|_| drop(manager.list::<u8>().unwrap()));
    let list = manager.list_from(&[1]).unwrap();
    let mut rng = Rng::announced("noise_after_the_handshake");
    let begun = Instant::now();
    while begun.elapsed() < soak_time() {
        let link = connect_link(server.address(), options()).unwrap();
        for _ in 0..rng.below(8) {
            if link.send(&mut packet(&noise(&mut rng, 200)), None).is_err() {
                break;
            }
        }
        assert_eq!(list.len().unwrap(), 1);
    }
    drop(list);
    is_level(&manager);
}

/// All but what adopts a name that is not theirs.
const KINDS: [u8; 20] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 16, 17, 18, 19, 20];

/// Requests that begin as real ones do: each kind, with arguments of noise.
fn changed_requests() {
    let (server, manager) = tcp_server();
    let list = manager.list_from(&[1]).unwrap();
    manager.publish("list", &list).unwrap();
    let mut rng = Rng::announced("changed_requests");
    let begun = Instant::now();
    while begun.elapsed() < soak_time() {
        let link = connect_link(server.address(), options()).unwrap();
        for call in 1..20 {
            // Not a call, a publication or a release of what is not theirs: those are allowed.
            let mut bytes =
                vec![call, KINDS[rng.below(KINDS.len())], rng.below(40) as u8, rng.below(3) as u8];
            bytes.extend(noise(&mut rng, 60));
            if link.send(&mut packet(&bytes), None).is_err() {
                break;
            }
        }
        let other = manager.list_from(&[7]).unwrap();
        assert_eq!(other.to_vec().unwrap(), [7]);
    }
    server_lives(&manager);
}

/// Who comes back says so first, and one of another version is told so.
const RESUME: u8 = 17;

/// A count, and then the claim of one whose connection was cut.
fn one_that_comes_back_in_the_middle() {
    let (server, manager) = tcp_server();
    let link = connect_link(server.address(), options()).unwrap();
    let deadline = Instant::now().checked_add(Duration::from_secs(20));
    link.send(&mut packet(&[1, 9]), None).unwrap();
    link.recv(&mut Packet::new(), deadline).unwrap();
    link.send(&mut packet(&[&[2, RESUME, 2][..], &[0; 4]].concat()), None).unwrap();
    assert!(matches!(link.recv(&mut Packet::new(), deadline), Err(ipc_core::RecvError::Closed)));
    server_lives(&manager);
}

/// A program that was made with another version is told so.
fn a_client_of_another_version() {
    let (server, manager) = tcp_server();
    for version in [0, 1, 100] {
        let link = connect_link(server.address(), options()).unwrap();
        link.send(&mut packet(&[&[1, RESUME, version][..], &[0; 4]].concat()), None).unwrap();
        let (mut answer, mut end) = (Packet::new(), Packet::new());
        let deadline = Instant::now().checked_add(Duration::from_secs(20));
        link.recv(&mut answer, deadline).unwrap();
        let text = String::from_utf8_lossy(answer.bytes()).into_owned();
        assert!(text.contains(&format!("version 2 of its protocol, and the client {version}")), "{text}");
        assert!(matches!(link.recv(&mut end, deadline), Err(ipc_core::RecvError::Closed)));
    }
    server_lives(&manager);
}

/// Something else with the same key, and a manager that was made with another version.
fn a_listener_that_is_no_manager_of_ours() {
    let mut word = [0; 32];
    for (version, why) in [(0, "no manager"), (1, "speaks version 1"), (3, "speaks version 3")] {
        word[0] = version;
        let listening = ListenerOptions::new().authkey("key".into()).word(word);
        let listener = Listener::bind_with(&Address::auto().unwrap(), listening).unwrap();
        let error = Manager::connect(listener.address(), "key").unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
}

fn numbers_of_others_objects() {
    let (server, manager) = tcp_server();
    let list = manager.list_from(&[1]).unwrap();
    let link = connect_link(server.address(), options()).unwrap();
    // Releases of references that this client never had.
    for object in 0..100 {
        link.send(&mut packet(&[0, 2, object]), None).unwrap();
    }
    thread::sleep(Duration::from_millis(20));
    assert_eq!(list.to_vec().unwrap(), [1]);
}

fn server_lives(manager: &Manager) {
    let list = manager.list_from(&[1, 2]).unwrap();
    assert_eq!(list.to_vec().unwrap(), [1, 2]);
}

fn is_level(manager: &Manager) {
    let begun = Instant::now();
    while manager.object_count().unwrap() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{} objects", manager.object_count().unwrap());
        thread::sleep(Duration::from_millis(2));
    }
}
