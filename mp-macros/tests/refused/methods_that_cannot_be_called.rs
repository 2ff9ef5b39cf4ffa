//! Methods that cannot be called from another process.

pub struct Words(Vec<String>);

#[mp_manager::object]
impl Words {
    pub fn into_inner(self) -> Vec<String> {
        //            ^^^^ takes `&self` or `&mut self`: the object stays in the manager
        self.0
    }

    pub fn boxed(self: Box<Self>) -> usize {
        //       ^^^^^^^^^^^^^^^ the object stays in the manager
        self.0.len()
    }

    pub fn push<T: ToString>(&mut self, word: T) {
        //      ^^^^^^^^^^^ give the type parameter to the `impl` block
        self.0.push(word.to_string());
    }

    pub fn array<const N: usize>(&self) -> usize {
        //       ^^^^^^^^^^^^^^ cannot be generic
        N
    }

    pub fn borrow<'a>(&'a self) -> usize {
        //        ^^ borrows nothing from its caller
        self.0.len()
    }

    pub async fn wait(&self) {}
    //  ^^^^^ cannot be `async`

    pub unsafe fn set_len(&mut self, len: usize) {
    //  ^^^^^^ nobody vouches for a caller in another process
        unsafe { self.0.set_len(len) }
    }

    pub extern "C" fn len(&self) -> usize {
    //  ^^^^^^^^^^ a panic in it would end the manager
        self.0.len()
    }

    // What is not exposed may be anything.
    pub(crate) fn drain(self) -> Vec<String> {
        self.0
    }

    pub fn of<T>(word: &T) -> usize {
        size_of_val(word)
    }
}
