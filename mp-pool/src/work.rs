//! Items on their way through a pool, and their outcomes on the way back.

use std::any::TypeId;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use ipc_core::{DecodeError, EncodeError, Message, Reader, is_vector, item_width};

use crate::chunks::{Chunk, Chunks};
use crate::core::{Advice, Code, JobId, Lease, Reply, What};
use crate::driver::Driver;
use crate::error::{PoolError, TaskError, TaskKind};
use crate::values::Values;
use crate::wire::{Failure, NUMBERS, VALUE};
use crate::worker;

/// Values that come out of turn wait for theirs: so many for each task under way.
const AHEAD: usize = 16;

/// Outcomes and the places of their items.
pub(crate) type Outcomes<R> = VecDeque<(usize, Result<R, TaskError>)>;

/// A job whose caller feeds it and waits for it.
#[derive(Debug)]
pub(crate) struct Work<'pool, I> {
    driver: &'pool Driver,
    job: JobId,
    code: Arc<Code>,
    chunks: Chunks<I>,
    exhausted: bool,
    /// Items to be taken from the input for now.
    limit: usize,
    /// Items that are given out and not answered, and their bytes.
    sent: Load,
    /// How many tasks have been given out.
    tasks: usize,
    /// Items whose results have come and were not taken, and the bytes of those.
    held: Load,
    /// News that has come and was not decoded.
    come: VecDeque<Reply>,
    /// How many bytes the result of an item has, smoothed, once that is known.
    result_bytes: Option<usize>,
}

/// Some items and their bytes.
#[derive(Debug, Default, Clone, Copy)]
struct Load {
    items: usize,
    bytes: usize,
}

impl Load {
    fn add(&mut self, items: usize, bytes: usize) {
        self.items += items;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// So many items go, with their share of the bytes.
    fn remove(&mut self, items: usize) {
        let share = match self.items.saturating_sub(items) {
            0 => self.bytes,
            left => self.bytes / (left + items) * items,
        };
        self.items = self.items.saturating_sub(items);
        self.bytes -= share;
    }
}

/// Encodes a job of plain functions.
pub(crate) fn plain<A: Message, R: Message>(function: fn(A) -> R) -> Result<Arc<Code>, TaskError> {
    code::<A, R>(worker::job(function))
}

/// As [`plain`], for a job whose outcomes are of use only when all have come. The last one of
/// each thread is remembered: those who submit many tasks one by one submit alike ones.
pub(crate) fn whole<A: Message, R: Message>(function: fn(A) -> R) -> Result<Arc<Code>, TaskError> {
    /// The function's type and address, which together stand for its bytes.
    type Last = Option<(TypeId, usize, Arc<Code>)>;
    thread_local! {
        static LAST: RefCell<Last> = const { RefCell::new(None) };
    }
    let (kind, address) = (TypeId::of::<fn(A) -> R>(), function as usize);
    let known = LAST.try_with(|last| match &*last.borrow() {
        Some((of, at, code)) if (*of, *at) == (kind, address) => Some(Arc::clone(code)),
        _ => None,
    });
    if let Ok(Some(code)) = known {
        return Ok(code);
    }
    let mut code = plain(function)?;
    Arc::make_mut(&mut code).whole = true;
    // Where a job says which span it was submitted in, no two are alike.
    if !cfg!(feature = "tracing") {
        // A thread that is ending remembers nothing.
        let _ = LAST.try_with(|last| last.replace(Some((kind, address, Arc::clone(&code)))));
    }
    Ok(code)
}

/// Encodes a job of functions that take the worker's state.
pub(crate) fn with_state<S, A, R>(function: fn(&mut S, A) -> R) -> Result<Arc<Code>, TaskError>
where
    S: 'static,
    A: Message,
    R: Message,
{
    code::<A, R>(worker::state_job(function))
}

/// Encodes a job of functions that look at a shared value.
pub(crate) fn with_shared<T, A, R>(
    function: fn(&T, A) -> R,
    lease: &Arc<Lease>,
) -> Result<Arc<Code>, TaskError>
where
    T: Message,
    A: Message,
    R: Message,
{
    let mut code = code::<A, R>(worker::shared_job(function, lease.id))?;
    Arc::make_mut(&mut code).lease = Some(Arc::clone(lease));
    Ok(code)
}

/// Encodes a job of functions of two parameters; those below, of more.
pub(crate) fn star2<A, B, R>(function: fn(A, B) -> R) -> Result<Arc<Code>, TaskError>
where
    A: Message,
    B: Message,
    R: Message,
{
    code::<(A, B), R>(worker::star2_job(function))
}

pub(crate) fn star3<A, B, C, R>(function: fn(A, B, C) -> R) -> Result<Arc<Code>, TaskError>
where
    A: Message,
    B: Message,
    C: Message,
    R: Message,
{
    code::<(A, B, C), R>(worker::star3_job(function))
}

pub(crate) fn star4<A, B, C, D, R>(function: fn(A, B, C, D) -> R) -> Result<Arc<Code>, TaskError>
where
    A: Message,
    B: Message,
    C: Message,
    D: Message,
    R: Message,
{
    code::<(A, B, C, D), R>(worker::star4_job(function))
}

/// The job's bytes, for items of type `A` and values of type `R`.
fn code<A: 'static, R: 'static>(bytes: Result<Vec<u8>, EncodeError>) -> Result<Arc<Code>, TaskError> {
    let bytes = bytes.map_err(TaskKind::Argument)?;
    Ok(Arc::new(Code {
        bytes,
        whole: false,
        item_width: item_width::<A>(),
        value_width: item_width::<R>(),
        takes_vectors: is_vector::<A>(),
        lease: None,
    }))
}

impl<'pool, A: Message, I: Iterator<Item = A>> Work<'pool, I> {
    pub(crate) fn begin(
        driver: &'pool Driver,
        priority: i32,
        code: Arc<Code>,
        chunks: Chunks<I>,
    ) -> Result<Self, TaskError> {
        let (job, value_width) = (driver.open(priority)?, code.value_width);
        Ok(Self {
            driver,
            job,
            code,
            chunks,
            exhausted: false,
            limit: usize::MAX,
            sent: Load::default(),
            tasks: 0,
            held: Load::default(),
            come: VecDeque::new(),
            result_bytes: value_width,
        })
    }

