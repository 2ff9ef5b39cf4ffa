//! Clones of a sender in several processes: each message whole, each sender's in its order,
//! and an end that comes with the last of them.

use std::collections::HashMap;
use std::env;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ipc_core::link::{Link, PipeLink, RingLink, RingOptions, SocketLink};
use ipc_core::{Address, ConnectOptions, Listener, ListenerOptions, connect_link};
use ipc_core::{Handle, Message, Receiver, RecvError, SendError, Sender, WaitSet, pipe, wait};
use mp_process::{Process, ProcessError, StartMethod};
use mp_testkit::harness::{Suite, Trial, variants};
use mp_testkit::{Program, chaos};
use rustix::net::sockopt;
use serde::{Deserialize, Serialize};

/// Longer than anything takes that does happen.
const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(30);
const SENDERS: u64 = 4;

type Ends<T> = (Sender<T>, Receiver<T>);

/// A message that shows whether it is whole.
#[derive(Serialize, Deserialize)]
struct Numbered {
    sender: u64,
    number: u64,
    bytes: Vec<u8>,
    handle: Option<Handle>,
}

impl Numbered {
    fn new(sender: u64, number: u64, handle: Option<Handle>) -> Self {
        Self { sender, number, bytes: vec![(sender + number) as u8; Self::len(number)], handle }
    }

    fn len(number: u64) -> usize {
        match number % 40 {
            17 => 300_000,
            5 => 30_000,
            rest => rest as usize * 29,
        }
    }

    fn check(&self, expected: &mut HashMap<u64, u64>) {
        let next = expected.entry(self.sender).or_insert(0);
        assert_eq!(self.number, *next, "out of the order of sender {}", self.sender);
        *next += 1;
        assert_eq!(self.bytes.len(), Self::len(self.number), "cut");
        let byte = (self.sender + self.number) as u8;
        assert!(self.bytes.iter().all(|other| *other == byte), "mixed with another one");
    }
}

fn over<T: Message>((tx, rx): (impl Link + 'static, impl Link + 'static)) -> Ends<T> {
    (Sender::over(tx), Receiver::over(rx))
}

/// The links that several processes may send over.
fn each<T: Message>() -> Vec<(&'static str, Ends<T>)> {
    vec![
        ("ring", pipe().unwrap()),
        ("small ring", over(RingLink::pipe(RingOptions::default().capacity(4096)).unwrap())),
        ("pipe", over(PipeLink::pair().unwrap())),
        ("socket", over(SocketLink::pair().unwrap())),
    ]
}

fn null() -> Handle {
    OwnedFd::from(File::open("/dev/null").unwrap()).into()
}

fn spawn<A: Message, R: Message>(
    method: StartMethod,
    function: fn(A) -> R,
    argument: A,
) -> Result<Process<R>, ProcessError> {
    Process::builder().start_method(method).spawn(function, argument)
}

fn end<R: Message>(child: Process<R>) {
    child.kill().unwrap();
    assert!(child.join().is_err());
}

fn chatter((tx, sender, count): (Sender<Numbered>, u64, u64)) {
    let handles = tx.capabilities().passes_handles;
    for number in 0..count {
        let handle = (handles && number.is_multiple_of(3)).then(null);
        tx.send(&Numbered::new(sender, number, handle)).unwrap();
    }
}

fn each_senders_messages_come_whole_and_in_order(method: StartMethod) {
    const COUNT: u64 = 200;
    for (name, (tx, rx)) in each() {
        let handles = tx.capabilities().passes_handles;
        let start = |sender| spawn(method, chatter, (tx.clone(), sender, COUNT)).unwrap();
        let children: Vec<_> = (1..SENDERS).map(start).collect();
        let mut expected = HashMap::new();
        std::thread::scope(|scope| {
            // This process is one of them; it closes as it ends.
            scope.spawn(|| chatter((tx, 0, COUNT)));
            for message in rx.iter() {
                let message: Numbered = message.unwrap();
                message.check(&mut expected);
                assert_eq!(message.handle.is_some(), handles && message.number.is_multiple_of(3), "{name}");
            }
        });
        assert!((0..SENDERS).all(|sender| expected[&sender] == COUNT), "{name}: {expected:?}");
        children.into_iter().for_each(|child| child.join().unwrap());
    }
}

