//! Ten thousand connections, whose processes are killed at random and replaced: at the end the server
//! has what it had before, and others were served all the time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::{Address, Receiver, Sender, pipe};
use mp_manager::{AsyncReply, DictProxy, ListProxy, LockProxy, Manager, ManagerError};
use mp_manager::{Permit, QueueProxy, SemaphoreProxy};
use mp_process::Process;
use mp_testkit::chaos::Rng;
use mp_testkit::harness::soak_time;
use rustix::process::{Resource, Rlimit};

const KEY: &[u8] = b"a key for all of them";
const LONG: Duration = Duration::from_secs(30);
const PERMITS: usize = 1000;
const KEYS: usize = 100;

/// How many processes there are, and how many connections each of them has: fewer where the time is short.
fn population() -> (usize, usize) {
    if std::env::var_os("MP_SOAK_SECONDS").is_some() { (40, 250) } else { (8, 50) }
}

pub(crate) fn connections_killed_at_random() {
    let (processes, each) = population();
    let limit = rustix::process::getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|most| most < (processes * each) as u64 + 2000) {
        eprintln!("skipped: a process may have no more than {:?} handles here", limit.maximum);
        return;
    }
    let raised = Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(Resource::Nofile, raised).unwrap();
    let manager = Manager::builder().authkey(KEY).max_clients(2 * processes * each).start().unwrap();
    let ours = Client::first(&manager);
    // The server keeps the thread that looks after clients with rings, of which this is one for a moment.
    let hot = Client::find(Manager::connect(manager.address(), KEY).unwrap());
    (0..200).for_each(|_| assert_eq!(hot.shared.len().unwrap(), 0));
    drop(hot);
    let server = Held::once_quiet(&manager);
    let before = (manager.objects().unwrap(), server.now());
    let (over, served) = (AtomicBool::new(false), AtomicU64::new(0));
    let longest = thread::scope(|scope| {
        let other = scope.spawn(|| be_served(manager.address(), &over, &served));
        // Also if this fails, the other ends.
        let ends = EndsOther(&over);
        kill_and_replace(&manager, &server, &served);
        drop(ends);
        other.join().unwrap()
    });
    println!("another client was answered {} times, after {longest:?} at the latest", served.into_inner());
    ours.shared.clear().unwrap();
    soon("objects or references stay", || manager.objects().unwrap() == before.0);
    soon("threads or descriptors stay", || server.now() == before.1);
    assert!(ours.lock.try_lock().unwrap().is_some());
    assert_eq!(ours.permits.available().unwrap(), PERMITS);
    // Nobody that is gone waits for it.
    ours.queue.put(&7).unwrap();
    assert_eq!((ours.queue.try_get().unwrap(), ours.queue.len().unwrap()), (Some(7), 0));
    rustix::process::setrlimit(Resource::Nofile, limit).unwrap();
}

fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "{what}");
        // So seldom that it is no reason for a ring.
        thread::sleep(Duration::from_millis(20));
    }
}

struct EndsOther<'a>(&'a AtomicBool);

impl Drop for EndsOther<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn kill_and_replace(manager: &Manager, server: &Held, served: &AtomicU64) {
    let mut rng = Rng::announced("connections_killed_at_random");
    let (processes, each) = population();
    let mut crowd: Vec<_> = (0..processes).map(|_| Crowd::start(manager, &mut rng)).collect();
    crowd.iter_mut().for_each(Crowd::wait_until_up);
    let at_first = server.now();
    assert!(at_first.descriptors >= processes * each, "not all are connected: {at_first:?}");
    let (begun, mut kills, mut least) = (Instant::now(), 0, processes);
    while begun.elapsed() < soak_time() {
        let so_far = served.load(Ordering::Relaxed);
        let victim = rng.below(processes);
        // It may have some of its connections yet to make.
        std::mem::replace(&mut crowd[victim], Crowd::start(manager, &mut rng)).kill();
        kills += 1;
        thread::sleep(Duration::from_millis(rng.below(200) as u64));
        soon("too few come up", || {
            let up = crowd.iter_mut().filter_map(|crowd| crowd.is_up().then_some(())).count();
            least = least.min(up);
            up + 1 + processes / 8 > processes
        });
        soon("the others are not served", || served.load(Ordering::Relaxed) > so_far);
    }
    crowd.iter_mut().for_each(Crowd::wait_until_up);
    let at_last = server.now();
    assert!(at_last.descriptors >= processes * each, "not all are connected: {at_last:?}");
    println!(
        "{processes} processes with {each} connections each, {kills} killed, never fewer than {} connections; \
         {at_first:?} at first, {at_last:?} at last",
        least * each
    );
    crowd.into_iter().for_each(Crowd::kill);
}

/// A process with many connections.
struct Crowd {
    process: Process<()>,
    up: Receiver<()>,
    is_up: bool,
}

