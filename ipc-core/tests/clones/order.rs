//! What comes is whole, in each sender's order, from wherever its clone came.

use std::collections::HashMap;

use ipc_core::{Receiver, RecvError, Sender, pipe};
use mp_process::StartMethod;
use serde::{Deserialize, Serialize};

use crate::{LONG, Numbered, SENDERS, chatter, chatter_for_ever, each, end, spawn};

pub(crate) fn each_senders_messages_come_whole_and_in_order(method: StartMethod) {
    /// Each length comes twice.
    const COUNT: u64 = 80;
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

pub(crate) fn a_clone_travels_inside_each_message(method: StartMethod) {
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

#[derive(Serialize, Deserialize)]
struct Nested {
    number: u64,
    again: Option<Sender<Nested>>,
}

pub(crate) fn a_clone_travels_over_its_own_channel() {
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

pub(crate) fn a_receiver_moves_while_many_send(method: StartMethod) {
    for (name, (tx, rx)) in each::<Numbered>() {
        let children: Vec<_> = (1..SENDERS)
            .map(|sender| spawn(method, chatter_for_ever, (tx.clone(), sender)).unwrap())
            .collect();
        let mut expected = HashMap::new();
        let (mover, moved) = pipe::<Receiver<Numbered>>().unwrap();
        let mut rx = rx;
        for _ in 0..10 {
            (0..20).for_each(|_| rx.recv_timeout(LONG).unwrap().check(&mut expected));
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
