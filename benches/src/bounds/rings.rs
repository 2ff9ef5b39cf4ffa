//! A bare pool: each worker has a ring to it and one back. Items have no types, and
//! nobody looks for dead workers.

use std::io;

use crate::clock::{rate_each, time_each};
use crate::contest::{Answer, Failure, Job, Mode};
use crate::kernel::Fork;
use crate::payload::{LAST, check, message, set_number};

use super::ring::{Ring, Wait};

/// Of a pool that is not measured by its workers' number.
const WORKERS: usize = 2;
/// So many messages are under way to a worker, or so many bytes: those for which a ring has no
/// room on both ways would be waited for by both sides.
const WINDOW: usize = 128;
const BYTES: usize = 128 << 10;
/// So many megabytes make one batch.
const MEGABYTES: usize = 32;

/// Squares of `job.number` numbers, so many of them in one message.
pub(super) fn squares(job: &Job, chunk: usize) -> Result<Answer, Failure> {
    let pool = Pool::new(WORKERS, warm_ring, 8 * chunk, square_all)?;
    let mut values = vec![0u64; job.number];
    let answer = rate_each(job.budget, || {
        let make = |place: usize, bytes: &mut [u8]| {
            for (x, word) in (place * chunk..).zip(bytes.chunks_exact_mut(8)) {
                word.copy_from_slice(&(x as u64).to_le_bytes());
            }
        };
        pool.run(job.number.div_ceil(chunk), make, |place, bytes| {
            let words = bytes.chunks_exact(8).map(word);
            values[place * chunk..].iter_mut().zip(words).for_each(|(value, word)| *value = word);
            Ok(())
        })?;
        let is_right = values.iter().zip(0u64..).all(|(value, x)| *value == x.wrapping_mul(x));
        if is_right { Ok(values.len()) } else { Err("wrong squares".into()) }
    });
    pool.end()?;
    answer
}

/// Messages that a worker reads and sends back with the next number.
pub(super) fn megabytes(job: &Job) -> Result<Answer, Failure> {
    let pool = Pool::new(WORKERS, warm_ring, job.number, |bytes| {
        let number = check(bytes);
        set_number(bytes, number + 1);
    })?;
    let original = message(job.number);
    let answer = rate_each(job.budget, || {
        let make = |place: usize, bytes: &mut [u8]| {
            bytes.copy_from_slice(&original);
            set_number(bytes, place as u64);
        };
        pool.run(MEGABYTES, make, |place, bytes| {
            if check(bytes) == place as u64 + 1 { Ok(()) } else { Err("another megabyte came".into()) }
        })?;
        Ok(MEGABYTES)
    });
    pool.end()?;
    answer
}

/// Makes a pool of so many workers, asks one of them for a square, and lets them all go.
pub(super) fn up(job: &Job) -> Result<Answer, Failure> {
    time_each(Mode::Free, job.budget, |turn| {
        let pool = Pool::new(job.number, Ring::untouched, 8, square_all)?;
        let make = |_, bytes: &mut [u8]| bytes.copy_from_slice(&turn.to_le_bytes());
        pool.run(1, make, |_, bytes| {
            if word(bytes) == turn.wrapping_mul(turn) { Ok(()) } else { Err("a wrong square".into()) }
        })?;
        pool.end()
    })
}

fn warm_ring() -> io::Result<Ring> {
    Ring::new(Wait::Hybrid)
}

fn word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}

fn square_all(bytes: &mut [u8]) {
    for place in bytes.chunks_exact_mut(8) {
        let x = word(place);
        place.copy_from_slice(&x.wrapping_mul(x).to_le_bytes());
    }
}

struct Pool {
    rings: Vec<[Ring; 2]>,
    forks: Vec<Fork>,
    len: usize,
}

impl Pool {
    fn new(
        workers: usize,
        ring: fn() -> io::Result<Ring>,
        len: usize,
        work: fn(&mut [u8]),
    ) -> Result<Self, Failure> {
        let pair = |_| Ok([ring()?, ring()?]);
        let rings: Vec<[Ring; 2]> = (0..workers).map(pair).collect::<Result<_, Failure>>()?;
        let mut forks = Vec::new();
        for [there, back] in &rings {
            forks.push(Fork::run(|| {
                let mut bytes = vec![0; len];
                loop {
                    there.read(&mut bytes);
                    if bytes.starts_with(&LAST.to_le_bytes()) {
                        return;
                    }
                    work(&mut bytes);
                    back.write(&bytes);
                }
            })?);
        }
        Ok(Self { rings, forks, len })
    }

    /// So many messages, given to the workers in turn, and their answers in order.
    fn run(
        &self,
        count: usize,
        mut make: impl FnMut(usize, &mut [u8]),
        mut take: impl FnMut(usize, &[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let workers = self.rings.len();
        let window = workers * (BYTES / self.len).clamp(1, WINDOW);
        let mut bytes = vec![0; self.len];
        let mut sent = 0;
        for taken in 0..count {
            while sent < count && sent < taken + window {
                make(sent, &mut bytes);
                let [there, _] = &self.rings[sent % workers];
                there.write(&bytes);
                sent += 1;
            }
            self.rings[taken % workers][1].read(&mut bytes);
            take(taken, &bytes)?;
        }
        Ok(())
    }

    fn end(self) -> Result<(), Failure> {
        let mut last = vec![0; self.len];
        set_number(&mut last, LAST);
        self.rings.iter().for_each(|[there, _]| there.write(&last));
        Ok(self.forks.into_iter().try_for_each(Fork::join)?)
    }
}
