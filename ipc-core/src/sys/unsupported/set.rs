use std::io;
use std::time::Instant;

use super::handle::Never;
use super::poll::Interest;
use super::unsupported;

#[derive(Debug)]
pub(crate) struct Set(Never);

#[derive(Debug)]
pub(crate) struct Place(Never);

impl Place {
    pub(crate) fn is_of(&self, _interest: Interest<'_>) -> bool {
        match self.0 {}
    }

    pub(crate) fn is_always_ready(&self) -> bool {
        match self.0 {}
    }
}

impl Set {
    pub(crate) fn new() -> io::Result<Self> {
        unsupported()
    }

    pub(crate) fn add(&self, _interest: Interest<'_>, _number: u64) -> io::Result<()> {
        match self.0 {}
    }

    pub(crate) fn remove(&self, _interest: Interest<'_>) {
        match self.0 {}
    }

    pub(crate) fn keep(&self, _interest: Interest<'_>, _number: u64) -> io::Result<Place> {
        match self.0 {}
    }

    pub(crate) fn forget(&self, _place: &Place) {
        match self.0 {}
    }

    pub(crate) fn wait(&self, _deadline: Option<Instant>) -> io::Result<Vec<u64>> {
        match self.0 {}
    }
}
