//! A server, and a client at the end of a cable.

use std::collections::BTreeMap;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::Address;
use mp_manager::{EventProxy, LockProxy, Manager, Reconnect};
use serde::{Deserialize, Serialize};

pub(super) const KEY: &[u8] = b"a key for all servers";
pub(super) const LONG: Duration = Duration::from_secs(20);
/// Of those that wait for its end; far more than coming back takes.
pub(super) const GRACE: Duration = Duration::from_secs(4);

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Tally(BTreeMap<u64, u64>);

#[mp_manager::object]
#[allow(unreachable_pub)]
impl Tally {
    pub fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Says how often it was called with this number.
    pub fn add(&mut self, number: u64) -> u64 {
        let count = self.0.entry(number).or_default();
        *count += 1;
        *count
    }

    pub fn add_slowly(&mut self, number: u64, begun: EventProxy) -> u64 {
        begun.set().unwrap();
        thread::sleep(Duration::from_millis(300));
        self.add(number)
    }

    pub fn most(&self) -> u64 {
        self.0.values().copied().max().unwrap_or_default()
    }

    pub fn len(&self) -> u64 {
        self.0.len() as u64
    }
}

/// Passes on what comes between clients and a server, until it is cut.
pub(super) struct Cable {
    port: u16,
    lines: Arc<Mutex<Vec<TcpStream>>>,
    /// Nobody gets through, until it is mended.
    is_down: Arc<AtomicBool>,
}

impl Cable {
    pub(super) fn to(server: &Address) -> Self {
        let Address::Tcp { port: to, .. } = *server else { panic!("{server} is not one of TCP") };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, lines) = (listener.local_addr().unwrap().port(), Arc::<Mutex<Vec<TcpStream>>>::default());
        let is_down = Arc::new(AtomicBool::new(false));
        let (known, down) = (Arc::clone(&lines), Arc::clone(&is_down));
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                if down.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                let mut known = known.lock().unwrap();
                for (mut from, mut to) in [(&client, &server), (&server, &client)]
                    .map(|(from, to)| (from.try_clone().unwrap(), to.try_clone().unwrap()))
                {
                    thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
                known.extend([client, server]);
            }
        });
        Self { port, lines, is_down }
    }

    pub(super) fn address(&self) -> Address {
        Address::tcp("127.0.0.1", self.port)
    }

    pub(super) fn cut(&self) {
        self.lines.lock().unwrap().drain(..).for_each(|line| drop(line.shutdown(Shutdown::Both)));
    }

    pub(super) fn tear(&self) {
        self.is_down.store(true, Ordering::SeqCst);
        self.cut();
    }

    pub(super) fn mend(&self) {
        self.is_down.store(false, Ordering::SeqCst);
    }
}

/// A server in this process, one who sees it without a cable, and one at its end.
pub(super) struct Scene {
    pub(super) server: mp_manager::ManagerServer,
    pub(super) near: Manager,
    pub(super) far: Manager,
    pub(super) cable: Cable,
}

pub(super) fn scene() -> Scene {
    scene_with(3 * LONG)
}

pub(super) fn scene_with(grace: Duration) -> Scene {
    let builder = Manager::builder().address(Address::tcp("127.0.0.1", 0)).authkey(KEY).grace(grace);
    let server = builder.register::<Tally>().serve().unwrap();
    let near = Manager::connect(server.address(), KEY).unwrap();
    let cable = Cable::to(server.address());
    let far = Manager::connect(&cable.address(), KEY).unwrap().reconnect(policy());
    Scene { server, near, far, cable }
}

pub(super) fn policy() -> Reconnect {
    Reconnect::within(LONG).pauses(Duration::from_millis(5), Duration::from_millis(20))
}

impl Scene {
    /// The same lock from both sides.
    pub(super) fn lock(&self) -> (LockProxy, LockProxy) {
        self.near.publish("lock", &self.near.lock().unwrap()).unwrap();
        (self.near.find("lock").unwrap(), self.far.find("lock").unwrap())
    }
}

pub(super) fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}
