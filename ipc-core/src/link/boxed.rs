//! A link of any kind, in a box or shared, is a link, and can be waited for.

use std::sync::Arc;
use std::time::Instant;

use super::{Capabilities, Export, Link, Outgoing, Polling};
use crate::Packet;
use crate::error::{ExportError, RecvError, SendError};
use crate::wait::{Arm, Waitable};

/// Every method is that of the link inside.
macro_rules! forward {
    ([$($link:ident)?] $pointer:ty) => {
        impl$(<$link: Link + ?Sized>)? Link for $pointer {
            fn capabilities(&self) -> Capabilities {
                (**self).capabilities()
            }

            fn send(&self, message: &mut dyn Outgoing, deadline: Option<Instant>) -> Result<(), SendError> {
                (**self).send(message, deadline)
            }

            fn send_unhurried(
                &self,
                message: &mut dyn Outgoing,
                deadline: Option<Instant>,
            ) -> Result<(), SendError> {
                (**self).send_unhurried(message, deadline)
            }

            fn hurry(&self) {
                (**self).hurry();
            }

            fn recv(&self, packet: &mut Packet, deadline: Option<Instant>) -> Result<(), RecvError> {
                (**self).recv(packet, deadline)
            }

            fn recv_at_most(
                &self,
                packet: &mut Packet,
                most: usize,
                deadline: Option<Instant>,
            ) -> Result<(), RecvError> {
                (**self).recv_at_most(packet, most, deadline)
            }

            fn poll(&self, deadline: Option<Instant>) -> Result<bool, RecvError> {
                (**self).poll(deadline)
            }

            fn is_ready(&self) -> Option<bool> {
                (**self).is_ready()
            }

            fn is_peer_here(&self) -> bool {
                (**self).is_peer_here()
            }

            fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
                (**self).arm(arm);
            }

            fn disarm(&self) {
                (**self).disarm();
            }

            fn flush(&self, deadline: Option<Instant>) -> Result<(), SendError> {
                (**self).flush(deadline)
            }

            fn arm_room<'a>(&'a self, arm: &mut Arm<'a>) -> bool {
                (**self).arm_room(arm)
            }

            fn arm_end<'a>(&'a self, arm: &mut Arm<'a>) -> bool {
                (**self).arm_end(arm)
            }

            fn set_polling(&self, polling: Polling) {
                (**self).set_polling(polling);
            }

            fn leave_unwatched(&self) {
                (**self).leave_unwatched();
            }

            fn leave_receiving_unwatched(&self) {
                (**self).leave_receiving_unwatched();
            }

            fn hold(&self) -> Result<(), ExportError> {
                (**self).hold()
            }

            fn let_go(&self) {
                (**self).let_go();
            }

            fn export(&self) -> Result<Export, ExportError> {
                (**self).export()
            }

            fn share(&self) -> Result<Export, ExportError> {
                (**self).share()
            }

            fn detach(&self) {
                (**self).detach();
            }

            fn adopt(&self) {
                (**self).adopt();
            }

            fn inherit(&self) -> bool {
                (**self).inherit()
            }
        }

        impl$(<$link: Link + ?Sized>)? Waitable for $pointer {
            fn is_ready(&self) -> Option<bool> {
                (**self).is_ready()
            }

            fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
                (**self).arm(arm);
            }

            fn disarm(&self) {
                (**self).disarm();
            }
        }
    };
}

forward!([] Box<dyn Link>);
forward!([L] Arc<L>);