    /// News of some items; `None` after the last, and an empty list at the deadline.
    pub(crate) fn next_replies(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Option<VecDeque<Reply>>, PoolError> {
        loop {
            self.feed();
            match self.driver.replies(self.job, deadline)? {
                Some(replies) => {
                    replies.iter().for_each(|reply| self.note(reply));
                    return Ok(Some(replies));
                }
                None if self.exhausted => return Ok(None),
                None => self.driver.check_alive()?,
            }
        }
    }

    /// The next outcomes that have come, each with the place of its item, are put at the
    /// end of `outcomes`; whether there may be more.
    pub(crate) fn fetch<R: Message>(
        &mut self,
        outcomes: &mut Outcomes<R>,
        deadline: Option<Instant>,
    ) -> Result<bool, PoolError> {
        if self.come.is_empty() {
            let Some(replies) = self.next_replies(deadline)? else { return Ok(false) };
            replies.iter().for_each(|reply| self.held.add(reply.items as usize, reply.bytes()));
            self.come = replies;
        }
        // One is decoded when those before have been taken: of large values no more are there than
        // the caller keeps, and they come to lie in the same memory.
        while outcomes.is_empty()
            && let Some(reply) = self.come.pop_front()
        {
            reply.for_each(|index, outcome| outcomes.push_back((index, outcome)));
        }
        Ok(true)
    }

    /// All values in order, or the error of the first item, in order, that failed.
    pub(crate) fn gather<R: Message>(mut self, expected: usize) -> Result<Vec<R>, TaskError> {
        Arc::make_mut(&mut self.code).whole = true;
        let mut gathered = Gathered::new(expected);
        while let Some(replies) = self.next_replies(None)? {
            replies.into_iter().for_each(|reply| gathered.take(reply));
        }
        gathered.finish()
    }

    /// As [`gather`](Self::gather), but ends with the first error that comes.
    pub(crate) fn gather_while<T: Message, E: Message>(
        mut self,
        expected: usize,
    ) -> Result<Result<Vec<T>, E>, TaskError> {
        let mut values = Values::new(expected);
        let mut stop: Option<(usize, Result<E, TaskError>)> = None;
        while let Some(replies) = self.next_replies(None)? {
            for reply in replies {
                let run = values.begin(reply.index, reply.items as usize);
                reply.for_each(|index, outcome: Result<Result<T, E>, TaskError>| match outcome {
                    Ok(Ok(value)) => run.push(value),
                    Ok(Err(error)) => stop = stop.take().or(Some((index, Ok(error)))),
                    Err(error) => stop = stop.take().or(Some((index, Err(error)))),
                });
            }
            match stop {
                None => {}
                Some((_, Ok(error))) => return Ok(Err(error)),
                Some((index, Err(error))) => return Err(error.of_call(index)),
            }
        }
        Ok(Ok(values.into_vec()))
    }

    /// Gives the pool as many items as it has use for.
    fn feed(&mut self) {
        while !self.exhausted && self.chunks.taken() < self.limit {
            let Some(advice) = self.driver.wants_more(self.job, self.chunks.may_wait()) else { return };
            if !self.has_room(advice) {
                return;
            }
            self.chunks.heed(advice);
            match self.chunks.next() {
                Some(chunk) => {
                    let (items, bytes) = chunk.load();
                    self.sent.add(items, bytes);
                    self.tasks += 1;
                    self.driver.submit(self.job, &self.code, chunk);
                }
                None => self.exhausted = true,
            }
        }
    }

    /// Whether more may be under way. Results that have not come are thought to be like
    /// those before them, and the first ones as large as they may be: each worker has a task.
    fn has_room(&self, advice: Advice) -> bool {
        let Some(result_bytes) = self.result_bytes else { return self.tasks < advice.workers };
        let to_come = self.sent.items.saturating_mul(result_bytes);
        let bytes = self.sent.bytes.saturating_add(to_come).saturating_add(self.held.bytes);
        bytes < advice.window_bytes || self.sent.items + self.held.items < advice.workers
    }

    fn note(&mut self, reply: &Reply) {
        let items = reply.items as usize;
        self.sent.remove(items);
        let bytes = reply.bytes() / items.max(1);
        let smoothed = |known: usize| known.saturating_mul(3).saturating_add(bytes) / 4;
        let known = self.result_bytes.filter(|known| *known > 0);
        self.result_bytes = Some(known.map_or(bytes, smoothed));
    }
}

impl<I: Iterator> Work<'_, I> {
    /// How many items there are in all, if the input knows.
    pub(crate) fn total(&self) -> Option<usize> {
        Some(self.chunks.taken() + self.chunks.left()?)
    }
}

impl<I> Work<'_, I> {
    /// How many items a task has from now on, as far as the pool's rules allow.
    pub(crate) fn set_chunk_size(&mut self, items: usize) {
        self.chunks.set_size(self.driver.most_per_task(items));
    }

