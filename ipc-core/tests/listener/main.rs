//! Listeners and clients, well-behaved and not.

mod addresses;
mod cuts;
mod deadlines;
mod files;
mod first;
mod keys;
mod peers;
mod processes;
mod slow;
mod users;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use ipc_core::{
    Address, AuthKey, ConnectError, ConnectOptions, Connection, Listener, ListenerOptions, connect,
};

/// Long enough for a busy machine; a test that waits so long has failed.
const LATE: Duration = Duration::from_secs(30);
/// A deadline that is meant to pass.
const SOON: Duration = Duration::from_millis(30);

type Talk = Connection<String, String>;
type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    if let Ok(address) = std::env::var(users::ADDRESS) {
        return users::call_as_another(&address);
    }
    let trials = mp_testkit::trials![
        addresses::texts,
        addresses::serde_forms,
        addresses::each_kind_connects,
        addresses::a_host_of_version_six,
        addresses::a_host_by_name,
        addresses::names_of_other_systems,
        addresses::links_conform,
        keys::the_same_on_both_sides,
        keys::a_wrong_one_is_refused_and_delays_nobody,
        keys::one_side_only,
        keys::an_empty_one_is_a_key,
        keys::the_network_asks_for_one,
        keys::a_thief_without_the_key,
        keys::one_who_says_again_what_a_client_said,
        peers::another_version,
        keys::trust_follows_a_proof,
        first::goes_with_the_proof,
        first::a_listener_that_ends_instead,
        first::has_no_handles,
        first::is_as_long_as_the_listener_takes,
        first::the_word_is_for_those_with_the_key,
        first::a_wrong_key_is_told_at_once,
        cuts::after_each_byte,
        cuts::silent_after_some_bytes,
        cuts::a_listener_that_reflects,
        peers::a_silent_client_delays_nobody,
        peers::more_silent_clients_than_there_are_places,
        peers::a_port_scan,
        peers::nonsense_instead_of_a_greeting,
        peers::a_greeting_bit_by_bit,
        peers::a_client_that_has_gone_before_accept,
        peers::a_huge_frame,
        peers::a_message_longer_than_the_peer_takes,
        peers::more_clients_than_the_queue_holds,
        peers::something_else_answers,
        deadlines::of_accept,
        deadlines::of_connect,
        deadlines::of_long_waits_for_a_message,
        deadlines::of_connect_to_a_full_queue,
        deadlines::a_listener_that_comes_later,
        deadlines::wait_takes_listeners,
        deadlines::close_frees_those_who_wait,
        files::are_private_and_go_with_the_listener,
        files::a_stale_one_is_replaced,
        files::old_ones_of_the_dead_are_swept_away,
        files::one_in_use_is_not,
        files::what_is_no_socket_stays,
        files::one_of_another_listener_stays,
        processes::messages_cross,
        processes::handles_cross,
        processes::many_clients_one_after_another,
        processes::a_killed_client_is_noticed,
        processes::a_killed_listener_leaves_an_address_that_can_be_used,
        processes::an_accepted_link_moves_on,
        slow::a_slow_network_keeps_nobody_past_a_deadline,
        slow::one_that_was_waited_at_moves_on,
        slow::the_end_of_a_peer_is_told_and_nothing_else,
        users::another_user_stays_outside,
    ];
    mp_testkit::Suite::new(trials).warm_up(start_library_threads).run()
}

/// The thread that watches peers stays for the life of the process.
fn start_library_threads() {
    let (_tx, rx) = ipc_core::pipe::<()>().unwrap();
    let _ = rx.recv_timeout(SOON);
}

fn bound(options: ListenerOptions) -> Result<Listener, Box<dyn std::error::Error>> {
    Ok(Listener::bind_with(&Address::auto()?, options)?)
}

fn bound_tcp(options: ListenerOptions) -> Result<Listener, Box<dyn std::error::Error>> {
    Ok(Listener::bind_with(&Address::tcp("127.0.0.1", 0), options)?)
}

fn call(listener: &Listener, options: ConnectOptions) -> Result<Talk, ConnectError> {
    connect(listener.address(), options)
}

fn key(text: &str) -> AuthKey {
    AuthKey::from(text)
}

/// A client that keeps to the protocol is let in, and the two talk.
fn talks(listener: &Listener, options: ConnectOptions) -> Outcome {
    let client = call(listener, options)?;
    let server: Talk = listener.accept_timeout(LATE)?;
    client.send(&"there".to_owned())?;
    server.send(&(server.recv_timeout(LATE)? + " and back"))?;
    assert_eq!(client.recv_timeout(LATE)?, "there and back");
    Ok(())
}

/// A socket that speaks no protocol of ours, unless it is told to.
trait Bare: Read + Write {}
impl Bare for TcpStream {}
impl Bare for UnixStream {}

fn bare(address: &Address) -> Result<Box<dyn Bare>, Box<dyn std::error::Error>> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;
    Ok(match address {
        Address::File(path) => Box::new(within(UnixStream::connect(path)?)?),
        Address::Abstract(name) => {
            Box::new(within(UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?)?)
        }
        Address::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port))?;
            stream.set_read_timeout(Some(LATE))?;
            Box::new(stream)
        }
        other => return Err(format!("no bare socket for {other}").into()),
    })
}

fn within(stream: UnixStream) -> std::io::Result<UnixStream> {
    stream.set_read_timeout(Some(LATE))?;
    Ok(stream)
}

/// A greeting as a client without a key says it.
fn greeting() -> Vec<u8> {
    let mut greeting = b"ipc-core\x02".to_vec();
    greeting.resize(16, 0);
    greeting.extend_from_slice(&u64::MAX.to_le_bytes());
    greeting.extend_from_slice(&[7; 32]);
    greeting
}
