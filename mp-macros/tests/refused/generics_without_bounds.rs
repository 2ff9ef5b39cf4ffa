//! A type parameter of which nothing says that its values travel.

pub struct Stack<T>(Vec<T>);

#[mp_manager::object]
impl<T: Send + Sync + 'static> Stack<T> {
    pub fn new() -> Self {
        Self(Vec::new())
    }

    pub fn push(&mut self, value: T) {
        //                        ^ E0277
        self.0.push(value);
    }

    pub fn pop(&mut self) -> Option<T> {
        //                   ^^^^^^^^^ E0277
        self.0.pop()
    }
}
