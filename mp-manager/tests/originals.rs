//! Programs of the original, with the same lines out.

// What is exposed is `pub`.
#![allow(unreachable_pub)]

use std::process::ExitCode;
use std::time::Duration;

use mp_manager::Manager;
use mp_process::Process;
use mp_testkit::harness::Suite;

fn main() -> ExitCode {
    Suite::new(mp_testkit::trials![counter, managers]).warm_up(warm_up).run()
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
    pub fn new() -> Self {
        Self { count: 0 }
    }

    pub fn increment(&mut self) {
        self.count += 1;
    }

    pub fn get_count(&self) -> u64 {
        self.count
    }
}

fn worker(shared_counter: CounterProxy) {
    for _ in 0..1000 {
        shared_counter.increment().unwrap();
    }
}

fn counter() {
    let manager = Manager::start().unwrap();
    let shared_counter = CounterProxy::create(&manager).unwrap();
    let processes: Vec<_> = (0..4).map(|_| Process::spawn(worker, shared_counter.clone()).unwrap()).collect();
    for process in processes {
        process.join().unwrap();
    }
    assert_eq!(shared_counter.get_count().unwrap().to_string(), "4000");
    manager.shutdown(Duration::from_secs(5)).unwrap();
}

#[derive(Default)]
struct Foo;

impl Foo {
    fn f(&self) -> String {
        "you called Foo.f()".to_owned()
    }
    fn g(&self) -> String {
        "you called Foo.g()".to_owned()
    }
    fn _h(&self) -> String {
        "you called Foo._h()".to_owned()
    }
}

struct Foo1(Foo);

/// The public methods.
#[mp_manager::object]
impl Foo1 {
    pub fn new() -> Self {
        Self(Foo)
    }
    pub fn f(&self) -> String {
        self.0.f()
    }
    pub fn g(&self) -> String {
        self.0.g()
    }
    #[allow(dead_code)]
    fn _h(&self) -> String {
        self.0._h()
    }
}

struct Foo2(Foo);

/// The methods of a list.
#[mp_manager::object(exposed(g, _h))]
impl Foo2 {
    pub fn new() -> Self {
        Self(Foo)
    }
    #[allow(dead_code)]
    pub fn f(&self) -> String {
        self.0.f()
    }
    pub fn g(&self) -> String {
        self.0.g()
    }
    fn _h(&self) -> String {
        self.0._h()
    }
}

/// The generator of squares, one at a time.
struct Baz(u64);

#[mp_manager::object]
impl Baz {
    pub fn new() -> Self {
        Self(0)
    }
    pub fn next(&mut self) -> Option<u64> {
        let next = (self.0 < 10).then(|| self.0 * self.0);
        self.0 += 1;
        next
    }
}

/// A module of free functions.
struct Operator;

#[mp_manager::object]
impl Operator {
    pub fn new() -> Self {
        Self
    }
    pub fn add(&self, a: i64, b: i64) -> i64 {
        a + b
    }
    pub fn pow(&self, a: u128, b: u32) -> u128 {
        a.pow(b)
    }
}

fn managers() {
    let mut out = Vec::new();
    let rule = "-".repeat(20);
    let manager = Manager::start().unwrap();
    out.push(rule.clone());

    let f1 = Foo1Proxy::create(&manager).unwrap();
    out.push(f1.f().unwrap());
    out.push(f1.g().unwrap());
    assert_eq!(Foo1Proxy::METHODS.iter().map(|method| method.name).collect::<Vec<_>>(), ["f", "g"]);
    out.push(rule.clone());

    let f2 = Foo2Proxy::create(&manager).unwrap();
    out.push(f2.g().unwrap());
    out.push(f2._h().unwrap());
    assert_eq!(Foo2Proxy::METHODS.iter().map(|method| method.name).collect::<Vec<_>>(), ["g", "_h"]);
    out.push(rule.clone());

    let squares = BazProxy::create(&manager).unwrap();
    out.push(std::iter::from_fn(|| squares.next().unwrap()).map(|square| format!("<{square}> ")).collect());
    out.push(rule.clone());

    let op = OperatorProxy::create(&manager).unwrap();
    out.push(format!("op.add(23, 45) = {}", op.add(23, 45).unwrap()));
    out.push(format!("op.pow(2, 94) = {}", op.pow(2, 94).unwrap()));

    let expected = [
        &rule,
        "you called Foo.f()",
        "you called Foo.g()",
        &rule,
        "you called Foo.g()",
        "you called Foo._h()",
        &rule,
        "<0> <1> <4> <9> <16> <25> <36> <49> <64> <81> ",
        &rule,
        "op.add(23, 45) = 68",
        "op.pow(2, 94) = 19807040628566084398385987584",
    ];
    assert_eq!(out, expected);
}
