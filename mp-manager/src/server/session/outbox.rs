//! Answers on their way to a client: sent without waiting, together while more are expected, and kept
//! as long as it does not take them.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use ipc_core::{EncodeError, Packet, SendError};

use super::super::ring::Ring;
use super::super::unread;
use super::Session;
use crate::client::{Once, at_once, lock};
use crate::said::Said;
use crate::wire::{AnswerKind, Tail, filler};

/// So many bytes of answers go in one message; more go in several.
const TOGETHER: usize = 64 * 1024;

/// Answers that a client does not read are kept up to this many bytes; then it goes.
const UNREAD: usize = 64 << 20;
/// The same for answers of which it does not say that they have come.
const UNHEARD: usize = 2 * UNREAD;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Answers go over it, not over the socket.
    pub(super) ring: Option<Arc<Ring>>,
    pub(super) packets: VecDeque<Packet>,
    pub(super) bytes: usize,
    /// The socket has taken a part of what it was to send last.
    pub(super) is_cut: bool,
    /// So long is an answer of which the link has sent a part, and keeps the rest.
    pub(super) in_link: usize,
    /// Answers that go together, while more are expected.
    pub(super) corked: Option<Vec<Packet>>,
    pub(super) corked_bytes: usize,
    /// What the client may not have yet, if it comes back when the connection is cut.
    pub(super) said: Option<Said>,
    /// How often it was cut or came back.
    pub(super) turn: u64,
    /// The client is waited for.
    pub(super) is_away: bool,
    /// Nothing more is kept for it, or goes to it: it has ended, or is to.
    pub(super) is_over: bool,
}

/// What became of an answer.
pub(super) enum Posted {
    Done,
    /// It does not go over the link.
    Refused,
    /// The client does not take more now.
    Choked,
    /// The connection is cut, and the answer is kept.
    Cut,
    /// Nothing more goes to this client.
    Over,
}

impl Outbox {
    pub(super) fn say(&mut self, message: Option<Vec<u8>>) {
        if let (Some(said), Some(message)) = (&mut self.said, message) {
            said.push(message);
        }
    }

    /// About how much memory it takes.
    fn memory(&self) -> usize {
        let said = self.said.as_ref().map_or(0, Said::bytes);
        said + self.bytes + self.packets.len() * size_of::<Packet>() + self.in_link
    }

    /// Keeps nothing any more.
    pub(super) fn close(&mut self) {
        (self.is_over, self.bytes, self.in_link) = (true, 0, 0);
        self.packets = VecDeque::new();
        self.corked = None;
        // What the client may still say to have come is none of it.
        if let Some(said) = &mut self.said {
            said.empty();
        }
    }
}

impl Session {
    pub(super) fn say(&self, mut packet: Packet, tail: &Tail) -> bool {
        packet.append_tail(tail).is_ok() && self.post(packet)
    }

    /// Keeps answers back, to send them together.
    pub(in crate::server) fn cork(&self) {
        self.is_corked.store(true, Ordering::Relaxed);
        lock(&self.outbox).corked.get_or_insert_default();
    }

    pub(in crate::server) fn is_corked(&self) -> bool {
        self.is_corked.load(Ordering::Relaxed)
    }

    /// Sends the answers that were kept back, and keeps none any more.
    pub(in crate::server) fn uncork(&self) {
        self.is_corked.store(false, Ordering::Relaxed);
        let mut outbox = lock(&self.outbox);
        if let Some(packets) = outbox.corked.take() {
            outbox.corked_bytes = 0;
            self.post_all(outbox, packets);
        }
    }

    /// Sends without waiting; what the client does not take now is kept for it.
    fn post(&self, packet: Packet) -> bool {
        let mut outbox = lock(&self.outbox);
        let len = packet.bytes().len();
        let Some(corked) = &mut outbox.corked else { return self.post_now(outbox, packet) };
        if len < TOGETHER && packet.handle_count() == 0 && !packet.moves_ends() {
            corked.push(packet);
            outbox.corked_bytes += len;
            if outbox.corked_bytes < TOGETHER {
                return true;
            }
            let packets = outbox.corked.replace(Vec::new()).unwrap_or_default();
            outbox.corked_bytes = 0;
            return self.post_all(outbox, packets);
        }
        // One that goes by itself must not go before those.
        let packets = std::mem::take(corked);
        outbox.corked_bytes = 0;
        self.post_all(outbox, packets) && self.post_now(lock(&self.outbox), packet)
    }

    /// Sends answers in one message.
    fn post_all(&self, outbox: MutexGuard<'_, Outbox>, mut packets: Vec<Packet>) -> bool {
        if packets.len() < 2 {
            return packets.pop().is_none_or(|packet| self.post_now(outbox, packet));
        }
        let mut together = Packet::new();
        let tail = Tail { call: 0, kind: AnswerKind::Batch, objects: Vec::new() };
        // Packets without handles, so nothing can refuse.
        let written = packets.iter().try_for_each(|packet| together.append_packet(packet));
        written.and_then(|()| together.append_tail(&tail)).is_ok() && self.post_now(outbox, together)
    }

    pub(super) fn post_now(&self, mut outbox: MutexGuard<'_, Outbox>, packet: Packet) -> bool {
        let posted = self.put(&mut outbox, packet);
        let has_grown = self.recount(&outbox);
        drop(outbox);
        if has_grown && let Some(server) = self.server.upgrade() {
            server.relieve();
        }
        match posted {
            Posted::Done => return true,
            Posted::Refused => return false,
            Posted::Choked => {
                if let Some(server) = self.server.upgrade() {
                    server.flush_later(self.id);
                }
                return true;
            }
            Posted::Cut => {}
            Posted::Over => self.give_up_waiting(),
        }
        self.give_out();
        matches!(posted, Posted::Cut)
    }

