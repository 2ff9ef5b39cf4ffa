//! `ipc-channel`: bytes between a process and one that it forked.

use std::process::ExitCode;

use benches::clock::{pin, time_each};
use benches::contest::{Answer, Failure, Job};
use benches::kernel::Fork;
use benches::payload::{FIRST, LAST, check, message, set_number};
use ipc_channel::ipc::bytes_channel;

fn main() -> ExitCode {
    rivals::main(|_, job| match job.question.as_str() {
        "roundtrip" => Some(roundtrip(job)),
        "stream" => Some(stream(job)),
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
