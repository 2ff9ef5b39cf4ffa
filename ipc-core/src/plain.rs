//! Numbers and vectors of numbers, which travel as they lie in memory.
//!
//! Serde hands a `Vec<f64>` over element by element, and postcard writes integers
//! in as few bytes as they need. For a listed set of types, the numbers of a fixed
//! width and vectors of them, the bytes are copied instead, little end first. The
//! types are compared when the code is compiled, so it costs others nothing.

use std::any::{Any, TypeId};
use std::borrow::Cow;

use crate::buffer::{self, Buffer};

/// How many bytes a `T` takes as an item of a packet, if that is the same for all
/// of them: so for the integers and floats. Such items have no length in front.
#[must_use]
pub fn item_width<T: 'static>() -> Option<usize> {
    is_number::<T>().then_some(size_of::<T>())
}

/// Whether a `T` is a vector of numbers, which travels as it lies in memory.
#[must_use]
pub fn is_vector<T: 'static>() -> bool {
    buffer_for::<T>().is_some()
}

/// Whether a `T` brings neither handles nor code of anybody's when it travels as an item.
pub(crate) fn is_bare<T: 'static>() -> bool {
    is_number::<T>() || is_unit::<T>()
}

pub(crate) fn is_unit<T: 'static>() -> bool {
    TypeId::of::<T>() == TypeId::of::<()>()
}

/// The one value of `()`.
pub(crate) fn unit<T: 'static>() -> Option<T> {
    let mut value: Option<T> = None;
    if let Some(slot) = (&mut value as &mut dyn Any).downcast_mut::<Option<()>>() {
        *slot = Some(());
    }
    value
}

/// Plain data: any bits are a value, and a value is only its bits.
///
/// Numbers and arrays of them are plain, and structures of plain fields that derive
/// `Pod` and `Zeroable`; `bool`, `char`, enums and references are not. The crate
/// [`bytemuck`](crate::bytemuck) is exported here and above, where the derives must be
/// told its place; a program that has `bytemuck` among its own dependencies leaves that line out.
///
/// ```
/// use ipc_core::bytemuck; // or `multiprocess::sync::bytemuck`
///
/// #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
/// #[bytemuck(crate = "ipc_core::bytemuck")] // the same place
/// #[repr(C)]
/// struct Point {
///     x: f64,
///     y: f64,
/// }
///
/// fn is_plain<T: ipc_core::Plain>() {}
/// is_plain::<Point>();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not plain data that processes can share",
    note = "use numbers, arrays of them, or a `#[repr(C)]` structure that derives `bytemuck::Pod` and `bytemuck::Zeroable`; the documentation of `Plain` has one"
)]
pub trait Plain: bytemuck::Pod + Send + Sync {}

impl<T: bytemuck::Pod + Send + Sync> Plain for T {}

/// A number of a fixed width: any bytes are one, and it has no gaps.
pub(crate) trait Number: Copy + 'static {
    /// From little end first to this machine's order, or back.
    fn swapped(self) -> Self;
}

