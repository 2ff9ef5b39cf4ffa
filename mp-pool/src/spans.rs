//! Spans of `tracing` that cross processes: a task's, in its worker, knows the one in which it
//! was submitted. Without the feature all of this is nothing.

#[cfg(feature = "tracing")]
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::wire::TaskHead;

/// The span in which tasks are submitted, on its way to their workers.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Caller {
    #[cfg(feature = "tracing")]
    span: Option<(String, u64)>,
}

/// The spans of a task's items.
#[derive(Clone, Default)]
pub(crate) struct Spans {
    #[cfg(feature = "tracing")]
    caller: Option<Rc<(String, u64)>>,
    /// The place of the task's first item among those of its call.
    #[cfg(feature = "tracing")]
    first: usize,
}

/// An item's span, until it is dropped.
pub(crate) struct Entered {
    #[cfg(feature = "tracing")]
    _span: tracing::span::EnteredSpan,
}

#[cfg(feature = "tracing")]
impl Caller {
    /// The span that this thread is in.
    pub(crate) fn here() -> Self {
        let span = tracing::Span::current();
        let name = span.metadata().map(|metadata| metadata.name().to_owned());
        Self { span: name.zip(span.id().map(|id| id.into_u64())) }
    }

    pub(crate) fn into_spans(self) -> Spans {
        Spans { caller: self.span.map(Rc::new), first: 0 }
    }
}

#[cfg(feature = "tracing")]
impl Spans {
    pub(crate) fn of_task(&self, head: &TaskHead) -> Self {
        Self { first: head.index, ..self.clone() }
    }

    pub(crate) fn enter(&self, item: u32) -> Entered {
        let index = self.first + item as usize;
        let span = match self.caller.as_deref() {
            None => tracing::info_span!("task", index),
            Some((name, id)) => tracing::info_span!("task", index, caller = name.as_str(), caller.id = id),
        };
        Entered { _span: span.entered() }
    }
}

#[cfg(not(feature = "tracing"))]
impl Caller {
    pub(crate) fn here() -> Self {
        Self {}
    }

    pub(crate) fn into_spans(self) -> Spans {
        Spans {}
    }
}

#[cfg(not(feature = "tracing"))]
impl Spans {
    pub(crate) fn of_task(&self, _head: &TaskHead) -> Self {
        Self {}
    }

    #[inline]
    pub(crate) fn enter(&self, _item: u32) -> Entered {
        Entered {}
    }
}
