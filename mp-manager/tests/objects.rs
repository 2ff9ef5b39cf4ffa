//! Objects of a program's own types, and their proxies.

// What is exposed is `pub`.
#![allow(unreachable_pub)]

use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use mp_manager::{Manager, ManagerError, Proxy};
use mp_process::Process;
use mp_testkit::harness::Suite;

fn main() -> ExitCode {
    let trials = mp_testkit::trials![
        a_method_runs_in_the_server,
        proxies_travel_and_keep_the_object,
        an_object_goes_with_its_last_proxy,
        a_proxy_in_flight_keeps_the_object,
        looking_runs_side_by_side_and_changing_alone,
        a_panic_is_its_calls_error_and_poisons,
        an_object_that_keeps_is_not_poisoned,
        a_panicking_constructor_and_a_failing_one,
        methods_return_and_take_proxies,
        calling_back_is_an_error,
        a_chain_of_objects_falls_without_a_deep_stack,
        exposed_methods_only,
        generic_objects,
        proxies_of_one_object_are_equal,
        a_long_method_times_out_and_its_answer_is_dropped,
        arguments_of_the_wrong_type_are_that_calls_error,
        methods_are_listed,
        calls_are_sent_ahead,
        dropped_replies_leave_nothing,
        a_slow_drop_delays_nobody,
        a_panicking_drop_is_nobodys_error,
    ];
    Suite::new(trials).warm_up(warm_up).run()
}

/// The threads that start processes and watch peers keep a few handles for good.
fn warm_up() {
    Manager::start().unwrap().list::<u8>().unwrap().push(&1).unwrap();
}

struct Counter {
    count: u64,
}

#[mp_manager::object]
impl Counter {
    pub fn new(start: u64) -> Self {
        Self { count: start }
    }

    /// Fails for odd numbers.
    pub fn even(start: u64) -> Result<Self, String> {
        if start.is_multiple_of(2) { Ok(Self { count: start }) } else { Err(format!("{start} is odd")) }
    }

    pub fn broken() -> Self {
        panic!("cannot be made")
    }

    pub fn increment(&mut self, by: u64) -> u64 {
        self.count += by;
        self.count
    }

    pub fn get(&self) -> u64 {
        self.count
    }

    pub fn pid(&self) -> u32 {
        std::process::id()
    }

    pub fn fail(&mut self) {
        self.count += 1;
        panic!("at {}", self.count)
    }

    pub fn fail_looking(&self) {
        panic!("only looked")
    }

    pub fn slow(&self, time: Duration) -> u64 {
        thread::sleep(time);
        self.count
    }
}

fn a_method_runs_in_the_server() {
    let manager = Manager::start().unwrap();
    let counter = CounterProxy::create(&manager, 40).unwrap();
    assert_eq!(counter.increment(2).unwrap(), 42);
    assert_eq!(counter.get().unwrap(), 42);
    assert_eq!(Some(counter.pid().unwrap()), manager.pid());
    manager.shutdown(Duration::from_secs(20)).unwrap();
}

fn proxies_travel_and_keep_the_object() {
    let manager = Manager::start().unwrap();
    let counter = CounterProxy::create(&manager, 0).unwrap();
    let add = |counter: CounterProxy| {
        for _ in 0..100 {
            counter.increment(1).unwrap();
        }
    };
    let children: Vec<_> = (0..3).map(|_| Process::spawn(add, counter.clone()).unwrap()).collect();
    children.into_iter().for_each(|child| child.join().unwrap());
    assert_eq!(counter.get().unwrap(), 300);
    // A child makes one and gives it away.
    let made = Process::spawn(|manager: Manager| CounterProxy::create(&manager, 7).unwrap(), manager.clone());
    let made = made.unwrap().join().unwrap();
    assert_eq!(made.get().unwrap(), 7);
}

fn await_count(manager: &Manager, count: usize) {
    let begun = Instant::now();
    while manager.object_count().unwrap() != count {
        assert!(begun.elapsed() < Duration::from_secs(30), "{} objects", manager.object_count().unwrap());
        thread::sleep(Duration::from_millis(2));
    }
}

