//! Where a child turns off.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::boot;
use crate::error::{Kind, ProcessError};
use crate::janitor;
use crate::sys::boot::summons;

static INITIALISED: AtomicBool = AtomicBool::new(false);
static DEPTH: AtomicU32 = AtomicU32::new(0);

/// Children of children, so deep: a fuse against a program that starts itself.
const DEEPEST: u32 = 64;

/// Makes this program able to start processes: call it first in `main`.
///
/// In a child it does the child's work and never returns. In the program itself
/// it returns at once; calling it again does nothing.
///
/// It must come before threads are started, an async runtime included, and
/// before the program reads its standard input. What stands before it runs in
/// every child too, which does not have its orders then.
///
/// # Ctrl-C
/// It is for the program that owns the tree, which this function leaves to its own ways. In a
/// child it does nothing: SIGINT has a handler that returns at once, which programs that the child
/// executes do not inherit, so that Ctrl-C ends these as usual. A child that is executed, as by
/// [`Spawn`](crate::StartMethod::Spawn), begins with that signal blocked, and gets through to the handler
/// here. So what stands before this call in `main` cannot be interrupted in a child; a program that is executed
/// there inherits the block and is deaf to Ctrl-C unless it lets the signal through itself; and so is
/// an [`executable`](crate::Builder::executable) that never calls this function, which ends with the
/// process that started it all the same.
///
/// # Examples
/// ```
/// // First in `main`:
/// mp_process::init();
/// ```
#[doc(alias = "freeze_support")]
pub fn init() {
    if INITIALISED.swap(true, Ordering::SeqCst) {
        return;
    }
    janitor::employ();
    if let Some(link) = summons() {
        boot::live(link);
    }
}

/// In a child, which finds it in its orders.
pub(crate) fn set_depth(depth: u32) {
    DEPTH.store(depth, Ordering::Relaxed);
}

/// Whether processes may be started here; and how deep they would be.
pub(crate) fn may_start() -> Result<u32, ProcessError> {
    if !INITIALISED.load(Ordering::SeqCst) {
        return Err(Kind::NotInitialised.into());
    }
    match DEPTH.load(Ordering::Relaxed) + 1 {
        depth if depth > DEEPEST => Err(Kind::TooDeep(depth).into()),
        depth => Ok(depth),
    }
}

/// Lets a test binary whose `main` is not yours start processes.
///
/// Write it once, at the root of the test file; it takes the place of [`init`].
/// It installs a function that runs before `main`: children turn off there.
///
/// ```
/// mp_process::test_support!();
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! test_support {
    () => {
        const _: () = {
            $crate::__before_main!($crate::__boot_before_main);
        };
    };
}

/// What [`test_support!`] runs before `main`, where the standard library has not
/// set up the process yet.
#[doc(hidden)]
pub fn __boot_before_main() {
    crate::sys::boot::stand_in_for_std();
    init();
}
