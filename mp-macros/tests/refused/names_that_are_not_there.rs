//! Lists of names to which no method belongs.

pub struct Counter(u64);

#[mp_manager::object(exposed(get, incrment, new, zero))]
//                                ^^^^^^^^ there is no such method in this block
//                                          ^^^ `new` makes the object
//                                               ^^^^ `zero` has no `self`, so it is no method of the object
impl Counter {
    pub fn new(start: u64) -> Self {
        Self(start)
    }

    pub fn get(&self) -> u64 {
        self.0
    }

    pub fn increment(&mut self) {
        self.0 += 1;
    }

    pub fn zero() -> u64 {
        0
    }
}

#[mp_manager::object(exposed(add, swap))]
//                                ^^^^ what is imported is exposed by a function that calls it
pub mod operator {
    pub use std::mem::swap;

    pub fn add(a: u8, b: u8) -> u8 {
        a + b
    }
}