#[derive(Serialize, Deserialize)]
struct Question {
    number: u64,
    answer: Sender<u64>,
}

fn answer(rx: Receiver<Question>) {
    for question in rx.iter() {
        let question = question.unwrap();
        question.answer.send(&(question.number * 2)).unwrap();
    }
}

fn a_clone_travels_inside_each_message(method: StartMethod) {
    for (name, (tx, rx)) in each::<u64>() {
        let (ask, questions) = pipe().unwrap();
        let child = spawn(method, answer, questions).unwrap();
        for number in 0..200 {
            ask.send(&Question { number, answer: tx.clone() }).unwrap();
            assert_eq!(rx.recv_timeout(LONG).unwrap(), number * 2, "{name}");
        }
        // What is asked and not answered yet holds the channel open.
        ask.send(&Question { number: 7, answer: tx }).unwrap();
        assert_eq!(rx.recv_timeout(LONG).unwrap(), 14, "{name}");
        if method == StartMethod::Fork {
            // It has a copy of all that its parent held.
            drop(ask);
            child.join().unwrap();
            assert!(matches!(rx.recv_timeout(LONG), Err(RecvError::Closed)), "{name}");
        } else {
            assert!(matches!(rx.recv_timeout(LONG), Err(RecvError::Closed)), "{name}");
            drop(ask);
            child.join().unwrap();
        }
    }
}

fn say_and_hold((tx, wait_for): (Sender<u64>, Receiver<()>)) {
    tx.send(&1).unwrap();
    let _ = wait_for.recv();
}

fn the_end_comes_with_the_last_clone(method: StartMethod) {
    for (name, (tx, rx)) in each::<u64>() {
        let (hold, held) = pipe::<()>().unwrap();
        let (hold_too, held_too) = pipe::<()>().unwrap();
        let first = tx.clone();
        let arguments = (first, held);
        let child = spawn(method, say_and_hold, arguments).unwrap();
        let other = spawn(method, say_and_hold, (tx.clone(), held_too)).unwrap();
        assert_eq!((rx.recv_timeout(LONG).unwrap(), rx.recv_timeout(LONG).unwrap()), (1, 1), "{name}");
        tx.send(&2).unwrap();
        drop(tx);
        assert_eq!(rx.recv_timeout(LONG).unwrap(), 2, "{name}");
        drop(hold);
        child.join().unwrap();
        assert!(matches!(rx.recv_timeout(SHORT), Err(RecvError::Timeout)), "{name}: one is left");
        assert!(matches!(rx.try_recv(), Err(RecvError::Timeout)), "{name}: one is left");
        // It is told also while it sleeps, and of one that is killed.
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| rx.recv());
            std::thread::sleep(SHORT);
            end(other);
            assert!(matches!(sleeper.join().unwrap(), Err(RecvError::Closed)), "{name}");
        });
        drop(hold_too);
    }
}

fn hold((tx, ready): (Sender<u64>, Sender<()>)) {
    ready.send(&()).unwrap();
    loop {
        std::thread::sleep(LONG);
        let _ = &tx;
    }
}

fn a_wait_is_told_of_the_last_clone(method: StartMethod) {
    for (name, (tx, rx)) in each::<u64>() {
        let rx = Arc::new(rx);
        let set = WaitSet::new().unwrap();
        set.add(9, Arc::clone(&rx)).unwrap();
        assert!(set.wait(Some(Duration::ZERO)).unwrap().is_empty());
        let (ready, is_ready) = pipe().unwrap();
        let [first, second] = [tx.clone(), tx].map(|tx| spawn(method, hold, (tx, ready.clone())).unwrap());
        (0..2).for_each(|_| is_ready.recv_timeout(LONG).unwrap());
        end(first);
        assert!(set.wait(Some(SHORT)).unwrap().is_empty(), "{name}: one is left");
        assert!(wait(&[&*rx], Some(SHORT)).unwrap().is_empty(), "{name}: one is left");
        std::thread::scope(|scope| {
            let in_set = scope.spawn(|| set.wait(Some(LONG)).unwrap());
            let in_wait = scope.spawn(|| wait(&[&*rx], Some(LONG)).unwrap());
            std::thread::sleep(SHORT);
            end(second);
            assert_eq!((in_set.join().unwrap(), in_wait.join().unwrap()), (vec![9], vec![0]), "{name}");
        });
        assert!(matches!(rx.recv_timeout(LONG), Err(RecvError::Closed)), "{name}");
    }
}

