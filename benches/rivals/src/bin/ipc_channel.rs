//! `ipc-channel`: bytes between a process and one that it forked, and shared memory.

use std::process::ExitCode;

use benches::clock::{pin, stay_away, time_each, time_prepared};
use benches::contest::{Answer, Failure, Job};
use benches::kernel::Fork;
use benches::payload::{FIRST, LAST, check, message, set_number};
use ipc_channel::ipc::{IpcSharedMemory, bytes_channel, channel};

fn main() -> ExitCode {
    rivals::main(|_, job| match job.question.as_str() {
        "roundtrip" => Some(roundtrip(job)),
        "stream" => Some(stream(job)),
        "array-fresh" => Some(shared(job, false)),
        "array-handle" => Some(shared(job, true)),
        _ => None,
    })
}

fn roundtrip(job: &Job) -> Result<Answer, Failure> {
    let [own, other] = job.mode.processors();
    let (there, received) = bytes_channel()?;
    let (back, answers) = bytes_channel()?;
    let peer = Fork::run(|| {
        pin(other).expect("a processor");
        loop {
            let bytes = received.recv().expect("whoever asked is there");
            if check(&bytes) == LAST {
                return;
            }
            back.send(&bytes).expect("whoever asked is there");
        }
    })?;
    pin(own)?;
    let mut bytes = message(job.number);
    let answer = time_each(job.mode, job.budget, |turn| {
        set_number(&mut bytes, FIRST + turn);
        there.send(&bytes)?;
        let received = answers.recv().map_err(|error| format!("{error:?}"))?;
        if check(&received) == FIRST + turn { Ok(()) } else { Err("another message came".into()) }
    })?;
    set_number(&mut bytes, LAST);
    there.send(&bytes)?;
    peer.join()?;
    Ok(answer)
}

fn stream(job: &Job) -> Result<Answer, Failure> {
    let [own, other] = job.mode.processors();
    let (there, received) = bytes_channel()?;
    let (back, answers) = bytes_channel()?;
    let peer = Fork::run(|| {
        pin(other).expect("a processor");
        let mut next = FIRST;
        loop {
            match check(&received.recv().expect("the sender is there")) {
                LAST => break back.send(&[1]).expect("the sender is there"),
                number => assert_eq!(number, next, "a message is missing"),
            }
            next += 1;
        }
    })?;
    pin(own)?;
    let mut bytes = message(job.number);
    let send = |number| {
        set_number(&mut bytes, number);
        Ok(there.send(&bytes)?)
    };
    let finished = || match answers.recv() {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{error:?}").into()),
    };
    let answer = rivals::send_for(job, send, finished)?;
    peer.join()?;
    Ok(answer)
}

/// An array in shared memory: new each time, or made before, of which the other process may have
/// had the handle before.
fn shared(job: &Job, is_kept: bool) -> Result<Answer, Failure> {
    let [own, other] = job.mode.processors();
    let (there, received) = channel::<Option<IpcSharedMemory>>()?;
    let (back, answers) = channel::<bool>()?;
    let peer = Fork::run(|| {
        pin(other).expect("a processor");
        loop {
            back.send(true).expect("whoever asked is there");
            let Some(memory) = received.recv().expect("whoever asked is there") else { return };
            back.send(true).expect("whoever asked is there");
            let _ = check(&memory);
        }
    })?;
    pin(own)?;
    let bytes = message(job.number);
    let kept = is_kept.then(|| IpcSharedMemory::from_bytes(&bytes));
    let answered = || answers.recv().map_err(|error| format!("{error:?}"));
    let prepare = |_| {
        // It has looked at the last one, and sleeps.
        answered()?;
        stay_away();
        Ok(())
    };
    let answer = time_prepared(job.budget, prepare, || {
        there.send(Some(kept.clone().unwrap_or_else(|| IpcSharedMemory::from_bytes(&bytes))))?;
        answered()?;
        Ok(())
    })?;
    answered()?;
    there.send(None)?;
    peer.join()?;
    Ok(answer)
}
