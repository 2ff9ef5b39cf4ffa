//! Saying that the stack overflowed, before dying of it.
//!
//! A stack overflow is a fault just below the stack. The handler runs on a stack
//! of its own, tells the parent with a frame made beforehand, restores the
//! default action and returns, so that the fault happens again and kills the
//! process as it would have. Other faults go to the handler that was there.
//!
//! On the other threads that the standard library has made, a fault close to the stack pointer
//! is told first and then goes to the handler that was there: that is the standard library's,
//! which knows where their stacks end, says whose overflowed, and aborts. A thread of C code
//! has no stack for a handler, so its overflow kills by SIGSEGV and nobody can tell; nor has one of
//! the standard library where that had no `main` to begin in.
//!
//! # Safety
//! The handler calls only `send`, `sigaction`, `getpid` and `gettid`, which
//! signal-safety(7) allows, and reads statics that are set before it is installed.

#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use ipc_core::Handle;
use rustix::process::{Resource, getpid, getrlimit};
use rustix::thread::gettid;

/// How far from the stack pointer a fault still counts as one of the stack: a
/// function may touch the end of a large frame first.
const REACH: usize = 1 << 20;
/// The same where the stack pointer alone is known.
const CLOSE: usize = 64 << 10;
const OWN_STACK: usize = 64 << 10;

struct Report {
    socket: BorrowedFd<'static>,
    frame: &'static [u8],
    /// The lowest address that the main thread's stack may grow to; zero if there is no limit.
    stack_end: usize,
    others: libc::sigaction,
}

/// Leaked, and replaced where a process is forked from this one.
static REPORT: AtomicPtr<Report> = AtomicPtr::new(ptr::null_mut());

/// Memory for a report.
pub(crate) struct Room(Option<Report>);

impl Room {
    pub(crate) fn new() -> Self {
        Self(None)
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").finish_non_exhaustive()
    }
}

/// Reports an overflow of this thread's stack by writing `frame` to `socket`.
pub(crate) fn report_with(socket: &'static Handle, frame: &'static [u8], room: &'static mut Room) {
    // A fork of a child has the handler already, and what was there before it.
    let earlier = current_report();
    let others = earlier.map_or_else(|| current(libc::SIGSEGV), |report| report.others);
    let report = Report { socket: socket.as_fd(), frame, stack_end: stack_end(), others };
    // ORDERING: publishes the report to handlers on other threads.
    REPORT.store(room.0.insert(report), Ordering::Release);
    if earlier.is_none() && give_signal_stack() {
        install(libc::SIGSEGV);
    }
}

/// To be called before a fork: what it finds out the forks need not.
pub(crate) fn prepare() {
    top();
}

fn current_report() -> Option<&'static Report> {
    // SAFETY: the pointer is null, or of a report that was leaked.
    // ORDERING: acquire sees the report that was published.
    unsafe { REPORT.load(Ordering::Acquire).as_ref() }
}

/// Where the stack of the main thread ends, which is where children run.
///
/// `pthread_getattr_np(3)` knows it too, but reads `/proc/self/maps` for it, which
/// takes longer than all else that a child does first.
fn stack_end() -> usize {
    let (highest, page) = top();
    match getrlimit(Resource::Stack).current {
        Some(size) if highest != 0 => {
            let size = usize::try_from(size).unwrap_or(usize::MAX) / page * page;
            highest.next_multiple_of(page).saturating_sub(size)
        }
        _ => 0,
    }
}

/// The top of the main thread's stack, where the kernel puts the program's name, and the
/// size of a page. A fork has both too.
fn top() -> (usize, usize) {
    static TOP: OnceLock<(usize, usize)> = OnceLock::new();
    // SAFETY: the call has no preconditions.
    *TOP.get_or_init(|| (unsafe { libc::getauxval(libc::AT_EXECFN) } as usize, rustix::param::page_size()))
}

fn current(signal: libc::c_int) -> libc::sigaction {
    // SAFETY: plain data that the kernel fills.
    unsafe {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        libc::sigaction(signal, ptr::null(), action.as_mut_ptr());
        action.assume_init()
    }
}

/// The handler must not run on the stack that is full. What is not touched of this one
/// takes no memory.
fn give_signal_stack() -> bool {
    let stack = libc::stack_t { ss_sp: SPACE.0.get().cast(), ss_flags: 0, ss_size: OWN_STACK };
    // SAFETY: the memory is static, and the signal stack of this one thread.
    unsafe { libc::sigaltstack(&stack, ptr::null_mut()) == 0 }
}

#[repr(align(4096))]
struct Space(UnsafeCell<[u8; OWN_STACK]>);

// SAFETY: only the kernel and the handler use it, on the main thread.
unsafe impl Sync for Space {}

static SPACE: Space = Space(UnsafeCell::new([0; OWN_STACK]));

fn install(signal: libc::c_int) {
    type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
    // SAFETY: zeroes are valid, and `on_fault` has the three-argument signature that
    // `SA_SIGINFO` announces.
    unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_sigaction = on_fault as Handler as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigaction(signal, &action, ptr::null_mut());
    }
}

extern "C" fn on_fault(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let Some(report) = current_report() else { return };
    // SAFETY: the kernel passes a valid `siginfo_t` for a fault.
    let address = unsafe { (*info).si_addr() } as usize;
    let below = report.stack_end.saturating_sub(REACH)..report.stack_end.saturating_add(REACH / 16);
    let is_of_main_stack = report.stack_end != 0 && below.contains(&address);
    // SAFETY: as above, of the context too.
    let is_of_another_stack = || unsafe { gettid() != getpid() && is_close(address, context.cast()) };
    if is_of_main_stack || is_of_another_stack() {
        report.tell();
    }
    // SAFETY: `sigaction` with valid pointers, which is allowed in a handler.
    unsafe {
        if is_of_main_stack {
            let mut default: libc::sigaction = MaybeUninit::zeroed().assume_init();
            default.sa_sigaction = libc::SIG_DFL;
            libc::sigaction(signal, &default, ptr::null_mut());
        } else {
            libc::sigaction(signal, &report.others, ptr::null_mut());
        }
    }
}

impl Report {
    fn tell(&self) {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: `send` with a valid pointer to what is leaked, which is allowed in a handler.
        unsafe { libc::send(self.socket.as_raw_fd(), self.frame.as_ptr().cast(), self.frame.len(), flags) };
    }
}

/// Whether the thread that faulted at `address` had its stack pointer there.
///
/// # Safety
/// `context` is what the kernel has passed to the handler.
unsafe fn is_close(address: usize, context: *const libc::ucontext_t) -> bool {
    // SAFETY: said above.
    let machine = unsafe { &(*context).uc_mcontext };
    #[cfg(target_arch = "x86_64")]
    let pointer = Some(machine.gregs[libc::REG_RSP as usize] as usize);
    #[cfg(target_arch = "aarch64")]
    let pointer = Some(machine.sp as usize);
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let pointer = {
        let _ = machine;
        None::<usize>
    };
    pointer.is_some_and(|pointer| pointer.abs_diff(address) < CLOSE)
}