fn chatter_for_ever((tx, sender): (Sender<Numbered>, u64)) {
    chatter_for_ever_over(&tx, sender);
}

fn chatter_for_ever_over(tx: &Sender<Numbered>, sender: u64) {
    let handles = tx.capabilities().passes_handles;
    for number in 0.. {
        let handle = (handles && number % 2 == 0).then(null);
        if tx.send(&Numbered::new(sender, number, handle)).is_err() {
            return;
        }
    }
}

fn killed_senders_tear_nothing_and_keep_nobody(method: StartMethod) {
    for (name, (tx, rx)) in each::<Numbered>() {
        let mut expected = HashMap::new();
        let mut random = chaos::Rng::new(7);
        let mut children = Vec::new();
        for sender in 1..=12 {
            children.push(spawn(method, chatter_for_ever, (tx.clone(), sender)).unwrap());
            let until = Instant::now() + random.pause(Duration::from_millis(20));
            while Instant::now() < until {
                match rx.recv_timeout(SHORT) {
                    Ok(message) => message.check(&mut expected),
                    Err(RecvError::Timeout) => {}
                    Err(error) => panic!("{name}: {error}"),
                }
            }
            if children.len() == 4 {
                end(children.remove(random.below(4)));
            }
        }
        children.into_iter().for_each(end);
        // Whoever comes after the dead gets through, behind what is still there.
        std::thread::scope(|scope| {
            scope.spawn(|| (0..3).for_each(|number| tx.send(&Numbered::new(0, number, None)).unwrap()));
            while expected.get(&0) != Some(&3) {
                rx.recv_timeout(LONG).unwrap().check(&mut expected);
            }
        });
        drop(tx);
        assert!(matches!(rx.recv_timeout(LONG), Err(RecvError::Closed)), "{name}");
    }
}

fn a_stopped_sender_keeps_nobody_past_a_deadline(method: StartMethod) {
    for (name, (tx, rx)) in each::<Numbered>() {
        let child = spawn(method, chatter_for_ever, (tx.clone(), 1)).unwrap();
        assert!(rx.poll(LONG).unwrap());
        // Nobody receives, so that it waits for room in the end, and has the turn.
        let mut number = 0;
        let mut vain = 0;
        while vain < 20 {
            std::thread::sleep(SHORT / 10);
            match tx.try_send(&Numbered::new(0, number, None)) {
                Ok(()) => (number, vain) = (number + 1, 0),
                Err(SendError::Timeout) => vain += 1,
                Err(error) => panic!("{name}: {error}"),
            }
        }
        let next = || Numbered::new(0, number, None);
        chaos::stop(child.pid()).unwrap();
        let begun = Instant::now();
        let sent = tx.send_timeout(&next(), SHORT);
        assert!(matches!(sent, Err(SendError::Timeout)), "{name}: {sent:?}");
        assert!(matches!(tx.try_send(&next()), Err(SendError::Timeout)), "{name}");
        assert!(begun.elapsed() >= SHORT);
        // Its death is the end of its turn, whatever it was about.
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| tx.send(&next()));
            end(child);
            let mut expected = HashMap::new();
            while expected.get(&0) != Some(&(number + 1)) {
                rx.recv_timeout(LONG).unwrap().check(&mut expected);
            }
            sending.join().unwrap().unwrap();
        });
    }
}

