//! What a parent tells a new child, what the child answers, and how a child lives.
//!
//! # Safety
//! The one pointer here is to a link that is leaked, so it never dangles.

#![allow(unsafe_code)]

use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::{Duration, Instant};

use ipc_core::link::{Link, SocketLink};
use ipc_core::{DecodeError, EncodeError, Message, Packet, RecvError};
use serde::{Deserialize, Serialize};

use crate::family::{CurrentProcess, ParentProcess};
use crate::function::Function;
use crate::panic::{self, Panic, catch_panic};
use crate::settings::{Settings, Streams};
use crate::status::Ending;
use crate::sys::image::Image;
use crate::sys::overflow::Room;
use crate::sys::{self, leave, spill};

/// How long either side waits for the other while a child starts.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Orders and answers of more bytes than this lie in memory of their own, so that
/// neither side ever waits for the other to read.
const LARGEST_INLINE: usize = 32 << 10;

/// What is said to, or by, a child that is not of this build as far as its words go.
pub(crate) const OTHER_FORMAT: &str = "parent and child speak different formats, so the executable was built with \
     another version of this library than the program that starts it: build both anew";

/// Who a child is, and how. In the orders the parent's build stands before it, because all
/// that follows means something only in the same one; the streams, the trampoline, the function
/// and the argument come after it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Birth {
    pub(crate) name: String,
    pub(crate) depth: u32,
    pub(crate) parent: ParentProcess,
    pub(crate) settings: Settings,
    /// Whether it says that it begins: one that is started anew may never get there.
    pub(crate) announce: bool,
    /// What it puts on its records; zero where nobody keeps the last ones.
    pub(crate) tail: u64,
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
    /// Not the child's own word: whoever collected it says how it ended.
    Ended(Ending),
}

/// What runs in the child: reads its function and argument, writes its answer.
type Trampoline = Function<Packet, Packet>;

/// Writes the orders to run `function` with `arg`.
pub(crate) fn orders<A: Message, R: Message>(
    birth: Birth,
    streams: &Streams,
    function: fn(A) -> R,
    arg: &A,
) -> Result<Packet, EncodeError> {
    let mut packet = Packet::new();
    packet.append(&Image::current().identity().to_vec())?;
    packet.append(&birth)?;
    streams.append(&mut packet)?;
    #[cfg(feature = "log")]
    crate::logs::append(&mut packet)?;
    packet.append(&Trampoline::new(run::<A, R>))?;
    append_call(&mut packet, function, arg)?;
    // Orders that fit the socket are sent without waiting for the child to read them.
    if packet.bytes().len() > LARGEST_INLINE {
        let stored = packet.swap_bytes_for_handle(spill::store);
        stored.map_err(|error| EncodeError::new::<A>(format!("no memory could be had for it: {error}")))?;
    }
    Ok(packet)
}

/// The argument of a fork, which finds all else in its memory. It is encoded all the same, so that
/// it is the child's alone.
pub(crate) fn argument<A: Message>(arg: &A) -> Result<Packet, EncodeError> {
    let mut packet = Packet::new();
    packet.append_item(arg)?;
    Ok(packet)
}

fn append_call<A: Message, R: Message>(
    packet: &mut Packet,
    function: fn(A) -> R,
    arg: &A,
) -> Result<(), EncodeError> {
    packet.append(&Function::new(function))?;
    packet.append_item(arg)
}

/// The trampoline for a function's types.
fn run<A: Message, R: Message>(orders: Packet) -> Packet {
    run_read(orders, |orders| Ok((*orders.read::<Function<A, R>>()?, orders.read_item()?)))
}

/// Runs the function of a fork with its argument.
pub(crate) fn run_in_fork<A: Message, R: Message>(function: fn(A) -> R, arg: Packet) -> Packet {
    run_read(arg, |arg| Ok((function, arg.read_item()?)))
}

fn run_read<A: Message, R: Message>(
    mut orders: Packet,
    read: impl FnOnce(&mut Packet) -> Result<(fn(A) -> R, A), DecodeError>,
) -> Packet {
    let (function, arg) = match catch_panic(|| read(&mut orders)) {
        Ok(Ok(both)) => both,
        Ok(Err(error)) => return answer(&Answer::BadArgument(error.to_string())),
        Err(panic) => return answer(&Answer::BadArgument(panic.to_string())),
    };
    // Its memory takes the answer; a large one is given back.
    if orders.bytes().len() > LARGEST_INLINE {
        orders = Packet::new();
    }
    orders.clear();
    report_in(orders, || function(arg))
}

