//! Clients that say what none of ours says, and say it late.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc_core::link::Link;
use ipc_core::{ConnectOptions, Message, Packet, connect_link};
use serde::{Deserialize, Serialize};

use crate::client::lock;
use crate::error::FaultKind;
use crate::server::Answer;
use crate::server::builtin::METHOD;
use crate::server::object::{Call, Object};
use crate::wire::{AnswerKind, Bytes, Patience, Raw, Request, Tail, request};
use crate::{Manager, ManagerServer};

/// As a queue is asked.
#[derive(Serialize, Deserialize)]
enum Asked {
    Put { value: Raw, waits: bool },
    Get { waits: bool },
}

struct Client(Box<dyn Link>);

impl Client {
    fn of(server: &ManagerServer) -> Self {
        Self(connect_link(server.address(), ConnectOptions::new()).unwrap())
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

/// A thread may be busy with the object while the client ends.
#[test]
fn a_call_that_is_begun_after_its_client_has_ended_does_not_wait() {
    let server = Manager::builder().serve().unwrap();
    let client = Client::of(&server);
    let queue = client.queue(2);
    let server = server.server();
    let session = lock(&server.sessions).values().next().map(Arc::clone).unwrap();
    // It stays without its client.
    assert!(server.table.raise(queue));
    assert!(session.begin(3, queue, 1));
    let answer = Answer::to_client(&session, 3);
    drop(client);
    let begun = Instant::now();
    while !lock(&session.state).ended {
        assert!(begun.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut args = Packet::new();
    args.append_item(&GET).unwrap();
    let call = Call { object: queue, method: METHOD, args, patience: Patience::default(), answer };
    server.run_built_in(&server.table.get(queue).unwrap(), call, Some(&session));
    assert!(lock(&session.state).touched.is_empty());
    let begun = Instant::now();
    // Nobody knows it any more.
    while Arc::strong_count(&session) > 1 {
        assert!(begun.elapsed() < Duration::from_secs(60), "it waits");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// As a thread does that writes what the object has to a slow disk.
#[test]
fn who_ends_holds_nobody_up_while_a_thread_is_busy_with_an_object() {
    let server = Manager::builder().serve().unwrap();
    let (gone, other) = (Client::of(&server), Client::of(&server));
    let queue = gone.queue(1);
    let server = server.server();
    assert!(server.table.raise(queue));
    gone.ask(2, to(queue), &put(Vec::new()));
    assert_eq!(gone.ask(3, to(queue), &GET).1, AnswerKind::Item);
    gone.say(4, to(queue), &GET);
    gone.ask(5, Request::Count, &());
    let object = server.table.get(queue).unwrap();
    let Object::BuiltIn(shelf) = &*object else { panic!("no queue") };
    let busy = lock(&shelf.object);
    gone.say(0, Request::Cancel { object: queue, call: 4 }, &());
    drop(gone);
    let begun = Instant::now();
    let mut calls = 1..;
    while lock(&server.sessions).len() > 1 {
        assert!(begun.elapsed() < Duration::from_secs(60), "it stays");
        other.ask(calls.next().unwrap(), Request::Count, &());
    }
    other.ask(calls.next().unwrap(), Request::Count, &());
    drop(busy);
    // What was sent to it and not taken is there again.
    assert_eq!(other.ask(calls.next().unwrap(), to(queue), &GET).1, AnswerKind::Item);
}
