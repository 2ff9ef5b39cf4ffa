//! How long does a message take to another process and back?
//!
//! Typed ends, with the codec: a `u64` for 8 bytes, and else a `Vec<u8>`.

use ipc_core::link::{PipeLink, SocketLink};
use ipc_core::{Connection, Message, Receiver, Sender, duplex};
use mp_process::Process;

use super::{By, Row};
use crate::busy::beside_two;
use crate::clock::{pin, time_each};
use crate::contest::{Answer, Failure, Job, Mode};
use crate::payload::{FIRST, LAST, check, message, set_number};

const PIPE: By = By::Python("messages.py", "pipe");
const PIPE_BYTES: By = By::Python("messages.py", "bytes");
const IPC_CHANNEL: By = By::Rival("ipc-channel", "bytes");
const ICEORYX2: By = By::Rival("iceoryx2", "poll");

pub(super) fn rows() -> Vec<Row> {
    let row = |what: &str, mode, size| Row::times(format!("ipc/roundtrip-{what}"), mode, "roundtrip", size);
    let hot = [
        row("8B", Mode::Hot, 8)
            .against("bound", By::Bound("spin"), 1.0 / 1.5)
            .against("cpython", PIPE, 70.0)
            .beside("cpython-bytes", PIPE_BYTES)
            .against("ipc-channel", IPC_CHANNEL, 70.0)
            .against("iceoryx2", ICEORYX2, 1.5)
            .against("iceoryx2-event", By::Rival("iceoryx2", "event"), 50.0)
            .beside("crossbeam", By::Rival("threads", "crossbeam")),
        row("1KiB", Mode::Hot, 1 << 10)
            .against("bound", By::Bound("spin"), 1.0 / 1.5)
            .beside("cpython", PIPE)
            .against("ipc-channel", IPC_CHANNEL, 3.5)
            .against("iceoryx2", ICEORYX2, 1.2),
        row("64KiB", Mode::Hot, 64 << 10)
            .against("bound", By::Bound("spin"), 1.0 / 1.2)
            .against("cpython", PIPE, 2.5)
            .against("ipc-channel", IPC_CHANNEL, 3.5)
            .against("iceoryx2", ICEORYX2, 1.2),
        row("1MiB", Mode::Hot, 1 << 20)
            .against("bound", By::Bound("spin"), 1.0 / 1.2)
            .against("cpython", PIPE, 10.0)
            .against("ipc-channel", IPC_CHANNEL, 3.5)
            .against("iceoryx2", ICEORYX2, 1.2),
    ];
    let asleep =
        [("8B", 8), ("1KiB", 1 << 10), ("64KiB", 64 << 10), ("1MiB", 1 << 20)].map(|(what, size)| {
            let row = row(what, Mode::Asleep, size);
            let row = if size == 8 {
                row.against("bound", By::Bound("futex"), 1.0 / 1.2)
            } else {
                row.beside("bound", By::Bound("futex"))
            };
            row.beside("raw-pipe", By::Bound("pipe"))
                .beside("cpython", PIPE)
                .beside("ipc-channel", IPC_CHANNEL)
        });
    let one_core =
        [("8B", 8), ("1KiB", 1 << 10), ("64KiB", 64 << 10), ("1MiB", 1 << 20)].map(|(what, size)| {
            let row = row(what, Mode::OneCore, size);
            if size == 8 {
                row.against("bound", By::Bound("futex"), 1.0 / 1.5)
                    .against("raw-pipe", By::Bound("pipe"), 1.0 / 1.3)
                    .against("cpython", PIPE, 4.0)
                    .against("ipc-channel", IPC_CHANNEL, 1.3)
            } else {
                let row = row.beside("bound", By::Bound("futex")).beside("raw-pipe", By::Bound("pipe"));
                row.beside("cpython", PIPE).beside("ipc-channel", IPC_CHANNEL)
            }
        });
    let growth = [("16MiB", 16 << 20), ("64MiB", 64 << 20)].map(|(what, size)| {
        let row = row(what, Mode::Hot, size).beside("bound", By::Bound("spin")).beside("cpython", PIPE);
        row.beside("ipc-channel", IPC_CHANNEL).grows()
    });
    let tail = Row::times("ipc/roundtrip-8B-p99", Mode::Hot, "roundtrip", 8).of_tail().within(2);
    hot.into_iter()
        .chain(asleep)
        .chain(one_core)
        .chain(growth)
        .chain(transports())
        .chain(busy())
        .chain([tail])
        .collect()
}

