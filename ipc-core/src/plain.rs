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

        /// Writes a number into exactly its width.
        pub(crate) fn put_number<T: 'static>(value: &T, space: &mut [u8]) {
            let value: &dyn Any = value;
            $(if let Some(number) = value.downcast_ref::<$number>() {
                space.copy_from_slice(&number.to_le_bytes());
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
        let mut space = [0; 8];
        put_number(&-2.5f64, &mut space);
        assert_eq!(get_number::<f64>(&space), Some(-2.5));
        assert_eq!(get_number::<f64>(&space[1..]), None);
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
