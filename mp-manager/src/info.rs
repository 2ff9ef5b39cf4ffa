//! What tools may ask of a manager and its objects.

use serde::{Deserialize, Serialize};

/// An object in a manager, as [`Manager::objects`](crate::Manager::objects) tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ObjectInfo {
    /// Its number, never given out twice by one manager.
    pub number: u64,
    /// What its type is called.
    pub type_name: String,
    /// How many references there are: of clients, in containers, under names, in messages.
    pub references: u64,
}

/// A method of an object, as [`ObjectRef::methods`](crate::ObjectRef::methods) tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MethodInfo {
    /// Its name.
    pub name: String,
    /// How it was written.
    pub signature: String,
    /// Whether it may change the object, and so runs alone.
    pub changes: bool,
    /// Whether [`call_by_name`](crate::ObjectRef::call_by_name) takes it. Of this crate's objects a few
    /// methods are those of their proxies alone: what brings a guard, runs a function of the caller's, or
    /// is done at the caller.
    pub by_name: bool,
}

impl From<&crate::Method> for MethodInfo {
    fn from(method: &crate::Method) -> Self {
        let crate::Method { name, signature, changes } = *method;
        Self { name: name.to_owned(), signature: signature.to_owned(), changes, by_name: true }
    }
}
