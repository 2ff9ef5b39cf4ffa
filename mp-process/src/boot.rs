//! What a parent tells a new child, what the child answers, and how a child lives.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use ipc_core::link::{Link, SocketLink};
use ipc_core::{DecodeError, EncodeError, Message, Packet};
use serde::{Deserialize, Serialize};

use crate::function::Function;
use crate::panic::{self, Panic, catch_panic};
use crate::process::CurrentProcess;
use crate::sys::image::Image;
use crate::sys::{self, spill};

/// How long either side waits for the other while a child starts.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(30);

/// An answer of more bytes than this lies in memory of its own, so that a child
/// never waits for a parent that does not read yet.
const LARGEST_INLINE: usize = 64 << 10;

/// The first part of the orders; the trampoline, the function and the argument follow.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Orders {
    /// The parent's build: an address means something only in the same one.
    image: Vec<u8>,
    pub(crate) name: String,
}

/// A child's answer; after `Returned` the value follows.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// It has its orders and begins.
    Begun,
    Returned,
    Panicked(Panic),
    BadArgument(String),
    BadResult(String),
    Refused(String),
    StackOverflow,
}

/// What runs in the child: reads its function and argument, writes its answer.
type Trampoline = Function<Packet, Packet>;

/// Writes the orders to run `function` with `arg`.
pub(crate) fn orders<A: Message, R: Message>(
    name: &str,
    function: fn(A) -> R,
    arg: &A,
) -> Result<Packet, EncodeError> {
    let mut packet = Packet::new();
    packet.append(&Orders { image: Image::current().identity().to_vec(), name: name.to_owned() })?;
    packet.append(&Trampoline::new(run::<A, R>))?;
    packet.append(&Function::new(function))?;
    packet.append_item(arg)?;
    Ok(packet)
}

/// The trampoline for a function's types.
fn run<A: Message, R: Message>(mut orders: Packet) -> Packet {
    let call = |orders: &mut Packet| -> Result<(Function<A, R>, A), DecodeError> {
        Ok((orders.read()?, orders.read_item()?))
    };
    let (function, arg) = match catch_panic(|| call(&mut orders)) {
        Ok(Ok(both)) => both,
        Ok(Err(error)) => return answer(&Answer::BadArgument(error.to_string())),
        Err(panic) => return answer(&Answer::BadArgument(panic.to_string())),
    };
    drop(orders);
    match catch_panic(|| function(arg)) {
        Ok(value) => catch_panic(|| returned(&value))
            .unwrap_or_else(|panic| answer(&Answer::BadResult(format!("encoding it panicked: {panic}")))),
        Err(panic) => answer(&Answer::Panicked(panic)),
    }
}

fn returned<R: Message>(value: &R) -> Packet {
    let mut packet = answer(&Answer::Returned);
    match packet.append_item(value) {
        Ok(()) => packet,
        Err(error) => answer(&Answer::BadResult(error.to_string())),
    }
}

fn answer(answer: &Answer) -> Packet {
    let mut packet = Packet::new();
    // An `Answer` is plain text and numbers, which always encode.
    let _ = packet.append(answer);
    packet
}

/// Lives a child's life: takes the orders, obeys, answers, and ends the process.
pub(crate) fn live(link: SocketLink, depth: u32) -> ! {
    let link = LINK.get_or_init(|| link);
    let mut packet = Packet::new();
    // A parent that is gone, or that never speaks, has no use for this process.
    if link.recv(&mut packet, Some(Instant::now() + START_TIMEOUT)).is_err() {
        std::process::exit(1);
    }
    let mut report = obey(packet, depth);
    if report.bytes().len() > LARGEST_INLINE {
        // Without memory the report is sent as it is, and waits to be read.
        let _ = report.swap_bytes_for_handle(spill::store);
    }
    // A parent that has let go of this process does not want its value.
    let _ = link.send(&mut report, None);
    std::process::exit(0)
}

/// The child's link to its parent.
static LINK: OnceLock<SocketLink> = OnceLock::new();

fn obey(mut packet: Packet, depth: u32) -> Packet {
    let orders: Orders = match packet.read() {
        Ok(orders) => orders,
        Err(error) => return answer(&Answer::Refused(format!("its orders could not be read: {error}"))),
    };
    if orders.image != Image::current().identity() {
        return answer(&Answer::Refused(
            "the child runs another build of the program than its parent: build ids differ".to_owned(),
        ));
    }
    let trampoline: Trampoline = match packet.read() {
        Ok(trampoline) => trampoline,
        Err(error) => return answer(&Answer::Refused(error.to_string())),
    };
    CurrentProcess::become_child(orders.name, depth);
    panic::install_hook();
    prepare_for_overflow();
    if let Some(link) = LINK.get() {
        let _ = link.send(&mut answer(&Answer::Begun), None);
    }
    trampoline(packet)
}

/// Has a stack overflow reported by a frame that is ready before it happens.
fn prepare_for_overflow() {
    let frame = SocketLink::frame(&mut answer(&Answer::StackOverflow));
    if let (Some(link), Ok(frame)) = (LINK.get(), frame) {
        sys::overflow::report_with(link.handle(), frame);
    }
}

/// Sends what a panic said when the process is about to abort for it.
pub(crate) fn last_words_of_panic(panic: &Panic) {
    if let Some(link) = LINK.get() {
        let _ = link.send(&mut answer(&Answer::Panicked(panic.clone())), Some(Instant::now()));
    }
}

/// Brings the bytes of a spilled answer back.
pub(crate) fn gather(packet: &mut Packet) -> std::io::Result<()> {
    if packet.bytes().is_empty() { packet.swap_handle_for_bytes(spill::load) } else { Ok(()) }
}
