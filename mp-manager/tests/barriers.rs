//! Barriers with an action, or a timeout of their own.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::Address;
use mp_manager::{
    BarrierOptions, BarrierProxy, EventProxy, ListProxy, Manager, ManagerError, Proxy, ValueProxy,
};
use mp_process::Process;
use mp_testkit::harness::Suite;

fn main() -> ExitCode {
    let trials = mp_testkit::trials![
        an_action_runs_once_and_before_any_goes_on,
        an_action_that_panics_breaks_the_barrier,
        a_party_that_is_killed_while_the_action_runs_breaks_it,
        a_deadline_that_passes_while_the_action_runs_breaks_it,
        an_abort_while_the_action_runs_is_told_at_once,
        after_a_reset_no_two_actions_run_at_once,
        who_comes_while_the_action_runs_is_of_the_next_turn,
        a_server_that_is_killed_in_an_action_is_an_error_for_all,
        an_action_cannot_use_its_barrier,
        an_action_runs_on_the_only_thread,
        a_barrier_has_a_timeout_of_its_own,
        functions_are_of_the_managers_own_tree,
    ];
    Suite::new(trials).warm_up(warm_up).run()
}

/// The threads that start processes and watch peers keep a few handles for good.
fn warm_up() {
    Manager::start().unwrap().list::<u8>().unwrap().push(&1).unwrap();
}

const SHORT: Duration = Duration::from_millis(30);
const LONG: Duration = Duration::from_secs(20);

fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A barrier whose action says that it has begun, and waits until it may end.
struct Slow {
    manager: Manager,
    barrier: BarrierProxy,
    runs: ListProxy<u32>,
    go: EventProxy,
}

type Turn = thread::JoinHandle<Result<usize, ManagerError>>;

impl Slow {
    fn new(parties: usize) -> Self {
        let manager = Manager::start().unwrap();
        let (runs, go) = (manager.list().unwrap(), manager.event().unwrap());
        let act = |(runs, go): (ListProxy<u32>, EventProxy)| {
            runs.push(&std::process::id()).unwrap();
            go.wait().unwrap();
        };
        let options = BarrierOptions::new().action(act, (runs.clone(), go.clone()));
        Self { barrier: manager.barrier_with(parties, options).unwrap(), manager, runs, go }
    }

    fn come(&self) -> Turn {
        let barrier = self.barrier.clone();
        thread::spawn(move || barrier.wait())
    }

    fn has_run(&self, times: usize) {
        soon("the action does not run", || self.runs.len().unwrap() == times);
    }

    fn waiting(&self, count: usize) {
        soon("nobody waits", || self.barrier.waiting().unwrap() == count);
    }
}

fn is_broken(turn: Turn) -> bool {
    turn.join().unwrap().is_err_and(|error| error.is_broken_barrier())
}

fn an_action_runs_once_and_before_any_goes_on() {
    let manager = Manager::start().unwrap();
    let runs = manager.list::<u32>().unwrap();
    let act = |runs: ListProxy<u32>| runs.push(&std::process::id()).unwrap();
    let barrier = manager.barrier_with(3, BarrierOptions::new().action(act, runs.clone())).unwrap();
    let meet = |(barrier, runs): (BarrierProxy, ListProxy<u32>)| {
        let turn = |count: usize| {
            let turn = barrier.wait().unwrap();
            // The next one is not run before this one is back.
            assert_eq!(runs.len().unwrap(), count);
            turn
        };
        (1..=20).map(turn).sum::<usize>()
    };
    let meet_there = || Process::spawn(meet, (barrier.clone(), runs.clone())).unwrap();
    let children: Vec<_> = (0..3).map(|_| meet_there()).collect();
    let sum: usize = children.into_iter().map(|child| child.join().unwrap()).sum();
    assert_eq!(sum, 20 * (1 + 2));
    assert_eq!(runs.to_vec().unwrap(), vec![manager.pid().unwrap(); 20]);
}

