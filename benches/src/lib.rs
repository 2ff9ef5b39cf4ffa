//! The same shapes for us and for each rival.