fn a_moved_clone_is_gone_and_the_others_are_not() {
    for (name, (tx, rx)) in each::<u64>() {
        let (mover, moved) = pipe::<Sender<u64>>().unwrap();
        let clone = tx.clone();
        mover.send(&clone).unwrap();
        assert!(matches!(clone.send(&0), Err(SendError::Moved)), "{name}");
        assert!(matches!(clone.clone().send(&0), Err(SendError::Moved)), "{name}");
        assert!(mover.send(&clone).is_err(), "{name}");
        tx.send(&1).unwrap();
        let there = moved.recv().unwrap();
        there.send(&2).unwrap();
        let another = there.clone();
        mover.send(&another).unwrap();
        let third = moved.recv().unwrap();
        third.send(&3).unwrap();
        assert_eq!([(); 3].map(|()| rx.recv().unwrap()), [1, 2, 3], "{name}");
        drop((tx, there));
        assert!(matches!(rx.recv_timeout(SHORT), Err(RecvError::Timeout)), "{name}: one is left");
        // The husks of those that moved keep nothing open.
        mover.send(&third).unwrap();
        drop(moved.recv().unwrap());
        assert!(matches!(rx.recv_timeout(LONG), Err(RecvError::Closed)), "{name}");
        drop((clone, another, third));
    }
}

#[derive(Serialize, Deserialize)]
struct Nested {
    number: u64,
    again: Option<Sender<Nested>>,
}

fn a_clone_travels_over_its_own_channel() {
    for (name, (tx, rx)) in
        each::<Nested>().into_iter().filter(|(_, ends)| ends.0.capabilities().passes_handles)
    {
        for number in 0..50 {
            tx.send(&Nested { number, again: Some(tx.clone()) }).unwrap();
            let there = rx.recv_timeout(LONG).unwrap();
            assert_eq!(there.number, number, "{name}");
            there.again.unwrap().send(&Nested { number: number + 1, again: None }).unwrap();
            assert_eq!(rx.recv_timeout(LONG).unwrap().number, number + 1, "{name}");
        }
        drop(tx);
        assert!(matches!(rx.recv_timeout(LONG), Err(RecvError::Closed)), "{name}");
    }
}

fn a_clone_that_nobody_receives_is_closed_with_its_channel() {
    for (name, (tx, rx)) in each::<u64>() {
        let (mover, moved) = pipe::<Sender<u64>>().unwrap();
        mover.send(&tx.clone()).unwrap();
        drop(tx);
        assert!(matches!(rx.recv_timeout(SHORT), Err(RecvError::Timeout)), "{name}: one is on its way");
        drop((mover, moved));
        assert!(matches!(rx.recv_timeout(LONG), Err(RecvError::Closed)), "{name}");
    }
}

fn who_only_looks_is_told_of_the_end(method: StartMethod) {
    for (name, (tx, rx)) in each::<u64>() {
        let (ready, is_ready) = pipe().unwrap();
        let children = [tx.clone(), tx].map(|tx| spawn(method, hold, (tx, ready.clone())).unwrap());
        children.iter().for_each(|_| is_ready.recv_timeout(LONG).unwrap());
        assert!(matches!(rx.try_recv(), Err(RecvError::Timeout)), "{name}");
        children.into_iter().for_each(end);
        let begun = Instant::now();
        while let Err(RecvError::Timeout) = rx.try_recv() {
            assert!(begun.elapsed() < LONG, "{name}");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(matches!(rx.try_recv(), Err(RecvError::Closed)), "{name}");
    }
}

fn a_receiver_moves_while_many_send(method: StartMethod) {
    for (name, (tx, rx)) in each::<Numbered>() {
        let children: Vec<_> = (1..SENDERS)
            .map(|sender| spawn(method, chatter_for_ever, (tx.clone(), sender)).unwrap())
            .collect();
        let mut expected = HashMap::new();
        let (mover, moved) = pipe::<Receiver<Numbered>>().unwrap();
        let mut rx = rx;
        for _ in 0..20 {
            (0..30).for_each(|_| rx.recv_timeout(LONG).unwrap().check(&mut expected));
            mover.send(&rx).unwrap();
            rx = moved.recv().unwrap();
        }
        children.into_iter().for_each(end);
        drop(tx);
        let last = loop {
            match rx.recv_timeout(LONG) {
                Ok(message) => message.check(&mut expected),
                Err(RecvError::Cut) => {}
                Err(error) => break error,
            }
        };
        assert!(matches!(last, RecvError::Closed), "{name}: {last}");
    }
}

fn a_clone_made_while_the_only_sender_leaves_goes_with_it() {
    for (name, (tx, rx)) in each::<u64>() {
        let (mover, moved) = over(RingLink::pipe(RingOptions::default().capacity(4096)).unwrap());
        // More than the ring takes at once: the sender is on its way until somebody receives.
        let parcel = (vec![0u8; 100_000], tx);
        let clone = std::thread::scope(|scope| {
            let sending = scope.spawn(|| mover.send(&parcel).unwrap());
            assert!(moved.poll(LONG).unwrap());
            let clone = parcel.1.clone();
            let (_, there): (Vec<u8>, Sender<u64>) = moved.recv().unwrap();
            sending.join().unwrap();
            assert!(matches!(clone.send(&0), Err(SendError::Moved)), "{name}");
            there.send(&1).unwrap();
            clone
        });
        assert_eq!(rx.recv_timeout(LONG).unwrap(), 1, "{name}");
        assert!(matches!(clone.send(&0), Err(SendError::Moved)), "{name}");
    }
}

fn a_clone_waits_for_the_only_sender_that_leaves() {
    for (name, (tx, rx)) in each::<u64>() {
        let (mover, moved) = over(RingLink::pipe(RingOptions::default().capacity(4096)).unwrap());
        let (other, others) = pipe::<Sender<u64>>().unwrap();
        let parcel = (vec![0u8; 100_000], tx);
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| mover.send(&parcel).unwrap());
            assert!(moved.poll(LONG).unwrap());
            // Were it to leave too, two would send who know nothing of each other.
            let clone = parcel.1.clone();
            let cloned = scope.spawn(move || other.send(&clone));
            assert!(!others.poll(SHORT).unwrap(), "{name}");
            let (_, there): (Vec<u8>, Sender<u64>) = moved.recv().unwrap();
            sending.join().unwrap();
            let refused = cloned.join().unwrap();
            assert!(matches!(refused, Err(SendError::Encode(_))), "{name}: {refused:?}");
            there.send(&1).unwrap();
        });
        assert_eq!(rx.recv_timeout(LONG).unwrap(), 1, "{name}");
        assert!(matches!(others.recv_timeout(LONG), Err(RecvError::Closed)), "{name}");
    }
}

