//! How long does it take to wake another process by an event, a condition or a barrier?
//!
//! The first two are a round trip, so two wake-ups. An event is also asked and set alone.

use std::hint::black_box;
use std::sync::atomic::Ordering::SeqCst;

use mp_process::Process;
use mp_sync::{Barrier, Condition, Event, SharedAtomicU64, Value};

use super::{By, Row};
use crate::clock::{ns_per_turn, pin, time_each};
use crate::contest::{Answer, Failure, Job, Mode};

pub(super) fn rows() -> Vec<Row> {
    let pair =
        |what: &str, mode, question: &'static str| Row::times(format!("sync/{what}"), mode, question, 2);
    let mut rows =
        vec![
            pair("event", Mode::Asleep, "event").against("bound", By::Bound("futex"), 1.0 / 1.2).against(
                "cpython",
                By::Python("sync.py", "Event"),
                3.0,
            ),
            pair("event", Mode::OneCore, "event").against("bound", By::Bound("futex"), 1.0 / 1.2).against(
                "cpython",
                By::Python("sync.py", "Event"),
                4.0,
            ),
            pair("event", Mode::Hot, "event").against("bound", By::Bound("futex"), 1.0 / 1.2).against(
                "cpython",
                By::Python("sync.py", "Event"),
                3.0,
            ),
            pair("condition", Mode::Asleep, "condition")
                .against("bound", By::Bound("futex"), 1.0 / 1.1)
                .against("cpython", By::Python("sync.py", "Condition"), 3.0),
            pair("condition", Mode::Hot, "condition")
                .within(5)
                .against("bound", By::Bound("futex"), 1.0 / 1.1)
                .against("cpython", By::Python("sync.py", "Condition"), 3.0),
        ];
    let alone = |what: &str, question, limit, target| {
        Row::times(format!("sync/{what}"), Mode::OneCore, question, 1).unit("ns").within(limit).against(
            "cpython",
            By::Python("sync.py", "Event"),
            target,
        )
    };
    rows.push(alone("event-is-set", "is-set", 5, 60.0));
    rows.push(alone("event-set-clear", "set-clear", 60, 15.0));
    for parties in [2, 4, 8, 16, 64] {
        let row = Row::times(format!("sync/barrier-of-{parties}"), Mode::Free, "barrier", parties);
        let row = row.against("bound", By::Bound("futex"), 1.0 / 1.15).against(
            "cpython",
            By::Python("sync.py", "Barrier"),
            if parties < 64 { 6.0 } else { 17.0 },
        );
        rows.push(if parties > 4 { row.grows() } else { row });
    }
    rows
}

/// Nobody waits.
pub(super) fn alone(job: &Job) -> Result<Answer, Failure> {
    let event = Event::new()?;
    pin(job.mode.processors()[0])?;
    Ok(ns_per_turn(job.budget, || {
        if job.question == "is-set" {
            assert!(!black_box(&event).is_set());
        } else {
            event.set();
            event.clear();
        }
    }))
}

pub(super) fn event(job: &Job) -> Result<Answer, Failure> {
    let [own, other] = job.mode.processors();
    let (there, back, last) = (Event::new()?, Event::new()?, Event::new()?);
    let peer = Process::spawn(answer_events, (there.clone(), back.clone(), last.clone(), other))?;
    pin(own)?;
    let answer = time_each(job.mode, job.budget, |_| {
        there.set();
        back.wait();
        back.clear();
        Ok(())
    })?;
    last.set();
    there.set();
    peer.join()?;
    Ok(answer)
}

fn answer_events((there, back, last, processor): (Event, Event, Event, Option<usize>)) {
    pin(processor).expect("a processor");
    loop {
        there.wait();
        there.clear();
        if last.is_set() {
            return;
        }
        back.set();
    }
}

/// The turn is even for the one who asks and odd for the other; this ends it.
const OVER: u64 = u64::MAX;

pub(super) fn condition(job: &Job) -> Result<Answer, Failure> {
    let [own, other] = job.mode.processors();
    let (turn, changed) = (Value::<u64>::new(0)?, Condition::new()?);
    let peer = Process::spawn(answer_turns, (turn.clone(), changed.clone(), other))?;
    pin(own)?;
    let answer = time_each(job.mode, job.budget, |_| {
        let mut now = turn.lock().map_err(|_| "the lock's holder died")?;
        *now += 1;
        changed.notify(1);
        let now = changed.wait_while(now, |now| **now % 2 == 1);
        drop(now.map_err(|_| "the lock's holder died")?);
        Ok(())
    })?;
    *turn.lock().map_err(|_| "the lock's holder died")? = OVER;
    changed.notify(1);
    peer.join()?;
    Ok(answer)
}

fn answer_turns((turn, changed, processor): (Value<u64>, Condition, Option<usize>)) {
    pin(processor).expect("a processor");
    let mut now = turn.lock().expect("nobody died");
    loop {
        now = changed.wait_while(now, |now| **now % 2 == 0).expect("nobody died");
        if *now == OVER {
            return;
        }
        *now += 1;
        changed.notify(1);
    }
}

pub(super) fn barrier(job: &Job) -> Result<Answer, Failure> {
    let (barrier, last) = (Barrier::new(u32::try_from(job.number)?)?, SharedAtomicU64::new(0)?);
    let others = (1..job.number).map(|_| Process::spawn(meet, (barrier.clone(), last.clone())));
    let others: Result<Vec<Process<()>>, _> = others.collect();
    let others = others?;
    let mut rounds = 0;
    let answer = time_each(job.mode, job.budget, |_| {
        rounds += 1;
        barrier.wait()?;
        Ok(())
    })?;
    last.store(rounds + 1, SeqCst);
    barrier.wait()?;
    others.into_iter().try_for_each(Process::join)?;
    Ok(answer)
}

/// Leaves after the round that was said to be the last before it began.
fn meet((barrier, last): (Barrier, SharedAtomicU64)) {
    for round in 1.. {
        barrier.wait().expect("nobody died");
        if last.load(SeqCst) == round {
            return;
        }
    }
}
