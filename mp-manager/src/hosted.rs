//! Objects of users' types: what the attribute writes for them, and how the
//! server runs them without knowing their types.

use std::any::Any;
use std::fmt;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use ipc_core::{Message, Packet};

use crate::error::{Fault, FaultKind};
use crate::functions::{self, Open};

/// A type whose values live in a manager; implemented by [`object`](crate::object).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no object of a manager",
    label = "not an object",
    note = "write `#[object]` before an `impl` block of it, the one with the methods that others are to call"
)]
pub trait Object: Send + Sync + Sized + 'static {
    /// Its name, for errors and tools.
    const NAME: &'static str;
    /// The methods that proxies have.
    const METHODS: &'static [Method];
    /// Whether a panic in a method that changes the object poisons it.
    const POISONS: bool;
    /// The functions that make one.
    const CONSTRUCTORS: &'static [Constructor];

    /// Runs a method that only looks.
    ///
    /// # Errors
    /// What the call's caller is told.
    fn run(&self, method: u64, args: Arguments<'_>, value: Value<'_>) -> Result<(), Fault>;

    /// Runs a method that may change the object.
    ///
    /// # Errors
    /// What the call's caller is told.
    fn run_mut(&mut self, method: u64, args: Arguments<'_>, value: Value<'_>) -> Result<(), Fault>;
}

/// A method that proxies have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method {
    /// Its name.
    pub name: &'static str,
    /// How it was written.
    pub signature: &'static str,
    /// Whether it may change the object, and so runs alone.
    pub changes: bool,
}

/// A function that makes an object in the server.
#[derive(Clone, Copy)]
pub struct Constructor {
    /// The type's name and its own.
    pub name: &'static str,
    /// Decodes its arguments and runs it.
    pub make: Make,
}

/// How a server makes an object of a type it does not know.
pub type Make = fn(Packet) -> Result<Made, Fault>;

/// An object that was made and has no place yet.
pub struct Made(pub(crate) Box<dyn Erased>);

impl Made {
    /// An object of any type.
    pub fn new<T: Object>(object: T) -> Self {
        Self(Box::new(Host(RwLock::new(object))))
    }
}

/// The arguments of a call, to be decoded.
#[derive(Debug)]
pub struct Arguments<'a>(&'a mut Packet);

impl<'a> Arguments<'a> {
    /// Those in a packet, as a constructor gets them.
    pub fn of(packet: &'a mut Packet) -> Self {
        Self(packet)
    }

    /// Decodes them all: a tuple.
    ///
    /// # Errors
    /// [`Fault`] if they are not these.
    pub fn read<A: Message>(self) -> Result<A, Fault> {
        self.0.read_item().map_err(Fault::arguments)
    }
}

/// Where the value of a call goes.
#[derive(Debug)]
pub struct Value<'a>(&'a mut Packet);

impl Value<'_> {
    /// Encodes it.
    ///
    /// # Errors
    /// [`Fault`] if it refuses.
    pub fn write<R: Message>(self, value: &R) -> Result<(), Fault> {
        self.0.append_item(value).map_err(Fault::reply)
    }
}

impl Fault {
    /// There is no such method.
    #[must_use]
    pub fn no_method() -> Self {
        FaultKind::NoMethod.into()
    }

    /// A constructor has failed, and says so.
    pub fn constructor(error: impl fmt::Display) -> Self {
        Self::refused(error)
    }
}

/// An object without its type.
pub(crate) trait Erased: Send + Sync {
    fn name(&self) -> &'static str;
    fn methods(&self) -> &'static [Method];
    fn poisons(&self) -> bool;
    /// Whether dropping it runs code.
    fn needs_drop(&self) -> bool;
    /// Runs a method, which runs alone if it says so.
    fn run(&self, method: (u64, bool), args: &mut Packet, value: &mut Packet) -> Result<(), Fault>;
    /// Runs a caller's function that answers by itself.
    fn run_later(&self, call: Open);
    /// The [`Host`].
    fn as_any(&self) -> &dyn Any;
}

/// The lock is never waited for: the server lets calls in one by one, or side by side.
pub(crate) struct Host<T>(RwLock<T>);

impl<T: Object> Erased for Host<T> {
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn methods(&self) -> &'static [Method] {
        T::METHODS
    }

    fn poisons(&self) -> bool {
        T::POISONS
    }

    fn needs_drop(&self) -> bool {
        std::mem::needs_drop::<T>()
    }

    fn run(
        &self,
        (method, is_exclusive): (u64, bool),
        args: &mut Packet,
        value: &mut Packet,
    ) -> Result<(), Fault> {
        match method {
            functions::VIEW => {
                let look: functions::Look<T> = args.read().map_err(Fault::arguments)?;
                *value = look(&self.look(), std::mem::take(args))?;
                return Ok(());
            }
            functions::UPDATE => {
                let change: functions::Change<T> = args.read().map_err(Fault::arguments)?;
                let mut object = self.0.write().unwrap_or_else(PoisonError::into_inner);
                *value = change(&mut object, std::mem::take(args))?;
                return Ok(());
            }
            _ => {}
        }
        let (args, value) = (Arguments(args), Value(value));
        if is_exclusive {
            let mut object = self.0.write().unwrap_or_else(PoisonError::into_inner);
            object.run_mut(method, args, value)
        } else {
            self.look().run(method, args, value)
        }
    }

    fn run_later(&self, mut call: Open) {
        match call.args.read::<functions::LookLater<T>>() {
            Ok(look) => look(&self.look(), call),
            Err(error) => call.answer.fail(Fault::arguments(error)),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl<T> Host<T> {
    /// Puts another value in the place of the one that is there.
    pub(crate) fn replace(&self, value: T) {
        let old = std::mem::replace(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner), value);
        drop(old);
    }

    pub(crate) fn look(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Made").field(&self.0.name()).finish()
    }
}

impl fmt::Debug for Constructor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Constructor").field(&self.name).finish()
    }
}
