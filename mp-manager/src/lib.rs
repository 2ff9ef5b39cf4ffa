//! Objects that live in a server process, and proxies to them.
//!
//! This crate holds the name and the room: a manager is the layer above
//! processes and channels, in which a list, a dictionary or an object of your own
//! lives in one process and is used from many through proxies. There are no items
//! yet.

#![forbid(unsafe_code)]
