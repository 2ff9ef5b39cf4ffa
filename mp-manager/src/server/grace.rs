//! Clients over TCP whose connection was cut, and who may come back.
//!
//! The kernel tells at once when a process on this machine has ended. Over the network a cut is all
//! that is seen; so a client that has asked for it keeps its session for a time of grace: its
//! references, locks and permits, its calls and the answers to them. Both sides count their messages,
//! see [`said`](crate::said), and go on in the middle.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ipc_core::Packet;

use super::Server;
use super::alarms::Alarm;
use super::answer::Answer;
use super::session::Session;
use crate::client::lock;
use crate::error::FaultKind;
use crate::said::Heard;
use crate::wire::Ticket;

/// So many clients are waited for at a time; one more has ended at once.
const MOST: usize = 1024;

/// How long clients are waited for unless it is set.
pub(crate) const GRACE: Duration = Duration::from_secs(30);

/// What a session has that outlives its connection.
#[derive(Debug)]
pub(super) struct Lasting {
    token: u128,
    heard: Mutex<Heard>,
    /// The connection was cut, not given up.
    pub(super) is_cut: AtomicBool,
    /// The client has said that it ends, or is to.
    pub(super) is_over: AtomicBool,
}

/// Who is waited for.
#[derive(Debug, Default)]
pub(super) struct Grace {
    clients: AtomicUsize,
}

/// A client says that it is one that was here before.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) call: u64,
    pub(super) epoch: u128,
    pub(super) ticket: Ticket,
    pub(super) heard: u64,
}

impl Lasting {
    pub(super) fn new(token: u128) -> Self {
        let (is_cut, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { token, heard: Mutex::default(), is_cut, is_over }
    }

    /// Takes the same time whatever the token is.
    pub(super) fn is_its(&self, token: u128) -> bool {
        std::hint::black_box(self.token ^ token) == 0
    }

    /// A request has come; how many that are, if the client is to be told.
    pub(super) fn note(&self, packet: &Packet) -> Option<u64> {
        lock(&self.heard).note(packet.bytes().len())
    }

    pub(super) fn heard(&self) -> u64 {
        lock(&self.heard).count()
    }
}

impl Grace {
    /// How many clients are waited for.
    pub(super) fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    /// One more; `false` if there are too many.
    fn enter(&self) -> bool {
        let fits = self.clients() < MOST;
        if fits {
            self.clients.fetch_add(1, Ordering::Relaxed);
        }
        fits
    }
}

impl Server {
    /// A client is to be waited for when its connection is cut.
    pub(super) fn let_last(&self, session: &Arc<Session>, answer: Answer) {
        let refusal = if session.capabilities().local {
            "it is seen at once when a client on this machine ends: there is no time of grace"
        } else if self.limits.grace.is_zero() {
            "it gives no time of grace"
        } else {
            match super::random() {
                Ok(token) if session.last(answer.key().call, token) => return,
                Ok(_) => "the connection lasts already",
                Err(_) => "the system has no random number",
            }
        };
        answer.fail(FaultKind::Refused(refusal.to_owned()));
    }

    /// A client's connection has ended: whether it is waited for.
    pub(super) fn wait_for(&self, session: &Session) -> bool {
        let grace = self.limits.grace;
        let Some(turn) = session.suspend() else { return false };
        if !self.grace.enter() {
            session.drop_link();
            return false;
        }
        // A time that cannot be told is for ever.
        if let Some(at) = Instant::now().checked_add(grace) {
            self.set_alarm(at, Alarm::Grace { session: session.id(), turn });
        }
        true
    }

