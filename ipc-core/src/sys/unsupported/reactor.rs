use std::io;
use std::task::{Context, Poll};

use super::handle::Never;
use super::poll::Interest;

#[derive(Debug)]
pub(crate) struct Watch(Never);

impl Watch {
    pub(crate) fn new(interest: Interest<'_>) -> io::Result<Self> {
        interest.never()
    }
}

pub(crate) fn first_of(watches: &[Watch], _context: &mut Context<'_>) -> Poll<io::Result<()>> {
    match watches {
        [] => Poll::Pending,
        [first, ..] => match first.0 {},
    }
}
