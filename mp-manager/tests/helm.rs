//! Methods that the thread which waits for all clients runs itself, as long as they are quick.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Duration;

use ipc_core::{Sender, pipe};
use mp_manager::{ListProxy, Manager};
use mp_process::Process;
use mp_testkit::chaos::{self, Rng};
use mp_testkit::harness::Suite;

fn main() -> ExitCode {
    let trials = mp_testkit::trials![
        one_that_blocks_delays_nobody,
        several_that_block_at_once,
        one_that_is_slow_now_and_then,
        one_that_calls_others,
        one_that_panics,
        the_server_ends_though_one_blocks,
        who_waits_for_the_end_waits_for_the_objects,
        a_killed_client_leaves_its_method_behind,
    ];
    Suite::new(trials).warm_up(warm_up).run()
}

/// The threads that start processes and watch peers keep a few handles for good.
fn warm_up() {
    let manager = Manager::start().unwrap();
    let child = Process::spawn(|list: ListProxy<u8>| list.push(&1).unwrap(), manager.list().unwrap());
    child.unwrap().join().unwrap();
}

/// How many gates were opened in this process.
static OPENED: (Mutex<u64>, Condvar) = (Mutex::new(0), Condvar::new());

struct Gate(u64);

#[mp_manager::object]
#[allow(unreachable_pub)]
impl Gate {
    pub fn new() -> Self {
        Self(0)
    }

    /// Waits until so many gates are open; no time for none.
    pub fn pass(&mut self, opened: u64) -> u64 {
        let (count, changed) = &OPENED;
        let count = count.lock().unwrap();
        drop(changed.wait_while(count, |count| *count < opened).unwrap());
        self.0 += 1;
        self.0
    }

    pub fn open(&self) {
        let (count, changed) = &OPENED;
        *count.lock().unwrap() += 1;
        changed.notify_all();
    }

    pub fn sleep(&mut self, time: Duration) -> u64 {
        thread::sleep(time);
        self.0 += 1;
        self.0
    }

    pub fn push(&self, list: ListProxy<u64>, x: u64) -> usize {
        list.push(&x).unwrap();
        GateProxy::host(Self(x)).unwrap().pass(0).unwrap();
        list.len().unwrap()
    }

    pub fn fail(&self, fails: bool) {
        assert!(!fails, "on purpose");
    }
}

/// A gate whose method has been quick often.
fn quick_gate(manager: &Manager) -> GateProxy {
    let gate = GateProxy::create(manager).unwrap();
    (0..200).for_each(|_| assert!(gate.pass(0).is_ok()));
    gate
}

fn one_that_blocks_delays_nobody() {
    let manager = Manager::start().unwrap();
    let (list, opener) = (manager.list_from(&[1]).unwrap(), GateProxy::create(&manager).unwrap());
    for turn in 1..=20 {
        let gate = quick_gate(&manager);
        let passes = gate.pass_async(turn).unwrap();
        // Neither the objects of this crate nor those of users wait for it.
        assert_eq!(list.len().unwrap(), 1);
        opener.fail(false).unwrap();
        assert!(!passes.is_ready());
        opener.open().unwrap();
        assert_eq!(passes.get().unwrap(), 201);
        assert_eq!(gate.pass(0).unwrap(), 202);
    }
}

fn several_that_block_at_once() {
    let manager = Manager::builder().max_threads(8).start().unwrap();
    let opener = quick_gate(&manager);
    for turn in 1..=5 {
        let gates: Vec<_> = (0..6).map(|_| quick_gate(&manager)).collect();
        let passes =
            manager.batch(|batch| gates.iter().map(|gate| batch.of(gate).pass_async(turn)).collect());
        let passes: Vec<_> = passes.unwrap();
        opener.open().unwrap();
        passes.into_iter().for_each(|pass| assert_eq!(pass.get().unwrap(), 201));
    }
}

fn one_that_is_slow_now_and_then() {
    let manager = Manager::start().unwrap();
    let gate = GateProxy::create(&manager).unwrap();
    let mut rng = Rng::announced("one_that_is_slow_now_and_then");
    let seeds: Vec<u64> = (0..4).map(|_| rng.next_u64()).collect();
    thread::scope(|scope| {
        for seed in seeds {
            let gate = gate.clone();
            scope.spawn(move || {
                for turn in 0..300u64 {
                    let is_slow = seed.rotate_left((turn % 64) as u32) & 31 == 0;
                    gate.sleep(Duration::from_millis(if is_slow { 5 } else { 0 })).unwrap();
                }
            });
        }
    });
    assert_eq!(gate.pass(0).unwrap(), 4 * 300 + 1);
}

fn one_that_calls_others() {
    let manager = Manager::start().unwrap();
    let gate = quick_gate(&manager);
    let list = manager.list::<u64>().unwrap();
    for turn in 0..300 {
        assert_eq!(gate.push(list.clone(), turn).unwrap() as u64, turn + 1);
    }
    assert_eq!(manager.object_count().unwrap(), 2);
}

fn one_that_panics() {
    let manager = Manager::start().unwrap();
    let gate = quick_gate(&manager);
    for turn in 0..300 {
        let result = gate.fail(turn % 10 == 9);
        assert_eq!(result.is_err_and(|error| error.is_panic()), turn % 10 == 9);
    }
    assert_eq!(gate.pass(0).unwrap(), 201);
}

fn the_server_ends_though_one_blocks() {
    let manager = Manager::start().unwrap();
    let pass = quick_gate(&manager).pass_async(1000).unwrap();
    let server = manager.pid().unwrap();
    manager.shutdown(Duration::from_millis(300)).unwrap();
    assert!(pass.get().unwrap_err().is_gone());
    assert!(chaos::state(server).is_none_or(|state| state == 'Z'));
}

/// Whether objects may go, and whether one has.
static GOING: (AtomicBool, AtomicBool) = (AtomicBool::new(false), AtomicBool::new(false));

struct Clinging;

#[mp_manager::object]
#[allow(unreachable_pub)]
impl Clinging {
    pub fn new() -> Self {
        Self
    }
}

impl Drop for Clinging {
    fn drop(&mut self) {
        while !GOING.0.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(1));
        }
        GOING.1.store(true, Ordering::SeqCst);
    }
}

fn who_waits_for_the_end_waits_for_the_objects() {
    let server = Manager::builder().register::<Clinging>().serve().unwrap();
    let manager = server.manager().unwrap();
    let object = ClingingProxy::create(&manager).unwrap();
    assert!(!server.shutdown(Duration::from_millis(100)), "an object is still there");
    GOING.0.store(true, Ordering::SeqCst);
    assert!(server.shutdown(Duration::from_secs(20)));
    assert!(GOING.1.load(Ordering::SeqCst));
    drop(object);
}

fn a_killed_client_leaves_its_method_behind() {
    let manager = Manager::start().unwrap();
    let gate = GateProxy::create(&manager).unwrap();
    let (tx, rx) = pipe().unwrap();
    let work = |(gate, tx): (GateProxy, Sender<()>)| {
        (0..200).for_each(|_| assert!(gate.pass(0).is_ok()));
        tx.send(&()).unwrap();
        gate.pass(1).unwrap();
    };
    let child = Process::spawn(work, (gate.clone(), tx)).unwrap();
    rx.recv().unwrap();
    thread::sleep(Duration::from_millis(20));
    child.kill().unwrap();
    assert!(child.join().is_err());
    // The method goes on, and others of the object run after it.
    let opener = GateProxy::create(&manager).unwrap();
    opener.open().unwrap();
    assert!(gate.pass(0).unwrap() >= 201);
}
