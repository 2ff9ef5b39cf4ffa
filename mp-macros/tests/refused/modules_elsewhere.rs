//! A module whose functions stand in another file, which the attribute does not see.

mod here {
    #[mp_manager::object]
    mod operator;
  //^^^^^^^^^^^^^ stand where the attribute sees them: `mod name { .. }`
}
