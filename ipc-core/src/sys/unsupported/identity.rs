pub(crate) fn generation() -> u32 {
    1
}

pub(crate) fn epoch() -> u32 {
    0
}

pub(crate) fn note_fork() {}

pub(crate) fn current_thread() -> u32 {
    0
}

pub(crate) fn thread_exists(_process: u32, _thread: u32) -> bool {
    true
}
