//! Handles inside values.
//!
//! A handle does not go into the bytes of a message: while a value is encoded,
//! each handle in it is put on this thread's list and its place in the list is
//! written instead; while a value is decoded, the place is exchanged for the
//! handle that came beside the bytes. Outside of both there is no list, and a
//! handle refuses to be serialised.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::error::ExportError;
use crate::sys::Handle;

/// Something that leaves this process when the message it stands in is sent.
pub(crate) trait Moves: Send + Sync {
    /// The message is about to go: nobody uses the end here until [`moved`](Self::moved) or
    /// [`let_go`](Self::let_go).
    fn hold(&self) -> Result<(), ExportError> {
        Ok(())
    }

    /// The message does not go now.
    fn let_go(&self) {}

    /// Which end it is: no two that are here have the same.
    fn key(&self) -> usize;

    /// The message is on its way: this end belongs to the receiver now.
    fn moved(&self);
}

/// What a value wants to have sent beside its bytes. Most want nothing, and then
/// it is one empty word.
#[derive(Default)]
pub(crate) struct Luggage(Option<Box<Load>>);

/// Handles and ends, and how they hang together.
#[derive(Default)]
pub(crate) struct Load {
    pub(crate) handles: Vec<Handle>,
    pub(crate) moves: Vec<Leaving>,
    /// Which of the handles are to the same thing, wanted by many values: key and place.
    shared: Vec<(u128, u32)>,
    /// How many bytes of shared memory the message alone keeps from other use.
    pub(crate) kept_bytes: usize,
}

/// An end that leaves with the message. Dropped, it stays.
pub(crate) struct Leaving {
    end: Arc<dyn Moves>,
    is_held: bool,
}

impl Leaving {
    fn hold(&mut self) -> Result<(), ExportError> {
        if !self.is_held {
            self.end.hold()?;
            self.is_held = true;
        }
        Ok(())
    }

    fn let_go(&mut self) {
        if std::mem::take(&mut self.is_held) {
            self.end.let_go();
        }
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.let_go();
    }
}

impl Deref for Luggage {
    type Target = Load;

    fn deref(&self) -> &Load {
        static NOTHING: Load =
            Load { handles: Vec::new(), moves: Vec::new(), shared: Vec::new(), kept_bytes: 0 };
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl DerefMut for Luggage {
    fn deref_mut(&mut self) -> &mut Load {
        self.0.get_or_insert_default()
    }
}

impl Luggage {
    /// Takes out what a value that was not encoded after all had brought.
    fn split_off(&mut self, brought: &Brought) -> Option<Load> {
        let load = self.0.as_mut()?;
        load.shared.retain(|(_, place)| (*place as usize) < brought.handles);
        load.kept_bytes = brought.kept_bytes;
        let handles = load.handles.split_off(brought.handles.min(load.handles.len()));
        let moves = load.moves.split_off(brought.moves.min(load.moves.len()));
        Some(Load { handles, moves, ..Load::default() })
    }

    fn place_of(&self, key: u128) -> Option<u32> {
        let (_, place) = self.shared.iter().find(|(known, _)| *known == key)?;
        Some(*place)
    }

    /// Tells each end that stands in the message that it has left.
    ///
    /// A message with such ends cannot be sent again, so its handles go too: a copy
    /// kept here would hide the end of the process that has them now.
    pub(crate) fn commit(&mut self) {
        let Some(load) = &mut self.0 else { return };
        for leaving in &mut load.moves {
            leaving.end.moved();
            // Who waits for it finds that it has gone.
            leaving.let_go();
        }
        if !load.moves.is_empty() {
            load.handles.clear();
        }
    }

    /// The message is about to be sent: its ends are used by nobody until it is, or is not.
    pub(crate) fn hold(&mut self) -> Result<(), ExportError> {
        match &mut self.0 {
            Some(load) => load.moves.iter_mut().try_for_each(Leaving::hold).inspect_err(|_| self.let_go()),
            None => Ok(()),
        }
    }

    /// It is not sent now.
    pub(crate) fn let_go(&mut self) {
        if let Some(load) = &mut self.0 {
            load.moves.iter_mut().for_each(Leaving::let_go);
        }
    }
}

impl std::fmt::Debug for Luggage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Luggage")
            .field("handles", &self.handles.len())
            .field("moves", &self.moves.len())
            .field("kept_bytes", &self.kept_bytes)
            .finish()
    }
}

/// The place of a received handle; empty once somebody has taken it.
pub(crate) type Slot = Option<Handle>;

enum Context {
    Packing(Luggage),
    Unpacking(Vec<Slot>, bool),
}

