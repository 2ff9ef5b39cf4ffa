//! Clients over a network that is cut.

use std::collections::BTreeMap;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::{Address, Receiver, Sender, pipe};
use mp_manager::{
    AsyncReply, BarrierProxy, DictProxy, EventProxy, ListProxy, LockProxy, Manager, ManagerError, QueueProxy,
    Reconnect, SemaphoreProxy,
};
use mp_process::Process;
use mp_testkit::chaos::Rng;
use mp_testkit::harness::{Suite, Trial, soak_time};
use serde::{Deserialize, Serialize};

/// Each runs in a process of its own, which takes the cable's threads and sockets along.
macro_rules! apart {
    ($($test:ident),* $(,)?) => {
        mod apart {
            fn start(name: &str) -> mp_process::Process<()> {
                match name {
                    $(stringify!($test) => mp_process::Process::spawn(|()| super::$test(), ()).unwrap(),)*
                    other => panic!("there is no {other}"),
                }
            }

            $(pub(crate) fn $test() {
                super::run(stringify!($test), start);
            })*
        }
        fn main() -> ExitCode {
            let trials = vec![$(Trial::new(stringify!($test), apart::$test)),*];
            Suite::new(trials).warm_up(warm_up).run()
        }
    };
}

/// They wait for the ends of graces, and do that side by side.
const THAT_WAIT: [&str; 4] = [
    "a_lock_is_still_held_after_a_cut_and_released_once",
    "who_does_not_come_back_has_nothing_after_the_grace_and_not_before",
    "each_cut_has_a_grace_of_its_own",
    "a_killed_client_is_waited_for",
];

/// Runs a test; the first of those that wait starts them all, unless only some are asked for.
fn run(name: &'static str, start: fn(&str) -> Process<()>) {
    static STARTED: Mutex<BTreeMap<&str, Process<()>>> = Mutex::new(BTreeMap::new());
    let own = {
        let mut started = STARTED.lock().unwrap();
        if THAT_WAIT.contains(&name) && started.is_empty() && std::env::args().len() == 1 {
            started.extend(THAT_WAIT.map(|name| (name, start(name))));
        }
        started.remove(name)
    };
    own.unwrap_or_else(|| start(name)).join().unwrap();
}

apart![
    a_lock_is_still_held_after_a_cut_and_released_once,
    who_does_not_come_back_has_nothing_after_the_grace_and_not_before,
    each_cut_has_a_grace_of_its_own,
    a_call_in_the_middle_has_its_answer,
    a_call_that_waits_goes_on_waiting,
    what_is_dropped_meanwhile_is_given_back_once,
    answers_that_nobody_has_read_come_again,
    a_killed_client_is_waited_for,
    items_of_a_client_that_does_not_come_back_are_others,
    an_item_comes_once_to_one_that_comes_back,
    what_is_kept_for_killed_clients_is_bounded,
    a_client_that_ends_is_not_waited_for,
    without_a_policy_nobody_is_waited_for,
    without_a_grace_nobody_is_waited_for,
    a_manager_in_the_place_of_the_one_before_is_another_one,
    a_manager_that_ends_waits_for_nobody,
    more_than_a_client_may_leave_unread_is_kept_for_one_that_was_away,
    long_values_over_cuts,
    a_thousand_cuts,
];

fn warm_up() {
    Manager::start().unwrap().list::<u8>().unwrap().push(&1).unwrap();
    Process::spawn(|()| (), ()).unwrap().join().unwrap();
}

const KEY: &[u8] = b"a key for all servers";
const LONG: Duration = Duration::from_secs(20);
/// Of those that wait for its end; far more than coming back takes.
const GRACE: Duration = Duration::from_secs(4);

#[derive(Debug, Serialize, Deserialize)]
struct Tally(BTreeMap<u64, u64>);

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
struct Cable {
    port: u16,
    lines: Arc<Mutex<Vec<TcpStream>>>,
    /// Nobody gets through, until it is mended.
    is_down: Arc<AtomicBool>,
}

