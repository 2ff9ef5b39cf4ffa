//! Types whose values cannot be looked at by several threads, or go to another one.

use std::cell::Cell;
use std::rc::Rc;

pub struct Counter(Cell<u64>);

#[mp_manager::object]
impl Counter {
//   ^^^^^^^ E0277
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

pub struct Shared(Rc<u64>);

#[mp_manager::object]
impl Shared {
//   ^^^^^^ E0277
    pub fn get(&self) -> u64 {
        *self.0
    }
}
