//! Queues, locks and what else is waited for.

use std::time::Duration;

use super::super::given::Parameter;
use super::super::{Does, Known, Ready};
use super::{GUARD, T, changes, limit, method, methods, receiver, size, told};
use crate::builtin::calls::or_unit;
use crate::builtin::{barrier, condition, event, lock, queue, rlock, semaphore};
use crate::hosted::Method;

methods!(QUEUE {
    changes fn put(item: T) { queue::Call::Put { value: item, waits: true } } as bool => ignore;
    changes fn try_put(item: T) -> bool {
        queue::Call::Put { value: item, waits: false }
    } as bool => |was_put| was_put;
    changes fn put_timeout(item: T, timeout: Duration) -> bool {
        queue::Call::Put { value: item, waits: true }
    } until timeout else false; as bool => |was_put| was_put;
    looks fn is_full() -> bool { queue::Call::IsFull } as bool => |is_full| is_full;
    changes fn get() -> T { queue::Call::Get { waits: true } } as Option<T> => Option::unwrap_or_default;
    changes fn try_get() -> Option<T> { queue::Call::Get { waits: false } } as Option<T> => |item| item;
    changes fn get_timeout(timeout: Duration) -> Option<T> {
        queue::Call::Get { waits: true }
    } until timeout else None; as Option<T> => |item| item;
    looks fn len() -> usize { queue::Call::Len } as u64 => size;
    looks fn is_empty() -> bool { queue::Call::Len } as u64 => |len| len == 0;
    changes fn close() { queue::Call::Close } as () => |()| ();
    changes fn terminate() { queue::Call::Terminate } as () => |()| ();
    looks fn is_closed() -> bool { queue::Call::IsClosed } as bool => |is_closed| is_closed;
    changes fn task_done() { queue::Call::TaskDone } as () => |()| ();
    looks fn join() { queue::Call::Join } as () => |()| ();
    looks fn join_timeout(timeout: Duration) -> bool {
        queue::Call::Join
    } until timeout else false; as () => |()| true;
} by proxies {});

fn ignore(_: bool) {}

methods!(LOCK {
    looks fn is_locked() -> bool { lock::Call::IsLocked } as bool => |is_locked| is_locked;
} by proxies {
    GUARD {
        changes fn lock() -> LockGuard;
        changes fn try_lock() -> Option<LockGuard>;
        changes fn lock_timeout(timeout: Duration) -> Option<LockGuard>;
    }
});

methods!(RLOCK {
    looks fn is_locked() -> bool { rlock::Call::IsLocked } as bool => |is_locked| is_locked;
} by proxies {
    GUARD {
        changes fn lock() -> RLockGuard;
        changes fn try_lock() -> Option<RLockGuard>;
        changes fn lock_timeout(timeout: Duration) -> Option<RLockGuard>;
    }
});

methods!(SEMAPHORE {
    changes fn release(count: usize) { semaphore::Call::Release { count: count as u64 } } as () => |()| ();
    looks fn available() -> usize { semaphore::Call::Free } as u64 => size;
} by proxies {
    GUARD {
        changes fn acquire() -> Permit;
        changes fn try_acquire() -> Option<Permit>;
        changes fn acquire_timeout(timeout: Duration) -> Option<Permit>;
    }
});

methods!(CONDITION {
    looks fn is_locked() -> bool { condition::Call::IsLocked } as bool => |is_locked| is_locked;
} by proxies {
    GUARD {
        changes fn lock() -> ConditionGuard;
        changes fn try_lock() -> Option<ConditionGuard>;
        changes fn lock_timeout(timeout: Duration) -> Option<ConditionGuard>;
    }
});

methods!(EVENT {
    changes fn set() { event::Call::Set } as bool => ignore;
    changes fn clear() { event::Call::Clear } as bool => ignore;
    looks fn is_set() -> bool { event::Call::IsSet } as bool => |is_set| is_set;
    looks fn wait() { event::Call::Wait } as bool => ignore;
    looks fn wait_timeout(timeout: Duration) -> bool {
        event::Call::Wait
    } until timeout else false; as bool => |is_set| is_set;
} by proxies {});

type State = (u64, u64, bool);

methods!(BARRIER {
    changes fn wait() -> usize { barrier::Call::Wait } as u64 => size;
    changes fn wait_timeout(timeout: Duration) -> usize { barrier::Call::Wait } until timeout; as u64 => size;
    changes fn reset() { barrier::Call::Reset } as () => |()| ();
    changes fn abort() { barrier::Call::Abort } as () => |()| ();
    looks fn parties() -> usize { barrier::Call::State } as State => |(parties, _, _)| size(parties);
    looks fn waiting() -> usize { barrier::Call::State } as State => |(_, waiting, _)| size(waiting);
    looks fn is_broken() -> bool { barrier::Call::State } as State => |(_, _, is_broken)| is_broken;
} by proxies {});
