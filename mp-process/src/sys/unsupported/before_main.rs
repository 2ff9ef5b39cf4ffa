//! Nothing runs before `main` here.

/// The part of [`test_support!`](crate::test_support) that knows the platform.
#[doc(hidden)]
#[macro_export]
macro_rules! __before_main {
    ($function:path) => {
        const _: fn() = $function;
    };
}