fn a_sender_stays_while_a_thread_is_in_the_middle_of_a_message() {
    for (name, (tx, rx)) in each::<Vec<u8>>() {
        let (mover, moved) = pipe::<Sender<Vec<u8>>>().unwrap();
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| tx.send(&vec![7; 10_000_000]).unwrap());
            assert!(rx.poll(LONG).unwrap());
            assert!(mover.send(&tx).is_err(), "{name}");
            assert_eq!(rx.recv_timeout(LONG).unwrap(), [7; 10_000_000], "{name}");
            sending.join().unwrap();
        });
        mover.send(&tx).unwrap();
        moved.recv_timeout(LONG).unwrap().send(&vec![1]).unwrap();
        assert_eq!(rx.recv_timeout(LONG).unwrap(), [1], "{name}");
    }
}

/// Threads of several processes, which share a sender or have clones of their own.
fn chatter_by_threads((tx, first): (Sender<Numbered>, u64)) {
    std::thread::scope(|scope| {
        let clone = tx.clone();
        for sender in [first, first + 1] {
            let tx = &tx;
            scope.spawn(move || chatter_for_ever_over(tx, sender));
        }
        scope.spawn(move || chatter_for_ever_over(&clone, first + 2));
    });
}

fn killed_processes_of_many_threads_keep_nobody(method: StartMethod) {
    for (name, (tx, rx)) in each::<Numbered>() {
        let mut expected = HashMap::new();
        let mut random = chaos::Rng::new(17);
        let mut children = Vec::new();
        let (tx, done) = (&tx, &AtomicBool::new(false));
        std::thread::scope(|scope| {
            // The first of all clones leaves while threads of this process send as well.
            let own: Vec<_> = (0..2u64)
                .map(|sender| {
                    scope.spawn(move || {
                        let mut number = 0;
                        while !done.load(Ordering::Relaxed) {
                            tx.send(&Numbered::new(sender, number, None)).unwrap();
                            number += 1;
                        }
                        number
                    })
                })
                .collect();
            for round in 1..=8 {
                let (go, gone) = pipe::<Sender<Numbered>>().unwrap();
                let starting = scope.spawn(move || {
                    go.send(&tx.clone()).unwrap();
                    spawn(method, chatter_by_threads, (gone.recv().unwrap(), round * 10)).unwrap()
                });
                let until = Instant::now() + random.pause(Duration::from_millis(30));
                while Instant::now() < until || !starting.is_finished() {
                    match rx.recv_timeout(SHORT) {
                        Ok(message) => message.check(&mut expected),
                        Err(RecvError::Timeout) => {}
                        Err(error) => panic!("{name}: {error}"),
                    }
                }
                children.push(starting.join().unwrap());
                if children.len() == 3 {
                    end(children.remove(random.below(3)));
                }
            }
            children.into_iter().for_each(end);
            done.store(true, Ordering::Relaxed);
            while !own.iter().all(|thread| thread.is_finished()) {
                if let Ok(message) = rx.recv_timeout(SHORT) {
                    message.check(&mut expected);
                }
            }
            while let Ok(message) = rx.recv_timeout(SHORT) {
                message.check(&mut expected);
            }
            for (sender, thread) in (0..2).zip(own) {
                assert_eq!(expected.get(&sender).copied().unwrap_or(0), thread.join().unwrap(), "{name}");
            }
        });
    }
}