    /// The caller has taken a result.
    pub(crate) fn taken(&mut self) {
        self.held.remove(1);
    }

    /// Lets the input run ahead of `place` by a bounded number of items.
    pub(crate) fn limit_to(&mut self, place: usize) {
        let tasks = self.driver.appetite();
        self.limit = place + tasks * AHEAD.max(2 * self.chunks.bundle());
    }
}

impl<I> Drop for Work<'_, I> {
    fn drop(&mut self) {
        self.driver.close_job(self.job);
    }
}

/// Values put in order as replies come, and the first error.
#[derive(Debug)]
pub(crate) struct Gathered<R> {
    values: Values<R>,
    first_error: Option<TaskError>,
}

impl<R: Message> Gathered<R> {
    pub(crate) fn new(expected: usize) -> Self {
        Self { values: Values::new(expected), first_error: None }
    }

    pub(crate) fn take(&mut self, mut reply: Reply) {
        let run = self.values.begin(reply.index, reply.items as usize);
        if reply.take_numbers(run) {
            return;
        }
        let first_error = &mut self.first_error;
        reply.for_each(|index, outcome| match outcome {
            Ok(value) => run.push(value),
            Err(error) => {
                let error = error.of_call(index);
                if first_error.as_ref().is_none_or(|first| error.index() < first.index()) {
                    *first_error = Some(error);
                }
            }
        });
    }

