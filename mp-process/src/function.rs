//! Functions as values that travel.
//!
//! # Safety
//! A function pointer is made from a number in one place here, a macro. The number is an
//! offset that a process of this tree, running the same build (the handshake
//! compares build ids), computed from a function pointer of the type whose hash
//! travels with it; it is checked to lie in the main program's code.

#![allow(unsafe_code)]

use std::fmt;
use std::ops::Deref;

use ipc_core::raw::{deserialize_error, serialize_error};
use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use crate::sys::image::Image;

macro_rules! travelling {
    ($(#[$doc:meta])* $name:ident<$($parameter:ident),+> = $function:ty) => {
        $(#[$doc])*
        pub struct $name<$($parameter),+>($function);

        impl<$($parameter),+> $name<$($parameter),+> {
            /// Wraps a function, or a closure that captures nothing.
            pub fn new(function: $function) -> Self {
                Self(function)
            }
        }

        impl<$($parameter: 'static),+> Serialize for $name<$($parameter),+> {
            fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
                write::<$function, Z>(self.0 as usize, serializer)
            }
        }

        impl<'de, $($parameter: 'static),+> Deserialize<'de> for $name<$($parameter),+> {
            fn deserialize<Z: Deserializer<'de>>(deserializer: Z) -> Result<Self, Z::Error> {
                let address = read::<$function, Z>(deserializer)?;
                // SAFETY: by the argument at the head of this file, a function of this very
                // type begins at `address`; function pointers are plain addresses here.
                Ok(Self(unsafe { std::mem::transmute::<*const (), $function>(address) }))
            }
        }

        impl<$($parameter),+> Clone for $name<$($parameter),+> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<$($parameter),+> Copy for $name<$($parameter),+> {}

        impl<$($parameter),+> Deref for $name<$($parameter),+> {
            type Target = $function;

            fn deref(&self) -> &$function {
                &self.0
            }
        }

        impl<$($parameter),+> fmt::Debug for $name<$($parameter),+> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "<{}>"), std::any::type_name::<$function>())
            }
        }
    };
}

travelling! {
    /// A function as a value: made from a plain `fn`, called like one, and able to
    /// travel to other processes of this program inside arguments and messages.
    ///
    /// On the way it is its offset in the executable and a hash of its type, so the
    /// receiver must run the same build and belong to the same tree of processes;
    /// from anywhere else it is refused.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use mp_process::{Function, Process};
    ///
    /// fn double(x: u32) -> u32 { 2 * x }
    ///
    /// let function = Function::new(double);
    /// assert_eq!(function(21), 42);
    /// let call = |(function, x): (Function<u32, u32>, u32)| function(x);
    /// assert_eq!(Process::spawn(call, (function, 4))?.join()?, 8);
    /// # Ok::<(), mp_process::ProcessError>(())
    /// ```
    ///
    /// Functions have no equality, as none would be true of all builds: two that compile to the
    /// same code may have one address, and one that is compiled twice may have two.
    ///
    /// ```compile_fail,E0369
    /// use mp_process::Function;
    ///
    /// let (one, other) = (Function::new(|x: u32| x + 1), Function::new(|x: u32| x + 1));
    /// assert!(one == other);
    /// ```
    Function<A, R> = fn(A) -> R
}

travelling! {
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
    StateFunction<S, A, R> = fn(&mut S, A) -> R
}

travelling! {
    /// A function that looks at something which stays where it runs; otherwise as
    /// [`Function`].
    ViewFunction<S, A, R> = fn(&S, A) -> R
}

travelling! {
    /// A function of two parameters; otherwise as [`Function`].
    Function2<A, B, R> = fn(A, B) -> R
}

travelling! {
    /// A function of three parameters; otherwise as [`Function`].
    Function3<A, B, C, R> = fn(A, B, C) -> R
}

travelling! {
    /// A function of four parameters; otherwise as [`Function`].
    Function4<A, B, C, D, R> = fn(A, B, C, D) -> R
}

impl<A: 'static, R: 'static> Function<A, R> {
    /// Whether the function can travel: code of a shared library cannot.
    pub(crate) fn can_travel(self) -> bool {
        Image::current().offset_of(self.0 as usize).is_some()
    }
}

impl<A, R> From<fn(A) -> R> for Function<A, R> {
    fn from(function: fn(A) -> R) -> Self {
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
        return Err(serialize_error("a function can be serialised only inside a message"));
    }
    let offset = Image::current().offset_of(address).ok_or_else(|| serialize_error(FOREIGN_CODE))?;
    Wire { offset: offset as u64, type_hash: type_hash::<F>() }.serialize(serializer)
}