/// A socket whose sender has the smallest buffer that there is.
fn narrow() -> (Ends<Numbered>, OwnedFd) {
    let (tx, rx) = SocketLink::pair().unwrap();
    let socket: OwnedFd = tx.handle().try_clone().unwrap().into();
    sockopt::set_socket_send_buffer_size(&socket, 1).unwrap();
    (over((tx, rx)), socket)
}

/// The kernel would take a chunk in two halves, and what is between them at a kill or a
/// deadline would be missing for ever.
fn a_small_buffer_splits_no_chunk(method: StartMethod) {
    let ((tx, rx), socket) = narrow();
    let mut expected = HashMap::new();
    let mut random = chaos::Rng::new(3);
    let long = |number| Numbered { sender: 0, number, bytes: vec![number as u8; 30_000], handle: None };
    let mut number = 0;
    for sender in 1..=20 {
        let child = spawn(method, chatter_for_ever, (tx.clone(), sender)).unwrap();
        assert!(rx.poll(LONG).unwrap());
        // Deadlines pass in the middle of messages, of which the rest then never comes.
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| {
                (0..20).for_each(|_| match tx.send_timeout(&long(number), Duration::from_micros(200)) {
                    Ok(()) => number += 1,
                    Err(error) => assert!(matches!(error, SendError::Timeout), "{error}"),
                });
            });
            let until = Instant::now() + random.pause(Duration::from_millis(20));
            while Instant::now() < until || !sending.is_finished() {
                match rx.recv_timeout(SHORT) {
                    Ok(message) if message.sender == 0 => {
                        assert_eq!(message.bytes, vec![message.number as u8; 30_000]);
                    }
                    Ok(message) => message.check(&mut expected),
                    Err(RecvError::Timeout) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
        sockopt::set_socket_send_buffer_size(&socket, 1).unwrap();
        end(child);
    }
    drop((tx, socket));
    let last = loop {
        match rx.recv_timeout(LONG) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(last, RecvError::Closed | RecvError::Cut), "{last}");
}

fn go_on((moved, sender, count): (Receiver<Sender<Numbered>>, u64, u64)) {
    for tx in moved.iter() {
        chatter((tx.unwrap(), sender, count));
    }
}

fn a_sender_leaves_between_two_messages_of_its_threads(method: StartMethod) {
    const COUNT: u64 = 30;
    const ROUNDS: usize = 10;
    let (mover, moved) = pipe::<Sender<Numbered>>().unwrap();
    let child = spawn(method, go_on, (moved, 9, COUNT)).unwrap();
    let mut random = chaos::Rng::new(11);
    for (name, (tx, rx)) in (0..ROUNDS).flat_map(|_| each()) {
        let mut expected = HashMap::new();
        let (tx, mover) = (&tx, &mover);
        let pause = random.pause(Duration::from_micros(500));
        let sent: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..2)
                .map(|sender| {
                    scope.spawn(move || {
                        let all = 0..;
                        let sent = |number: &u64| match tx.send(&Numbered::new(sender, *number, None)) {
                            Ok(()) => true,
                            Err(SendError::Moved) => false,
                            Err(error) => panic!("{name}: {error}"),
                        };
                        all.take_while(sent).count() as u64
                    })
                })
                .collect();
            scope.spawn(move || {
                std::thread::sleep(pause);
                while let Err(error) = mover.send(tx) {
                    assert!(matches!(error, SendError::Encode(_)), "{name}: {error}");
                }
            });
            for message in rx.iter() {
                message.unwrap_or_else(|error| panic!("{name}: {error}")).check(&mut expected);
            }
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let came = |sender: u64| expected.get(&sender).copied().unwrap_or(0);
        assert_eq!([came(0), came(1), came(9)], [sent[0], sent[1], COUNT], "{name}");
    }
    drop(mover);
    child.join().unwrap();
}