/// The messages that the code which runs now may see.
fn in_sight(stack: &mut [Context]) -> impl Iterator<Item = &mut Context> {
    stack.iter_mut().skip(FLOOR.get()).rev()
}

/// The list that handles go to, of the innermost message being encoded.
fn packing_now(stack: &mut [Context]) -> Option<&mut Luggage> {
    in_sight(stack)
        .filter_map(|context| if let Context::Packing(luggage) = context { Some(luggage) } else { None })
        .next()
}

/// The list that handles come from, of the innermost message being decoded, and
/// whether a stranger sent it.
fn unpacking_now(stack: &mut [Context]) -> Option<(&mut Vec<Slot>, bool)> {
    in_sight(stack)
        .filter_map(|context| {
            if let Context::Unpacking(handles, foreign) = context { Some((handles, *foreign)) } else { None }
        })
        .next()
}

thread_local! {
    // A stack, because a user's `Serialize` may itself encode a message.
    static CONTEXTS: RefCell<Vec<Context>> = const { RefCell::new(Vec::new()) };
    // How many contexts there are.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    // How many of them the code that runs now does not see. Two plain words, because
    // a pool's worker enters and leaves once for each item.
    static FLOOR: Cell<usize> = const { Cell::new(0) };
}

/// This thread's contexts. Code that runs when the thread has ended, as a handler of
/// the program's exit may, has none, and handles do not travel there.
fn contexts<R>(run: impl FnOnce(&mut Vec<Context>) -> R) -> R {
    let mut run = Some(run);
    let mut once = |stack: &mut Vec<Context>| run.take().map(|run| run(stack));
    let result = CONTEXTS.try_with(|stack| once(&mut stack.borrow_mut())).ok().flatten();
    match result.or_else(|| once(&mut Vec::new())) {
        Some(result) => result,
        None => unreachable!("one of the two ran it"),
    }
}

/// Removes the innermost context also when the user's code panics.
struct Scope;

impl Scope {
    fn enter(context: Context) -> Self {
        contexts(|stack| stack.push(context));
        DEPTH.set(DEPTH.get() + 1);
        Self
    }

    fn leave(self) -> Option<Context> {
        let context = Self::pop();
        std::mem::forget(self);
        context
    }

    fn pop() -> Option<Context> {
        DEPTH.set(DEPTH.get() - 1);
        contexts(Vec::pop)
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        Self::pop();
    }
}

/// Runs `encode` and returns with its result what the value wants to take along,
/// behind what is in `luggage` already.
pub(crate) fn packing<T>(luggage: Luggage, encode: impl FnOnce() -> T) -> (T, Luggage) {
    let scope = Scope::enter(Context::Packing(luggage));
    let result = encode();
    match scope.leave() {
        Some(Context::Packing(luggage)) => (result, luggage),
        _ => (result, Luggage::default()),
    }
}

/// Runs `decode` with `handles` at hand and returns the list again.
///
/// A handle that was taken leaves an empty place, so that the others keep theirs.
pub(crate) fn unpacking<T>(handles: Vec<Slot>, foreign: bool, decode: impl FnOnce() -> T) -> (T, Vec<Slot>) {
    let scope = Scope::enter(Context::Unpacking(handles, foreign));
    let result = decode();
    match scope.leave() {
        Some(Context::Unpacking(handles, _)) => (result, handles),
        _ => (result, Vec::new()),
    }
}

/// Puts a duplicate of `handle` on the list; its place in it.
pub(crate) fn give(handle: &Handle) -> Result<u32, String> {
    contexts(|stack| match packing_now(stack) {
        Some(luggage) => {
            let copy =
                handle.try_clone().map_err(|error| format!("a handle could not be duplicated: {error}"))?;
            luggage.handles.push(copy);
            Ok(u32::try_from(luggage.handles.len() - 1).unwrap_or(u32::MAX))
        }
        _ => Err(OUTSIDE.to_owned()),
    })
}

/// As [`give`], once for each `key`: many values may stand on one handle.
pub(crate) fn give_shared(key: u128, handle: &Handle) -> Result<u32, String> {
    let known = contexts(|stack| match packing_now(stack) {
        Some(luggage) => luggage.place_of(key),
        _ => None,
    });
    if let Some(place) = known {
        return Ok(place);
    }
    let place = give(handle)?;
    contexts(|stack| {
        if let Some(luggage) = packing_now(stack) {
            luggage.shared.push((key, place));
        }
    });
    Ok(place)
}