fn an_action_that_panics_breaks_the_barrier() {
    let manager = Manager::start().unwrap();
    let fails = manager.value(&true).unwrap();
    let act = |fails: ValueProxy<bool>| assert!(!fails.get().unwrap(), "not today");
    let barrier = manager.barrier_with(3, BarrierOptions::new().action(act, fails.clone())).unwrap();
    let told = |barrier: BarrierProxy| match barrier.wait() {
        Ok(_) => 0,
        Err(error) if error.is_broken_barrier() => 1,
        Err(error) if error.is_panic() && error.to_string().contains("not today") => 10,
        Err(_) => 100,
    };
    let meet = || {
        let children: Vec<_> = (0..3).map(|_| Process::spawn(told, barrier.clone()).unwrap()).collect();
        children.into_iter().map(|child| child.join().unwrap()).sum::<u32>()
    };
    // One is told why, as the one who runs it would be.
    assert_eq!(meet(), 10 + 1 + 1);
    assert!(barrier.is_broken().unwrap() && barrier.wait().unwrap_err().is_broken_barrier());
    barrier.reset().unwrap();
    fails.set(&false).unwrap();
    assert_eq!(meet(), 0);
}

fn a_party_that_is_killed_while_the_action_runs_breaks_it() {
    let slow = Slow::new(2);
    let child = Process::spawn(|one: BarrierProxy| one.wait().is_ok(), slow.barrier.clone()).unwrap();
    slow.waiting(1);
    let turn = slow.come();
    slow.has_run(1);
    child.kill().unwrap();
    // The action does not end before.
    assert!(is_broken(turn) && slow.barrier.is_broken().unwrap());
    assert!(child.join().is_err());
    slow.go.set().unwrap();
    assert!(slow.barrier.is_broken().unwrap());
    slow.barrier.reset().unwrap();
    let turn = slow.come();
    slow.barrier.wait().unwrap();
    turn.join().unwrap().unwrap();
    assert_eq!(slow.runs.len().unwrap(), 2);
}

fn a_deadline_that_passes_while_the_action_runs_breaks_it() {
    let slow = Slow::new(2);
    let turn = slow.come();
    slow.waiting(1);
    assert!(slow.barrier.wait_timeout(SHORT).unwrap_err().is_broken_barrier());
    assert!(is_broken(turn) && slow.runs.len().unwrap() == 1);
    slow.go.set().unwrap();
}

fn an_abort_while_the_action_runs_is_told_at_once() {
    let slow = Slow::new(2);
    let turns = [slow.come(), slow.come()];
    slow.has_run(1);
    assert_eq!((slow.barrier.waiting().unwrap(), slow.barrier.is_broken().unwrap()), (2, false));
    Process::spawn(|one: BarrierProxy| one.abort().unwrap(), slow.barrier.clone()).unwrap().join().unwrap();
    assert!(turns.into_iter().all(is_broken));
    slow.go.set().unwrap();
    assert!(slow.barrier.wait().unwrap_err().is_broken_barrier());
}

fn after_a_reset_no_two_actions_run_at_once() {
    let slow = Slow::new(2);
    let turns = [slow.come(), slow.come()];
    slow.has_run(1);
    slow.barrier.reset().unwrap();
    assert!(turns.into_iter().all(is_broken));
    let turns = [slow.come(), slow.come()];
    slow.waiting(2);
    assert!(!slow.barrier.is_broken().unwrap());
    assert_eq!(slow.runs.len().unwrap(), 1, "two actions run");
    slow.go.set().unwrap();
    assert_eq!(turns.map(|turn| turn.join().unwrap().unwrap()).iter().sum::<usize>(), 1);
    assert_eq!(slow.runs.len().unwrap(), 2);
}

fn who_comes_while_the_action_runs_is_of_the_next_turn() {
    let slow = Slow::new(2);
    let wait = |barrier: BarrierProxy| barrier.wait().unwrap();
    let turns = [slow.come(), slow.come()];
    slow.has_run(1);
    let late: Vec<_> = (0..2).map(|_| Process::spawn(wait, slow.barrier.clone()).unwrap()).collect();
    thread::sleep(SHORT);
    assert_eq!((slow.barrier.waiting().unwrap(), slow.runs.len().unwrap()), (2, 1));
    slow.go.set().unwrap();
    let sum = |turns: [usize; 2]| turns.into_iter().sum::<usize>();
    assert_eq!(sum(turns.map(|turn| turn.join().unwrap().unwrap())), 1);
    assert_eq!(late.into_iter().map(|child| child.join().unwrap()).sum::<usize>(), 1);
    assert_eq!((slow.barrier.waiting().unwrap(), slow.runs.len().unwrap()), (0, 2));
}