impl Cable {
    fn to(server: &Address) -> Self {
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

    fn address(&self) -> Address {
        Address::tcp("127.0.0.1", self.port)
    }

    fn cut(&self) {
        self.lines.lock().unwrap().drain(..).for_each(|line| drop(line.shutdown(Shutdown::Both)));
    }

    fn tear(&self) {
        self.is_down.store(true, Ordering::SeqCst);
        self.cut();
    }

    fn mend(&self) {
        self.is_down.store(false, Ordering::SeqCst);
    }
}

/// A server in this process, one who sees it without a cable, and one at its end.
struct Scene {
    server: mp_manager::ManagerServer,
    near: Manager,
    far: Manager,
    cable: Cable,
}

fn scene() -> Scene {
    scene_with(3 * LONG)
}

fn scene_with(grace: Duration) -> Scene {
    let builder = Manager::builder().address(Address::tcp("127.0.0.1", 0)).authkey(KEY).grace(grace);
    let server = builder.register::<Tally>().serve().unwrap();
    let near = Manager::connect(server.address(), KEY).unwrap();
    let cable = Cable::to(server.address());
    let far = Manager::connect(&cable.address(), KEY).unwrap().reconnect(policy());
    Scene { server, near, far, cable }
}

fn policy() -> Reconnect {
    Reconnect::within(LONG).pauses(Duration::from_millis(5), Duration::from_millis(20))
}

impl Scene {
    /// The same lock from both sides.
    fn lock(&self) -> (LockProxy, LockProxy) {
        self.near.publish("lock", &self.near.lock().unwrap()).unwrap();
        (self.near.find("lock").unwrap(), self.far.find("lock").unwrap())
    }
}

fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn a_lock_is_still_held_after_a_cut_and_released_once() {
    let scene = scene_with(GRACE);
    let (near, far) = scene.lock();
    let own: ListProxy<u8> = scene.far.list_from(&[1, 2]).unwrap();
    for _ in 0..2 {
        let guard = far.lock().unwrap();
        scene.cable.cut();
        // Longer than the grace: it has come back by itself, while nobody asked anything.
        assert!(near.lock_timeout(GRACE + Duration::from_millis(500)).unwrap().is_none());
        assert_eq!(own.to_vec().unwrap(), [1, 2]);
        drop(guard);
        let guard = near.lock_timeout(LONG).unwrap().expect("it was released");
        assert!(far.try_lock().unwrap().is_none());
        scene.cable.cut();
        assert!(far.try_lock().unwrap().is_none(), "released twice");
        drop(guard);
    }
    drop(own);
    soon("references stay", || scene.near.object_count().unwrap() == 1);
}

fn who_does_not_come_back_has_nothing_after_the_grace_and_not_before() {
    let scene = scene_with(GRACE);
    let (near, far) = scene.lock();
    let own: ListProxy<u8> = scene.far.list_from(&[1, 2]).unwrap();
    let guard = far.lock().unwrap();
    let torn = Instant::now();
    scene.cable.tear();
    thread::sleep(GRACE / 4);
    let seen = (near.try_lock().unwrap().is_none(), scene.near.object_count().unwrap());
    assert!(seen == (true, 2) || torn.elapsed() >= GRACE, "it did not wait");
    drop(near.lock_timeout(LONG).unwrap().expect("it waits for ever"));
    assert!(torn.elapsed() >= GRACE);
    soon("references stay", || scene.near.object_count().unwrap() == 1);
    // It comes too late, which is said in words, and lets go of nothing.
    let held = near.lock().unwrap();
    let late = thread::spawn(move || own.len());
    scene.cable.mend();
    let error = late.join().unwrap().unwrap_err();
    assert!(error.is_gone() && error.to_string().contains("time of grace"), "{error}");
    drop(guard);
    assert!(near.is_locked().unwrap());
    drop(held);
    // What it finds by its name goes on.
    drop(far.lock().unwrap());
}

fn each_cut_has_a_grace_of_its_own() {
    let grace = GRACE * 3 / 2;
    let scene = scene_with(grace);
    let (near, far) = scene.lock();
    let guard = far.lock().unwrap();
    scene.cable.tear();
    thread::sleep(grace * 2 / 3);
    scene.cable.mend();
    assert!(far.is_locked().unwrap());
    scene.cable.tear();
    // The time of the first one ends meanwhile.
    thread::sleep(grace * 2 / 3);
    assert!(near.try_lock().unwrap().is_none());
    scene.cable.mend();
    drop(guard);
    soon("the lock stays", || !near.is_locked().unwrap());
}

fn a_call_in_the_middle_has_its_answer() {
    let scene = scene();
    let tally = TallyProxy::create(&scene.far).unwrap();
    scene.far.publish("tally", &tally).unwrap();
    for number in 0..5 {
        let begun: EventProxy = scene.near.event().unwrap();
        scene.near.publish("begun", &begun).unwrap();
        let (tally, its) = (tally.clone(), scene.far.find::<EventProxy>("begun").unwrap());
        let caller = thread::spawn(move || tally.add_slowly(number, its));
        assert!(begun.wait_timeout(LONG).unwrap());
        if number % 2 == 0 {
            scene.cable.cut()
        } else {
            scene.cable.tear()
        }
        thread::sleep(Duration::from_millis(if number == 3 { 500 } else { 50 }));
        scene.cable.mend();
        assert_eq!(caller.join().unwrap().unwrap(), 1);
    }
    assert_eq!((tally.most().unwrap(), tally.len().unwrap()), (1, 5));
}

fn a_call_that_waits_goes_on_waiting() {
    let scene = scene();
    let queue: QueueProxy<u64> = scene.near.queue().unwrap();
    scene.near.publish("queue", &queue).unwrap();
    let far: QueueProxy<u64> = scene.far.find("queue").unwrap();
    for item in 0..5 {
        let waits = far.clone();
        let waiter = thread::spawn(move || waits.get());
        thread::sleep(Duration::from_millis(50));
        scene.cable.tear();
        thread::sleep(Duration::from_millis(50));
        // Given to a caller who is not there just now.
        queue.put(&item).unwrap();
        scene.cable.mend();
        assert_eq!(waiter.join().unwrap().unwrap(), item);
        assert!(queue.is_empty().unwrap());
    }
}

fn what_is_dropped_meanwhile_is_given_back_once() {
    let scene = scene();
    let (near, far) = scene.lock();
    let permits: SemaphoreProxy = scene.far.semaphore(2).unwrap();
    for _ in 0..3 {
        // So many that none may hold up the thread that drops it.
        let own: Vec<ListProxy<u8>> = (0..300).map(|_| scene.far.list().unwrap()).collect();
        let guards = (far.lock().unwrap(), permits.acquire().unwrap(), permits.acquire().unwrap());
        assert_eq!(scene.near.object_count().unwrap(), 302);
        scene.cable.tear();
        soon("the cut is not seen", || scene.near.object_count().is_ok());
        drop((own, guards));
        assert!(near.is_locked().unwrap());
        scene.cable.mend();
        soon("references stay", || scene.near.object_count().unwrap() == 2);
        soon("the lock stays", || !near.is_locked().unwrap());
        assert_eq!(permits.available().unwrap(), 2);
    }
}

fn answers_that_nobody_has_read_come_again() {
    let scene = scene();
    let list: ListProxy<u64> = scene.far.list().unwrap();
    for round in 0..5 {
        let pushes: Vec<_> = (0..200u64).map(|x| list.push_async(&(round * 200 + x)).unwrap()).collect();
        let lens: Vec<_> = (0..50).map(|_| list.len_async().unwrap()).collect();
        scene.cable.cut();
        pushes.into_iter().for_each(|push| push.get().unwrap());
        lens.into_iter().for_each(|len| assert_eq!(len.get().unwrap() as u64, (round + 1) * 200));
    }
    assert_eq!(list.to_vec().unwrap(), (0..1000).collect::<Vec<_>>());
}

fn a_killed_client_is_waited_for() {
    let scene = scene_with(GRACE);
    let (near, _) = scene.lock();
    let (tx, rx) = pipe().unwrap();
    let hold = |(address, tx): (Address, Sender<()>)| {
        let far = Manager::connect(&address, KEY).unwrap().reconnect(policy());
        let _guard = far.find::<LockProxy>("lock").unwrap().lock().unwrap();
        let _own: ListProxy<u8> = far.list().unwrap();
        tx.send(&()).unwrap();
        thread::sleep(Duration::from_secs(100));
    };
    let child = Process::spawn(hold, (scene.server.address().clone(), tx)).unwrap();
    rx.recv().unwrap();
    let killed = Instant::now();
    child.kill().unwrap();
    assert!(child.join().is_err());
    assert!(near.try_lock().unwrap().is_none() || killed.elapsed() >= GRACE);
    drop(near.lock_timeout(LONG).unwrap().expect("a dead client holds it for ever"));
    assert!(killed.elapsed() >= GRACE);
    soon("references stay", || scene.near.object_count().unwrap() == 1);
}

/// A queue from both sides, and the far one asks for an item.
fn asked(scene: &Scene) -> (QueueProxy<u64>, QueueProxy<u64>, AsyncReply<u64>) {
    scene.near.publish("queue", &scene.near.queue::<u64>().unwrap()).unwrap();
    let (near, far) =
        (scene.near.find("queue").unwrap(), scene.far.find::<QueueProxy<u64>>("queue").unwrap());
    let reply = far.get_async().unwrap();
    // The request has come when this has.
    assert!(far.is_empty().unwrap());
    (near, far, reply)
}

fn items_of_a_client_that_does_not_come_back_are_others() {
    let scene = scene_with(Duration::from_millis(200));
    let (near, far, reply) = asked(&scene);
    scene.cable.tear();
    (1..=3).for_each(|x| near.put(&x).unwrap());
    soon("an item is lost", || near.len().unwrap() == 3);
    assert_eq!([(), (), ()].map(|()| near.try_get().unwrap()), [Some(1), Some(2), Some(3)]);
    // It comes too late, and has nothing.
    scene.cable.mend();
    assert!(reply.get().unwrap_err().is_gone());
    near.put(&4).unwrap();
    assert_eq!(far.get().unwrap(), 4);
}

fn an_item_comes_once_to_one_that_comes_back() {
    let scene = scene();
    let (near, far, reply) = asked(&scene);
    for round in 0..10 {
        let reply = if round == 0 { None } else { Some(far.get_async().unwrap()) };
        if round % 2 == 0 {
            scene.cable.tear();
        }
        near.put(&round).unwrap();
        if round % 2 == 0 {
            scene.cable.mend()
        } else {
            scene.cable.cut()
        }
        if let Some(reply) = reply {
            assert_eq!(reply.get().unwrap(), round);
        }
    }
    assert_eq!(reply.get().unwrap(), 0);
    assert!(near.is_empty().unwrap());
    // What came to it is not there again when it has gone.
    let Scene { server: _server, near: manager, far: its, cable: _cable } = scene;
    let list: ListProxy<u8> = its.list().unwrap();
    assert_eq!(manager.object_count().unwrap(), 2);
    drop((far, list, its));
    soon("references stay", || manager.object_count().unwrap() == 1);
    assert!(near.get_timeout(Duration::from_millis(20)).unwrap().is_none());
}

fn what_is_kept_for_killed_clients_is_bounded() {
    const CLIENTS: usize = 20;
    const MOST: usize = 8;
    const ITEM: usize = 256 << 10;
    // The first 64 KiB of each do not count.
    const COUNTED: usize = 192 << 10;
    let builder = Manager::builder().address(Address::tcp("127.0.0.1", 0)).authkey(KEY);
    let server = builder.max_unread(MOST * COUNTED).grace(Duration::from_secs(3600)).serve().unwrap();
    let near = Manager::connect(server.address(), KEY).unwrap();
    let queues: Vec<QueueProxy<Vec<u8>>> = (0..CLIENTS).map(|_| near.queue().unwrap()).collect();
    let name = |number: usize| format!("queue {number}");
    (0..).zip(&queues).for_each(|(number, queue)| near.publish(&name(number), queue).unwrap());
    let (tx, rx) = pipe().unwrap();
    let ask = |(address, tx): (Address, Sender<()>)| {
        let ask = |number| {
            let far = Manager::connect(&address, KEY).unwrap().reconnect(policy());
            let queue: QueueProxy<Vec<u8>> = far.find(&format!("queue {number}")).unwrap();
            let reply = queue.get_async().unwrap();
            assert!(queue.is_empty().unwrap());
            (far, reply)
        };
        let _asked: Vec<_> = (0..CLIENTS).map(ask).collect();
        tx.send(&()).unwrap();
        thread::sleep(Duration::from_secs(100));
    };
    let child = Process::spawn(ask, (server.address().clone(), tx)).unwrap();
    rx.recv().unwrap();
    child.kill().unwrap();
    assert!(child.join().is_err());
    for queue in &queues {
        queue.put(&vec![7; ITEM]).unwrap();
    }
    // Those that were parted with have nothing, and the items are there again.
    let out = || queues.iter().filter(|queue| queue.is_empty().unwrap()).count();
    soon("too much is kept", || out() <= MOST);
    assert!(out() >= MOST / 2, "{} are waited for", out());
}

fn a_client_that_ends_is_not_waited_for() {
    // A grace that no test waits for.
    let scene = scene_with(Duration::from_secs(3600));
    let (near, far) = scene.lock();
    let other = Manager::connect(&scene.cable.address(), KEY).unwrap().reconnect(policy());
    let its: LockProxy = other.find("lock").unwrap();
    std::mem::forget(its.lock().unwrap());
    drop(far);
    assert!(near.try_lock().unwrap().is_none());
    drop((its, other));
    // The forgotten guard keeps the connection: only its process can end it.
    let lives = |address: Address| {
        let far = Manager::connect(&address, KEY).unwrap().reconnect(policy());
        let list: ListProxy<u8> = far.list().unwrap();
        list.push(&1).unwrap();
    };
    Process::spawn(lives, scene.cable.address()).unwrap().join().unwrap();
    soon("references stay", || scene.near.object_count().unwrap() == 1);
}

fn without_a_policy_nobody_is_waited_for() {
    let scene = scene_with(Duration::from_secs(3600));
    let (near, _) = scene.lock();
    let plain = Manager::connect(&scene.cable.address(), KEY).unwrap();
    let its: LockProxy = plain.find("lock").unwrap();
    let guard = its.lock().unwrap();
    scene.cable.cut();
    drop(near.lock_timeout(LONG).unwrap().expect("it is waited for"));
    assert!(its.is_locked().unwrap_err().is_gone());
    drop(guard);
}

fn without_a_grace_nobody_is_waited_for() {
    let scene = scene_with(Duration::ZERO);
    let (near, far) = scene.lock();
    let guard = far.lock().unwrap();
    scene.cable.cut();
    drop(near.lock_timeout(LONG).unwrap().expect("it is waited for"));
    while let Err(error) = far.is_locked() {
        assert!(error.is_gone(), "{error}");
    }
    drop(guard);
    drop(far.lock_timeout(LONG).unwrap().unwrap());
}

fn a_manager_in_the_place_of_the_one_before_is_another_one() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let start = || {
        let builder = Manager::builder().address(Address::tcp("127.0.0.1", port)).authkey(KEY);
        builder.register::<Tally>().start().unwrap()
    };
    let server = start();
    let far = Manager::connect(server.address(), KEY).unwrap().reconnect(policy());
    let list: ListProxy<u8> = far.list().unwrap();
    server.publish("event", &server.event().unwrap()).unwrap();
    let event: EventProxy = far.find("event").unwrap();
    server.publish("barrier", &server.barrier(2).unwrap()).unwrap();
    let barrier: BarrierProxy = far.find("barrier").unwrap();
    let waits = barrier.clone();
    let waiter = thread::spawn(move || waits.wait());
    soon("nobody waits", || barrier.waiting().unwrap() == 1);
    server.shutdown(LONG).unwrap();
    let server = start();
    server.publish("event", &server.event().unwrap()).unwrap();
    // What was under way is not asked again, and says why.
    let error = waiter.join().unwrap().unwrap_err();
    assert!(error.may_have_run() && error.to_string().contains("another manager"), "{error}");
    let error = list.len().unwrap_err();
    assert!(error.is_gone() && !error.may_have_run(), "{error}");
    assert!(!event.is_set().unwrap());
}