    pub(crate) fn finish(self) -> Result<Vec<R>, TaskError> {
        self.first_error.map_or_else(|| Ok(self.values.into_vec()), Err)
    }
}

/// All chunks of a job that is not fed by its caller.
pub(crate) fn all_chunks<A: Message>(
    items: impl Iterator<Item = A>,
    size: impl FnOnce(usize) -> usize,
) -> impl Iterator<Item = Chunk> {
    let size = size(items.size_hint().0);
    Chunks::new(items, size)
}

impl Reply {
    /// How many bytes of results it has, with those of memory that they keep.
    fn bytes(&self) -> usize {
        match &self.what {
            What::Outcomes(packet, kept_bytes) => packet.bytes().len().saturating_add(*kept_bytes),
            What::Failed(_) => 0,
        }
    }

    /// Puts all values at the end of `numbers`, if they are numbers and none is missing.
    fn take_numbers<R: Message>(&mut self, numbers: &mut Vec<R>) -> bool {
        let What::Outcomes(packet, _) = &mut self.what else { return false };
        let count = self.items as usize;
        let is_one_run = packet.bytes().split_first_chunk().is_some_and(|(head, _)| is_run_of(*head, count));
        is_one_run && packet.reading(|reader| skip_run_head(reader) && reader.numbers(count, numbers))
    }

    /// Decodes each item's outcome and hands it on with its place.
    pub(crate) fn for_each<R: Message>(self, mut each: impl FnMut(usize, Result<R, TaskError>)) {
        let places = self.index..self.index + self.items as usize;
        let worker = self.worker;
        let mut each = |index, outcome: Result<R, TaskError>| {
            each(index, outcome.map_err(|error| error.by(worker)));
        };
        match self.what {
            What::Failed(kind) => {
                for index in places {
                    each(index, Err(kind.clone().into()));
                }
            }
            What::Outcomes(mut packet, _) => packet.reading(|reader| decode(reader, places, each)),
        }
    }
}

/// Decodes outcomes one after the other. A value's own `Deserialize` runs here and
/// may panic: that ends the inner loop and the item, and the outer one goes on.
fn decode<R: Message>(
    reader: &mut Reader<'_>,
    mut places: Range<usize>,
    mut each: impl FnMut(usize, Result<R, TaskError>),
) {
    // How many of the next outcomes are numbers, one behind the other.
    let run = Cell::new(0);
    while !places.is_empty() {
        let current = Cell::new(places.start);
        let caught = mp_process::catch_panic(|| {
            for index in places.by_ref() {
                current.set(index);
                let outcome = outcome(reader, &run);
                each(index, outcome);
            }
        });
        if let Err(panic) = caught {
            let error = DecodeError::new::<R>(format_args!("its decoding panicked: {panic}"));
            each(current.get(), Err(TaskKind::Undecodable(error).into()));
        }
    }
}

fn outcome<R: Message>(reader: &mut Reader<'_>, run: &Cell<u32>) -> Result<R, TaskError> {
    if let Some(left) = run.get().checked_sub(1) {
        run.set(left);
        return value(reader);
    }
    match reader.byte() {
        Some(VALUE) => return value(reader),
        Some(NUMBERS) => {
            let count = std::array::from_fn(|_| reader.byte().unwrap_or_default());
            run.set(u32::from_le_bytes(count).saturating_sub(1));
            return value(reader);
        }
        _ => {}
    }
    Err(match reader.value::<Failure>().map_err(TaskKind::Undecodable)? {
        Failure::Panicked(panic) => TaskKind::Panicked(panic),
        Failure::BadArgument(reason) => TaskKind::BadArgument(reason),
        Failure::BadResult(reason) => TaskKind::BadResult(reason),
    }
    .into())
}

fn value<R: Message>(reader: &mut Reader<'_>) -> Result<R, TaskError> {
    reader.item::<R>().map_err(|error| TaskKind::Undecodable(error).into())
}

/// Whether a packet that begins with `head` has so many numbers in one run.
fn is_run_of([mark, count @ ..]: [u8; 5], items: usize) -> bool {
    mark == NUMBERS && u32::from_le_bytes(count) as usize == items
}

fn skip_run_head(reader: &mut Reader<'_>) -> bool {
    (0..5).all(|_| reader.byte().is_some())
}