fn a_server_that_is_killed_in_an_action_is_an_error_for_all() {
    let slow = Slow::new(2);
    let turns = [slow.come(), slow.come()];
    slow.has_run(1);
    let pid = rustix::process::Pid::from_raw(slow.manager.pid().unwrap() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert!(turns.into_iter().all(|turn| turn.join().unwrap().is_err_and(|error| error.is_gone())));
}

fn an_action_cannot_use_its_barrier() {
    let manager = Manager::start().unwrap();
    let told = manager.list::<String>().unwrap();
    let act = |(barriers, told): (ListProxy<BarrierProxy>, ListProxy<String>)| {
        let error = barriers.get(0).unwrap().wait().unwrap_err();
        assert!(error.is_reentrant());
        told.push(&error.to_string()).unwrap();
    };
    let barriers = manager.list::<BarrierProxy>().unwrap();
    let options = BarrierOptions::new().action(act, (barriers.clone(), told.clone()));
    let barrier = manager.barrier_with(1, options).unwrap();
    barriers.push(&barrier).unwrap();
    assert_eq!((barrier.wait().unwrap(), told.len().unwrap()), (0, 1));
    barriers.clear().unwrap();
}

fn an_action_runs_on_the_only_thread() {
    let manager = Manager::builder().max_threads(1).start().unwrap();
    let runs = manager.list::<u32>().unwrap();
    let act = |runs: ListProxy<u32>| runs.push(&1).unwrap();
    let barrier = manager.barrier_with(1, BarrierOptions::new().action(act, runs.clone())).unwrap();
    // Over the socket, and over a ring.
    (0..200).for_each(|_| assert_eq!(barrier.wait().unwrap(), 0));
    assert_eq!(runs.len().unwrap(), 200);
}

/// Waits in the server.
struct Party(BarrierProxy);

#[mp_manager::object]
#[allow(unreachable_pub)]
impl Party {
    pub fn new(barrier: BarrierProxy) -> Self {
        Self(barrier)
    }

    pub fn is_broken_soon(&self) -> bool {
        self.0.wait().is_err_and(|error| error.is_broken_barrier())
    }
}

fn a_barrier_has_a_timeout_of_its_own() {
    let manager = Manager::start().unwrap();
    let barrier = manager.barrier_with(2, BarrierOptions::new().timeout(SHORT)).unwrap();
    let wait = |barrier: BarrierProxy| barrier.wait().is_err_and(|error| error.is_broken_barrier());
    assert!(Process::spawn(wait, barrier.clone()).unwrap().join().unwrap());
    assert!(barrier.is_broken().unwrap());
    barrier.reset().unwrap();
    assert!(barrier.wait_async().unwrap().get().unwrap_err().is_broken_barrier());
    barrier.reset().unwrap();
    let party = PartyProxy::create(&manager, barrier.clone()).unwrap();
    assert!(party.is_broken_soon().unwrap() && barrier.is_broken().unwrap());
    barrier.reset().unwrap();
    assert!(barrier.object().call_by_name::<_, usize>("wait", &()).is_err());
    barrier.reset().unwrap();
    // One that says it for itself waits longer.
    let waits = barrier.clone();
    let turn = thread::spawn(move || waits.wait_timeout(LONG).unwrap());
    soon("nobody waits", || barrier.waiting().unwrap() == 1);
    thread::sleep(3 * SHORT);
    assert_eq!((barrier.wait_timeout(LONG).unwrap(), turn.join().unwrap()), (1, 0));
    let endless = manager.barrier_with(1, BarrierOptions::new().timeout(Duration::MAX)).unwrap();
    assert_eq!(endless.wait().unwrap(), 0);
    assert!(manager.barrier_with(0, BarrierOptions::new()).unwrap_err().is_refused());
}

fn functions_are_of_the_managers_own_tree() {
    let server =
        Manager::builder().address(Address::tcp("127.0.0.1", 0)).authkey("barriers").serve().unwrap();
    let manager = Manager::connect(server.address(), "barriers").unwrap();
    let error = manager.barrier_with(1, BarrierOptions::new().action(drop::<u8>, 1)).unwrap_err();
    assert!(error.is_refused() && error.to_string().contains("own tree"), "{error}");
    let barrier = manager.barrier_with(1, BarrierOptions::new().timeout(SHORT)).unwrap();
    assert_eq!(barrier.wait().unwrap(), 0);
}
