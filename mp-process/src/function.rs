//! Functions as values that travel.
//!
//! # Safety
//! A function pointer is made from a number in one place here. The number is an
//! offset that a process of this tree, running the same build (the handshake
//! compares build ids), computed from a function pointer of the type whose hash
//! travels with it; it is checked to lie in the main program's code.

#![allow(unsafe_code)]

use std::fmt;
use std::ops::Deref;

use serde::de::{Deserializer, Error as _};
use serde::ser::{Error as _, Serializer};
use serde::{Deserialize, Serialize};

use crate::sys::image::Image;

/// A function as a value: made from a plain `fn`, called like one, and able to
/// travel to other processes of this program inside arguments and messages.
///
/// On the way it is its offset in the executable and a hash of its type, so the
/// receiver must run the same build and belong to the same tree of processes;
/// from anywhere else it is refused. Functions have no equality: two that
/// compile to the same code may have one address.
///
/// # Examples
/// ```
/// use mp_process::Function;
///
/// fn double(x: u32) -> u32 { 2 * x }
///
/// let function = Function::new(double);
/// assert_eq!(function(21), 42);
/// ```
pub struct Function<A, R>(fn(A) -> R);

impl<A, R> Function<A, R> {
    /// Wraps a function, or a closure that captures nothing.
    pub fn new(function: fn(A) -> R) -> Self {
        Self(function)
    }
}

impl<A: 'static, R: 'static> Function<A, R> {
    /// Whether the function can travel: code of a shared library cannot.
    pub(crate) fn can_travel(self) -> bool {
        Image::current().offset_of(self.0 as usize).is_some()
    }
}

/// A function that also changes something which stays where it runs; otherwise as
/// [`Function`].
///
/// ```
/// use mp_process::StateFunction;
///
/// let count = StateFunction::new(|total: &mut u32, x: u32| {
///     *total += x;
///     *total
/// });
/// let mut total = 40;
/// assert_eq!(count(&mut total, 2), 42);
/// ```
pub struct StateFunction<S, A, R>(fn(&mut S, A) -> R);

impl<S, A, R> StateFunction<S, A, R> {
    /// Wraps a function, or a closure that captures nothing.
    pub fn new(function: fn(&mut S, A) -> R) -> Self {
        Self(function)
    }
}

/// What stands for a function in a message.
#[derive(Serialize, Deserialize)]
struct Wire {
    offset: u64,
    type_hash: u64,
}

/// FNV-1a over the type's name.
fn type_hash<F: ?Sized>() -> u64 {
    std::any::type_name::<F>().bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Writes the function of type `F` at `address`.
fn write<F: ?Sized, S: Serializer>(address: usize, serializer: S) -> Result<S::Ok, S::Error> {
    if !ipc_core::encoding_message() {
        return Err(S::Error::custom("a function can be serialised only inside a message"));
    }
    let offset = Image::current().offset_of(address).ok_or_else(|| S::Error::custom(FOREIGN_CODE))?;
    Wire { offset: offset as u64, type_hash: type_hash::<F>() }.serialize(serializer)
}

/// Reads the address of a function of type `F`.
fn read<'de, F: ?Sized, D: Deserializer<'de>>(deserializer: D) -> Result<*const (), D::Error> {
    if !ipc_core::decoding_from_own_tree() {
        return Err(D::Error::custom("a function is taken only from a process of this program's tree"));
    }
    let wire = Wire::deserialize(deserializer)?;
    if wire.type_hash != type_hash::<F>() {
        return Err(D::Error::custom("the function has another type"));
    }
    let offset = usize::try_from(wire.offset).ok();
    let address = offset.and_then(|offset| Image::current().address_of(offset));
    address
        .map(|address| address as *const ())
        .ok_or_else(|| D::Error::custom("no function lies where the message says"))
}

impl<A: 'static, R: 'static> Serialize for Function<A, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        write::<fn(A) -> R, S>(self.0 as usize, serializer)
    }
}

impl<'de, A: 'static, R: 'static> Deserialize<'de> for Function<A, R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let address = read::<fn(A) -> R, D>(deserializer)?;
        // SAFETY: by the argument at the head of this file, a function of this very
        // type begins at `address`; function pointers are plain addresses here.
        Ok(Self(unsafe { std::mem::transmute::<*const (), fn(A) -> R>(address) }))
    }
}

impl<S: 'static, A: 'static, R: 'static> Serialize for StateFunction<S, A, R> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        write::<fn(&mut S, A) -> R, Z>(self.0 as usize, serializer)
    }
}

impl<'de, S: 'static, A: 'static, R: 'static> Deserialize<'de> for StateFunction<S, A, R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let address = read::<fn(&mut S, A) -> R, D>(deserializer)?;
        // SAFETY: as for `Function`.
        Ok(Self(unsafe { std::mem::transmute::<*const (), fn(&mut S, A) -> R>(address) }))
    }
}

pub(crate) const FOREIGN_CODE: &str = "the function's code lies in a shared library, which has another place in another process: \
     wrap it in a function of the program itself";

impl<A, R> Clone for Function<A, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A, R> Copy for Function<A, R> {}

impl<A, R> Deref for Function<A, R> {
    type Target = fn(A) -> R;

    fn deref(&self) -> &fn(A) -> R {
        &self.0
    }
}

impl<A, R> From<fn(A) -> R> for Function<A, R> {
    fn from(function: fn(A) -> R) -> Self {
        Self(function)
    }
}

impl<A, R> fmt::Debug for Function<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Function<{}>", std::any::type_name::<fn(A) -> R>())
    }
}

impl<S, A, R> Clone for StateFunction<S, A, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, A, R> Copy for StateFunction<S, A, R> {}

impl<S, A, R> Deref for StateFunction<S, A, R> {
    type Target = fn(&mut S, A) -> R;

    fn deref(&self) -> &fn(&mut S, A) -> R {
        &self.0
    }
}

impl<S, A, R> fmt::Debug for StateFunction<S, A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateFunction<{}>", std::any::type_name::<fn(&mut S, A) -> R>())
    }
}
