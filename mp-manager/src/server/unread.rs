//! How much is kept for clients that have not read it yet, for all of them together.
//!
//! Each client has a bound of its own, and there are many clients. A small share of each does not count,
//! so that those who read what they asked for go on while others do not. When there is too much, the one for
//! which most is kept is parted with, and not the one that happens to be answered just then.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Server;
use crate::client::lock;

/// So many bytes are kept unless it is set.
pub(super) const MOST: usize = 1 << 30;
/// So many bytes of each client do not count.
pub(super) const SHARE: usize = 64 << 10;

/// The sum over all clients of what is kept beyond their shares.
#[derive(Debug, Default)]
pub(super) struct Unread(AtomicUsize);

impl Unread {
    pub(super) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// What is kept for a client was so much, and is so much now.
    pub(super) fn change(&self, before: usize, now: usize) {
        if now > before {
            self.0.fetch_add(now - before, Ordering::Relaxed);
        } else {
            self.0.fetch_sub(before - now, Ordering::Relaxed);
        }
    }
}

impl Server {
    /// Parts with clients until there is not too much kept any more. No outbox may be locked.
    pub(super) fn relieve(&self) {
        while self.unread.bytes() > self.limits.unread {
            let most = lock(&self.sessions).values().max_by_key(|session| session.kept()).map(Arc::clone);
            // One that is not there yet, or any more, keeps nothing for long.
            let Some(session) = most.filter(|session| session.kept() > 0) else { return };
            session.forsake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use ipc_core::Address;

    use super::*;
    use crate::{AsyncReply, ListProxy, Manager, ManagerServer, Reconnect};

    const LIMIT: usize = 8 << 20;
    const ANSWER: usize = 1 << 20;
    const CLIENTS: usize = 40;
    const GRACE: Duration = Duration::from_millis(300);

    type Unheard = (ListProxy<Vec<u8>>, AsyncReply<Vec<u8>>);

    fn server(address: Address) -> (ManagerServer, ListProxy<Vec<u8>>) {
        let server = Manager::builder().address(address).authkey("key").max_unread(LIMIT).grace(GRACE);
        let server = server.serve().unwrap();
        let manager = server.manager().unwrap();
        let list = manager.list_from(&[Vec::new()]).unwrap();
        (server, list)
    }

    /// One that asks for much and reads nothing of it.
    fn ask(address: &Address) -> Unheard {
        let manager = Manager::connect(address, "key").unwrap();
        let manager = manager.reconnect(Reconnect::within(Duration::from_secs(20)));
        // Without a name, so that it is not found again over a new connection.
        let list = manager.list_from(&[vec![7; ANSWER]]).unwrap();
        let reply = list.get_async(0).unwrap();
        (list, reply)
    }

    fn soon(what: &str, is_so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Many ask; as many as fit are kept answers for, and the others are parted with.
    fn crowd(address: Address) -> Vec<crate::ManagerError> {
        let (server, list) = server(address);
        let kept = || server.server().unread.bytes();
        let mut unheard = Vec::new();
        for count in 1..=CLIENTS {
            unheard.push(ask(server.address()));
            assert_eq!(list.len().unwrap(), 1);
            // At most one answer is being added.
            assert!(kept() <= LIMIT + ANSWER + SHARE, "{} for {count}", kept());
        }
        soon("too much is kept", || kept() <= LIMIT);
        assert!(kept() > LIMIT / 2, "{}", kept());
        // Those that were kept go on, with what they read now and ask then; of the others, some may find
        // the answer that was on its way.
        let go_on = |(list, reply): Unheard| {
            let result = reply.get().and_then(|value| {
                assert_eq!(value, [7; ANSWER]);
                list.len()
            });
            (result, list)
        };
        let ended: Vec<_> = unheard.into_iter().map(go_on).collect();
        let (good, bad): (Vec<_>, Vec<_>) = ended.into_iter().partition(|(result, _)| result.is_ok());
        assert!(good.len() >= LIMIT / ANSWER / 2 && bad.len() >= CLIENTS / 2, "{} {}", good.len(), bad.len());
        let errors = bad.into_iter().map(|(result, _)| result.unwrap_err()).collect();
        drop(good);
        soon("it counts what was read", || kept() == 0);
        errors
    }

    #[test]
    fn clients_that_do_not_read_are_parted_with_before_there_is_too_much() {
        let errors = crowd(Address::auto().unwrap());
        assert!(errors.iter().all(|error| error.is_gone()), "{errors:?}");
    }

    #[test]
    fn so_are_those_that_could_come_back() {
        let errors = crowd(Address::tcp("127.0.0.1", 0));
        assert!(errors.iter().all(|error| error.is_gone()), "{errors:?}");
        assert!(errors.iter().any(|error| error.to_string().contains("had not read")), "{errors:?}");
    }
}
