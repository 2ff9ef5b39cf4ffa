//! A bare pool: each of two workers has a ring to it and one back. Items have no types, and
//! nobody looks for dead workers.

use crate::clock::rate_each;
use crate::contest::{Answer, Failure, Job};
use crate::kernel::Fork;
use crate::payload::{LAST, check, message, set_number};

use super::ring::{Ring, Wait};

const WORKERS: usize = 2;
/// So many messages are under way to a worker, or so many bytes: those for which a ring has no
/// room on both ways would be waited for by both sides.
const WINDOW: usize = 128;
const BYTES: usize = 128 << 10;
/// So many megabytes make one batch.
const MEGABYTES: usize = 32;

/// Squares of `job.number` numbers, so many of them in one message.
pub(super) fn squares(job: &Job, chunk: usize) -> Result<Answer, Failure> {
    let pool = Pool::new(8 * chunk, square_all)?;
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
    let pool = Pool::new(job.number, |bytes| {
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
    fn new(len: usize, work: fn(&mut [u8])) -> Result<Self, Failure> {
        let ring = || Ring::new(Wait::Hybrid);
        let pair = |_| Ok([ring()?, ring()?]);
        let rings: Vec<[Ring; 2]> = (0..WORKERS).map(pair).collect::<Result<_, Failure>>()?;
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
        let window = WORKERS * (BYTES / self.len).clamp(1, WINDOW);
        let mut bytes = vec![0; self.len];
        let mut sent = 0;
        for taken in 0..count {
            while sent < count && sent < taken + window {
                make(sent, &mut bytes);
                let [there, _] = &self.rings[sent % WORKERS];
                there.write(&bytes);
                sent += 1;
            }
            self.rings[taken % WORKERS][1].read(&mut bytes);
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
