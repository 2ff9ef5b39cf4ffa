//! Calls that want no answer: their number is bounded here, as that of the others is by their answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Session;

/// Such a call, until it has ended.
pub(in crate::server) struct Quiet(Arc<Session>);

impl Quiet {
    pub(in crate::server) fn of(session: &Arc<Session>) -> Self {
        session.quiet.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(session))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        self.0.quiet.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Session {
    /// How many of its calls that want no answer have not ended.
    pub(in crate::server) fn quiet(&self) -> usize {
        self.quiet.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use ipc_core::link::Link;
    use ipc_core::{ConnectOptions, Message, Packet, connect_link};
    use serde::{Deserialize, Serialize};

    use crate::client::lock;
    use crate::error::FaultKind;
    use crate::server::builtin::METHOD;
    use crate::wire::{AnswerKind, Bytes, Patience, Raw, Request, Tail, VERSION, request};
    use crate::{Manager, ManagerServer};

    /// As a queue is asked.
    #[derive(Serialize, Deserialize)]
    enum Asked {
        Put { value: Raw, waits: bool },
        Get { waits: bool },
    }

    /// A client that says what none of ours says.
    struct Client(Box<dyn Link>);

    impl Client {
        fn of(server: &ManagerServer) -> Self {
            let client = Self(connect_link(server.address(), ConnectOptions::new()).unwrap());
            client.ask(1, Request::Hello { version: VERSION }, &());
            client
        }

        fn say(&self, call: u64, asked: Request, args: &impl Message) {
            let mut packet = request(call, asked).unwrap();
            packet.append_item(args).unwrap();
            self.0.send(&mut packet, None).unwrap();
        }

        /// The answer to this call, which is the next that comes.
        fn answer(&self, call: u64) -> (Packet, AnswerKind) {
            let mut answer = Packet::new();
            let deadline = Instant::now() + Duration::from_secs(60);
            self.0.recv(&mut answer, Some(deadline)).expect("the manager says nothing more");
            let tail: Tail = answer.read_tail().unwrap();
            assert_eq!(tail.call, call);
            (answer, tail.kind)
        }

        fn ask(&self, call: u64, asked: Request, args: &impl Message) -> (Packet, AnswerKind) {
            self.say(call, asked, args);
            self.answer(call)
        }

        fn queue(&self, call: u64) -> u64 {
            let asked = Request::Create { name: "queue".to_owned(), by_function: false };
            self.ask(call, asked, &0u64).0.read_item().unwrap()
        }
    }

    fn to(object: u64) -> Request {
        Request::Call { object, method: METHOD, patience: Patience { limit: None, hear: 1 << 40 } }
    }

    fn put(objects: Vec<u64>) -> Asked {
        Asked::Put { value: Raw { bytes: Bytes(vec![7]), objects, ..Raw::default() }, waits: true }
    }

    const GET: Asked = Asked::Get { waits: true };

    #[test]
    fn calls_that_want_no_answer_are_bounded_too() {
        let server = Manager::builder().serve().unwrap();
        let client = Client::of(&server);
        let queue = client.queue(2);
        let most = server.server().limits.calls;
        (0..2 * most).for_each(|_| client.say(0, to(queue), &GET));
        client.ask(3, Request::Count, &());
        let quiet = || lock(&server.server().sessions).values().map(|session| session.quiet()).sum::<usize>();
        assert_eq!(quiet(), most);
        // When they have ended there is room for others.
        (4..9).for_each(|call| drop(client.ask(call, to(queue), &put(Vec::new()))));
        client.ask(9, Request::Count, &());
        assert_eq!(quiet(), most - 5);
        (0..2).for_each(|_| client.say(0, to(queue), &GET));
        client.ask(10, Request::Count, &());
        assert_eq!(quiet(), most - 3);
    }

    #[test]
    fn a_ring_stays_until_the_client_has_said_what_it_took() {
        let server = Manager::builder().serve().unwrap();
        let client = Client::of(&server);
        let queue = client.queue(2);
        client.ask(3, to(queue), &put(Vec::new()));
        assert_eq!(client.ask(4, to(queue), &GET).1, AnswerKind::Item);
        let retires = || lock(&server.server().sessions).values().all(|session| session.retire_ring());
        assert!(!retires());
        client.say(0, Request::Taken { call: 4 }, &());
        client.ask(5, Request::Count, &());
        assert!(retires());
    }

    #[test]
    fn a_call_has_no_number_of_an_item_that_was_not_taken() {
        let server = Manager::builder().serve().unwrap();
        let client = Client::of(&server);
        let (outer, inner) = (client.queue(2), client.queue(3));
        client.say(4, to(inner), &GET);
        client.ask(5, to(outer), &put(vec![inner]));
        client.ask(6, to(outer), &put(Vec::new()));
        let taken = client.ask(7, to(outer), &GET).1;
        assert_eq!(taken, AnswerKind::Item);
        // From now on the item alone keeps the queue in it, and who waits there.
        (0..2).for_each(|_| client.say(0, Request::Release { object: inner }, &()));
        let refused = client.ask(7, to(outer), &GET).1;
        assert!(matches!(refused, AnswerKind::Fault(FaultKind::Busy(_))), "{refused:?}");
        client.say(0, Request::Taken { call: 7 }, &());
        // With it they go.
        assert!(matches!(client.answer(4).1, AnswerKind::Fault(_)));
        assert_eq!(client.ask(7, to(outer), &GET).1, AnswerKind::Item);
    }
}
