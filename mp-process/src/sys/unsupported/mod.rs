//! Answers every call with `Unsupported`.
