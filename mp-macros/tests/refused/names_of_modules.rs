//! Modules of whose names none for a type comes, or none of its own.

#[mp_manager::object]
mod __ {
//  ^^ no name for a type comes of this one
    pub fn one() -> u8 {
        1
    }
}

#[mp_manager::object]
mod _2 {
//  ^^ would be called `2`, which is no name
    pub fn one() -> u8 {
        1
    }
}

#[mp_manager::object]
mod self_ {
//  ^^^^^ would be called `Self`, which is no name
    pub fn one() -> u8 {
        1
    }
}

#[mp_manager::object]
mod Ops {
//  ^^^ would be called `Ops`, as the module is
    pub fn one() -> u8 {
        1
    }
}