/// A duplicate of the handle at `place`, which stays there for the next value.
pub(crate) fn copy(place: u32) -> Result<Handle, String> {
    contexts(|stack| match unpacking_now(stack) {
        Some((handles, _)) => match handles.get(place as usize) {
            Some(Some(handle)) => {
                handle.try_clone().map_err(|error| format!("a handle could not be duplicated: {error}"))
            }
            _ => Err(format!("the message came without its handle number {place}")),
        },
        _ => Err(OUTSIDE.to_owned()),
    })
}

/// How many handles the message being encoded holds.
pub(crate) fn handle_count() -> usize {
    contexts(|stack| packing_now(stack).map_or(0, |luggage| luggage.handles.len()))
}

/// What a value brings that is being encoded: it stays here unless it is [kept](Self::keep).
#[derive(Default)]
pub(crate) struct Brought {
    handles: usize,
    moves: usize,
    kept_bytes: usize,
}

impl Brought {
    pub(crate) fn new() -> Self {
        contexts(|stack| match packing_now(stack) {
            Some(luggage) => {
                let (handles, moves) = (luggage.handles.len(), luggage.moves.len());
                Self { handles, moves, kept_bytes: luggage.kept_bytes }
            }
            _ => Self::default(),
        })
    }

    /// It has been encoded.
    pub(crate) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Brought {
    fn drop(&mut self) {
        // Let go of here, and not in there: an end may be the last of its link, whose drop is anybody's.
        let gone = contexts(|stack| packing_now(stack)?.split_off(self));
        drop(gone);
    }
}

/// So many bytes of shared memory are kept from other use by the message being encoded, and by nothing
/// else here.
pub(crate) fn keeps(bytes: usize) {
    contexts(|stack| {
        if let Some(luggage) = packing_now(stack) {
            luggage.kept_bytes = luggage.kept_bytes.saturating_add(bytes);
        }
    });
}

/// Whether the end `key` stands in a message that this thread is making, also in one that the code
/// which runs now does not see: it is held for that, and cannot be for another one.
pub(crate) fn is_leaving(key: usize) -> bool {
    contexts(|stack| {
        stack.iter().any(|context| match context {
            Context::Packing(luggage) => luggage.moves.iter().any(|leaving| leaving.end.key() == key),
            Context::Unpacking(..) => false,
        })
    })
}

/// Asks to be told when the message is sent, of an end that is held until then.
pub(crate) fn on_commit(end: Arc<dyn Moves>) -> Result<(), String> {
    contexts(|stack| match packing_now(stack) {
        Some(luggage) => {
            luggage.moves.push(Leaving { end, is_held: true });
            Ok(())
        }
        _ => {
            end.let_go();
            Err(OUTSIDE.to_owned())
        }
    })
}

/// Takes the handle at `place` of the message being decoded.
pub(crate) fn take(place: u32) -> Result<Handle, String> {
    contexts(|stack| match unpacking_now(stack) {
        Some((handles, _)) => handles
            .get_mut(place as usize)
            .and_then(Option::take)
            .ok_or_else(|| format!("the message came without its handle number {place}")),
        _ => Err(OUTSIDE.to_owned()),
    })
}

/// Runs code that has nothing to do with the messages being written or read
/// around it: a handle that it serialises by itself does not slip into them.
#[inline]
pub fn outside_messages<R>(run: impl FnOnce() -> R) -> R {
    let _restored = Outside { floor: FLOOR.replace(DEPTH.get()) };
    run()
}

/// Lets the messages around be seen again, also when the user's code panics.
struct Outside {
    floor: usize,
}

impl Drop for Outside {
    fn drop(&mut self) {
        FLOOR.set(self.floor);
    }
}

/// Whether a message is being decoded, on this thread, that came from a process
/// of this program's tree.
///
/// For types that mean something only there, such as the address of a function:
/// their `Deserialize` refuses everywhere else.
#[must_use]
pub fn decoding_from_own_tree() -> bool {
    contexts(|stack| matches!(unpacking_now(stack), Some((_, false))))
}

/// An error unless a message is being encoded on this thread.
pub(crate) fn check_encoding() -> Result<(), &'static str> {
    if encoding_message() { Ok(()) } else { Err(OUTSIDE) }
}

/// Whether a message is being encoded on this thread.
#[must_use]
pub fn encoding_message() -> bool {
    contexts(|stack| packing_now(stack).is_some())
}

const OUTSIDE: &str =
    "a handle, channel end or lock can be serialised only inside a message: send it as a part of the value";

/// The error of a value that refuses an encoding.
pub fn serialize_error<E: serde::ser::Error>(text: impl Display) -> E {
    E::custom(text)
}

/// The error of a value that refuses a decoding.
pub fn deserialize_error<E: serde::de::Error>(text: impl Display) -> E {
    E::custom(text)
}