fn an_object_goes_with_its_last_proxy() {
    let manager = Manager::start().unwrap();
    let counter = CounterProxy::create(&manager, 0).unwrap();
    let again = counter.clone();
    drop(counter);
    assert_eq!(manager.object_count().unwrap(), 1);
    drop(again);
    assert_eq!(manager.object_count().unwrap(), 0);
    for _ in 0..1000 {
        CounterProxy::create(&manager, 0).unwrap();
    }
    assert_eq!(manager.object_count().unwrap(), 0);
}

fn a_proxy_in_flight_keeps_the_object() {
    let manager = Manager::start().unwrap();
    let (tx, rx) = ipc_core::pipe::<CounterProxy>().unwrap();
    tx.send(&CounterProxy::create(&manager, 5).unwrap()).unwrap();
    assert_eq!(manager.object_count().unwrap(), 1);
    let counter = rx.recv().unwrap();
    assert_eq!(counter.get().unwrap(), 5);
    drop(counter);
    assert_eq!(manager.object_count().unwrap(), 0);
}

fn looking_runs_side_by_side_and_changing_alone() {
    let manager = Manager::start().unwrap();
    let meter = MeterProxy::create(&manager).unwrap();
    let together = |changing: bool| {
        thread::scope(|scope| {
            for _ in 0..4 {
                let meter = meter.clone();
                scope.spawn(move || if changing { meter.change().unwrap() } else { meter.look().unwrap() });
            }
        });
        meter.most().unwrap()
    };
    assert_eq!(together(true), 1);
    assert!(together(false) > 1);
}

#[derive(Default)]
struct Meter {
    /// How many are in a method, and how many there were at most.
    inside: Mutex<(u32, u32)>,
}

#[mp_manager::object]
impl Meter {
    pub fn new() -> Self {
        Self::default()
    }

    /// Until there has been another one, or none comes.
    pub fn look(&self) {
        self.enter();
        let begun = Instant::now();
        while self.most() < 2 && begun.elapsed() < Duration::from_secs(10) {
            thread::sleep(Duration::from_millis(1));
        }
        self.inside.lock().unwrap().0 -= 1;
    }

    pub fn change(&mut self) {
        self.enter();
        thread::sleep(Duration::from_millis(50));
        self.inside.lock().unwrap().0 -= 1;
    }

    pub fn most(&self) -> u32 {
        self.inside.lock().unwrap().1
    }

    fn enter(&self) {
        let mut inside = self.inside.lock().unwrap();
        inside.0 += 1;
        inside.1 = inside.1.max(inside.0);
    }
}

fn a_panic_is_its_calls_error_and_poisons() {
    let manager = Manager::start().unwrap();
    let counter = CounterProxy::create(&manager, 0).unwrap();
    let other = CounterProxy::create(&manager, 3).unwrap();
    let error = counter.fail_looking().unwrap_err();
    assert_eq!(error.panic().unwrap().message(), "only looked");
    assert_eq!(counter.get().unwrap(), 0);
    let error = counter.fail().unwrap_err();
    assert!(error.is_panic() && error.to_string().contains("at 1"), "{error}");
    assert!(error.panic().unwrap().location().unwrap().contains("objects.rs"));
    assert!(counter.get().unwrap_err().is_poisoned());
    assert_eq!(other.get().unwrap(), 3);
}

struct Keeps(u64);

#[mp_manager::object(keep, exposed(fail, get))]
impl Keeps {
    pub fn new() -> Self {
        Self(0)
    }

    pub fn fail(&mut self) {
        self.0 += 1;
        panic!("kept")
    }

    fn get(&self) -> u64 {
        self.0
    }

    #[allow(dead_code)]
    pub fn hidden(&self) {}
}

fn an_object_that_keeps_is_not_poisoned() {
    let manager = Manager::start().unwrap();
    let keeps = KeepsProxy::create(&manager).unwrap();
    assert!(keeps.fail().unwrap_err().is_panic());
    assert_eq!(keeps.get().unwrap(), 1);
}

fn a_panicking_constructor_and_a_failing_one() {
    let manager = Manager::start().unwrap();
    let error = CounterProxy::broken(&manager).unwrap_err();
    assert_eq!(error.panic().unwrap().message(), "cannot be made");
    let error = CounterProxy::even(&manager, 3).unwrap_err();
    assert!(error.to_string().contains("3 is odd"), "{error}");
    assert_eq!(CounterProxy::even(&manager, 4).unwrap().get().unwrap(), 4);
    assert_eq!(manager.object_count().unwrap(), 0);
}

