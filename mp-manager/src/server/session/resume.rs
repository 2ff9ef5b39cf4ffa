//! A client that comes back: what is counted, waited for and sent again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ipc_core::Packet;
use ipc_core::link::Link;

use super::super::grace::{Claim, Lasting};
use super::Session;
use super::outbox::Posted;
use crate::client::lock;
use crate::said::Said;
use crate::wire::{AnswerKind, Resumed, Tail, Ticket};

impl Session {
    /// The client comes back when the connection is cut: its ticket goes as the answer to a call, and
    /// what is said after that is counted. `false` if it is not to, or does already.
    pub(in crate::server) fn last(&self, call: u64, token: u128) -> bool {
        let mut outbox = lock(&self.outbox);
        let mut packet = Packet::new();
        let tail = Tail { call, kind: AnswerKind::Ticket, objects: Vec::new() };
        let written = packet.append_item(&Ticket { session: self.id, token });
        if written.and_then(|()| packet.append_tail(&tail)).is_err()
            || outbox.corked.is_some()
            || self.lasting.set(Lasting::new(token)).is_err()
        {
            return false;
        }
        lock(&self.state).calls.remove(&call);
        let posted = self.put(&mut outbox, packet);
        outbox.said = Some(Said::default());
        self.recount(&outbox);
        drop(outbox);
        match posted {
            Posted::Choked => {
                if let Some(server) = self.server.upgrade() {
                    server.flush_later(self.id);
                }
            }
            Posted::Done => {}
            _ => {
                self.give_up_waiting();
                self.give_out();
            }
        }
        true
    }

    /// So many of its messages have come to the client; `false` if that cannot be.
    pub(in crate::server) fn was_heard(&self, count: u64) -> bool {
        let mut outbox = lock(&self.outbox);
        let can_be = outbox.said.as_mut().is_some_and(|said| said.forget_up_to(count));
        self.recount(&outbox);
        can_be
    }

    /// Says that so many of the client's have come.
    pub(super) fn tell_heard(&self, count: u64) {
        let mut packet = Packet::new();
        let tail = Tail { call: count, kind: AnswerKind::Heard, objects: Vec::new() };
        if packet.append_tail(&tail).is_ok() {
            self.post_now(lock(&self.outbox), packet);
        }
    }

    /// Whether it is waited for the client.
    pub(super) fn is_away(&self) -> bool {
        self.lasting.get().is_some() && lock(&self.outbox).is_away
    }

    /// Whether nothing is to be done about an end that somebody has noticed: it is waited for the
    /// client already, or that has come back meanwhile.
    pub(in crate::server) fn is_seen_to(&self) -> bool {
        let Some(lasting) = self.lasting.get() else { return false };
        !lasting.is_over.load(Ordering::Relaxed)
            && (self.is_away() || !lasting.is_cut.load(Ordering::Relaxed))
    }

    /// The same, since that turn.
    pub(in crate::server) fn is_away_since(&self, turn: u64) -> bool {
        let outbox = lock(&self.outbox);
        outbox.is_away && outbox.turn == turn
    }

    pub(super) fn note_cut(&self) {
        if let Some(lasting) = self.lasting.get() {
            lasting.is_cut.store(true, Ordering::Relaxed);
        }
    }

    /// It is not waited for this client, if it goes.
    pub(in crate::server) fn give_up_waiting(&self) {
        if let Some(lasting) = self.lasting.get() {
            lasting.is_over.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it is to be waited for the client, whose connection is cut.
    pub(in crate::server) fn may_come_back(&self) -> bool {
        let is_cut = |lasting: &Lasting| {
            lasting.is_cut.load(Ordering::Relaxed) && !lasting.is_over.load(Ordering::Relaxed)
        };
        self.lasting.get().is_some_and(is_cut)
    }

    /// Has the server end the session, or wait for the client.
    pub(super) fn give_out(&self) {
        if let Some(server) = self.server.upgrade() {
            server.end_later(self.id);
        }
    }

    /// The connection has ended: which turn that is, if it is to be waited for.
    pub(in crate::server) fn suspend(&self) -> Option<u64> {
        if !self.may_come_back() {
            return None;
        }
        let mut outbox = lock(&self.outbox);
        outbox.said.as_ref()?;
        outbox.packets.clear();
        outbox.turn += 1;
        (outbox.bytes, outbox.in_link, outbox.is_away) = (0, 0, true);
        self.set_link(None);
        self.recount(&outbox);
        Some(outbox.turn)
    }

    /// The client is here again, over this link; whether it was missed. `None`: it is not the one.
    pub(in crate::server) fn resume(&self, link: Arc<dyn Link>, claim: &Claim) -> Option<bool> {
        let lasting = self.lasting.get().filter(|lasting| lasting.is_its(claim.ticket.token))?;
        let mut outbox = lock(&self.outbox);
        if lasting.is_over.load(Ordering::Relaxed) || !outbox.said.as_mut()?.forget(claim.heard) {
            return None;
        }
        let mut welcome = Packet::new();
        let tail = Tail { call: claim.call, kind: AnswerKind::Value, objects: Vec::new() };
        welcome.append_item(&Resumed { heard: lasting.heard() }).ok()?;
        welcome.append_tail(&tail).ok()?;
        let packets: VecDeque<Packet> =
            std::iter::once(welcome).chain(outbox.said.as_ref()?.messages()).collect();
        outbox.bytes = packets.iter().map(|packet| packet.bytes().len()).sum();
        (outbox.packets, outbox.in_link) = (packets, 0);
        outbox.turn += 1;
        let was_away = std::mem::take(&mut outbox.is_away);
        lasting.is_cut.store(false, Ordering::Relaxed);
        self.choked.store(true, Ordering::Relaxed);
        self.set_link(Some(link));
        self.recount(&outbox);
        Some(was_away)
    }

    /// Lets go of the connection, and of what is kept for the client; whether that was missed.
    pub(in crate::server) fn drop_link(&self) -> bool {
        let mut outbox = lock(&self.outbox);
        self.set_link(None);
        outbox.close();
        self.recount(&outbox);
        std::mem::take(&mut outbox.is_away)
    }
}