/// Runs `call` and writes what came of it.
pub(crate) fn report<R: Message>(call: impl FnOnce() -> R) -> Packet {
    report_in(Packet::new(), call)
}

/// As [`report`], into an empty packet.
fn report_in<R: Message>(mut packet: Packet, call: impl FnOnce() -> R) -> Packet {
    let value = match catch_panic(call) {
        Ok(value) => value,
        Err(panic) => return answer(&Answer::Panicked(panic)),
    };
    let packet = catch_panic(|| returned(&mut packet, &value).map(|()| std::mem::take(&mut packet)))
        .map(|written| written.unwrap_or_else(|error| answer(&Answer::BadResult(error.to_string()))))
        .unwrap_or_else(|panic| answer(&Answer::BadResult(format!("encoding it panicked: {panic}"))));
    // A value's `Drop` is the function's code too.
    match catch_panic(|| drop(value)) {
        Ok(()) => packet,
        Err(panic) => answer(&Answer::Panicked(panic)),
    }
}

fn returned<R: Message>(packet: &mut Packet, value: &R) -> Result<(), EncodeError> {
    // `Answer::Returned` as it is encoded: a number takes no look at what encoding keeps, whose
    // memory each fork would have a copy of.
    packet.append_item(&RETURNED)?;
    packet.append_item(value)
}

/// The place of [`Answer::Returned`] among the answers.
const RETURNED: u8 = 1;

fn answer(answer: &Answer) -> Packet {
    let mut packet = Packet::new();
    // An `Answer` is plain text and numbers, which always encode.
    let _ = packet.append(answer);
    packet
}

/// Lives a child's life: takes the orders, obeys, answers, and ends the process.
pub(crate) fn live(link: SocketLink) -> ! {
    let link: &'static _ = Box::leak(Box::new(link));
    set_own_link(link);
    let mut packet = Packet::new();
    // A parent that is gone has no use for this process; one that is slow has.
    if let Err(error) = link.recv(&mut packet, None) {
        if matches!(error, RecvError::Protocol(_)) {
            // That there is an answer is known to a parent that cannot read it, too.
            refuse(OTHER_FORMAT);
        }
        leave::now(1);
    }
    end_with(obey(packet))
}

/// What a fork writes to: in one piece, and made by its parent.
#[derive(Debug)]
pub(crate) struct Kit {
    pub(crate) link: SocketLink,
    room: Room,
}

impl Kit {
    pub(crate) fn new(link: SocketLink) -> Self {
        Self { link, room: Room::new() }
    }
}

/// Lives the life of a fork, which has in memory what it is to do.
///
/// It moves and drops as little as can be: each page that it writes to, and each piece of code that it comes
/// by, it has to be given first.
pub(crate) fn live_as(
    kit: Box<Kit>,
    who: Box<CurrentProcess>,
    settings: &Settings,
    streams: &Streams,
    work: impl FnOnce() -> Packet,
) -> ! {
    let Kit { link, room } = Box::leak(kit);
    set_own_link(link);
    end_with(match streams.apply().and_then(|()| become_child(who, settings, 0, room)) {
        Ok(()) => work(),
        Err(reason) => answer(&Answer::Refused(reason)),
    })
}

/// Sends the answer and ends the process.
fn end_with(mut report: Packet) -> ! {
    if report.bytes().len() > LARGEST_INLINE
        && let Err(error) = report.swap_bytes_for_handle(spill::store)
    {
        // Nobody reads before this process has ended, so it must not wait for that.
        report = answer(&Answer::BadResult(format!("no memory could be had for it: {error}")));
    }
    if let Some(link) = own_link() {
        // A parent that has let go of this process does not want its value.
        let _ = link.send(&mut report, None);
    }
    leave::now(0)
}

/// This process's link to its parent.
static LINK: AtomicPtr<SocketLink> = AtomicPtr::new(ptr::null_mut());

/// The link to the parent; for the server of forks it is where its requests come.
pub(crate) fn own_link() -> Option<&'static SocketLink> {
    // SAFETY: the pointer is null, or of a link that was leaked.
    // ORDERING: acquire sees the link that the release below published.
    unsafe { LINK.load(Ordering::Acquire).as_ref() }
}

/// A process that is forked from a child gets a link of its own; the old one stays
/// in memory, where references to it may be.
fn set_own_link(link: &'static SocketLink) {
    // ORDERING: publishes the link.
    LINK.store(ptr::from_ref(link).cast_mut(), Ordering::Release);
}