macro_rules! for_numbers {
    ($($number:ident)*) => {
        $(impl Number for $number {
            fn swapped(self) -> Self {
                $number::from_le_bytes(self.to_ne_bytes())
            }
        })*

        fn is_number<T: 'static>() -> bool {
            let this = TypeId::of::<T>();
            $(this == TypeId::of::<$number>())||*
        }

        /// Writes a number behind what is there.
        #[inline]
        pub(crate) fn push_number<T: 'static>(value: &T, bytes: &mut Buffer) {
            let value: &dyn Any = value;
            $(if let Some(number) = value.downcast_ref::<$number>() {
                bytes.extend_from_slice(&number.to_le_bytes());
            })*
        }

        /// Writes up to `most` numbers behind what is there; how many there were.
        pub(crate) fn push_numbers<T: 'static>(
            items: &mut impl Iterator<Item = T>,
            most: usize,
            bytes: &mut Buffer,
        ) -> usize {
            let start = bytes.len();
            $(if TypeId::of::<T>() == TypeId::of::<$number>() {
                const WIDTH: usize = size_of::<$number>();
                bytes.resize(start + most * WIDTH);
                let mut count = 0;
                for place in bytes[start..].chunks_exact_mut(WIDTH) {
                    let Some(item) = items.next() else { break };
                    if let Some(number) = (&item as &dyn Any).downcast_ref::<$number>() {
                        place.copy_from_slice(&number.to_le_bytes());
                    }
                    count += 1;
                }
                bytes.truncate(start + count * WIDTH);
                return count;
            })*
            0
        }

        /// Puts the numbers that lie in `bytes` at the end of `numbers`.
        #[allow(clippy::ptr_arg, reason = "it grows, as the vector it is found to be")]
        pub(crate) fn get_numbers<T: 'static>(bytes: &[u8], numbers: &mut Vec<T>) {
            let numbers: &mut dyn Any = numbers;
            $(if let Some(numbers) = numbers.downcast_mut::<Vec<$number>>() {
                let (there, _) = bytes.as_chunks::<{ size_of::<$number>() }>();
                numbers.extend(there.iter().map(|bytes| $number::from_le_bytes(*bytes)));
            })*
        }

        /// Reads a number out of exactly its width.
        pub(crate) fn get_number<T: 'static>(bytes: &[u8]) -> Option<T> {
            let mut value: Option<T> = None;
            $(if let Some(slot) = (&mut value as &mut dyn Any).downcast_mut::<Option<$number>>() {
                *slot = bytes.try_into().ok().map($number::from_le_bytes);
            })*
            value
        }

        /// A vector of numbers as it travels; `None` if it is something else.
        pub(crate) fn vector<T: 'static>(value: &T) -> Option<Cow<'_, [u8]>> {
            let value: &dyn Any = value;
            $(if let Some(numbers) = value.downcast_ref::<Vec<$number>>() {
                return Some(as_it_travels(numbers));
            })*
            None
        }

        /// How long such a vector is in bytes.
        pub(crate) fn vector_size<T: 'static>(value: &T) -> Option<usize> {
            let value: &dyn Any = value;
            $(if let Some(numbers) = value.downcast_ref::<Vec<$number>>() {
                return Some(size_of_val(numbers.as_slice()));
            })*
            None
        }

        /// An empty buffer whose memory can become a `T`; `None` if that is no vector of numbers.
        pub(crate) fn buffer_for<T: 'static>() -> Option<Buffer> {
            let this = TypeId::of::<T>();
            $(if this == TypeId::of::<Vec<$number>>() {
                return Some(Buffer::of::<$number>());
            })*
            None
        }

        /// As [`buffer_for`], in the memory of `value`, which is left empty.
        pub(crate) fn buffer_in<T: 'static>(value: &mut T) -> Option<Buffer> {
            let value: &mut dyn Any = value;
            $(if let Some(numbers) = value.downcast_mut::<Vec<$number>>() {
                return Some(Buffer::reusing(std::mem::take(numbers)));
            })*
            None
        }

        /// A vector of numbers as it travels, in its own memory, if it has at least so many bytes, and
        /// hardly room for more; it is left empty.
        pub(crate) fn take_vector<T: 'static>(value: &mut T, least: usize) -> Option<Buffer> {
            let value: &mut dyn Any = value;
            $(if let Some(numbers) = value.downcast_mut::<Vec<$number>>() {
                let is_long = size_of_val(numbers.as_slice()) >= least && numbers.capacity() / 2 <= numbers.len();
                return is_long.then(|| Buffer::holding(in_order(std::mem::take(numbers))));
            })*
            None
        }

        /// Reads a vector of numbers out of bytes; outer `None` if `T` is something else.
        pub(crate) fn get_vector<T: 'static>(bytes: &[u8]) -> Option<Option<T>> {
            let this = TypeId::of::<T>();
            $(if this == TypeId::of::<Vec<$number>>() {
                return Some(buffer::numbers_of::<$number>(bytes).and_then(arrived));
            })*
            None
        }

        /// As [`get_vector`], in the memory of the buffer itself if it is of the kind.
        pub(crate) fn into_vector<T: 'static>(buffer: Buffer) -> Option<Option<T>> {
            let this = TypeId::of::<T>();
            $(if this == TypeId::of::<Vec<$number>>() {
                return Some(buffer.into_vector::<$number>().and_then(arrived));
            })*
            None
        }
    };
}

