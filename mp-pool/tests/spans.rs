//! Spans of tasks in their workers.

mod common;

use std::fmt::Debug;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use common::start_library_threads;
use mp_pool::Pool;
use mp_process::StartMethod;
use mp_testkit::harness::{Suite, variants};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_core::span::Current;

fn main() -> ExitCode {
    mp_process::init();
    tracing::subscriber::set_global_default(Notes).unwrap();
    let methods = [("spawn", StartMethod::Spawn), ("forkserver", StartMethod::ForkServer)];
    let mut trials = variants("a_task_has_a_span_that_knows_its_callers", methods, a_task_has_a_span);
    trials.extend(mp_testkit::trials![without_a_subscriber_tasks_run_as_ever]);
    Suite::new(trials).warm_up(start_library_threads).run()
}

/// Remembers which spans this process is in: it has one thread that is in any.
struct Notes;

static COUNT: AtomicU64 = AtomicU64::new(100);
static MADE: Mutex<Vec<(u64, &Metadata<'static>, String)>> = Mutex::new(Vec::new());
static INSIDE: Mutex<Vec<u64>> = Mutex::new(Vec::new());

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!(" {}={value:?}", field.name());
    }
}

impl Subscriber for Notes {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut fields = Fields(span.metadata().name().to_owned());
        span.record(&mut fields);
        MADE.lock().unwrap().push((id, span.metadata(), fields.0));
        Id::from_u64(id)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, span: &Id) {
        INSIDE.lock().unwrap().push(span.into_u64());
    }

    fn exit(&self, span: &Id) {
        INSIDE.lock().unwrap().retain(|id| *id != span.into_u64());
    }

    fn current_span(&self) -> Current {
        let Some(id) = INSIDE.lock().unwrap().last().copied() else { return Current::none() };
        let made = MADE.lock().unwrap();
        let span = made.iter().find(|made| made.0 == id).unwrap();
        Current::new(Id::from_u64(id), span.1)
    }
}

fn install((): ()) {
    tracing::subscriber::set_global_default(Notes).unwrap();
}

/// The spans that this process is in, outer ones first.
fn spans(x: u64) -> Vec<String> {
    assert_ne!(x, 3, "three");
    let made = MADE.lock().unwrap();
    let text = |id: &u64| made.iter().find(|made| made.0 == *id).unwrap().2.clone();
    INSIDE.lock().unwrap().iter().map(text).collect()
}

fn a_task_has_a_span(method: StartMethod) {
    let pool = Pool::builder().processes(2).start_method(method).initializer(install, ()).build().unwrap();
    let span = tracing::info_span!("importing", file = "x");
    let id = span.id().unwrap().into_u64();
    let check = |index: usize, seen: Vec<String>| {
        assert_eq!(seen, [format!("task index={index} caller=\"importing\" caller.id={id}")]);
    };
    {
        let _in = span.enter();
        pool.map(spans, 10..300)
            .unwrap()
            .into_iter()
            .enumerate()
            .for_each(|(index, seen)| check(index, seen));
        let values = pool.imap(spans, 0..10).enumerate().filter(|(index, _)| *index != 3);
        values.for_each(|(index, seen)| check(index, seen.unwrap()));
        check(0, pool.apply_async(spans, 7).get().unwrap());
    }
    // Who is in none has none, and a panic has left its own.
    assert_eq!(pool.apply(spans, 4).unwrap(), ["task index=0"]);
}

fn without_a_subscriber_tasks_run_as_ever() {
    let pool = Pool::new(2).unwrap();
    let _in = tracing::info_span!("quiet").entered();
    assert!(pool.map(spans, 10..100).unwrap().iter().all(Vec::is_empty));
}
