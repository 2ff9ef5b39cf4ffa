//! What looks much like what is refused.

use std::borrow::Cow;
use std::cell::Cell;
use std::marker::PhantomData;

use mp_manager::__private::{Deserialize, Deserializer, Serialize, Serializer};

/// A message that cannot go to another thread: its bytes can.
pub struct Mark(PhantomData<*const u8>);

impl Serialize for Mark {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for Mark {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer)?;
        Ok(Self(PhantomData))
    }
}

pub struct Words<T>(Vec<T>);

#[mp_manager::object]
impl<T> Words<T>
where
    T: mp_manager::__private::Message + Send + Sync + Clone,
{
    pub fn new() -> Result<Self, Cow<'static, str>> {
        Ok(Self(Vec::new()))
    }

    pub fn push(&mut self, word: T, mark: Mark) -> Option<Mark> {
        self.0.push(word);
        Some(mark)
    }

    pub fn all(&self) -> impl Iterator<Item = T> + Send + use<T> {
        self.0.clone().into_iter()
    }

    pub fn arrays(&self, all: [Vec<u8>; 2], text: Cow<'static, str>) -> (usize, [String; 1]) {
        (all.len(), [text.into_owned()])
    }

    // Not exposed, so whatever they are.
    pub fn default_words() -> usize {
        10
    }

    pub(crate) fn into_inner(self) -> Vec<T> {
        self.0
    }

    fn first(&self) -> Option<&T> {
        self.0.first()
    }
}

pub fn used(words: Words<u8>) -> Option<u8> {
    words.first()?;
    words.into_inner().pop()
}

#[mp_manager::object]
#[cfg(any())]
impl NotThere {
    pub fn get(&self) -> u64 {
        0
    }
}

#[mp_manager::object]
#[cfg(any())]
mod not_there {
    pub fn get() -> u64 {
        0
    }
}

#[mp_manager::object]
mod operator {
    //! Functions, and what is beside them.

    use super::{Cell, Mark};

    thread_local! {
        static LAST: Cell<i64> = const { Cell::new(0) };
    }

    pub const ZERO: i64 = 0;

    #[cfg(any())]
    pub fn twice(n: Nothing) {}

    #[cfg(not(any()))]
    pub fn twice(n: i64) -> i64 {
        LAST.set(2 * n);
        2 * n
    }

    pub const fn mark(mut mark: Mark) -> Mark {
        mark.0 = super::PhantomData;
        mark
    }

    pub fn proxy(of: OperatorProxy, (a, _): (u8, u8)) -> Option<OperatorProxy> {
        (a > 0).then_some(of)
    }

    fn borrowed(text: &str) -> &str {
        text
    }

    pub(crate) fn generic<T: Default>() -> T {
        let _ = borrowed("");
        T::default()
    }
}

pub fn both(proxy: &OperatorProxy) -> Result<i64, mp_manager::ManagerError> {
    Ok(proxy.twice(1)? + operator::twice(operator::generic()) + operator::ZERO)
}

mod inner {
    mod deep {
        #[mp_manager::object]
        pub(in super::super) mod types {
            pub fn one() -> u8 {
                1
            }
        }
    }

    pub(super) use deep::TypesProxy;
}

pub fn one(types: &inner::TypesProxy) -> Option<u8> {
    types.one().ok()
}

#[mp_manager::object]
#[allow(non_snake_case)]
mod __odd_2__ {
    pub fn r#loop(r#type: u8, _: u8) -> u8 {
        r#type
    }

    pub fn __(_: u8, (a, _): (u8, u8)) -> u8 {
        a
    }

    pub fn _1() {}
}

pub fn odd(proxy: &Odd2Proxy) -> Result<u8, mp_manager::ManagerError> {
    proxy._1()?;
    let later = proxy.r#loop_async(1, 2)?;
    Ok(proxy.r#loop(1, 2)? + proxy.__(1, (2, 3))? + later.get()?)
}