fn a_manager_that_ends_waits_for_nobody() {
    let scene = scene_with(Duration::from_secs(3600));
    let (_, far) = scene.lock();
    std::mem::forget(far.lock().unwrap());
    scene.cable.tear();
    thread::sleep(Duration::from_millis(100));
    assert!(scene.server.shutdown(LONG));
}

fn more_than_a_client_may_leave_unread_is_kept_for_one_that_was_away() {
    const LONG_ONES: u64 = 80;
    const SHORT_ONES: u64 = 300;
    let scene = scene_with(3 * LONG);
    let queue: QueueProxy<(u64, String)> = scene.near.queue().unwrap();
    scene.near.publish("queue", &queue).unwrap();
    let far: QueueProxy<(u64, String)> = scene.far.find("queue").unwrap();
    let gets: Vec<_> = (0..LONG_ONES + SHORT_ONES).map(|_| far.get_async().unwrap()).collect();
    // All of them wait there.
    assert!(far.is_empty().unwrap());
    scene.cable.tear();
    (0..LONG_ONES).for_each(|item| queue.put(&(item, "7".repeat(1 << 20))).unwrap());
    scene.cable.mend();
    // While it is given those, there are more.
    (LONG_ONES..LONG_ONES + SHORT_ONES).for_each(|item| {
        queue.put(&(item, String::new())).unwrap();
        thread::sleep(Duration::from_millis(1));
    });
    for (expected, get) in (0..).zip(gets) {
        let (item, value) = get.get().unwrap();
        assert_eq!((item, value.len()), (expected, if item < LONG_ONES { 1 << 20 } else { 0 }));
    }
}

