//! Iterators that cannot go to the threads of the manager, or whose items do not travel.

use std::rc::Rc;

pub struct Squares;

pub struct Point;

#[mp_manager::object]
impl Squares {
    pub fn of_this_thread(&self) -> impl Iterator<Item = u64> + use<> {
        // ^^^^^^^^^^^^^^ E0277
        let one = Rc::new(1);
        (0..3).map(move |n| n * *one)
    }

    pub fn points(&self) -> impl Iterator<Item = Point> + Send + use<> {
        //                                       ^^^^^ E0277
        (0..3).map(|_| Point)
    }
}
