//! Something that is done once, under a lock, and then found done without it.

use std::sync::atomic::Ordering;

use super::words::AtomicU32;

const DONE: u32 = 1;

/// Whether it has been done.
pub(crate) fn is_done(word: &AtomicU32) -> bool {
    // ORDERING: what was done is seen by those who find it done.
    word.load(Ordering::Acquire) == DONE
}

/// Does it under the lock that `lock` takes, unless it has been done; whether it was done
/// by this call.
pub(crate) fn call<G, E>(
    word: &AtomicU32,
    lock: impl FnOnce() -> Result<G, E>,
    work: impl FnOnce(),
) -> Result<bool, E> {
    if is_done(word) {
        return Ok(false);
    }
    let _guard = lock()?;
    if is_done(word) {
        return Ok(false);
    }
    work();
    // ORDERING: see `is_done`.
    word.store(DONE, Ordering::Release);
    Ok(true)
}

#[cfg(all(test, under_loom))]
mod models {
    // The checker's own counts, and cannot do that any more once a model has failed.
    use std::sync::Arc;

    use loom::sync::Mutex;
    use loom::thread;

    use super::*;

    struct Once {
        word: AtomicU32,
        mutex: Mutex<()>,
        /// What is done: not atomic in its order, so that the word must order it.
        done: AtomicU32,
    }

    type Call = fn(&Once);

    fn right(once: &Once) {
        let lock = || once.mutex.lock();
        call(&once.word, lock, || _ = once.done.fetch_add(1, Ordering::Relaxed)).unwrap();
    }

    /// Two call it, and each finds it done once.
    fn it_is_done_once(call: Call) {
        loom::model(move || {
            let (word, done) = (AtomicU32::new(0), AtomicU32::new(0));
            let once = Arc::new(Once { word, mutex: Mutex::new(()), done });
            let other = {
                let once = Arc::clone(&once);
                thread::spawn(move || {
                    call(&once);
                    assert_eq!(once.done.load(Ordering::Relaxed), 1, "done once, and seen");
                })
            };
            call(&once);
            assert_eq!(once.done.load(Ordering::Relaxed), 1, "done once, and seen");
            other.join().unwrap();
        });
    }

    #[test]
    fn two_who_call() {
        it_is_done_once(right);
    }

    #[test]
    #[should_panic(expected = "done once, and seen")]
    fn mutant_that_does_not_look_again() {
        it_is_done_once(|once| {
            if !is_done(&once.word) {
                let _guard = once.mutex.lock().unwrap();
                once.done.fetch_add(1, Ordering::Relaxed);
                once.word.store(DONE, Ordering::Release);
            }
        });
    }

    #[test]
    #[should_panic(expected = "done once, and seen")]
    fn mutant_that_says_so_without_releasing() {
        it_is_done_once(|once| {
            if is_done(&once.word) {
                return;
            }
            let _guard = once.mutex.lock().unwrap();
            if !is_done(&once.word) {
                once.done.fetch_add(1, Ordering::Relaxed);
                once.word.store(DONE, Ordering::Relaxed);
            }
        });
    }

    #[test]
    #[should_panic(expected = "done once, and seen")]
    fn mutant_that_says_so_first() {
        it_is_done_once(|once| {
            if is_done(&once.word) {
                return;
            }
            let _guard = once.mutex.lock().unwrap();
            if !is_done(&once.word) {
                once.word.store(DONE, Ordering::Release);
                once.done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
}
