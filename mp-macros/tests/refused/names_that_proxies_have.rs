//! Names that a proxy would have twice.

pub struct Counter(u64);

#[mp_manager::object]
impl Counter {
    pub fn new(start: u64) -> Self {
        Self(start)
    }

    pub fn create(start: u64) -> Self {
        // ^^^^^^ the proxy has a `create` of its own, which runs `new`
        Self(start)
    }

    pub fn get(&self) -> u64 {
        self.0
    }

    pub fn get_async(&self) -> u64 {
        // ^^^^^^^^^ which sends a call of `get` and does not wait for its value: give this one another name
        self.0
    }

    pub fn host(&self) -> String {
        // ^^^^ the proxy has a `host` of its own
        "here".to_owned()
    }

    pub fn with_timeout(&self, seconds: u64) -> bool {
        // ^^^^^^^^^^^^ the proxy has a `with_timeout` of its own
        self.0 < seconds
    }
}

pub struct Twice;

#[mp_manager::object]
impl Twice {
    pub fn get(&self) -> u64 {
        1
    }

    pub fn get(&self) -> u64 {
        // ^^^ there are two of this name: a proxy calls them by their names
        2
    }
}
