//! Robust, error-checking, process-shared mutexes of the C library.
//!
//! # Safety
//! Every function takes the address of a `pthread_mutex_t` in shared memory that
//! its caller answers for. The C library links held mutexes into a list of their
//! thread, which the kernel walks when the thread dies: hence the memory stays
//! mapped while one is held, at one address in a process, and is never used for
//! anything else.

#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use libc::{c_int, pthread_mutex_t, timespec};

use crate::raw::{Acquired, LockFailure, RobustMutex};

/// The C library of these machines declares eight bytes more than its mutex has fields.
const IS_DECLARED_LARGER: bool = cfg!(all(target_env = "gnu", target_arch = "aarch64"));

const _: () = assert!(size_of::<pthread_mutex_t>() <= RobustMutex::SIZE || IS_DECLARED_LARGER);
const _: () = assert!(align_of::<pthread_mutex_t>() <= RobustMutex::ALIGN);

/// # Safety
/// Nobody else uses the bytes at `mutex` yet.
pub(crate) unsafe fn init(mutex: *mut u8) -> io::Result<()> {
    let mut attributes = MaybeUninit::uninit();
    let attributes = attributes.as_mut_ptr();
    // SAFETY: the attributes are initialised by the first call, used, and destroyed; of `mutex` its
    // caller says that it may be initialised.
    unsafe {
        check(libc::pthread_mutexattr_init(attributes))?;
        let result = check(libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED))
            .and_then(|()| check(libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST)))
            .and_then(|()| check(libc::pthread_mutexattr_settype(attributes, libc::PTHREAD_MUTEX_ERRORCHECK)))
            .and_then(|()| init_with(mutex, attributes));
        libc::pthread_mutexattr_destroy(attributes);
        result
    }
}

/// # Safety
/// As [`init`], with attributes that are initialised.
unsafe fn init_with(mutex: *mut u8, attributes: *const libc::pthread_mutexattr_t) -> io::Result<()> {
    if !IS_DECLARED_LARGER {
        // SAFETY: there is room for all of it, as its caller says.
        return unsafe { check(libc::pthread_mutex_init(mutex.cast(), attributes)) };
    }
    // All that is declared is zeroed at first, and only the fields are used from then on.
    let mut made = MaybeUninit::<pthread_mutex_t>::zeroed();
    // SAFETY: it is made where there is room for what is declared, and its fields, which are no more than
    // there is room for, move to their place before anybody locks it. A mutex that was never locked is
    // nothing but these: it is in no list, and none of them is an address of its own.
    unsafe {
        check(libc::pthread_mutex_init(made.as_mut_ptr(), attributes))?;
        mutex.copy_from_nonoverlapping(made.as_ptr().cast(), RobustMutex::SIZE);
    }
    Ok(())
}

/// # Safety
/// `mutex` was initialised by [`init`] and stays mapped while it is held.
#[inline]
pub(crate) unsafe fn lock(
    mutex: *mut u8,
    deadline: Option<Instant>,
    is_over: impl FnMut() -> bool,
) -> Result<Acquired, LockFailure> {
    // SAFETY: the caller's promise.
    unsafe {
        match libc::pthread_mutex_trylock(mutex.cast()) {
            libc::EBUSY => lock_contended(mutex.cast(), deadline, is_over),
            code => acquired(mutex.cast(), code),
        }
    }
}

/// How often to look for a mutex that is held before one sleeps on it, each time after twice
/// as many pauses: about as long in all as it takes to fall asleep and to be woken. Who looks
/// seldom leaves the holder's cache alone, and one that locks again and again does so many
/// times between two looks.
const LOOKS: u32 = 9;

/// To look is in vain where the holder waits for the processor that one looks on, or for another
/// one: whether it may run elsewhere is not known of one that is bound to a processor. Then it is
/// tried again after one contended lock of this process, then after three, and so on. The low
/// bits are how many go without a look, the others how many they were in the beginning.
static IN_VAIN: AtomicU32 = AtomicU32::new(0);
const LEFT: u32 = 0x7f;

/// # Safety
/// As [`lock`].
#[cold]
unsafe fn lock_contended(
    mutex: *mut pthread_mutex_t,
    deadline: Option<Instant>,
    is_over: impl FnMut() -> bool,
) -> Result<Acquired, LockFailure> {
    let left = IN_VAIN.load(Ordering::Relaxed) & LEFT;
    if left > 0 {
        let _ = IN_VAIN
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| (word & LEFT > 0).then(|| word - 1));
        // SAFETY: the caller's promise.
        return unsafe { lock_slowly(mutex, deadline, is_over) };
    }
    for look in 0..LOOKS {
        (0..1 << look).for_each(|_| std::hint::spin_loop());
        // SAFETY: as above.
        match unsafe { libc::pthread_mutex_trylock(mutex) } {
            libc::EBUSY => {}
            code => {
                IN_VAIN.store(0, Ordering::Relaxed);
                // SAFETY: as above.
                return unsafe { acquired(mutex, code) };
            }
        }
    }
    let pause = (2 * (IN_VAIN.load(Ordering::Relaxed) / (LEFT + 1)) + 1).min(LEFT);
    IN_VAIN.store(pause * (LEFT + 1) + pause, Ordering::Relaxed);
    // SAFETY: as above.
    unsafe { lock_slowly(mutex, deadline, is_over) }
}

