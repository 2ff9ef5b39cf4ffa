//! Connections over TCP on which little comes, and that late.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::link::{Link, TcpLink};
use ipc_core::{
    Address, ConnectOptions, Handle, Listener, ListenerOptions, PeerEnd, RecvError, connect, wait,
};
use mp_process::Process;
use mp_testkit::chaos;

use crate::{LATE, Outcome, SOON, Talk, bound_tcp, key};

/// A wait that is a read ends by itself before this.
const LONG: Duration = Duration::from_millis(1200);
/// Between two bytes of a slow network: a frame takes longer than `LONG`.
const PAUSE: Duration = Duration::from_millis(25);

fn secret() -> ListenerOptions {
    ListenerOptions::new().authkey(key("slow"))
}

fn call(port: u16) -> Result<Talk, ipc_core::ConnectError> {
    connect(&Address::tcp("127.0.0.1", port), ConnectOptions::new().authkey(key("slow")))
}

fn port_of(listener: &Listener) -> u16 {
    let Address::Tcp { port, .. } = *listener.address() else { panic!("not TCP") };
    port
}

/// Passes on what comes, byte by byte while `is_slow`.
fn pass_on(mut from: &TcpStream, mut to: &TcpStream, is_slow: &AtomicBool) {
    let mut bytes = [0; 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        for part in bytes[..read].chunks(if is_slow.load(Ordering::Relaxed) { 1 } else { read }) {
            if to.write_all(part).is_err() {
                return;
            }
            if is_slow.load(Ordering::Relaxed) {
                thread::sleep(PAUSE);
            }
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// The deadline covers a frame of which a part has come, also where the wait is a read; and what came
/// before it is kept.
pub(crate) fn a_slow_network_keeps_nobody_past_a_deadline() -> Outcome {
    let (listener, door) = (bound_tcp(secret())?, TcpListener::bind("127.0.0.1:0")?);
    let is_slow = AtomicBool::new(false);
    thread::scope(|scope| -> Outcome {
        scope.spawn(|| {
            let (near, _) = door.accept().unwrap();
            let far = TcpStream::connect(("127.0.0.1", port_of(&listener))).unwrap();
            near.set_nodelay(true).unwrap();
            thread::scope(|scope| {
                scope.spawn(|| pass_on(&near, &far, &AtomicBool::new(false)));
                pass_on(&far, &near, &is_slow);
            });
        });
        let client = call(door.local_addr()?.port())?;
        let server: Talk = listener.accept_timeout(LATE)?;
        server.send(&"quick".to_owned())?;
        assert_eq!(client.recv_timeout(LATE)?, "quick");
        is_slow.store(true, Ordering::Relaxed);
        server.send(&"slow".to_owned())?;
        let begun = Instant::now();
        let cut = client.recv_timeout(LONG);
        assert!(matches!(cut, Err(RecvError::Timeout)), "{cut:?}");
        assert!(begun.elapsed() >= LONG && begun.elapsed() < LATE);
        assert!(matches!(client.try_recv(), Err(RecvError::Timeout)), "a part is no message");
        // The rest, and one of which nothing has come yet.
        assert_eq!(client.recv_timeout(LATE)?, "slow");
        server.send(&"slow again".to_owned())?;
        assert_eq!(client.recv()?, "slow again");
        drop((client, server));
        Ok(())
    })
}

/// That a read ends by itself is said of the open file, which goes to another process as it is.
pub(crate) fn one_that_was_waited_at_moves_on() -> Outcome {
    let listener = bound_tcp(secret())?;
    let client = call(port_of(&listener))?;
    let server: Talk = listener.accept_timeout(LATE)?;
    assert!(matches!(client.recv_timeout(LONG), Err(RecvError::Timeout)));
    let worker = Process::spawn(
        |talk: Talk| {
            let begun = Instant::now();
            assert!(matches!(talk.recv_timeout(LONG), Err(RecvError::Timeout)));
            assert!(begun.elapsed() >= LONG);
            talk.send(&"waiting".to_owned()).unwrap();
            // Without a deadline, for longer than such a read takes.
            talk.recv().unwrap()
        },
        client,
    )?;
    assert_eq!(server.recv_timeout(LATE)?, "waiting");
    thread::sleep(LONG);
    server.send(&"at last".to_owned())?;
    assert_eq!(worker.join()?, "at last");
    Ok(())
}

/// Says what nobody understands, and then nothing.
fn babble(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(&[0xff; 10_000]).unwrap();
    thread::sleep(2 * LATE);
}

/// What a peer says is no end of it, nor is its silence; its death is.
pub(crate) fn the_end_of_a_peer_is_told_and_nothing_else() -> Outcome {
    let door = TcpListener::bind("127.0.0.1:0")?;
    let child = Process::spawn(babble, door.local_addr()?)?;
    let link = Arc::new(TcpLink::from_handle(Handle::from(OwnedFd::from(door.accept()?.0))));
    assert!(link.poll(Instant::now().checked_add(LATE))?, "it says something");
    let end = PeerEnd::of(Arc::clone(&link)).ok_or("TCP tells")?;
    assert!(wait(&[&end], Some(SOON))?.is_empty(), "words are no end");
    chaos::stop(child.pid())?;
    assert!(wait(&[&end], Some(SOON))?.is_empty(), "one that is stopped has not ended");
    thread::scope(|scope| -> Outcome {
        let waiting = scope.spawn(|| wait(&[&end], Some(LATE)));
        thread::sleep(SOON);
        child.kill()?;
        assert_eq!(waiting.join().unwrap()?, [0]);
        Ok(())
    })?;
    let nonsense = link.recv(&mut ipc_core::Packet::new(), Some(Instant::now()));
    assert!(matches!(nonsense, Err(RecvError::Protocol(_))), "{nonsense:?}");
    assert!(child.join().is_err());
    Ok(())
}
