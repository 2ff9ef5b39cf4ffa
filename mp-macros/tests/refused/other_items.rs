//! The attribute before something that has no methods.

mod here {
    #[mp_manager::object]
  //^^^^^^^^^^^^^^^^^^^^^ stands before an `impl` block, or before a module of functions
    pub struct Counter(u64);
}
