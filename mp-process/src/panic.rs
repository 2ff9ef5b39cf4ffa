//! Panics as values.

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, PanicHookInfo};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use serde::{Deserialize, Serialize};

/// A panic in another process: what it said, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Panic {
    message: String,
    location: Option<String>,
    backtrace: Option<String>,
}

impl Panic {
    /// What the panic said.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// File, line and column of the panic.
    #[must_use]
    pub fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }

    /// The calls that led to the panic, as text.
    #[must_use]
    pub fn backtrace(&self) -> Option<&str> {
        self.backtrace.as_deref()
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.location {
            Some(location) => write!(f, " (at {location})"),
            None => Ok(()),
        }
    }
}

thread_local! {
    /// How deep this thread is in calls of `catch_panic`.
    static CATCHING: Cell<u32> = const { Cell::new(0) };
    /// What the hook saw of the panic that is being caught.
    static CAUGHT: RefCell<Option<Panic>> = const { RefCell::new(None) };
}

/// Runs `run`; a panic in it comes back as a value.
///
/// In a child it prints nothing, and the value knows place and backtrace: a
/// child has a panic hook that passes on every panic but these. Elsewhere the
/// program's own hook has its say first, and the value is the message alone.
///
/// # Errors
/// The [`Panic`].
///
/// # Examples
/// ```
/// let panic = mp_process::catch_panic(|| -> u32 { panic!("no {}", 1) }).unwrap_err();
/// assert_eq!(panic.message(), "no 1");
/// ```
pub fn catch_panic<R>(run: impl FnOnce() -> R) -> Result<R, Panic> {
    CATCHING.set(CATCHING.get() + 1);
    let result = std::panic::catch_unwind(AssertUnwindSafe(run)).map_err(|payload| {
        let caught = CAUGHT.take();
        let panic = Panic::from_payload(&*payload);
        discard(payload);
        // The hook saw a panic that said this, unless the payload was thrown without it.
        caught.filter(|caught| caught.message == panic.message).unwrap_or(panic)
    });
    CATCHING.set(CATCHING.get() - 1);
    result
}

/// Drops a payload, whose `Drop` is anybody's code and may panic.
fn discard(payload: Box<dyn Any + Send>) {
    if let Err(again) = std::panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(again);
    }
}

/// In a child: has panics of its functions recorded instead of printed.
pub(crate) fn install_hook() {
    // A fork of a child has the hook already.
    static IS_INSTALLED: AtomicBool = AtomicBool::new(false);
    // Only the thread that a child begins with comes here.
    if IS_INSTALLED.swap(true, Ordering::Relaxed) {
        return;
    }
    // A closure that captured it would be memory that a fork has to allocate.
    let before: &'static Hook = Box::leak(std::panic::take_hook());
    *OTHERS.write().unwrap_or_else(PoisonError::into_inner) = Some(before);
    std::panic::set_hook(Box::new(|info| match hook_before() {
        Some(others) if CATCHING.get() == 0 => others(info),
        _ => record(info),
    }));
}

type Hook = dyn Fn(&PanicHookInfo<'_>) + Send + Sync;

/// The hook that was there before; written once.
static OTHERS: RwLock<Option<&'static Hook>> = RwLock::new(None);

fn hook_before() -> Option<&'static Hook> {
    *OTHERS.read().unwrap_or_else(PoisonError::into_inner)
}

fn record(info: &PanicHookInfo<'_>) {
    let panic = Panic {
        message: text(info.payload()),
        location: info.location().map(ToString::to_string),
        backtrace: Some(Backtrace::force_capture().to_string()),
    };
    // Without unwinding this is the last chance to say anything.
    if cfg!(panic = "abort") {
        crate::boot::last_words_of_panic(&panic);
    }
    CAUGHT.set(Some(panic));
}

impl Panic {
    /// For payloads thrown without the hook, by `resume_unwind`.
    fn from_payload(payload: &(dyn Any + Send)) -> Self {
        Self { message: text(payload), location: None, backtrace: None }
    }
}

fn text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is not text was thrown".to_owned())
}
