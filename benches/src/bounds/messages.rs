//! Messages through the bare ring, a bare pipe and a bare socket.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::io::{read, write};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::pipe;

use super::ring::{Ring, Wait};
use crate::clock::{pin, time_each};
use crate::contest::{Answer, Failure, Job};
use crate::kernel::Fork;
use crate::payload::{FIRST, LAST, check, message, set_number};

/// A way for bytes, used in one direction by each process.
trait Way {
    fn write(&self, bytes: &[u8]);
    fn read(&self, bytes: &mut [u8]);
}

pub(super) fn roundtrip(name: &str, job: &Job) -> Result<Answer, Failure> {
    let [there, back] = ways(name)?;
    let [own, other] = job.mode.processors();
    let len = job.number;
    let peer = Fork::run(|| {
        pin(other).expect("a processor");
        let mut bytes = message(len);
        loop {
            there.read(&mut bytes);
            if check(&bytes) == LAST {
                return;
            }
            back.write(&bytes);
        }
    })?;
    pin(own)?;
    let mut bytes = message(len);
    let answer = time_each(job.mode, job.budget, |turn| {
        set_number(&mut bytes, FIRST + turn);
        there.write(&bytes);
        back.read(&mut bytes);
        if check(&bytes) == FIRST + turn { Ok(()) } else { Err("another message came".into()) }
    })?;
    set_number(&mut bytes, LAST);
    there.write(&bytes);
    peer.join()?;
    Ok(answer)
}

/// Messages for each second: this process writes for as long as it may, and the other
/// one says when it has read the last.
pub(super) fn stream(name: &str, job: &Job) -> Result<Answer, Failure> {
    let [there, back] = ways(name)?;
    let [own, other] = job.mode.processors();
    let mut bytes = message(job.number);
    let mut read_bytes = message(job.number);
    let peer = Fork::run(|| {
        pin(other).expect("a processor");
        let mut next = FIRST;
        loop {
            there.read(&mut read_bytes);
            match check(&read_bytes) {
                LAST => break back.write(&[1]),
                number => assert_eq!(number, next, "a message is missing"),
            }
            next += 1;
        }
    })?;
    pin(own)?;
    let mut sent = 0;
    let begin = Instant::now();
    while sent % job.unwatched() != 0 || begin.elapsed() < job.budget {
        set_number(&mut bytes, FIRST + sent);
        there.write(&bytes);
        sent += 1;
    }
    set_number(&mut bytes, LAST);
    there.write(&bytes);
    back.read(&mut [0]);
    let rate = sent as f64 / begin.elapsed().as_secs_f64();
    peer.join()?;
    Ok(Answer::of(rate))
}

/// There and back. A connection is one socket for both: a reader that waits at it is woken also when the
/// other one makes room, which two sockets would hide.
fn ways(name: &str) -> Result<[Box<dyn Way>; 2], Failure> {
    Ok(match name {
        "spin" => rings(Wait::Spin)?,
        "hybrid" => rings(Wait::Hybrid)?,
        "futex" => rings(Wait::Futex)?,
        "pipe" => [Box::new(Stream::from(pipe()?)), Box::new(Stream::from(pipe()?))],
        "socket" => {
            let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
            let (a, b) = socketpair(family, kind, SocketFlags::empty(), None)?;
            let back = Stream { reader: a.try_clone()?, writer: b.try_clone()? };
            [Box::new(Stream { reader: b, writer: a }), Box::new(back)]
        }
        _ => return Err(format!("no way is called {name}").into()),
    })
}

fn rings(wait: Wait) -> Result<[Box<dyn Way>; 2], Failure> {
    Ok([Box::new(Ring::new(wait)?), Box::new(Ring::new(wait)?)])
}

impl Way for Ring {
    fn write(&self, bytes: &[u8]) {
        Ring::write(self, bytes);
    }

    fn read(&self, bytes: &mut [u8]) {
        Ring::read(self, bytes);
    }
}

/// A pipe or a socket.
struct Stream {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl From<(OwnedFd, OwnedFd)> for Stream {
    fn from((reader, writer): (OwnedFd, OwnedFd)) -> Self {
        Self { reader, writer }
    }
}

impl Way for Stream {
    fn write(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let done = write(&self.writer, bytes).map_err(io::Error::from).expect("the reader lives");
            bytes = &bytes[done..];
        }
    }

    fn read(&self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let done = read(&self.reader, &mut *bytes).map_err(io::Error::from).expect("the writer lives");
            assert!(done > 0, "the writer left");
            bytes = &mut bytes[done..];
        }
    }
}