struct Shelf {
    counters: Vec<CounterProxy>,
}

#[mp_manager::object]
impl Shelf {
    pub fn new() -> Self {
        Self { counters: Vec::new() }
    }

    /// Makes a counter in the server.
    pub fn make(&mut self, start: u64) -> CounterProxy {
        let counter = CounterProxy::host(Counter { count: start }).unwrap();
        self.counters.push(counter.clone());
        counter
    }

    /// Makes a counter that nobody here keeps.
    pub fn fresh(&self, start: u64) -> CounterProxy {
        CounterProxy::host(Counter { count: start }).unwrap()
    }

    pub fn keep(&mut self, counter: CounterProxy) {
        self.counters.push(counter);
    }

    pub fn at(&self, place: usize) -> CounterProxy {
        self.counters[place].clone()
    }

    pub fn total(&self) -> u64 {
        self.counters.iter().map(|counter| counter.get().unwrap()).sum()
    }

    pub fn clear(&mut self) {
        self.counters.clear();
    }

    pub fn sum_of(&self, shelf: ShelfProxy) -> Result<u64, String> {
        shelf.total().map_err(|error| format!("{}: {error}", error.is_reentrant()))
    }
}

fn methods_return_and_take_proxies() {
    let manager = Manager::start().unwrap();
    let shelf = ShelfProxy::create(&manager).unwrap();
    let made = shelf.make(1).unwrap();
    assert_eq!(shelf.fresh(3).unwrap().get().unwrap(), 3);
    let own = CounterProxy::create(&manager, 10).unwrap();
    shelf.keep(own.clone()).unwrap();
    made.increment(1).unwrap();
    own.increment(10).unwrap();
    assert_eq!(shelf.total().unwrap(), 22);
    assert_eq!(shelf.at(1).unwrap(), own);
    drop((made, own));
    assert_eq!(manager.object_count().unwrap(), 3);
    assert_eq!(shelf.at(0).unwrap().get().unwrap(), 2);
    shelf.clear().unwrap();
    await_count(&manager, 1);
}

fn calling_back_is_an_error() {
    let manager = Manager::start().unwrap();
    let shelf = ShelfProxy::create(&manager).unwrap();
    let error = shelf.sum_of(shelf.clone()).unwrap().unwrap_err();
    assert!(error.starts_with("true"), "{error}");
    let other = ShelfProxy::create(&manager).unwrap();
    assert_eq!(shelf.sum_of(other).unwrap(), Ok(0));
}

