use std::io;

/// An owned system handle. On this platform there is none.
#[derive(Debug)]
pub struct Handle(Never);

#[derive(Debug, Clone, Copy)]
pub(super) enum Never {}

impl Handle {
    /// A second handle to the same object.
    ///
    /// # Errors
    /// What the system says.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.never()
    }

    pub(crate) fn let_go(&self) {
        self.never()
    }

    pub(super) fn never(&self) -> ! {
        match self.0 {}
    }
}