/// Without shared memory: over a pipe, and over a socket.
fn transports() -> Vec<Row> {
    let mut rows = Vec::new();
    for (way, question, raw) in [("pipe", "roundtrip-pipe", "pipe"), ("socket", "roundtrip-socket", "socket")]
    {
        let row = |mode| Row::times(format!("ipc/roundtrip-by-{way}"), mode, question, 8);
        rows.push(
            row(Mode::OneCore)
                .against("raw", By::Bound(raw), 1.0 / 1.15)
                .against("cpython", PIPE, 2.8)
                .against("cpython-bytes", PIPE_BYTES, 2.0),
        );
        rows.push(
            row(Mode::Hot).within(6).beside("raw", By::Bound(raw)).against("cpython", PIPE, 10.0).against(
                "cpython-bytes",
                PIPE_BYTES,
                10.0,
            ),
        );
    }
    rows
}

/// Two others work on the same two processors.
fn busy() -> [Row; 2] {
    let row = |name| Row::times(name, Mode::Hot, "roundtrip-busy", 8);
    let raw = By::Bound("socket");
    [
        row("ipc/roundtrip-8B-beside-busy").within(2).against("raw-socket", raw, 3.0),
        row("ipc/roundtrip-8B-beside-busy-p99").of_tail().within(60).beside("raw-socket", raw),
    ]
}

pub(super) fn ours(job: &Job) -> Result<Answer, Failure> {
    match job.question.as_str() {
        "roundtrip-pipe" => {
            let ((there, received), (back, answers)) = (PipeLink::pair()?, PipeLink::pair()?);
            let ours = (Sender::over(there), Receiver::over(answers));
            words(job, ours, (Sender::over(back), Receiver::over(received)))
        }
        "roundtrip-socket" => {
            let (ours, theirs) = SocketLink::pair()?;
            words(job, Connection::over(ours), Connection::over(theirs))
        }
        _ if job.number == 8 => {
            let (ours, theirs) = duplex()?;
            words(job, ours, theirs)
        }
        _ => bytes(job),
    }
}

pub(super) fn beside_busy(job: &Job) -> Result<Answer, Failure> {
    beside_two(|| ours(job))
}

/// A party's end of a conversation in words.
trait Words: Message {
    fn say(&self, word: u64) -> Result<(), Failure>;
    fn hear(&self) -> Result<u64, Failure>;
}

impl Words for Connection<u64, u64> {
    fn say(&self, word: u64) -> Result<(), Failure> {
        Ok(self.send(&word)?)
    }

    fn hear(&self) -> Result<u64, Failure> {
        Ok(self.recv()?)
    }
}

impl Words for (Sender<u64>, Receiver<u64>) {
    fn say(&self, word: u64) -> Result<(), Failure> {
        Ok(self.0.send(&word)?)
    }

    fn hear(&self) -> Result<u64, Failure> {
        Ok(self.1.recv()?)
    }
}

fn words<W: Words>(job: &Job, ours: W, theirs: W) -> Result<Answer, Failure> {
    let [own, other] = job.mode.processors();
    let peer = Process::spawn(answer_words, (theirs, other))?;
    pin(own)?;
    let answer = time_each(job.mode, job.budget, |turn| {
        ours.say(FIRST + turn)?;
        if ours.hear()? == FIRST + turn { Ok(()) } else { Err("another message came".into()) }
    })?;
    ours.say(LAST)?;
    peer.join()?;
    Ok(answer)
}

fn answer_words<W: Words>((ends, processor): (W, Option<usize>)) {
    pin(processor).expect("a processor");
    while let Ok(word) = ends.hear() {
        if word == LAST {
            return;
        }
        ends.say(word).expect("whoever asked is there");
    }
}

fn bytes(job: &Job) -> Result<Answer, Failure> {
    let [own, other] = job.mode.processors();
    let (ours, theirs) = duplex::<Vec<u8>, Vec<u8>>()?;
    let peer = Process::spawn(answer_bytes, (theirs, other))?;
    pin(own)?;
    let mut bytes = message(job.number);
    let answer = time_each(job.mode, job.budget, |turn| {
        set_number(&mut bytes, FIRST + turn);
        ours.send(&bytes)?;
        if check(&ours.recv()?) == FIRST + turn { Ok(()) } else { Err("another message came".into()) }
    })?;
    set_number(&mut bytes, LAST);
    ours.send(&bytes)?;
    peer.join()?;
    Ok(answer)
}

fn answer_bytes((connection, processor): (Connection<Vec<u8>, Vec<u8>>, Option<usize>)) {
    pin(processor).expect("a processor");
    while let Ok(bytes) = connection.recv() {
        if check(&bytes) == LAST {
            return;
        }
        connection.send(&bytes).expect("whoever asked is there");
    }
}
