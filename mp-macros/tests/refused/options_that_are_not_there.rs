//! Words in the attribute's parentheses that mean nothing.

pub struct Counter(u64);

#[mp_manager::object(expose(get))]
//                   ^^^^^^ there are `exposed(..)`, `keep`, `proxy = ..` and `crate = ..`
impl Counter {
    pub fn get(&self) -> u64 {
        self.0
    }
}

pub struct Other(u64);

#[mp_manager::object(exposed("get"))]
//                           ^^^^^ expected identifier
impl Other {
    pub fn get(&self) -> u64 {
        self.0
    }
}
