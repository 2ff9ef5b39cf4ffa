//! Many clients of one server: processes that call it all at once, or connections
//! that are only there.

use std::cell::Cell;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::{read, write};
use rustix::pipe::pipe;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::contest::{Answer, Failure, Job};
use crate::kernel::Fork;

/// Not more processes than this are clients at once; where there are more clients, each
/// process uses its share of them in turn.
pub const MOST: usize = 64;

/// So many calls each process makes before the clock starts, by its clients in turn, whoever the
/// contestant is: what is measured is a rate, and not how clients come.
const WARM: usize = 128;

/// How many clients each of the processes is.
#[must_use]
pub fn shares(clients: usize) -> Vec<usize> {
    let processes = clients.clamp(1, MOST);
    (0..processes).map(|index| (clients + index) / processes).collect()
}

/// Forks the clients of a server, and says how many calls they make in a second. Each
/// process makes its share of clients with `connect`, and `call`s by them in turn: to
/// [warm up](warm_up) first, and when all have, for the job's time.
///
/// # Errors
/// A process cannot be made, or a client failed.
pub fn calls_of_forks<C>(
    job: &Job,
    connect: impl Fn() -> Result<C, Failure>,
    call: impl Fn(&mut C, u64) -> Result<(), Failure>,
) -> Result<Answer, Failure> {
    let (started, start) = pipe()?;
    let (results, result) = pipe()?;
    let (mut start, mut forks) = (Some(start), Vec::new());
    for share in shares(job.number) {
        forks.push(Fork::run(|| {
            start = None;
            let clients: Result<Vec<C>, Failure> = (0..share).map(|_| connect()).collect();
            let mut clients = clients.expect("clients");
            warm_up(&mut clients, &call).expect("a call");
            tell(&result, [0; 16]);
            let _ = read(&started, &mut [0u8]);
            let (count, time) = take_turns(job.budget, &mut clients, &call).expect("a call");
            tell(&result, [count.to_le_bytes(), (time.as_nanos() as u64).to_le_bytes()].concat());
        })?);
    }
    // A client that fails is one that says nothing.
    drop(result);
    for _ in &forks {
        hear(&results)?;
    }
    drop(start);
    let turns: Result<Vec<[u64; 2]>, Failure> = forks.iter().map(|_| hear(&results)).collect();
    forks.into_iter().try_for_each(Fork::join)?;
    Ok(of_calls(turns?.into_iter().map(|[count, nanos]| (count, Duration::from_nanos(nanos)))))
}

/// Calls by all clients in turn, so often that a contestant that treats those that call often in
/// another way does so when the clock starts.
///
/// # Errors
/// Those of the calls.
pub fn warm_up<C>(
    clients: &mut [C],
    call: impl Fn(&mut C, u64) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for turn in 0..WARM.div_ceil(clients.len().max(1)) {
        clients.iter_mut().try_for_each(|client| call(client, turn as u64))?;
    }
    Ok(())
}

/// Calls by all clients in turn for so long; how many calls, in which time.
///
/// # Errors
/// Those of the calls.
pub fn take_turns<C>(
    budget: Duration,
    clients: &mut [C],
    call: impl Fn(&mut C, u64) -> Result<(), Failure>,
) -> Result<(u64, Duration), Failure> {
    let (begin, mut count) = (Instant::now(), 0);
    while begin.elapsed() < budget {
        for client in &mut *clients {
            call(client, count)?;
            count += 1;
        }
    }
    Ok((count, begin.elapsed()))
}

/// The rate of all processes' calls.
pub fn of_calls(turns: impl Iterator<Item = (u64, Duration)>) -> Answer {
    Answer::of(turns.map(|(count, time)| count as f64 / time.as_secs_f64()).sum())
}

/// Lets this process and its children have as many descriptors as they may.
///
/// # Errors
/// The kernel's.
pub fn many_descriptors() -> io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// How much memory each of `clients` connections costs a process, in bytes: what it
/// has more of after they are there.
///
/// # Errors
/// The process is gone, or the connections failed.
pub fn memory_per_client<T>(
    process: u32,
    clients: usize,
    connect: impl FnOnce() -> Result<T, Failure>,
) -> Result<Answer, Failure> {
    let before = status(process, "VmRSS:")?;
    let connections = connect()?;
    let more = status(process, "VmRSS:")?.saturating_sub(before) * 1024;
    drop(connections);
    // Nothing is less than can be seen.
    Ok(Answer::of((more as f64 / clients as f64).max(1.0)))
}

/// As [`memory_per_client`], by a process that is forked to connect: what it leaves
/// behind in its memory would be reused by the next server that is forked.
///
/// # Errors
/// As [`memory_per_client`].
pub fn memory_per_client_of_fork<T>(
    process: u32,
    clients: usize,
    connect: impl FnOnce() -> Result<T, Failure>,
) -> Result<Answer, Failure> {
    let (started, start) = pipe()?;
    let (results, result) = pipe()?;
    let mut start = Some(start);
    let forked = Cell::new(None);
    let answer = memory_per_client(process, clients, || {
        let fork = Fork::run(|| {
            start = None;
            let _clients = connect().expect("clients");
            tell(&result, [0; 16]);
            let _ = read(&started, &mut [0u8]);
        })?;
        forked.set(Some(fork));
        hear(&results)
    });
    drop(start);
    forked.take().map(Fork::join).transpose()?;
    answer
}

/// How many threads a process has.
///
/// # Errors
/// The process is gone.
pub fn threads(process: u32) -> Result<Answer, Failure> {
    Ok(Answer::of(status(process, "Threads:")? as f64))
}

/// The memory that a process has for itself, in bytes.
///
/// # Errors
/// The process is gone.
pub fn private_memory(process: u32) -> Result<u64, Failure> {
    let maps = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let private = maps.lines().filter(|line| line.starts_with("Private_"));
    let kilobytes = private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    Ok(1024 * kilobytes.sum::<u64>())
}

/// A number of a process's, as its kernel gives it.
fn status(process: u32, name: &str) -> Result<u64, Failure> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such number")?;
    Ok(line.split_whitespace().next().ok_or("no number")?.parse()?)
}

fn tell(result: &OwnedFd, words: impl AsRef<[u8]>) {
    // As short as a pipe takes whole.
    let _ = write(result, words.as_ref());
}

fn hear(results: &OwnedFd) -> Result<[u64; 2], Failure> {
    let mut bytes = [0; 16];
    if read(results, &mut bytes)? < bytes.len() {
        return Err("a client failed".into());
    }
    let (count, nanos) = bytes.split_at(8);
    Ok([u64::from_le_bytes(count.try_into()?), u64::from_le_bytes(nanos.try_into()?)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_all_the_clients() {
        assert_eq!(shares(4), [1; 4]);
        assert_eq!(shares(1000).iter().sum::<usize>(), 1000);
        assert_eq!(shares(1000).len(), MOST);
    }
}