for_numbers!(u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 f32 f64);

fn as_it_travels<N: Number>(numbers: &[N]) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        return Cow::Borrowed(buffer::bytes_of(numbers));
    }
    let swapped: Vec<N> = numbers.iter().map(|number| number.swapped()).collect();
    Cow::Owned(buffer::bytes_of(&swapped).to_vec())
}

/// From little end first to this machine's order, or back.
fn in_order<N: Number>(mut numbers: Vec<N>) -> Vec<N> {
    if cfg!(target_endian = "big") {
        numbers.iter_mut().for_each(|number| *number = number.swapped());
    }
    numbers
}

/// Numbers that have come, in this machine's order; `T` is that vector.
fn arrived<N: Number, T: 'static>(numbers: Vec<N>) -> Option<T> {
    let mut numbers = Some(in_order(numbers));
    (&mut numbers as &mut dyn Any).downcast_mut::<Option<T>>()?.take()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_a_width_and_others_none() {
        assert_eq!(item_width::<u64>(), Some(8));
        assert_eq!(item_width::<f32>(), Some(4));
        assert_eq!(item_width::<bool>(), None);
        assert_eq!(item_width::<usize>(), None);
        assert_eq!(item_width::<Vec<u8>>(), None);
    }

    #[test]
    fn a_number_comes_back() {
        let mut space = Buffer::new();
        push_number(&-2.5f64, &mut space);
        assert_eq!(get_number::<f64>(&space), Some(-2.5));
        assert_eq!(get_number::<f64>(&space[1..]), None);
    }

    #[test]
    fn numbers_come_back() {
        let mut space = Buffer::from(vec![7]);
        let mut items = 1u16..6;
        assert_eq!(push_numbers(&mut items, 3, &mut space), 3);
        assert_eq!(*space, [7, 1, 0, 2, 0, 3, 0]);
        assert_eq!(push_numbers(&mut items, 3, &mut space), 2);
        let mut numbers = vec![0u16];
        get_numbers(&space[1..], &mut numbers);
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
        assert_eq!(push_numbers(&mut ["text"].into_iter(), 3, &mut space), 0);
    }

    #[test]
    fn a_vector_comes_back() {
        let numbers: Vec<i32> = (-5..5).collect();
        let bytes = vector(&numbers).unwrap();
        assert_eq!(bytes[..4], (-5i32).to_le_bytes());
        assert_eq!(get_vector::<Vec<i32>>(&bytes), Some(Some(numbers.clone())));
        assert_eq!(get_vector::<Vec<i32>>(&bytes[1..]), Some(None));
        assert_eq!(get_vector::<String>(&bytes), None);
        assert_eq!(vector(&"text"), None);
        let mut buffer = buffer_for::<Vec<i32>>().unwrap();
        buffer.extend_from_slice(&bytes);
        assert_eq!(into_vector::<Vec<i32>>(buffer), Some(Some(numbers)));
        assert_eq!(into_vector::<String>(Buffer::new()), None);
        assert!(buffer_for::<Vec<bool>>().is_none());
    }

    #[test]
    fn a_vectors_memory_is_taken_and_comes_back() {
        let mut numbers = vec![1.0f64; 10];
        let buffer = buffer_in(&mut numbers).unwrap();
        assert!(numbers.is_empty() && buffer.capacity() == 80);
        assert_eq!(into_vector::<Vec<f64>>(buffer).unwrap().unwrap().capacity(), 10);
        assert!(buffer_in(&mut String::new()).is_none());
    }
}