impl Crowd {
    fn start(manager: &Manager, rng: &mut Rng) -> Self {
        let (tx, up) = pipe().unwrap();
        let life = (manager.address().clone(), rng.next_u64(), tx);
        let process = Process::builder().kill_on_drop(true).spawn(live, life).unwrap();
        Self { process, up, is_up: false }
    }

    fn is_up(&mut self) -> bool {
        self.is_up = self.is_up || self.up.try_recv().is_ok();
        self.is_up
    }

    fn wait_until_up(&mut self) {
        if !self.is_up {
            self.up.recv_timeout(LONG).unwrap();
            self.is_up = true;
        }
    }

    fn kill(self) {
        self.process.kill().unwrap();
        assert!(self.process.join().unwrap_err().signal().is_some(), "it has ended by itself");
    }
}

/// The life of a process: its connections call in no order, and seldom one of them often.
fn live((address, seed, up): (Address, u64, Sender<()>)) {
    let mut rng = Rng::new(seed);
    let (_, each) = population();
    let mut clients: Vec<Client> =
        (0..each).map(|_| Client::find(Manager::connect(&address, KEY).unwrap())).collect();
    up.send(&()).unwrap();
    loop {
        let client = &mut clients[rng.below(each)];
        let calls = if rng.below(20) == 0 { 100 } else { rng.below(8) };
        (0..calls).for_each(|_| client.call(&mut rng).unwrap());
        thread::sleep(Duration::from_millis(rng.below(20) as u64));
    }
}

/// One that is neither killed nor replaced; what it has waited for an answer at the most.
fn be_served(address: &Address, over: &AtomicBool, served: &AtomicU64) -> Duration {
    let client = Client::find(Manager::connect(address, KEY).unwrap());
    let list = client.manager.list().unwrap();
    let (mut longest, mut said) = (Duration::ZERO, 0);
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        list.push(&said).unwrap();
        assert_eq!(list.pop().unwrap(), Some(said));
        drop(client.lock.lock_timeout(LONG).unwrap().expect("somebody killed has the lock"));
        longest = longest.max(begun.elapsed());
        said += 1;
        served.store(said, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(1));
    }
    longest
}

/// A connection, and what it has of all that there is to have.
struct Client {
    shared: DictProxy<u64, ListProxy<u64>>,
    lock: LockProxy,
    permits: SemaphoreProxy,
    queue: QueueProxy<u64>,
    own: Vec<ListProxy<u64>>,
    permit: Option<Permit>,
    waits: Option<AsyncReply<u64>>,
    manager: Manager,
}

impl Client {
    /// Makes what all share.
    fn first(manager: &Manager) -> Self {
        let make = || {
            manager.publish("shared", &manager.dict::<u64, ListProxy<u64>>()?)?;
            manager.publish("lock", &manager.lock()?)?;
            manager.publish("permits", &manager.semaphore(PERMITS)?)?;
            manager.publish("queue", &manager.queue::<u64>()?)
        };
        make().unwrap();
        Self::find(manager.clone())
    }

    fn find(manager: Manager) -> Self {
        Self {
            shared: manager.find("shared").unwrap(),
            lock: manager.find("lock").unwrap(),
            permits: manager.find("permits").unwrap(),
            queue: manager.find("queue").unwrap(),
            own: Vec::new(),
            permit: None,
            waits: None,
            manager,
        }
    }

    fn call(&mut self, rng: &mut Rng) -> Result<(), ManagerError> {
        let key = rng.below(KEYS) as u64;
        match rng.below(8) {
            0 if self.own.len() < 3 => self.own.push(self.manager.list_from(&[key])?),
            0 | 1 => drop(self.own.pop()),
            2 => {
                if let Some(list) = self.own.last() {
                    drop(self.shared.insert(&key, list)?);
                }
            }
            3 => drop(self.shared.remove(&key)?),
            4 => drop(self.lock.lock()?),
            5 => self.permit = self.permits.try_acquire()?,
            6 => {
                self.waits = if self.waits.is_none() { Some(self.queue.get_async()?) } else { None };
            }
            _ => drop(self.shared.len()?),
        }
        Ok(())
    }
}

/// Looks what the server's process has.
struct Held(u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Amount {
    threads: usize,
    descriptors: usize,
}

impl Held {
    fn once_quiet(manager: &Manager) -> Self {
        let server = Self(manager.pid().unwrap());
        // What it was started with goes within a moment, and so does what a client had.
        let mut last = server.now();
        loop {
            thread::sleep(Duration::from_millis(300));
            if std::mem::replace(&mut last, server.now()) == last {
                return server;
            }
        }
    }

    fn now(&self) -> Amount {
        let count = |what: &str| std::fs::read_dir(format!("/proc/{}/{what}", self.0)).unwrap().count();
        Amount { threads: count("task"), descriptors: count("fd") }
    }
}
