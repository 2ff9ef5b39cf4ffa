//! Decoding that counts what it makes.
//!
//! A sequence says in front how many items it has. Where an item takes bytes, the end of
//! the message ends a lie; items of no size, as of a `Vec<()>`, would be made for as long
//! as the number says. So all items of all sequences and maps of a message are counted,
//! and may be as many as it has bytes, and [`OF_NO_SIZE`] more.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use crate::noted::Noted;

/// How many items may come that take no bytes.
const OF_NO_SIZE: usize = 1 << 20;

/// How many more items a message may have.
pub(crate) struct Budget(Cell<usize>);

impl Budget {
    /// For a message of `len` bytes.
    pub(crate) fn of(len: usize) -> Self {
        Self(Cell::new(len.saturating_add(OF_NO_SIZE)))
    }

    fn spend<E: Error>(&self) -> Result<(), E> {
        match self.0.get().checked_sub(1) {
            Some(left) => {
                self.0.set(left);
                Ok(())
            }
            None => Err(E::custom("it says that it has more items than its bytes can hold")),
        }
    }
}

/// A deserializer, seed, visitor or access, and the budget of what it makes.
pub(crate) struct Wary<'b, T> {
    inner: T,
    budget: &'b Budget,
    /// Its length was read from the message, as those of sequences and maps are.
    counts: bool,
}

impl<'b, T> Wary<'b, T> {
    pub(crate) fn new(inner: T, budget: &'b Budget) -> Self {
        Self { inner, budget, counts: false }
    }

    fn with<U>(&self, inner: U) -> Wary<'b, U> {
        Wary { inner, budget: self.budget, counts: self.counts }
    }

    fn around<U>(&self, inner: U) -> Wary<'b, U> {
        Wary::new(inner, self.budget)
    }

    fn counting<U>(&self, inner: U) -> Wary<'b, U> {
        Wary { counts: true, ..Wary::new(inner, self.budget) }
    }

    fn spend<E: Error>(&self) -> Result<(), E> {
        if self.counts { self.budget.spend() } else { Ok(()) }
    }
}

