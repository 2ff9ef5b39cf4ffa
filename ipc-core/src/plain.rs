//! Numbers and vectors of numbers, which travel as they lie in memory.
//!
//! Serde hands a `Vec<f64>` over element by element, and postcard writes integers
//! in as few bytes as they need. For a listed set of types, the numbers of a fixed
//! width and vectors of them, the bytes are copied instead, little end first. The
//! types are compared when the code is compiled, so it costs others nothing.

use std::any::{Any, TypeId};

/// How many bytes a `T` takes as an item of a packet, if that is the same for all
/// of them: so for the integers and floats. Such items have no length in front.
#[must_use]
pub fn item_width<T: 'static>() -> Option<usize> {
    is_number::<T>().then_some(size_of::<T>())
}

macro_rules! for_numbers {
    ($($number:ident)*) => {
        fn is_number<T: 'static>() -> bool {
            let this = TypeId::of::<T>();
            $(this == TypeId::of::<$number>())||*
        }

        fn is_vector<T: 'static>() -> bool {
            let this = TypeId::of::<T>();
            $(this == TypeId::of::<Vec<$number>>())||*
        }

        /// Writes a number behind what is there.
        #[inline]
        pub(crate) fn push_number<T: 'static>(value: &T, bytes: &mut Vec<u8>) {
            let value: &dyn Any = value;
            $(if let Some(number) = value.downcast_ref::<$number>() {
                bytes.extend_from_slice(&number.to_le_bytes());
            })*
        }

        /// Writes up to `most` numbers behind what is there; how many there were.
        pub(crate) fn push_numbers<T: 'static>(
            items: &mut impl Iterator<Item = T>,
            most: usize,
            bytes: &mut Vec<u8>,
        ) -> usize {
            let start = bytes.len();
            $(if TypeId::of::<T>() == TypeId::of::<$number>() {
                const WIDTH: usize = size_of::<$number>();
                bytes.resize(start + most * WIDTH, 0);
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

        /// How long a vector of numbers is in bytes; `None` if it is something else.
        pub(crate) fn vector_len<T: 'static>(value: &T) -> Option<usize> {
            let value: &dyn Any = value;
            $(if let Some(numbers) = value.downcast_ref::<Vec<$number>>() {
                return Some(size_of_val(numbers.as_slice()));
            })*
            None
        }

        /// Writes a vector of numbers into exactly its length.
        pub(crate) fn put_vector<T: 'static>(value: &T, space: &mut [u8]) {
            let value: &dyn Any = value;
            $(if let Some(numbers) = value.downcast_ref::<Vec<$number>>() {
                for (place, number) in space.chunks_exact_mut(size_of::<$number>()).zip(numbers) {
                    place.copy_from_slice(&number.to_le_bytes());
                }
            })*
        }

        /// Reads a vector of numbers; outer `None` if `T` is something else.
        pub(crate) fn get_vector<T: 'static>(bytes: &[u8]) -> Option<Option<T>> {
            if !is_vector::<T>() {
                return None;
            }
            let mut value: Option<T> = None;
            $(if let Some(slot) = (&mut value as &mut dyn Any).downcast_mut::<Option<Vec<$number>>>() {
                let numbers = bytes.chunks_exact(size_of::<$number>());
                if numbers.remainder().is_empty() {
                    let number = |bytes: &[u8]| bytes.try_into().map_or($number::default(), $number::from_le_bytes);
                    *slot = Some(numbers.map(number).collect());
                }
            })*
            Some(value)
        }
    };
}

for_numbers!(u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 f32 f64);

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
        let mut space = Vec::new();
        push_number(&-2.5f64, &mut space);
        assert_eq!(get_number::<f64>(&space), Some(-2.5));
        assert_eq!(get_number::<f64>(&space[1..]), None);
    }

    #[test]
    fn numbers_come_back() {
        let mut space = vec![7];
        let mut items = 1u16..6;
        assert_eq!(push_numbers(&mut items, 3, &mut space), 3);
        assert_eq!(space, [7, 1, 0, 2, 0, 3, 0]);
        assert_eq!(push_numbers(&mut items, 3, &mut space), 2);
        let mut numbers = vec![0u16];
        get_numbers(&space[1..], &mut numbers);
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
        assert_eq!(push_numbers(&mut ["text"].into_iter(), 3, &mut space), 0);
    }

    #[test]
    fn a_vector_comes_back() {
        let numbers: Vec<i32> = (-5..5).collect();
        let mut space = vec![0; vector_len(&numbers).unwrap()];
        put_vector(&numbers, &mut space);
        assert_eq!(get_vector::<Vec<i32>>(&space), Some(Some(numbers)));
        assert_eq!(get_vector::<Vec<i32>>(&space[1..]), Some(None));
        assert_eq!(get_vector::<String>(&space), None);
        assert_eq!(vector_len(&"text"), None);
    }
}