/// How long to sleep on a mutex at first, and how long at most, before it is looked at again.
///
/// The word of a mutex says whether somebody sleeps on it, and whoever takes a free one by
/// luck, before the sleeper that was woken for it gets there, does not know of the others. If
/// the one that was woken is killed then, nobody wakes the others any more: one who looks
/// again says once more that it sleeps.
const SLEEP: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(320)];

/// # Safety
/// As [`lock`].
unsafe fn lock_slowly(
    mutex: *mut pthread_mutex_t,
    deadline: Option<Instant>,
    mut is_over: impl FnMut() -> bool,
) -> Result<Acquired, LockFailure> {
    let [mut sleep, longest] = SLEEP;
    loop {
        let soon = Instant::now() + sleep;
        // SAFETY: the caller's promise.
        let code = unsafe { lock_until(mutex, deadline.map_or(soon, |deadline| deadline.min(soon))) };
        let is_late = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if code != libc::ETIMEDOUT || is_late() || is_over() {
            // SAFETY: as above.
            return unsafe { acquired(mutex, code) };
        }
        sleep = (2 * sleep).min(longest);
    }
}

/// # Safety
/// As [`lock`].
#[inline]
pub(crate) unsafe fn try_lock(mutex: *mut u8) -> Result<Acquired, LockFailure> {
    let mutex = mutex.cast();
    // SAFETY: the caller's promise.
    unsafe { acquired(mutex, libc::pthread_mutex_trylock(mutex)) }
}

/// Whether it was this thread that held it, and does not any more.
///
/// # Safety
/// As [`lock`].
#[inline]
pub(crate) unsafe fn unlock(mutex: *mut u8) -> bool {
    // SAFETY: the caller's promise; the mutex checks that its owner calls.
    unsafe { libc::pthread_mutex_unlock(mutex.cast()) == 0 }
}

/// # Safety
/// As [`lock`].
#[inline]
unsafe fn acquired(mutex: *mut pthread_mutex_t, code: c_int) -> Result<Acquired, LockFailure> {
    match code {
        0 => Ok(Acquired::Clean),
        libc::EOWNERDEAD => {
            // At once, so that no way out of the caller leaves the mutex unusable. Should this
            // process be killed before, the next one is told of a death again.
            // SAFETY: this thread holds the mutex.
            unsafe { libc::pthread_mutex_consistent(mutex) };
            Ok(Acquired::OwnerDied)
        }
        libc::EBUSY | libc::ETIMEDOUT => Err(LockFailure::Timeout),
        libc::EDEADLK => Err(LockFailure::Deadlock),
        code => Err(LockFailure::Io(io::Error::from_raw_os_error(code))),
    }
}

fn check(code: c_int) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
}

/// `deadline` on one of the system's clocks.
fn on_clock(clock: libc::clockid_t, deadline: Instant) -> timespec {
    const NANOS: u64 = 1_000_000_000;
    /// Seconds that fit wherever they are counted in nanoseconds.
    const FAR: i64 = i64::MAX / 1_000_000_000;
    let left = deadline.saturating_duration_since(Instant::now());
    let mut at = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills the structure.
    unsafe { libc::clock_gettime(clock, &raw mut at) };
    let nanos = at.tv_nsec as u64 + u64::from(left.subsec_nanos());
    // A deadline that the clock cannot say is never reached.
    let seconds = left.as_secs().saturating_add(nanos / NANOS).try_into();
    at.tv_sec = seconds.map_or(FAR, |seconds| at.tv_sec.saturating_add(seconds).min(FAR));
    at.tv_nsec = (nanos % NANOS) as _;
    at
}

#[cfg(target_env = "gnu")]
mod timed {
    use super::{Instant, c_int, on_clock, pthread_mutex_t, timespec};

    unsafe extern "C" {
        // In glibc since 2.30.
        fn pthread_mutex_clocklock(
            mutex: *mut pthread_mutex_t,
            clock: libc::clockid_t,
            until: *const timespec,
        ) -> c_int;
    }

    /// # Safety
    /// As [`super::lock`].
    pub(super) unsafe fn lock_until(mutex: *mut pthread_mutex_t, deadline: Instant) -> c_int {
        let until = on_clock(libc::CLOCK_MONOTONIC, deadline);
        // SAFETY: the caller's promise.
        unsafe { pthread_mutex_clocklock(mutex, libc::CLOCK_MONOTONIC, &raw const until) }
    }
}

#[cfg(not(target_env = "gnu"))]
mod timed {
    use super::{Duration, Instant, c_int, on_clock, pthread_mutex_t};

    /// How long to trust a clock that may be set while we wait on it.
    const SLICE: Duration = Duration::from_millis(50);

    /// # Safety
    /// As [`super::lock`].
    pub(super) unsafe fn lock_until(mutex: *mut pthread_mutex_t, deadline: Instant) -> c_int {
        loop {
            let slice = deadline.min(Instant::now() + SLICE);
            let until = on_clock(libc::CLOCK_REALTIME, slice);
            // SAFETY: the caller's promise.
            let code = unsafe { libc::pthread_mutex_timedlock(mutex, &raw const until) };
            if code != libc::ETIMEDOUT || Instant::now() >= deadline {
                return code;
            }
        }
    }
}

use timed::lock_until;
