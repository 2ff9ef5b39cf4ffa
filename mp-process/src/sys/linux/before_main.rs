//! A function that runs before `main`: the C library calls what `.init_array` lists.

/// The part of [`test_support!`](crate::test_support) that knows the platform.
#[doc(hidden)]
#[macro_export]
macro_rules! __before_main {
    ($function:path) => {
        #[used]
        #[unsafe(link_section = ".init_array")]
        #[allow(unsafe_code)]
        static BEFORE_MAIN: extern "C" fn() = {
            extern "C" fn before_main() {
                $function();
            }
            before_main
        };
    };
}
