//! Giving out tasks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc_core::{EncodeError, Packet, SendError};

use super::{Driver, State};
use crate::core::TaskId;
use crate::error::TaskKind;
use crate::station::Station;
use crate::wire::{Order, ShareId, TaskFrame, TaskHead, send_order};

/// A frame up to this size is sent to a worker that is busy; a larger one only to
/// one that waits for it, so that the two never wait for each other.
const SMALL_FRAME: usize = 32 << 10;
/// How long a worker that waits may take to accept a large task: this, and as much
/// again for each of so many bytes. One that takes longer has been stopped.
const LARGE_FRAME_TIMEOUT: Duration = Duration::from_millis(20);
const BYTES_PER_TIMEOUT: usize = 4 << 20;

impl Driver {
    /// Gives queued tasks to workers that should have one.
    pub(super) fn dispatch(&self, state: &mut State) {
        if state.core.rules.idle_timeout.is_some() {
            self.fill(state);
        }
        let (mut unhurried, mut gave) = (Vec::new(), false);
        while state.core.has_queue() {
            let Some(worker) = state.core.next_worker(false) else { break };
            let Some(id) = state.core.next_task() else { break };
            let Some(task) = state.core.task_mut(id) else { continue };
            let is_large = task.packet.bytes().len() > SMALL_FRAME;
            // Ends that have moved to a worker cannot be taken back: what brings them waits
            // behind nothing, and is lost to nothing but itself.
            let moves = task.packet.moves_ends();
            let worker = if is_large || moves { state.core.next_worker(true) } else { Some(worker) };
            let Some(worker) = worker else {
                state.core.put_back(id);
                break;
            };
            state.core.fit(worker, id);
            // Of many tasks that are given out together, each worker is woken once.
            let hurried = is_large || !state.core.has_queue();
            self.give(state, worker, id, is_large, hurried);
            gave = true;
            if !hurried && !unhurried.contains(&worker) {
                unhurried.push(worker);
            }
        }
        for station in unhurried.into_iter().filter_map(|place| state.stations[place].as_ref()) {
            station.link().hurry();
        }
        if gave {
            self.wake_for_the_rest(state);
        }
    }

    fn give(&self, state: &mut State, worker: usize, id: TaskId, is_large: bool, hurried: bool) {
        let poll = state.core.may_poll_after(worker);
        let Some(station) = state.stations[worker].clone() else {
            return state.core.refuse(worker, id);
        };
        let Some(task) = state.core.task_mut(id) else { return };
        if let Some(lease) = task.code.lease.clone()
            && !state.core.knows(worker, lease.id)
            && !self.send_shared(state, worker, id, &station, lease.id)
        {
            return;
        }
        let State { core, head: space, .. } = &mut *state;
        let turn = core.next_turn(worker);
        let Some(task) = core.task_mut(id) else { return };
        let head = TaskHead {
            task: id,
            turn,
            items: task.items,
            lone: is_large && task.items == 1 && task.code.takes_vectors,
            job_len: task.code.bytes.len() as u32,
            whole: task.code.whole,
            poll,
            #[cfg(feature = "tracing")]
            index: task.index,
        };
        let code = Arc::clone(&task.code);
        let lumps = 1 + task.packet.bytes().len() / BYTES_PER_TIMEOUT;
        let patience = LARGE_FRAME_TIMEOUT.saturating_mul(u32::try_from(lumps).unwrap_or(u32::MAX));
        let deadline = Instant::now() + if is_large { patience } else { Duration::ZERO };
        let mut frame = TaskFrame::new(head, &code.bytes, &mut task.packet, space);
        match station.send(&mut frame, hurried, deadline) {
            Ok(()) => {
                state.core.give(worker, id);
                if !station.board().is_ready() {
                    state.core.is_coming_up(worker);
                }
                if state.driven && !state.listened[worker] {
                    // Who sleeps for all is to listen to this one too.
                    state.listened[worker] = true;
                    self.bell.ring();
                }
            }
            // Full, or dying: its end is noticed by other means.
            Err(SendError::Timeout | SendError::Closed) => state.core.refuse(worker, id),
            Err(SendError::Encode(error)) => self.refuse_task(state, id, error),
            Err(error) => self.refuse_task(state, id, EncodeError::new::<Packet>(error)),
        }
    }

    /// Sends a worker a value that its task is about to look at; whether it took it. If
    /// not, the task has been seen to.
    fn send_shared(
        &self,
        state: &mut State,
        worker: usize,
        id: TaskId,
        station: &Station,
        share: ShareId,
    ) -> bool {
        let Some(order) = state.core.shares.order(share) else { return false };
        match station.send(order, true, Instant::now()) {
            Ok(()) => {
                state.core.learned(worker, share);
                return true;
            }
            Err(SendError::Timeout | SendError::Closed) => state.core.refuse(worker, id),
            Err(SendError::Encode(error)) => self.refuse_task(state, id, error),
            Err(error) => self.refuse_task(state, id, EncodeError::new::<Packet>(error)),
        }
        false
    }

    /// Has workers drop shared values that nobody needs any more.
    pub(super) fn drop_unwanted(&self, state: &mut State) {
        for (place, id) in state.core.unwanted() {
            let Some(station) = &state.stations[place] else { continue };
            // One whose link is full is told later.
            if send_order(station.link(), Order::Drop(id)).is_ok() {
                state.core.unlearned(place, id);
            }
        }
    }

    /// Takes back what waits in workers behind something slow, while others are idle.
    /// When to look again.
    pub(super) fn take_back(&self, state: &mut State) -> Option<Instant> {
        let (late, again) = state.core.laggards();
        if late.is_empty() {
            return again;
        }
        for place in late {
            let Some(station) = state.stations[place].clone() else { continue };
            for (id, turn, by_burst) in state.core.waiting_in(place) {
                let begun = station.board().recall(turn, by_burst);
                state.core.take_back(place, id, begun);
            }
            self.dispatch(state);
        }
        // Where it went it may wait as well.
        state.core.laggards().1
    }

    /// Has whoever sleeps for all look again in time: where a worker took a part of a message or
    /// nothing at all, for no answer need come before it is tried again; and where something waits
    /// behind another task, which may take long, while a worker is idle.
    fn wake_for_the_rest(&self, state: &mut State) {
        if !state.driven {
            return;
        }
        let is_unseen = !state.watches && state.core.is_lopsided();
        if is_unseen || state.is_cut() || state.core.is_stuck() {
            state.watches |= is_unseen;
            self.bell.ring();
        }
    }

    fn refuse_task(&self, state: &mut State, id: TaskId, error: EncodeError) {
        let job = state.core.fail(id, TaskKind::Argument(error));
        Self::notify(state, job);
    }
}
