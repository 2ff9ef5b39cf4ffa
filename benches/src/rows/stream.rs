//! How many messages go one way in a second?
//!
//! The sender sends for as long as it may; the clock ends when the receiver has said
//! that it has all of them.

use std::time::Instant;

use ipc_core::{Receiver, Sender, pipe};
use mp_process::Process;

use super::{By, Row};
use crate::clock::pin;
use crate::contest::{Answer, Failure, Job, Mode};
use crate::payload::{FIRST, LAST, check, message, set_number};

pub(super) fn rows() -> Vec<Row> {
    let row = |what: &str, size| Row::rates(format!("ipc/stream-{what}"), Mode::Hot, "stream", size);
    let pipe = By::Python("messages.py", "pipe");
    let pipe_bytes = By::Python("messages.py", "bytes");
    let queue = By::Python("messages.py", "queue");
    let ipc_channel = By::Rival("ipc-channel", "bytes");
    let iceoryx2 = By::Rival("iceoryx2", "poll");
    let large = |what: &str, size| {
        row(what, size)
            .beside("bound", By::Bound("hybrid"))
            .beside("cpython-bytes", pipe_bytes)
            .beside("ipc-channel", ipc_channel)
            .grows()
    };
    vec![
        row("8B", 8)
            .against("bound", By::Bound("hybrid"), 0.7)
            .against("cpython", pipe, 35.0)
            .beside("cpython-bytes", pipe_bytes)
            .against("cpython-queue", queue, 15.0)
            .against("ipc-channel", ipc_channel, 10.0)
            .against("iceoryx2", iceoryx2, 5.0),
        row("1KiB", 1 << 10)
            .beside("bound", By::Bound("hybrid"))
            .beside("cpython", pipe)
            .beside("cpython-bytes", pipe_bytes)
            .beside("ipc-channel", ipc_channel)
            .beside("iceoryx2", iceoryx2),
        row("64KiB", 64 << 10)
            .against("bound", By::Bound("hybrid"), 0.85)
            .against("cpython-bytes", pipe_bytes, 3.0)
            .against("cpython-queue", queue, 12.0)
            .against("ipc-channel", ipc_channel, 2.6)
            .against("iceoryx2", iceoryx2, 0.8),
        row("1MiB", 1 << 20)
            .against("bound", By::Bound("hybrid"), 0.9)
            .against("cpython-bytes", pipe_bytes, 3.0)
            .against("cpython-queue", queue, 12.0)
            .against("ipc-channel", ipc_channel, 2.6)
            .against("iceoryx2", iceoryx2, 0.8),
        large("16MiB", 16 << 20),
        large("64MiB", 64 << 20),
    ]
}

pub(super) fn ours(job: &Job) -> Result<Answer, Failure> {
    if job.number == 8 { words(job) } else { bytes(job) }
}

fn words(job: &Job) -> Result<Answer, Failure> {
    let [own, other] = job.mode.processors();
    let (tx, theirs) = pipe::<u64>()?;
    let (done, finished) = pipe::<bool>()?;
    let peer = Process::spawn(take_words, (theirs, done, other))?;
    pin(own)?;
    let answer = send_for(job, |number| Ok(tx.send(&number)?), || Ok(finished.recv()?))?;
    peer.join()?;
    Ok(answer)
}

fn take_words((words, done, processor): (Receiver<u64>, Sender<bool>, Option<usize>)) {
    pin(processor).expect("a processor");
    let mut next = FIRST;
    while let Ok(word) = words.recv() {
        if word == LAST {
            return done.send(&true).expect("the sender is there");
        }
        assert_eq!(word, next, "a message is missing");
        next += 1;
    }
}

fn bytes(job: &Job) -> Result<Answer, Failure> {
    let [own, other] = job.mode.processors();
    let (tx, theirs) = pipe::<Vec<u8>>()?;
    let (done, finished) = pipe::<bool>()?;
    let peer = Process::spawn(take_bytes, (theirs, done, other))?;
    pin(own)?;
    let mut bytes = message(job.number);
    let send = |number| {
        set_number(&mut bytes, number);
        Ok(tx.send(&bytes)?)
    };
    let answer = send_for(job, send, || Ok(finished.recv()?))?;
    peer.join()?;
    Ok(answer)
}

fn take_bytes((messages, done, processor): (Receiver<Vec<u8>>, Sender<bool>, Option<usize>)) {
    pin(processor).expect("a processor");
    let mut next = FIRST;
    while let Ok(bytes) = messages.recv() {
        match check(&bytes) {
            LAST => return done.send(&true).expect("the sender is there"),
            number => assert_eq!(number, next, "a message is missing"),
        }
        next += 1;
    }
}

fn send_for(
    job: &Job,
    mut send: impl FnMut(u64) -> Result<(), Failure>,
    finished: impl FnOnce() -> Result<bool, Failure>,
) -> Result<Answer, Failure> {
    let mut sent = 0;
    let begin = Instant::now();
    while sent % job.unwatched() != 0 || begin.elapsed() < job.budget {
        send(FIRST + sent)?;
        sent += 1;
    }
    send(LAST)?;
    finished()?;
    Ok(Answer::of(sent as f64 / begin.elapsed().as_secs_f64()))
}
