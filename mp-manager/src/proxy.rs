//! What all proxies can do.

use crate::object_ref::ObjectRef;

/// A proxy: stands for an object in a manager.
///
/// Proxies are implemented by [`object`](crate::object), and by this crate for
/// its own objects.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no proxy of an object in a manager",
    label = "not a proxy",
    note = "`#[object]` before an `impl` block of `Counter` makes `CounterProxy`; a plain value has a place in `Manager::value`"
)]
pub trait Proxy: Sized {
    /// The proxy without its methods.
    fn object(&self) -> &ObjectRef;

    /// A proxy for an object, whose type is not checked: a method that it does not
    /// have is an error.
    fn from_object(object: ObjectRef) -> Self;
}

/// Writes the parts that all proxies have in common.
#[doc(hidden)]
#[macro_export]
macro_rules! __proxy {
    ($(#[$meta:meta])* $visibility:vis struct $name:ident [$($generic:ident),*]) => {
        $(#[$meta])*
        $visibility struct $name<$($generic),*> {
            object: $crate::ObjectRef,
            types: ::std::marker::PhantomData<fn() -> ($($generic,)*)>,
        }

        impl<$($generic),*> $name<$($generic),*> {
            /// The same object, with another timeout for the calls made by this proxy.
            #[must_use]
            $visibility fn with_timeout(&self, timeout: ::std::time::Duration) -> Self {
                $crate::Proxy::from_object(self.object.clone().with_timeout(timeout))
            }
        }

        impl<$($generic),*> $crate::Proxy for $name<$($generic),*> {
            fn object(&self) -> &$crate::ObjectRef {
                &self.object
            }

            fn from_object(object: $crate::ObjectRef) -> Self {
                Self { object, types: ::std::marker::PhantomData }
            }
        }

        impl<$($generic),*> ::std::clone::Clone for $name<$($generic),*> {
            fn clone(&self) -> Self {
                $crate::Proxy::from_object(self.object.clone())
            }
        }

        impl<$($generic),*> ::std::cmp::PartialEq for $name<$($generic),*> {
            fn eq(&self, other: &Self) -> bool {
                self.object == other.object
            }
        }

        impl<$($generic),*> ::std::cmp::Eq for $name<$($generic),*> {}

        impl<$($generic),*> ::std::hash::Hash for $name<$($generic),*> {
            fn hash<__H: ::std::hash::Hasher>(&self, state: &mut __H) {
                ::std::hash::Hash::hash(&self.object, state);
            }
        }

        impl<$($generic),*> ::std::fmt::Debug for $name<$($generic),*> {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_struct(::std::stringify!($name)).field("object", &self.object).finish()
            }
        }

        impl<$($generic),*> $crate::__private::Serialize for $name<$($generic),*> {
            fn serialize<__S: $crate::__private::Serializer>(
                &self,
                serializer: __S,
            ) -> ::std::result::Result<__S::Ok, __S::Error> {
                $crate::__private::Serialize::serialize(&self.object, serializer)
            }
        }

        impl<'de, $($generic),*> $crate::__private::Deserialize<'de> for $name<$($generic),*> {
            fn deserialize<__D: $crate::__private::Deserializer<'de>>(
                deserializer: __D,
            ) -> ::std::result::Result<Self, __D::Error> {
                let object: $crate::ObjectRef = $crate::__private::Deserialize::deserialize(deserializer)?;
                ::std::result::Result::Ok($crate::Proxy::from_object(object))
            }
        }
    };
}