/// What holds no other value has none to be counted.
macro_rules! leaves {
    ($($method:ident)*) => {
        $(#[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            let visitor = self.around(visitor);
            self.inner.$method(visitor).map_err(Noted)
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Wary<'_, D> {
    type Error = Noted<D::Error>;

    leaves! {
        deserialize_bool
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64 deserialize_char
        deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf
        deserialize_unit deserialize_identifier
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        let visitor = self.counting(visitor);
        self.inner.deserialize_any(visitor).map_err(Noted)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        let visitor = self.counting(visitor);
        self.inner.deserialize_ignored_any(visitor).map_err(Noted)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        let visitor = self.around(visitor);
        self.inner.deserialize_option(visitor).map_err(Noted)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let visitor = self.around(visitor);
        self.inner.deserialize_unit_struct(name, visitor).map_err(Noted)
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let visitor = self.around(visitor);
        self.inner.deserialize_newtype_struct(name, visitor).map_err(Noted)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        let visitor = self.counting(visitor);
        self.inner.deserialize_seq(visitor).map_err(Noted)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        let visitor = self.counting(visitor);
        self.inner.deserialize_map(visitor).map_err(Noted)
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Self::Error> {
        let visitor = self.around(visitor);
        self.inner.deserialize_tuple(len, visitor).map_err(Noted)
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let visitor = self.around(visitor);
        self.inner.deserialize_tuple_struct(name, len, visitor).map_err(Noted)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let visitor = self.around(visitor);
        self.inner.deserialize_struct(name, fields, visitor).map_err(Noted)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let visitor = self.around(visitor);
        self.inner.deserialize_enum(name, variants, visitor).map_err(Noted)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// What an inner visitor refuses is noted, and given on as the error of whoever asked.
macro_rules! visits {
    ($($method:ident: $type:ty)*) => {
        $(#[inline]
        fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method::<Noted<E>>(value).map_err(Noted::into_inner)
        })*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Wary<'_, V> {
    type Value = V::Value;

    visits! {
        visit_bool: bool
        visit_i8: i8 visit_i16: i16 visit_i32: i32 visit_i64: i64 visit_i128: i128
        visit_u8: u8 visit_u16: u16 visit_u32: u32 visit_u64: u64 visit_u128: u128
        visit_f32: f32 visit_f64: f64 visit_char: char
        visit_str: &str visit_borrowed_str: &'de str visit_string: String
        visit_bytes: &[u8] visit_borrowed_bytes: &'de [u8] visit_byte_buf: Vec<u8>
    }

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none::<Noted<E>>().map_err(Noted::into_inner)
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit::<Noted<E>>().map_err(Noted::into_inner)
    }

    #[inline]
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let deserializer = self.around(deserializer);
        self.inner.visit_some(deserializer).map_err(Noted::into_inner)
    }

    #[inline]
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let deserializer = self.around(deserializer);
        self.inner.visit_newtype_struct(deserializer).map_err(Noted::into_inner)
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        let items = self.with(items);
        self.inner.visit_seq(items).map_err(Noted::into_inner)
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        let items = self.with(items);
        self.inner.visit_map(items).map_err(Noted::into_inner)
    }

    #[inline]
    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        let variant = self.around(variant);
        self.inner.visit_enum(variant).map_err(Noted::into_inner)
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Wary<'_, S> {
    type Value = S::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        let deserializer = self.around(deserializer);
        self.inner.deserialize(deserializer).map_err(Noted::into_inner)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Wary<'_, A> {
    type Error = Noted<A::Error>;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Self::Error> {
        let seed = self.around(seed);
        let item = self.inner.next_element_seed(seed).map_err(Noted)?;
        if item.is_some() {
            self.spend()?;
        }
        Ok(item)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Wary<'_, A> {
    type Error = Noted<A::Error>;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Self::Error> {
        let seed = self.around(seed);
        let key = self.inner.next_key_seed(seed).map_err(Noted)?;
        if key.is_some() {
            self.spend()?;
        }
        Ok(key)
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Self::Error> {
        let seed = self.around(seed);
        self.inner.next_value_seed(seed).map_err(Noted)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, 'b, A: EnumAccess<'de>> EnumAccess<'de> for Wary<'b, A> {
    type Error = Noted<A::Error>;
    type Variant = Wary<'b, A::Variant>;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), Self::Error> {
        let (seed, budget) = (self.around(seed), self.budget);
        let (value, variant) = self.inner.variant_seed(seed).map_err(Noted)?;
        Ok((value, Wary::new(variant, budget)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Wary<'_, A> {
    type Error = Noted<A::Error>;

    fn unit_variant(self) -> Result<(), Self::Error> {
        self.inner.unit_variant().map_err(Noted)
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Self::Error> {
        let seed = self.around(seed);
        self.inner.newtype_variant_seed(seed).map_err(Noted)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Self::Error> {
        let visitor = self.around(visitor);
        self.inner.tuple_variant(len, visitor).map_err(Noted)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let visitor = self.around(visitor);
        self.inner.struct_variant(fields, visitor).map_err(Noted)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};
    use std::fmt::Debug;

    use serde::de::DeserializeOwned;
    use serde::{Deserialize, Serialize};

    use crate::codec::decode;
    use crate::{DecodeError, Packet};

    fn counted(count: u64) -> Vec<u8> {
        let mut packet = Packet::new();
        packet.append(&count).unwrap();
        packet.bytes().to_vec()
    }

    fn refused<T: DeserializeOwned + Debug>(bytes: &[u8]) {
        let result: Result<T, DecodeError> = decode(bytes);
        let error = result.unwrap_err().to_string();
        assert!(error.contains("more items"), "{error}");
    }

    #[derive(Debug, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord, Hash, Clone)]
    struct Nothing;

    #[test]
    fn a_lie_about_items_of_no_size_ends() {
        let bytes = counted(1 << 60);
        refused::<Vec<()>>(&bytes);
        refused::<HashSet<Nothing>>(&bytes);
        refused::<BTreeMap<Nothing, ((), [u8; 0])>>(&bytes);
        refused::<Option<Vec<Nothing>>>(&[&[1], &bytes[..]].concat());
        refused::<(u8, Result<Vec<()>, ()>)>(&[&[9, 0], &bytes[..]].concat());
    }

    #[test]
    fn many_small_lies_end_as_one() {
        // Each of them alone could be true of a message of this length.
        let inner = counted(300_000);
        let count = 100_000;
        let bytes = [counted(count), inner.repeat(count as usize)].concat();
        refused::<Vec<Vec<()>>>(&bytes);
    }

    #[derive(Debug, Serialize, Deserialize, PartialEq, Clone)]
    enum Tree {
        Leaf(u8),
        Node { name: String, children: Vec<Tree> },
        Pair(Box<Tree>, Option<Box<Tree>>),
        Empty,
    }

    #[test]
    fn what_is_true_is_decoded() {
        let leaf = Tree::Leaf(7);
        let node = Tree::Node { name: "n".into(), children: vec![leaf.clone(), Tree::Empty, leaf.clone()] };
        let tree = Tree::Pair(Box::new(node.clone()), Some(Box::new(node)));
        let map: BTreeMap<String, Vec<Option<u16>>> = [("a".to_owned(), vec![None, Some(3)])].into();
        let value = (vec![Nothing; 100_000], tree, map, vec![(); 1 << 19], [1u8; 3], 'x', 1.5f32);
        let mut packet = Packet::new();
        packet.append(&value).unwrap();
        assert_eq!(decode::<(Vec<Nothing>, Tree, _, _, _, _, _)>(packet.bytes()).unwrap(), value);
        let empty = vec![Vec::<u32>::new(); 1 << 21];
        packet.clear();
        packet.append(&empty).unwrap();
        assert!(decode::<Vec<Vec<u32>>>(packet.bytes()).unwrap() == empty, "as many as it has bytes");
    }
}