    /// Sends an answer, or keeps it until it can be sent.
    pub(super) fn put(&self, outbox: &mut Outbox, packet: Packet) -> Posted {
        if outbox.is_over {
            return Posted::Over;
        }
        let len = packet.bytes().len();
        let message = outbox.said.as_ref().map(|_| packet.bytes().to_vec());
        let is_stuck = outbox.is_away || self.choked.load(Ordering::Relaxed);
        if message.is_some() && is_stuck && (packet.handle_count() > 0 || packet.moves_ends()) {
            return Posted::Refused;
        }
        if outbox.said.as_ref().is_some_and(|said| said.bytes() > UNHEARD) {
            return Posted::Over;
        }
        if outbox.is_away {
            outbox.say(message);
            return Posted::Done;
        }
        if is_stuck {
            outbox.say(message);
            outbox.bytes += len;
            outbox.packets.push_back(packet);
            // What is kept until it was heard has its own bound, and all that is missing stands here.
            let is_full = outbox.said.is_none() && outbox.bytes > UNREAD;
            return if is_full { Posted::Over } else { Posted::Done };
        }
        let mut once = Once { packet, taken: false };
        let sent = match &outbox.ring {
            Some(ring) if !ring.takes(len) => {
                Err(EncodeError::new::<Packet>("it is longer than the client takes").into())
            }
            Some(ring) => ring.send(&mut once, at_once()),
            None => self.send_at_once(&mut once),
        };
        match sent {
            Ok(()) => {
                outbox.say(message);
                Posted::Done
            }
            Err(SendError::Timeout) => {
                outbox.say(message);
                // One that is sent in part is completed by the next: an empty one, if need be.
                outbox.in_link = if once.taken { len } else { 0 };
                let packet = if once.taken { filler() } else { once.packet };
                outbox.bytes += packet.bytes().len();
                outbox.packets.push_back(packet);
                self.choked.store(true, Ordering::Relaxed);
                Posted::Choked
            }
            Err(SendError::Encode(_) | SendError::NoHandles { .. }) => Posted::Refused,
            Err(_) if message.is_some() => {
                outbox.say(message);
                // While the outbox is locked: nobody comes back in between.
                self.note_cut();
                Posted::Cut
            }
            Err(_) => Posted::Over,
        }
    }

    /// Goes on with what the client has not taken, for `slice`; `true` if that is all.
    /// Only one thread does, and others only add meanwhile.
    pub(crate) fn flush(&self, slice: Duration) -> bool {
        let until = Instant::now().checked_add(slice);
        let Some(link) = self.link() else { return true };
        if std::mem::take(&mut lock(&self.outbox).is_cut)
            && matches!(link.flush(until), Err(SendError::Timeout))
        {
            lock(&self.outbox).is_cut = true;
            return false;
        }
        loop {
            let mut outbox = lock(&self.outbox);
            if outbox.is_away || outbox.is_over {
                return true;
            }
            let Some(packet) = outbox.packets.pop_front() else {
                self.choked.store(false, Ordering::Relaxed);
                return true;
            };
            let len = packet.bytes().len();
            let mut once = Once { packet, taken: false };
            let (ring, turn, link) = (outbox.ring.clone(), outbox.turn, self.link());
            drop(outbox);
            let sent = match (ring, link) {
                (Some(ring), _) => ring.link().send(&mut once, until),
                (None, Some(link)) => link.send(&mut once, until),
                (None, None) => Err(SendError::Closed),
            };
            let mut outbox = lock(&self.outbox);
            if outbox.turn != turn || outbox.is_over {
                // All that is missing stands in the outbox again, or nothing is to be sent any more.
                continue;
            }
            match sent {
                Ok(()) => {
                    outbox.bytes = outbox.bytes.saturating_sub(len);
                    outbox.in_link = 0;
                    self.recount(&outbox);
                }
                Err(SendError::Timeout) => {
                    let rest = if once.taken { filler() } else { once.packet };
                    if once.taken {
                        outbox.in_link = outbox.in_link.max(len);
                        outbox.bytes = outbox.bytes.saturating_sub(len) + rest.bytes().len();
                    }
                    outbox.packets.push_front(rest);
                    return false;
                }
                Err(error) => {
                    // Nobody can tell the callers apart any more: the client's end tells them all,
                    // unless it comes back and gets them again.
                    outbox.packets.clear();
                    (outbox.bytes, outbox.in_link) = (0, 0);
                    self.recount(&outbox);
                    if matches!(error, SendError::Closed | SendError::Io(_)) {
                        self.note_cut();
                    } else {
                        self.give_up_waiting();
                    }
                    drop(outbox);
                    self.give_out();
                }
            }
        }
    }

    /// How much of what is kept for it counts for what is kept for all.
    pub(in crate::server) fn kept(&self) -> usize {
        self.kept.load(Ordering::Relaxed)
    }

    /// Counts what is kept for it anew; whether that is more than before.
    pub(super) fn recount(&self, outbox: &Outbox) -> bool {
        let (before, now) = (self.kept(), outbox.memory().saturating_sub(unread::SHARE));
        if now != before
            && let Some(server) = self.server.upgrade()
        {
            self.kept.store(now, Ordering::Relaxed);
            server.unread.change(before, now);
        }
        now > before
    }

    /// Drops what is kept for it, and has it end.
    pub(in crate::server) fn forsake(&self) {
        let mut outbox = lock(&self.outbox);
        outbox.close();
        self.give_up_waiting();
        self.recount(&outbox);
        drop(outbox);
        self.give_out();
    }
}
