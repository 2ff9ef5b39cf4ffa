//! `wait`: the first of many to be ready.

mod common;

use std::time::{Duration, Instant};

use common::{LONG, SHORT, spawn, suite};
use multiprocess::{Event, Sender, StartMethod, Waitable, pipe, wait};

suite! {
    started: [
        messages_of_many_children_are_received_as_they_come,
        processes_and_pipes_are_waited_for_together,
    ],
    plain: [
        an_end_counts_as_ready,
        nothing_ready_is_an_empty_list_in_time,
        the_ready_ones_come_in_their_order,
        waiting_for_nothing_lasts_as_long_as_it_is_told,
    ],
}

fn messages_of_many_children_are_received_as_they_come(method: StartMethod) {
    let send = |(tx, child): (Sender<(u32, u32)>, u32)| {
        (0..10).for_each(|item| tx.send(&(child, item)).unwrap());
    };
    let (mut receivers, mut children) = (Vec::new(), Vec::new());
    for i in 0..4 {
        let (tx, rx) = pipe().unwrap();
        receivers.push(rx);
        children.push(spawn(method, send, (tx, i)).unwrap());
    }
    let mut received = Vec::new();
    while !receivers.is_empty() {
        let waitables: Vec<&dyn Waitable> = receivers.iter().map(|rx| rx as &dyn Waitable).collect();
        for ready in wait(&waitables, Some(LONG)).unwrap().into_iter().rev() {
            match receivers[ready].recv() {
                Ok(item) => received.push(item),
                Err(_) => drop(receivers.remove(ready)),
            }
        }
    }
    received.sort_unstable();
    let expected = (0..4).flat_map(|child| (0..10).map(move |item| (child, item)));
    assert_eq!(received, expected.collect::<Vec<(u32, u32)>>());
    children.into_iter().for_each(|child| child.join().unwrap());
}

fn processes_and_pipes_are_waited_for_together(method: StartMethod) {
    let stop = Event::new().unwrap();
    let child = spawn(method, |stop: Event| stop.wait(), stop.clone()).unwrap();
    let sentinel = child.sentinel();
    let ((tx, rx), (other_tx, other_rx)) = (pipe::<u8>().unwrap(), pipe::<u8>().unwrap());
    let all: [&dyn Waitable; 3] = [&rx, &sentinel, &other_rx];
    assert_eq!(wait(&all, Some(SHORT)).unwrap(), []);
    stop.set();
    assert_eq!(wait(&all, Some(LONG)).unwrap(), [1]);
    tx.send(&1).unwrap();
    assert_eq!(wait(&all, Some(LONG)).unwrap(), [0, 1]);
    other_tx.send(&1).unwrap();
    assert_eq!(wait(&all, Some(LONG)).unwrap(), [0, 1, 2]);
    child.join().unwrap();
}

fn an_end_counts_as_ready() {
    let (tx, rx) = pipe::<u8>().unwrap();
    assert_eq!(wait(&[&rx], Some(Duration::ZERO)).unwrap(), []);
    drop(tx);
    assert_eq!(wait(&[&rx], None).unwrap(), [0]);
}

fn nothing_ready_is_an_empty_list_in_time() {
    let (_tx, rx) = pipe::<u8>().unwrap();
    let start = Instant::now();
    assert_eq!(wait(&[&rx], Some(Duration::ZERO)).unwrap(), []);
    assert_eq!(wait(&[&rx], Some(SHORT)).unwrap(), []);
    assert!(start.elapsed() >= SHORT);
}

fn the_ready_ones_come_in_their_order() {
    let pipes: Vec<_> = (0..5).map(|_| pipe::<u8>().unwrap()).collect();
    [3, 0, 4].iter().for_each(|i: &usize| pipes[*i].0.send(&1).unwrap());
    let waitables: Vec<&dyn Waitable> = pipes.iter().map(|(_, rx)| rx as &dyn Waitable).collect();
    assert_eq!(wait(&waitables, None).unwrap(), [0, 3, 4]);
}

fn waiting_for_nothing_lasts_as_long_as_it_is_told() {
    let start = Instant::now();
    assert_eq!(wait(&[], Some(SHORT)).unwrap(), []);
    assert!(start.elapsed() >= SHORT);
}
