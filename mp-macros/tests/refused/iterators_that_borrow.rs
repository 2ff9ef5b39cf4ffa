//! An iterator that stays in the manager, and borrows from the object.

pub struct Squares(Vec<u64>);

#[mp_manager::object]
impl Squares {
    pub fn borrowed(&self) -> impl Iterator<Item = u64> + Send {
        // ^^^^^^^^ E0521
        self.0.iter().copied()
    }
}