/// Reads the address of a function of type `F`.
fn read<'de, F: ?Sized, D: Deserializer<'de>>(deserializer: D) -> Result<*const (), D::Error> {
    if !ipc_core::decoding_from_own_tree() {
        return Err(deserialize_error("a function is taken only from a process of this program's tree"));
    }
    let wire = Wire::deserialize(deserializer)?;
    if wire.type_hash != type_hash::<F>() {
        return Err(deserialize_error("the function has another type"));
    }
    let offset = usize::try_from(wire.offset).ok();
    let address = offset.and_then(|offset| Image::current().address_of(offset));
    address
        .map(|address| address as *const ())
        .ok_or_else(|| deserialize_error("no function lies where the message says"))
}

pub(crate) const FOREIGN_CODE: &str = "the function's code lies in a shared library, which has another place in another process: \
     wrap it in a function of the program itself";

#[cfg(test)]
mod tests {
    use std::fmt::{Display, Write};

    use ipc_core::Packet;
    use serde::de::value::{Error, U64Deserializer};

    use super::*;

    fn packet(value: &impl Serialize) -> Packet {
        let mut packet = Packet::new();
        packet.append(value).unwrap();
        packet
    }

    fn is_refused<T: serde::de::DeserializeOwned>(mut packet: Packet) -> bool {
        packet.read::<T>().is_err()
    }

    #[test]
    fn functions_of_every_shape_travel() {
        let one = Function::new(|x: u32| x + 1);
        assert_eq!(packet(&one).read::<Function<u32, u32>>().unwrap()(1), 2);
        let two = Function2::new(|a: u32, b: u32| a - b);
        assert_eq!(packet(&two).read::<Function2<u32, u32, u32>>().unwrap()(7, 2), 5);
        let three = Function3::new(|a: u32, b: u32, c: u32| a * 100 + b * 10 + c);
        assert_eq!(packet(&three).read::<Function3<u32, u32, u32, u32>>().unwrap()(1, 2, 3), 123);
        let four = Function4::new(|a: u8, b: u8, c: u8, d: u8| vec![d, c, b, a]);
        let four = packet(&four).read::<Function4<u8, u8, u8, u8, Vec<u8>>>().unwrap();
        assert_eq!(four(1, 2, 3, 4), [4, 3, 2, 1]);
        let state = StateFunction::new(|total: &mut u32, x: u32| *total += x);
        let mut total = 1;
        packet(&state).read::<StateFunction<u32, u32, ()>>().unwrap()(&mut total, 2);
        assert_eq!(total, 3);
        let view = ViewFunction::new(|text: &String, x: usize| text.len() + x);
        assert_eq!(
            packet(&view).read::<ViewFunction<String, usize, usize>>().unwrap()(&"ab".to_owned(), 3),
            5
        );
    }

    #[test]
    fn a_function_is_not_taken_for_one_of_another_type() {
        let function = || packet(&Function::new(|x: u32| x + 1));
        assert!(!is_refused::<Function<u32, u32>>(function()));
        assert!(is_refused::<Function<i32, i32>>(function()));
        assert!(is_refused::<Function2<u32, u32, u32>>(function()));
    }

    #[test]
    fn what_is_no_place_of_a_function_is_refused() {
        let type_hash = type_hash::<fn(u32) -> u32>();
        for offset in [u64::MAX, 1 << 47, 0] {
            let packet = packet(&Wire { offset, type_hash });
            assert!(is_refused::<Function<u32, u32>>(packet), "{offset}");
        }
    }

    #[test]
    fn outside_of_a_message_there_is_no_function() {
        struct Written(Function<u32, u32>);

        impl Display for Written {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.serialize(f)
            }
        }

        assert!(write!(String::new(), "{}", Written(Function::new(|x| x))).is_err());
        let error: Error = Function::<u32, u32>::deserialize(U64Deserializer::new(1)).unwrap_err();
        assert!(error.to_string().contains("only from a process of this program's tree"), "{error}");
    }

    #[test]
    fn code_of_a_library_does_not_travel() {
        // SAFETY: it is never called.
        let foreign = unsafe { std::mem::transmute::<*const (), fn(u32) -> u32>(libc::getpid as *const ()) };
        assert!(!Function::new(foreign).can_travel());
        assert!(Packet::new().append(&Function::new(foreign)).is_err());
    }
}
