//! Wakes who sleeps for all, because there is something new to wait for.

use std::io;
use std::time::Instant;

use ipc_core::link::{Link, PipeLink};
use ipc_core::{Arm, Packet, Waitable};

/// Ready once it has been rung, until it is heard.
#[derive(Debug)]
pub(super) struct Bell {
    ear: PipeLink,
    rope: PipeLink,
}

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        let (rope, ear) = PipeLink::pair()?;
        Ok(Self { ear, rope })
    }

    pub(super) fn ring(&self) {
        // One that is full of rings is rung.
        let _ = self.rope.send(&mut Packet::new(), Some(Instant::now()));
    }

    /// Forgets all rings.
    pub(super) fn hear(&self) {
        while self.ear.recv(&mut Packet::new(), Some(Instant::now())).is_ok() {}
    }
}

impl Waitable for Bell {
    fn is_ready(&self) -> Option<bool> {
        self.ear.is_ready()
    }

    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        self.ear.arm(arm);
    }

    fn disarm(&self) {
        self.ear.disarm();
    }
}
