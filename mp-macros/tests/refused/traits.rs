//! Methods of a trait.

pub struct Counter(u64);

#[mp_manager::object]
impl Iterator for Counter {
//   ^^^^^^^^ in an `impl` block of its own
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        Some(self.0)
    }
}