fn obey(mut packet: Packet) -> Packet {
    let refused = |reason: String| answer(&Answer::Refused(reason));
    let unread = |error: &dyn std::fmt::Display| refused(format!("its orders could not be read: {error}"));
    if let Err(error) = gather(&mut packet) {
        return unread(&error);
    }
    match packet.read::<Vec<u8>>() {
        Ok(image) if image == Image::current().identity() => {}
        Ok(_) => {
            return refused(
                "the child runs another build of the program than its parent, as their build ids say: \
                 `executable` takes a copy of the running program only"
                    .to_owned(),
            );
        }
        Err(error) => return unread(&error),
    }
    let birth: Birth = match packet.read() {
        Ok(birth) => birth,
        Err(error) => return unread(&error),
    };
    if let Err(error) = Streams::install(&mut packet) {
        return refused(error.to_string());
    }
    #[cfg(feature = "log")]
    if let Err(error) = crate::logs::install(&mut packet) {
        return refused(error.to_string());
    }
    let trampoline: Trampoline = match packet.read() {
        Ok(trampoline) => trampoline,
        Err(error) => return refused(error.to_string()),
    };
    match begin(birth) {
        Ok(()) => trampoline(packet),
        Err(reason) => refused(reason),
    }
}

/// Becomes who the orders say, ready for the function.
fn begin(birth: Birth) -> Result<(), String> {
    let Birth { name, depth, parent, settings, announce: announces, tail } = birth;
    let (who, room) = (CurrentProcess::child(name, depth, parent), Room::new());
    become_child(Box::new(who), &settings, tail, Box::leak(Box::new(room)))?;
    if announces {
        announce();
    }
    Ok(())
}

fn become_child(
    who: Box<CurrentProcess>,
    settings: &Settings,
    tail: u64,
    room: &'static mut Room,
) -> Result<(), String> {
    settings.apply()?;
    crate::init::set_depth(who.depth());
    #[cfg(feature = "log")]
    crate::logs::set_tail(tail);
    #[cfg(not(feature = "log"))]
    let _ = tail;
    who.take_over();
    panic::install_hook();
    prepare_for_overflow(room);
    Ok(())
}

/// In a fork: waits until its parent has let go of what this process took along. Without
/// a parent there is nothing to do.
pub(crate) fn await_release() {
    let mut packet = Packet::new();
    if own_link().is_none_or(|link| link.recv(&mut packet, None).is_err()) {
        leave::now(1);
    }
}

/// Ends the wait of a fork.
pub(crate) fn release(link: &SocketLink) {
    // One that has been killed meanwhile waits no more.
    let _ = link.send(&mut Packet::new(), Some(Instant::now()));
}

/// Tells the parent that this process begins.
pub(crate) fn announce() {
    if let Some(link) = own_link() {
        let _ = link.send(&mut answer(&Answer::Begun), None);
    }
}

/// Tells the parent that this process does not begin.
pub(crate) fn refuse(reason: &str) {
    if let Some(link) = own_link() {
        let _ = link.send(&mut answer(&Answer::Refused(reason.to_owned())), None);
    }
}

/// Has a stack overflow reported by a frame that is ready before it happens.
fn prepare_for_overflow(room: &'static mut Room) {
    if let Some(link) = own_link() {
        sys::overflow::report_with(link.handle(), overflow_frame(), room);
    }
}

fn overflow_frame() -> &'static [u8] {
    static FRAME: OnceLock<Vec<u8>> = OnceLock::new();
    FRAME.get_or_init(|| SocketLink::frame(&mut answer(&Answer::StackOverflow)).unwrap_or_default())
}

/// Makes what every fork needs and can inherit ready-made.
pub(crate) fn prepare_for_forks() {
    overflow_frame();
    sys::overflow::prepare();
}

/// Sends what a panic said when the process is about to abort for it.
pub(crate) fn last_words_of_panic(panic: &Panic) {
    if let Some(link) = own_link() {
        let _ = link.send(&mut answer(&Answer::Panicked(panic.clone())), Some(Instant::now()));
    }
}

/// Brings the bytes of a spilled answer back.
pub(crate) fn gather(packet: &mut Packet) -> std::io::Result<()> {
    if packet.bytes().is_empty() { packet.swap_handle_for_bytes(spill::load) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_follows_the_word_that_there_is_one() {
        let mut packet = report(|| ());
        assert!(packet.bytes().starts_with(answer(&Answer::Returned).bytes()));
        assert!(matches!(packet.read::<Answer>(), Ok(Answer::Returned)));
        packet.read_item::<()>().unwrap();
        assert!(packet.is_at_end());
        let mut packet = report(|| 5u32);
        assert!(matches!(packet.read::<Answer>(), Ok(Answer::Returned)));
        assert_eq!(packet.read_item::<u32>().unwrap(), 5);
    }
}
