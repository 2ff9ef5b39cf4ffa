//! Objects that live in a server process, and proxies to them.
