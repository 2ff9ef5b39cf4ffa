//! What does a process cost that waits for a message for a long time?

use std::thread::sleep;
use std::time::{Duration, Instant};

use ipc_core::{Receiver, Sender, pipe};
use mp_process::Process;

use super::{By, Row};
use crate::contest::{Answer, Failure, Job};
use crate::kernel::cpu_time_of_thread;

/// Half a percent of a processor, in microseconds for each second.
const LIMIT: u32 = 5_000;
/// The kernel must have something to count.
const LEAST: Duration = Duration::from_millis(500);

pub(super) fn rows() -> Vec<Row> {
    let row = Row::amounts("ipc/idle-wait", "idle-wait", 8).of("processor time").unit("µs/s");
    vec![row.within(LIMIT).beside("cpython", By::Python("messages.py", "pipe"))]
}

pub(super) fn ours(job: &Job) -> Result<Answer, Failure> {
    let (tx, waited_for) = pipe::<u64>()?;
    let (used, usage) = pipe::<u64>()?;
    let peer = Process::spawn(wait, (waited_for, used))?;
    tx.send(&1)?;
    // From here on nothing comes.
    let begun = Instant::now();
    sleep(job.budget.max(LEAST));
    tx.send(&2)?;
    let used = usage.recv()?;
    peer.join()?;
    // Nothing is less than can be seen.
    Ok(Answer::of((used as f64 / begun.elapsed().as_secs_f64()).max(1.0)))
}

/// Tells the time of the processor that a long wait used, with the looks that it began with.
fn wait((messages, used): (Receiver<u64>, Sender<u64>)) {
    let _ = messages.recv();
    let before = cpu_time_of_thread();
    let _ = messages.recv();
    let time = cpu_time_of_thread().saturating_sub(before);
    let _ = used.send(&(time.as_micros() as u64));
}
