//! Functions of a module that cannot be called from another process.

#[mp_manager::object]
pub mod operator {
    pub fn largest<T: Ord>(values: Vec<T>) -> Option<T> {
        //         ^^^^^^ cannot be generic: which type is meant cannot be said from another process
        values.into_iter().max()
    }

    pub fn trim(text: &str) -> String {
        //            ^^^^ take a `String` for a `&str`
        text.trim().to_owned()
    }

    pub fn name() -> &'static str {
        //           ^^^^^^^^^^^^ return a copy
        "operator"
    }

    pub async fn wait() {}
    //  ^^^^^ cannot be `async`

    pub unsafe fn read(address: usize) {}
    //  ^^^^^^ nobody vouches for a caller in another process

    pub extern "C" fn add(a: u8, b: u8) -> u8 {
    //  ^^^^^^^^^^ a panic in it would end the manager; expose one that calls it
        a + b
    }

    pub fn host() {}
    //     ^^^^ give this one another name

    pub fn create() {}
    //     ^^^^^^ which makes an object with these functions: give this one another name

    // What is not exposed may be anything.
    pub(super) fn smallest<T: Ord>(values: &[T]) -> Option<&T> {
        values.iter().min()
    }

    pub mod inner {
        pub fn same<T>(value: &T) -> &T {
            value
        }
    }
}
