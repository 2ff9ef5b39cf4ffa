//! `iceoryx2`: a service for each direction, polled, or waited for by its events, with the
//! message copied in and out.

use std::hint;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::process::{self, ExitCode};
use std::sync::atomic::{AtomicU32, Ordering};

use benches::clock::{pin, time_each};
use benches::contest::{Answer, Failure, Job, Mode};
use benches::kernel::Fork;
use benches::payload::{FIRST, LAST, check, message, set_number};
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;

/// Messages that the subscriber need not have taken yet.
const BUFFER: usize = 64;

fn main() -> ExitCode {
    rivals::main(|what, job| match (job.question.as_str(), job.mode) {
        ("roundtrip", Mode::Hot) => Some(roundtrip(job, what == "event")),
        ("stream", Mode::Hot) => Some(stream(job)),
        _ => None,
    })
}

/// Both services, by the side from which they are used.
struct Ends {
    publisher: Publisher<ipc::Service, [u8], ()>,
    subscriber: Subscriber<ipc::Service, [u8], ()>,
    len: usize,
    _node: Node<ipc::Service>,
}

impl Ends {
    /// Publishes on one name and subscribes to the other.
    fn open(out: &str, into: &str, len: usize) -> Result<Self, Failure> {
        let node = NodeBuilder::new().create::<ipc::Service>()?;
        let service = |name: &str| -> Result<_, Failure> {
            let service = node.service_builder(&name.try_into()?).publish_subscribe::<[u8]>();
            let service = service.subscriber_max_buffer_size(BUFFER).enable_safe_overflow(false);
            Ok(service.max_publishers(1).max_subscribers(1).open_or_create()?)
        };
        let publisher = service(out)?.publisher_builder().initial_max_slice_len(len).create()?;
        let subscriber = service(into)?.subscriber_builder().create()?;
        Ok(Self { publisher, subscriber, len, _node: node })
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Failure> {
        let sample = self.publisher.loan_slice_uninit(self.len)?;
        sample.write_from_slice(bytes).send()?;
        Ok(())
    }

    fn recv(&self, bytes: &mut [u8]) -> Result<(), Failure> {
        loop {
            if let Some(sample) = self.subscriber.receive()? {
                bytes.copy_from_slice(sample.payload());
                return Ok(());
            }
            hint::spin_loop();
        }
    }
}

/// The names of a new pair of services.
fn names() -> [String; 2] {
    static TURN: AtomicU32 = AtomicU32::new(0);
    let turn = TURN.fetch_add(1, Ordering::Relaxed);
    ["there", "back"].map(|way| format!("benches/{}/{turn}/{way}", process::id()))
}

/// Tells the other process of each message, and waits until it tells of one.
struct Events {
    notifier: Notifier<ipc::Service>,
    listener: Listener<ipc::Service>,
    _node: Node<ipc::Service>,
}

impl Events {
    fn open(out: &str, into: &str) -> Result<Self, Failure> {
        let node = NodeBuilder::new().create::<ipc::Service>()?;
        let service = |name: &str| -> Result<_, Failure> {
            Ok(node.service_builder(&name.try_into()?).event().open_or_create()?)
        };
        let notifier = service(out)?.notifier_builder().create()?;
        let listener = service(into)?.listener_builder().create()?;
        Ok(Self { notifier, listener, _node: node })
    }

    fn tell(&self) -> Result<(), Failure> {
        self.notifier.notify()?;
        Ok(())
    }

    fn wait(&self) -> Result<(), Failure> {
        while self.listener.blocking_wait(|_| ())? == 0 {}
        Ok(())
    }
}

fn roundtrip(job: &Job, with_events: bool) -> Result<Answer, Failure> {
    let [own, other] = job.mode.processors();
    let [there, back] = names();
    let len = job.number;
    // What is published before anybody subscribes is lost.
    let (mut opened, mut open) = io::pipe()?;
    let (mut met, mut meet) = io::pipe()?;
    let peer = Fork::run(|| {
        pin(other).expect("a processor");
        hear(&mut opened);
        let ends = Ends::open(&back, &there, len).expect("services");
        let events = with_events.then(|| Events::open(&back, &there).expect("events"));
        say(&mut meet);
        let mut bytes = message(len);
        loop {
            events.iter().for_each(|events| events.wait().expect("an event"));
            ends.recv(&mut bytes).expect("a message");
            if check(&bytes) == LAST {
                return;
            }
            ends.send(&bytes).expect("room");
            events.iter().for_each(|events| events.tell().expect("a listener"));
        }
    })?;
    pin(own)?;
    let ends = Ends::open(&there, &back, len)?;
    let events = with_events.then(|| Events::open(&there, &back)).transpose()?;
    say(&mut open);
    hear(&mut met);
    let mut bytes = message(len);
    let answer = time_each(job.mode, job.budget, |turn| {
        set_number(&mut bytes, FIRST + turn);
        ends.send(&bytes)?;
        events.as_ref().map(Events::tell).transpose()?;
        events.as_ref().map(Events::wait).transpose()?;
        ends.recv(&mut bytes)?;
        if check(&bytes) == FIRST + turn { Ok(()) } else { Err("another message came".into()) }
    })?;
    set_number(&mut bytes, LAST);
    ends.send(&bytes)?;
    events.as_ref().map(Events::tell).transpose()?;
    peer.join()?;
    Ok(answer)
}

fn stream(job: &Job) -> Result<Answer, Failure> {
    let [own, other] = job.mode.processors();
    let [there, back] = names();
    let len = job.number;
    // What is published before anybody subscribes is lost.
    let (mut opened, mut open) = io::pipe()?;
    let (mut met, mut meet) = io::pipe()?;
    let peer = Fork::run(|| {
        pin(other).expect("a processor");
        hear(&mut opened);
        let ends = Ends::open(&back, &there, len).expect("services");
        say(&mut meet);
        let mut bytes = message(len);
        let mut next = FIRST;
        loop {
            ends.recv(&mut bytes).expect("a message");
            match check(&bytes) {
                LAST => break,
                number => assert_eq!(number, next, "a message is missing"),
            }
            next += 1;
        }
        ends.send(&bytes).expect("room");
        // What its publisher has not seen received goes with it.
        hear(&mut opened);
    })?;
    pin(own)?;
    let ends = Ends::open(&there, &back, len)?;
    say(&mut open);
    hear(&mut met);
    let mut bytes = message(len);
    let mut last = message(len);
    let send = |number| {
        set_number(&mut bytes, number);
        ends.send(&bytes)
    };
    let answer = rivals::send_for(job, send, || ends.recv(&mut last))?;
    say(&mut open);
    peer.join()?;
    Ok(answer)
}

/// Lets the other process go on.
fn say(pipe: &mut PipeWriter) {
    pipe.write_all(&[1]).expect("the other process is there");
}

fn hear(pipe: &mut PipeReader) {
    pipe.read_exact(&mut [0]).expect("the other process is there");
}