fn over_tcp_only_the_last_clone_moves() {
    let everybody = ListenerOptions::new().anyone();
    let listener = Listener::bind_with(&Address::tcp("127.0.0.1", 0), everybody).unwrap();
    let tx: Sender<u8> = Sender::over(connect_link(listener.address(), ConnectOptions::new()).unwrap());
    let (mover, _moved) = pipe::<Sender<u8>>().unwrap();
    let clone = tx.clone();
    let error = mover.send(&tx).unwrap_err().to_string();
    assert!(error.contains("clones"), "{error}");
    drop(clone);
    mover.send(&tx).unwrap();
}

type Started = (&'static str, fn(StartMethod));

macro_rules! named {
    ($($test:ident),* $(,)?) => { &[$((stringify!($test), $test)),*] };
}

const STARTED: &[Started] = named![
    each_senders_messages_come_whole_and_in_order,
    a_clone_travels_inside_each_message,
    the_end_comes_with_the_last_clone,
    a_wait_is_told_of_the_last_clone,
    killed_senders_tear_nothing_and_keep_nobody,
    a_stopped_sender_keeps_nobody_past_a_deadline,
    who_only_looks_is_told_of_the_end,
    a_receiver_moves_while_many_send,
    a_sender_leaves_between_two_messages_of_its_threads,
    a_small_buffer_splits_no_chunk,
];
const PLAIN: &[(&str, fn())] = named![
    a_moved_clone_is_gone_and_the_others_are_not,
    a_clone_travels_over_its_own_channel,
    a_clone_that_nobody_receives_is_closed_with_its_channel,
    a_clone_made_while_the_only_sender_leaves_goes_with_it,
    a_clone_waits_for_the_only_sender_that_leaves,
    a_sender_stays_while_a_thread_is_in_the_middle_of_a_message,
    over_tcp_only_the_last_clone_moves,
];

/// Names the one test that this program is to run by itself.
const ALONE: &str = "IPC_CORE_TEST_ALONE";

fn main() -> ExitCode {
    if let Ok(name) = env::var(ALONE) {
        mp_process::init();
        let (_, test) = STARTED.iter().find(|(known, _)| *known == name).expect("a known test");
        test(StartMethod::Fork);
        return ExitCode::SUCCESS;
    }
    let methods = [("spawn", StartMethod::Spawn), ("forkserver", StartMethod::ForkServer)];
    let started = STARTED.iter().flat_map(|(name, test)| {
        let mut trials = variants(name, methods, *test);
        trials.push(Trial::new(format!("{name}::fork"), || by_forks(name)));
        trials
    });
    let started = started.chain(variants(
        "killed_processes_of_many_threads_keep_nobody",
        methods,
        killed_processes_of_many_threads_keep_nobody,
    ));
    let plain = PLAIN.iter().map(|(name, test)| Trial::new(*name, *test));
    Suite::new(started.chain(plain).collect()).warm_up(warm_up).run()
}

/// A process is forked only by one without threads, which a watchdog is.
fn by_forks(name: &str) {
    let program = Program::this().expect("this program").env(ALONE, name);
    program.run(Duration::from_secs(100)).expect("an end").expect_success();
}

/// What stays for the life of the process.
fn warm_up() {
    for method in [StartMethod::Spawn, StartMethod::ForkServer] {
        spawn(method, |()| (), ()).unwrap().join().unwrap();
    }
    let (_tx, rx) = pipe::<u8>().unwrap();
    assert!(rx.recv_timeout(Duration::from_millis(1)).is_err());
}
