//! Python's multiprocessing for Rust: processes, pools and shared objects that do not hang.
