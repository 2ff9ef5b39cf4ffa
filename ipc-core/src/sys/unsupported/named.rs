use std::io;

use super::handle::Never;
use super::memory::Segment;
use super::unsupported;

#[derive(Debug)]
pub(crate) struct Name(Never);

impl Name {
    pub(crate) fn create(_text: &str, _len: usize) -> io::Result<(Self, Segment)> {
        unsupported()
    }

    pub(crate) fn open(_text: &str) -> io::Result<(Self, Segment)> {
        unsupported()
    }

    pub(crate) fn create_unique(_text: &str, _len: usize) -> io::Result<(Self, Segment)> {
        unsupported()
    }

    pub(crate) fn adopt(_text: &str) -> io::Result<Self> {
        unsupported()
    }

    pub(crate) fn received(_text: String, segment: &Segment) -> io::Result<Self> {
        segment.handle().never()
    }

    pub(crate) fn text(&self) -> &str {
        match self.0 {}
    }

    pub(crate) fn is_ours(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn disown(&mut self) {
        match self.0 {}
    }

    pub(crate) fn unlink(&self) -> io::Result<()> {
        match self.0 {}
    }
}