fn long_values_over_cuts() {
    let scene = scene();
    let dict: DictProxy<u64, Vec<u8>> = scene.far.dict().unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let users: Vec<_> = (0..3u64)
            .map(|number| {
                let dict = dict.clone();
                scope.spawn(move || {
                    for round in 0..8u8 {
                        let value = vec![round; 1_500_000];
                        dict.insert(&number, &value).unwrap();
                        assert!(dict.get(&number).unwrap().unwrap() == value);
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            let mut rng = Rng::announced("long_values_over_cuts");
            while !is_over.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(40 + rng.below(60) as u64));
                scene.cable.cut();
            }
        });
        let ended: Vec<_> = users.into_iter().map(|user| user.join()).collect();
        is_over.store(true, Ordering::SeqCst);
        ended.into_iter().for_each(|ended| ended.unwrap());
    });
}

/// Clients in processes of their own do all there is to do, while the cable is cut again and again.
fn a_thousand_cuts() {
    let scene = scene_with(Duration::from_secs(60));
    let cuts = if soak_time() > Duration::from_secs(5) { 1000 } else { 150 };
    let counter = scene.near.value(&0u64).unwrap();
    scene.near.publish("counter", &counter).unwrap();
    scene.near.publish("lock", &scene.near.lock().unwrap()).unwrap();
    scene.near.publish("permits", &scene.near.semaphore(2).unwrap()).unwrap();
    let queue: QueueProxy<u64> = scene.near.queue().unwrap();
    scene.near.publish("queue", &queue).unwrap();
    let tally = TallyProxy::create(&scene.far).unwrap();
    scene.far.publish("tally", &tally).unwrap();
    let before = scene.near.object_count().unwrap();
    let clients: Vec<_> = (0..3u64)
        .map(|number| {
            let ((tx, stop), (ready, is_ready)) = (pipe::<()>().unwrap(), pipe().unwrap());
            let client = Process::spawn(live, (scene.cable.address(), number, stop, ready)).unwrap();
            is_ready.recv().unwrap();
            (client, tx)
        })
        .collect();
    let mut rng = Rng::announced("a_thousand_cuts");
    for _ in 0..cuts {
        thread::sleep(Duration::from_millis(1 + rng.below(25) as u64));
        if rng.below(5) == 0 {
            scene.cable.tear();
            thread::sleep(Duration::from_millis(rng.below(30) as u64));
            scene.cable.mend();
        } else {
            scene.cable.cut();
        }
    }
    let done: u64 = clients
        .into_iter()
        .map(|(client, stop)| {
            let _ = stop.send(&());
            client.join().unwrap()
        })
        .sum();
    assert!(done > 0);
    // Each round was done once, and nothing is left of it.
    assert_eq!(counter.get().unwrap(), done);
    assert_eq!((tally.len().unwrap(), tally.most().unwrap()), (done, 1));
    assert_eq!(queue.len().unwrap(), 0);
    let lock: LockProxy = scene.near.find("lock").unwrap();
    let permits: SemaphoreProxy = scene.near.find("permits").unwrap();
    soon("references stay", || scene.near.object_count().unwrap() == before);
    assert!(!lock.is_locked().unwrap());
    assert_eq!(permits.available().unwrap(), 2);
}

