//! What was said over a connection that may be cut, until the other side says that it has come.
//!
//! Both sides count the messages of each direction. After a cut each tells the other how many have
//! come, and what is missing is sent again: so each message arrives once, and in order.

use std::collections::VecDeque;

use ipc_core::Packet;

/// So many messages, or bytes, that have come are told of.
const TELL_AFTER: (u64, usize) = (32, 64 * 1024);

/// About as much memory as a message takes beside its bytes.
const EACH: usize = 64;

/// Messages that the other side may not have yet.
#[derive(Debug, Default)]
pub(crate) struct Said {
    messages: VecDeque<Vec<u8>>,
    /// How many came before these.
    heard: u64,
    bytes: usize,
}

impl Said {
    pub(crate) fn push(&mut self, message: Vec<u8>) {
        self.bytes += Self::cost(message.len());
        self.messages.push_back(message);
    }

    /// How much memory is counted for a message.
    pub(crate) fn cost(len: usize) -> usize {
        len + EACH
    }

    /// So many have come to the other side; `false` if that cannot be.
    #[must_use]
    pub(crate) fn forget(&mut self, heard: u64) -> bool {
        if heard < self.heard || heard > self.count() {
            return false;
        }
        for message in self.messages.drain(..(heard - self.heard) as usize) {
            self.bytes -= Self::cost(message.len());
        }
        self.heard = heard;
        true
    }

    /// As [`forget`](Self::forget), for one who may say it late.
    #[must_use]
    pub(crate) fn forget_up_to(&mut self, heard: u64) -> bool {
        self.forget(heard.max(self.heard))
    }

    /// Keeps none of them any more, though they have not come.
    pub(crate) fn empty(&mut self) {
        self.heard = self.count();
        self.messages = VecDeque::new();
        self.bytes = 0;
    }

    /// How many there were ever.
    pub(crate) fn count(&self) -> u64 {
        self.heard + self.messages.len() as u64
    }

    /// How much memory they take, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The one before which there were so many, to be sent again.
    pub(crate) fn message(&self, number: u64) -> Option<Packet> {
        let place = number.checked_sub(self.heard)?;
        self.messages.get(usize::try_from(place).ok()?).map(|bytes| packet(bytes))
    }

    /// All of them, to be sent again.
    pub(crate) fn messages(&self) -> impl Iterator<Item = Packet> {
        self.messages.iter().map(|bytes| packet(bytes))
    }
}

fn packet(bytes: &[u8]) -> Packet {
    let mut packet = Packet::new();
    packet.extend_bytes(bytes);
    packet
}

/// How much has come from the other side, and of how much of that it was told.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    count: u64,
    untold: (u64, usize),
}

impl Heard {
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// A message has come; how many that are, if it is time to tell.
    pub(crate) fn note(&mut self, len: usize) -> Option<u64> {
        self.count += 1;
        self.untold = (self.untold.0 + 1, self.untold.1 + len);
        let is_time = self.untold.0 >= TELL_AFTER.0 || self.untold.1 >= TELL_AFTER.1;
        is_time.then(|| {
            self.untold = (0, 0);
            self.count
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(count: u8) -> Said {
        let mut said = Said::default();
        (0..count).for_each(|x| said.push(vec![x; 10]));
        said
    }

    #[test]
    fn what_has_come_is_forgotten_and_all_else_is_sent_again() {
        let mut said = said(5);
        assert!(said.forget(2) && said.forget(2));
        assert_eq!((said.count(), said.messages().count(), said.bytes()), (5, 3, 3 * Said::cost(10)));
        let again: Vec<u8> = said.messages().map(|packet| packet.bytes()[0]).collect();
        assert_eq!(again, [2, 3, 4]);
        assert_eq!(said.message(3).unwrap().bytes(), [3; 10]);
        assert!(said.message(1).is_none() && said.message(5).is_none());
        assert!(said.forget_up_to(1) && said.heard == 2);
        assert!(said.forget_up_to(5));
        assert_eq!((said.bytes(), said.messages().count()), (0, 0));
    }

    #[test]
    fn what_cannot_have_come_changes_nothing() {
        let mut said = said(5);
        assert!(said.forget(2));
        for heard in [0, 1, 6, u64::MAX] {
            assert!(!said.forget(heard), "{heard}");
        }
        assert_eq!((said.count(), said.messages().count(), said.bytes()), (5, 3, 3 * Said::cost(10)));
    }

    #[test]
    fn many_messages_and_long_ones_are_told_of() {
        let mut heard = Heard::default();
        let told: Vec<u64> = (0..100).filter_map(|_| heard.note(1)).collect();
        assert_eq!(told, [32, 64, 96]);
        assert_eq!(heard.note(100_000), Some(101));
        assert_eq!((heard.note(1), heard.count()), (None, 102));
    }
}
