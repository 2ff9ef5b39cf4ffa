//! The threads themselves: how they begin, and where each works.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::crew::Crew;
use super::record::{self, Record};
use crate::error::PoolError;
use crate::stats::PoolStats;

/// The threads of a pool, and what they share.
pub(super) struct Hall {
    pub(super) crew: Arc<Crew>,
    places: Mutex<Vec<Place>>,
    /// What makes a thread's state, for each one anew.
    begin: Box<dyn Fn() -> Begin + Send + Sync>,
}

/// Makes a thread's state, on that thread.
pub(super) type Begin = Box<dyn FnOnce() -> Box<dyn Any> + Send>;

/// Where a thread works, or has.
struct Place {
    record: Arc<Record>,
    thread: JoinHandle<()>,
}

impl Hall {
    pub(super) fn new(begin: impl Fn() -> Begin + Send + Sync + 'static) -> Self {
        Self { crew: Arc::default(), places: Mutex::default(), begin: Box::new(begin) }
    }

    /// Sets how many threads there should be, and starts those that are missing.
    pub(super) fn resize(&self, threads: usize) -> Result<(), PoolError> {
        self.crew.want(threads)?;
        let unfinished = Unfinished(&self.crew);
        while self.crew.is_short() {
            // It runs the caller's code, which may panic: nothing is counted or locked yet.
            let begin = (self.begin)();
            self.start(begin)?;
        }
        // There are as many as there should be.
        std::mem::forget(unfinished);
        Ok(())
    }

    /// Starts a thread if one is still missing, in the place of one that has left if there is any.
    fn start(&self, begin: Begin) -> std::io::Result<()> {
        let mut places = self.places();
        if !self.crew.is_short() {
            return Ok(());
        }
        let free = places.iter().position(|place| place.thread.is_finished());
        let record = match free {
            Some(place) => Arc::clone(&places[place].record),
            None => Arc::new(Record::new(format!("ThreadPool-{}", places.len() + 1))),
        };
        let (crew, theirs) = (Arc::clone(&self.crew), Arc::clone(&record));
        if free.is_some() {
            record.begin_again();
        }
        let thread = thread::Builder::new().name(record.name().to_owned());
        let thread = thread.spawn(move || crew.work(&theirs, begin))?;
        self.crew.count_one_more();
        match free {
            Some(place) => places[place].thread = thread,
            None => places.push(Place { record, thread }),
        }
        Ok(())
    }

    /// What the threads have done.
    pub(super) fn stats(&self) -> PoolStats {
        record::stats(self.places().iter().map(|place| &*place.record))
    }

    /// Waits until all tasks are done, and the threads have ended.
    pub(super) fn finish(&self) {
        self.crew.finish();
        let own = thread::current().id();
        let places = std::mem::take(&mut *self.places());
        for Place { thread, .. } in places.into_iter().filter(|place| place.thread.thread().id() != own) {
            // A thread catches what its tasks throw.
            let _ = thread.join();
        }
    }

    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// While threads are being started: if that comes to nothing, there should be as many as there are.
struct Unfinished<'a>(&'a Crew);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.0.do_with_those_there_are();
    }
}