/// Its rounds, until it is stopped.
fn live((address, number, stop, ready): (Address, u64, Receiver<()>, Sender<()>)) -> u64 {
    static DONE: AtomicU64 = AtomicU64::new(0);
    let work = || -> Result<(), ManagerError> {
        let far = Manager::connect(&address, KEY)?.reconnect(policy());
        let counter: mp_manager::ValueProxy<u64> = far.find("counter")?;
        let (lock, permits): (LockProxy, SemaphoreProxy) = (far.find("lock")?, far.find("permits")?);
        let queue: QueueProxy<u64> = far.find("queue")?;
        let tally: TallyProxy = far.find("tally")?;
        ready.send(&()).unwrap();
        thread::scope(|scope| {
            let threads: Vec<_> = (0..2u64)
                .map(|thread| {
                    let (far, counter, lock, permits) = (&far, &counter, &lock, &permits);
                    let (queue, tally, stop) = (&queue, &tally, &stop);
                    scope.spawn(move || -> Result<(), ManagerError> {
                        let mut round = 0;
                        while matches!(stop.poll(Duration::ZERO), Ok(false)) {
                            // Not one step, so that the lock is needed.
                            let guard = lock.lock()?;
                            counter.set(&(counter.get()? + 1))?;
                            drop(guard);
                            let permit = permits.acquire()?;
                            queue.put(&round)?;
                            queue.get()?;
                            drop(permit);
                            let own: ListProxy<u64> = far.list_from(&[1, 2, 3])?;
                            let later = own.push_async(&4)?;
                            assert_eq!(tally.add((number * 2 + thread) << 32 | round)?, 1);
                            later.get()?;
                            assert_eq!(own.len()?, 4);
                            round += 1;
                            DONE.fetch_add(1, Ordering::SeqCst);
                        }
                        Ok(())
                    })
                })
                .collect();
            threads.into_iter().try_for_each(|thread| thread.join().unwrap())
        })
    };
    work().unwrap_or_else(|error| panic!("{error}"));
    DONE.load(Ordering::SeqCst)
}