    /// A client is not waited for any more, if it was.
    pub(super) fn wait_no_more(&self, was_away: bool) {
        if was_away {
            self.grace.clients.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use ipc_core::link::Link;
    use ipc_core::{Address, ConnectOptions, connect_link};

    use super::*;
    use crate::error::Fault;
    use crate::server::builtin::METHOD;
    use crate::wire::{AnswerKind, Patience, Request, Resumed, Tail, VERSION, request};
    use crate::{Manager, ManagerServer};

    fn server() -> ManagerServer {
        let builder = Manager::builder().address(Address::tcp("127.0.0.1", 0)).authkey("key");
        builder.grace(Duration::from_secs(60)).serve().unwrap()
    }

    fn connect(server: &ManagerServer) -> Box<dyn Link> {
        connect_link(server.address(), ConnectOptions::new().authkey("key".into())).unwrap()
    }

    fn say(link: &dyn Link, call: u64, asked: Request) {
        link.send(&mut request(call, asked).unwrap(), None).unwrap();
    }

    fn ask(link: &dyn Link, call: u64, asked: Request) -> Result<(Packet, Tail), Fault> {
        say(link, call, asked);
        let mut answer = Packet::new();
        let deadline = Instant::now() + Duration::from_secs(20);
        link.recv(&mut answer, Some(deadline)).unwrap();
        let tail: Tail = answer.read_tail().unwrap();
        assert_eq!(tail.call, call);
        if let AnswerKind::Fault(fault) = tail.kind { Err(fault.into()) } else { Ok((answer, tail)) }
    }

    /// One that lasts, and its ticket.
    fn lasting(server: &ManagerServer) -> (Box<dyn Link>, Ticket) {
        let link = connect(server);
        let (mut answer, tail) = ask(&link, 2, Request::Last).unwrap();
        assert_eq!(tail.kind, AnswerKind::Ticket);
        (link, answer.read_item().unwrap())
    }

    fn come_back(server: &ManagerServer, ticket: Ticket, heard: u64) -> Result<(Box<dyn Link>, u64), Fault> {
        let link = connect(server);
        let epoch = server.server().access().epoch;
        let (mut answer, _) = ask(&link, 1, Request::Resume { version: VERSION, epoch, ticket, heard })?;
        Ok((link, answer.read_item::<Resumed>().unwrap().heard))
    }

    #[test]
    fn only_who_has_the_ticket_comes_back() {
        let server = server();
        let (link, ticket) = lasting(&server);
        let made = Request::Create { name: "lock".to_owned(), by_function: false };
        let mut packet = request(3, made).unwrap();
        packet.append_item(&()).unwrap();
        link.send(&mut packet, None).unwrap();
        let mut answer = Packet::new();
        link.recv(&mut answer, None).unwrap();
        drop(link);
        let forged = [
            Ticket { token: ticket.token ^ 1, ..ticket },
            Ticket { token: ticket.token ^ (1 << 127), ..ticket },
            Ticket { token: 0, ..ticket },
            Ticket { session: ticket.session + 1, ..ticket },
            Ticket { session: u64::MAX, ..ticket },
        ];
        for forged in forged {
            let fault = come_back(&server, forged, 0).unwrap_err();
            assert!(fault.to_string().contains("does not know"), "{fault}");
        }
        // The right one, and more than was ever said.
        assert!(come_back(&server, ticket, 2).is_err());
        let epoch = 1 ^ server.server().access().epoch;
        let claim = Request::Resume { version: VERSION, epoch, ticket, heard: 0 };
        let fault = ask(&connect(&server), 1, claim).unwrap_err();
        assert!(fault.to_string().contains("another manager"), "{fault}");
        assert_eq!(server.object_count(), 1);
        // The answer was not said to have come, so it comes again.
        let (link, heard) = come_back(&server, ticket, 0).unwrap();
        assert_eq!(heard, 1);
        let mut again = Packet::new();
        link.recv(&mut again, None).unwrap();
        assert_eq!(again.bytes(), answer.bytes());
        // Who comes back while the connection before is not known to be cut takes its place.
        let (other, heard) = come_back(&server, ticket, 1).unwrap();
        assert_eq!(heard, 1);
        assert!(ask(&other, 4, Request::Count).is_ok());
        say(&other, 0, Request::Leave);
        let begun = Instant::now();
        while server.object_count() > 0 {
            assert!(begun.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(come_back(&server, ticket, 0).is_err());
    }

    /// As a queue is asked.
    #[derive(serde::Serialize, serde::Deserialize)]
    enum Asked {
        Put,
        Get { waits: bool },
    }

    fn get(link: &dyn Link, call: u64, object: u64) {
        let patience = Patience { limit: None, hear: 1 << 40 };
        let mut packet = request(call, Request::Call { object, method: METHOD, patience }).unwrap();
        packet.append_item(&Asked::Get { waits: true }).unwrap();
        link.send(&mut packet, None).unwrap();
    }

    /// That the connection is cut is noticed by an answer that cannot be sent, while the client's word for an item
    /// lies there unread.
    #[test]
    fn what_a_client_said_before_a_cut_is_heard_whoever_notices_that() {
        let builder = Manager::builder().address(Address::tcp("127.0.0.1", 0)).authkey("key");
        let served = builder.grace(Duration::from_millis(200)).serve().unwrap();
        let server = served.server();
        let near = Manager::connect(served.address(), "key").unwrap();
        let queue = near.queue::<u8>().unwrap();
        near.publish("queue", &queue).unwrap();
        let (link, _) = lasting(&served);
        let (mut found, _) = ask(&link, 3, Request::Find { name: "queue".to_owned() }).unwrap();
        let number: u64 = found.read_item().unwrap();
        queue.put(&1).unwrap();
        get(&*link, 4, number);
        get(&*link, 5, number);
        let mut item = Packet::new();
        link.recv(&mut item, Some(Instant::now() + Duration::from_secs(20))).unwrap();
        assert_eq!(item.read_tail::<Tail>().unwrap().kind, AnswerKind::Item);
        assert!(queue.is_empty().unwrap());

        // An answer lies there unread when the client goes, so that nothing can be sent to it any more.
        say(&*link, 6, Request::Count);
        assert!(link.poll(Some(Instant::now() + Duration::from_secs(20))).unwrap());
        server.set_alarm(Instant::now(), Alarm::Hold);
        server.ring();
        server.holds[0].wait();
        let put = queue.put_async(&2).unwrap();
        say(&*link, 0, Request::Taken { call: 4 });
        drop(link);
        server.holds[1].wait();
        put.get().unwrap();
        let begun = Instant::now();
        while lock(&server.sessions).len() > 1 {
            assert!(begun.elapsed() < Duration::from_secs(60), "it is waited for");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!((queue.try_get().unwrap(), queue.try_get().unwrap()), (Some(2), None));
    }

    #[test]
    fn so_many_are_waited_for_and_no_more() {
        let server = server();
        let server = server.server();
        assert!((0..MOST).all(|_| server.grace.enter()) && !server.grace.enter());
        server.wait_no_more(false);
        assert!(!server.grace.enter());
        server.wait_no_more(true);
        assert!(server.grace.enter() && !server.grace.enter());
    }
}
