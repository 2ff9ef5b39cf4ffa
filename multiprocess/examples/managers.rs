//! What a proxy exposes: the public methods, or those of a list; a generator; a module's functions.

// What is exposed is `pub`.
#![allow(unreachable_pub)]

use std::error::Error;
use std::iter::from_fn;

use multiprocess::manager::{self, Manager};

struct Foo1;

/// `f` and `g` are accessible, as they are public.
#[manager::object]
impl Foo1 {
    pub fn new() -> Self {
        Self
    }

    pub fn f(&self) {
        println!("you called Foo.f()");
    }

    pub fn g(&self) {
        println!("you called Foo.g()");
    }

    #[allow(dead_code)]
    fn _h(&self) {
        println!("you called Foo._h()");
    }
}

struct Foo2;

/// `g` and `_h` are accessible, as they are listed.
#[manager::object(exposed(g, _h))]
impl Foo2 {
    pub fn new() -> Self {
        Self
    }

    #[allow(dead_code)]
    pub fn f(&self) {
        println!("you called Foo.f()");
    }

    pub fn g(&self) {
        println!("you called Foo.g()");
    }

    fn _h(&self) {
        println!("you called Foo._h()");
    }
}

/// A generator of squares.
struct Baz(std::ops::Range<u64>);

#[manager::object]
impl Baz {
    pub fn new() -> Self {
        Self(0..10)
    }

    pub fn next(&mut self) -> Option<u64> {
        self.0.next().map(|i| i * i)
    }
}

/// Its public functions are accessible.
#[manager::object]
mod operator {
    pub fn add(a: i64, b: i64) -> i64 {
        a + b
    }

    pub fn pow(a: u128, b: u32) -> u128 {
        a.pow(b)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    multiprocess::init();
    let manager = Manager::start()?;
    let rule = || println!("{}", "-".repeat(20));

    rule();
    let f1 = Foo1Proxy::create(&manager)?;
    f1.f()?;
    f1.g()?;
    assert_eq!(names(Foo1Proxy::METHODS), "f, g");

    rule();
    let f2 = Foo2Proxy::create(&manager)?;
    f2.g()?;
    f2._h()?;
    assert_eq!(names(Foo2Proxy::METHODS), "g, _h");

    rule();
    let squares = BazProxy::create(&manager)?;
    for square in from_fn(|| squares.next().transpose()) {
        print!("<{}> ", square?);
    }
    println!();

    rule();
    let op = OperatorProxy::create(&manager)?;
    println!("op.add(23, 45) = {}", op.add(23, 45)?);
    println!("op.pow(2, 94) = {}", op.pow(2, 94)?);
    println!("op._exposed_ = ({})", names(OperatorProxy::METHODS));
    Ok(())
}

fn names(methods: &[manager::Method]) -> String {
    methods.iter().map(|method| method.name).collect::<Vec<_>>().join(", ")
}