struct Link(#[allow(dead_code)] Option<LinkProxy>);

#[mp_manager::object]
impl Link {
    pub fn new(next: Option<LinkProxy>) -> Self {
        Self(next)
    }
}

fn a_chain_of_objects_falls_without_a_deep_stack() {
    let manager = Manager::start().unwrap();
    let mut chain = None;
    for _ in 0..20_000 {
        chain = Some(LinkProxy::create(&manager, chain).unwrap());
    }
    assert_eq!(manager.object_count().unwrap(), 20_000);
    drop(chain);
    await_count(&manager, 0);
}

fn exposed_methods_only() {
    let manager = Manager::start().unwrap();
    let keeps = KeepsProxy::create(&manager).unwrap();
    let hidden = mp_manager::__private::method_id("hidden");
    assert!(keeps.object().call::<(), ()>(hidden, &()).is_err());
    let names: Vec<&str> = KeepsProxy::METHODS.iter().map(|method| method.name).collect();
    assert_eq!(names, ["fail", "get"]);
}

struct Stack<T>(Vec<T>);

#[mp_manager::object]
impl<T: ipc_core::Message + Send + Sync + Clone> Stack<T> {
    pub fn new(first: T) -> Self {
        Self(vec![first])
    }

    pub fn push(&mut self, value: T) {
        self.0.push(value);
    }

    pub fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    pub fn all(&self) -> Vec<T> {
        self.0.clone()
    }
}

fn generic_objects() {
    let manager = Manager::start().unwrap();
    let words = StackProxy::create(&manager, "a".to_owned()).unwrap();
    words.push("b".to_owned()).unwrap();
    assert_eq!(words.all().unwrap(), ["a", "b"]);
    let numbers = StackProxy::<u8>::create(&manager, 1).unwrap();
    assert_eq!((numbers.pop().unwrap(), numbers.pop().unwrap()), (Some(1), None));
}

fn proxies_of_one_object_are_equal() {
    let manager = Manager::start().unwrap();
    let (a, b) = (CounterProxy::create(&manager, 0).unwrap(), CounterProxy::create(&manager, 0).unwrap());
    assert_eq!(a, a.clone());
    assert_ne!(a, b);
    let (tx, rx) = ipc_core::pipe().unwrap();
    tx.send(&a).unwrap();
    assert_eq!(rx.recv().unwrap(), a);
    let other = Manager::start().unwrap();
    assert_ne!(CounterProxy::create(&other, 0).unwrap(), a);
}

fn a_long_method_times_out_and_its_answer_is_dropped() {
    let manager = Manager::start().unwrap();
    let counter = CounterProxy::create(&manager, 1).unwrap();
    let hasty = counter.with_timeout(Duration::from_millis(50));
    let error = hasty.slow(Duration::from_secs(2)).unwrap_err();
    assert!(error.is_timeout(), "{error}");
    for count in 2..200 {
        assert_eq!(counter.increment(1).unwrap(), count);
    }
}

fn arguments_of_the_wrong_type_are_that_calls_error() {
    let manager = Manager::start().unwrap();
    let counter = CounterProxy::create(&manager, 1).unwrap();
    let increment = mp_manager::__private::method_id("increment");
    let error: ManagerError = counter.object().call::<String, u64>(increment, &"x".repeat(99)).unwrap_err();
    assert!(error.is_codec(), "{error}");
    let error = counter.object().call::<(u64,), String>(increment, &(1,)).unwrap_err();
    assert!(error.is_codec(), "{error}");
    assert_eq!(counter.get().unwrap(), 2);
}

fn methods_are_listed() {
    let get = CounterProxy::METHODS.iter().find(|method| method.name == "get").unwrap();
    assert!(!get.changes);
    assert_eq!(get.signature, "fn get(&self) -> u64");
}

struct Dropped {
    time: Duration,
    panics: bool,
}

#[mp_manager::object]
impl Dropped {
    pub fn new(time: Duration, panics: bool) -> Self {
        Self { time, panics }
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        thread::sleep(self.time);
        assert!(!self.panics, "in a drop");
    }
}

fn a_slow_drop_delays_nobody() {
    let manager = Manager::start().unwrap();
    let list = manager.list_from(&[1]).unwrap();
    let begun = Instant::now();
    drop(DroppedProxy::create(&manager, Duration::from_secs(20), false).unwrap());
    assert_eq!(list.len().unwrap(), 1);
    assert!(begun.elapsed() < Duration::from_secs(10));
}

fn a_panicking_drop_is_nobodys_error() {
    let manager = Manager::start().unwrap();
    let list = manager.list_from(&[1]).unwrap();
    for _ in 0..50 {
        drop(DroppedProxy::create(&manager, Duration::ZERO, true).unwrap());
        assert_eq!(list.len().unwrap(), 1);
    }
    await_count(&manager, 1);
}

fn calls_are_sent_ahead() {
    let manager = Manager::start().unwrap();
    let counter = CounterProxy::create(&manager, 0).unwrap();
    let replies: Vec<_> = (0..1000).map(|_| counter.increment_async(1).unwrap()).collect();
    for (count, reply) in (1..).zip(replies) {
        assert_eq!(reply.get().unwrap(), count);
    }
    let fails = counter.fail_looking_async().unwrap();
    assert_eq!(counter.get().unwrap(), 1000);
    let elsewhere = thread::spawn(move || fails.get().unwrap_err().is_panic());
    assert!(elsewhere.join().unwrap());
}

fn dropped_replies_leave_nothing() {
    let manager = Manager::start().unwrap();
    let shelf = ShelfProxy::create(&manager).unwrap();
    for start in 0..20 {
        drop(shelf.make_async(start).unwrap());
        if start % 3 == 0 {
            shelf.total().unwrap();
        }
    }
    shelf.clear().unwrap();
    await_count(&manager, 1);
}
