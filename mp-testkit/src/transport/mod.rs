//! What every link must do: a suite for transports of one's own.
//!
//! ```ignore
//! #[test]
//! fn my_link_conforms() {
//!     mp_testkit::transport::conformance(|| {
//!         let (a, b) = MyLink::pair();
//!         (Box::new(a), Box::new(b))
//!     });
//! }
//! ```

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use ipc_core::link::Link;

use crate::Watchdog;

mod deadlines;
mod messages;
mod outgoing;
mod tools;
mod waits;

use deadlines::{flushing, receive_deadlines, send_deadlines, slow_arrival};
use messages::{boundaries, capabilities, order, short_buffers, sizes, threads};
use outgoing::{handles, refused, told};
use waits::{end_of_receiver, end_of_sender, poll, waiting};

/// Two ends of a link.
pub type Ends = (Box<dyn Link>, Box<dyn Link>);

/// How long a check may take on a busy machine before it counts as a hang.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs the suite over links that `make` supplies: what the first end sends, the
/// second receives. Where the second can send as well, it is tried both ways. `make` is
/// called for each check, and both of its ends stay in this process.
///
/// It takes some seconds. A check that hangs is ended after two minutes, and the whole
/// test with it: what each thread waits for is printed then. Peers that die, and that
/// write nonsense, are left to tests of the link's own.
///
/// # Panics
/// If the link breaks one of the promises of [`Link`]: the text says which.
pub fn conformance(make: impl Fn() -> Ends) {
    for check in CHECKS {
        let _watchdog = Watchdog::arm(check.0, LIMIT);
        let (sender, receiver) = make();
        let both_ways = receiver.capabilities().sends && sender.capabilities().receives;
        run(check, "from the first end to the second", sender, receiver);
        if both_ways {
            let (receiver, sender) = make();
            run(check, "from the second end to the first", sender, receiver);
        }
    }
}

/// Runs one check, and says which promise it was about if it fails.
fn run((name, promise, check): &Check, way: &str, sender: Box<dyn Link>, receiver: Box<dyn Link>) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(sender, receiver))) {
        panic!(
            "the link breaks a promise of `Link`, in the check \"{name}\", {way}\n  promised: {promise}\n  seen: {}",
            text(&*panic)
        );
    }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text")
}

/// Its name, the promise that it is about, and how it is tried.
type Check = (&'static str, &'static str, fn(Box<dyn Link>, Box<dyn Link>));

const CHECKS: &[Check] = &[
    (
        "capabilities",
        "the link does what its `capabilities` say, and answers `WrongDirection` to the rest",
        capabilities,
    ),
    ("order", "messages arrive in order, each once", order),
    (
        "boundaries",
        "messages arrive whole, neither joined nor split, and an empty one is a message too",
        boundaries,
    ),
    ("sizes", "messages of every length arrive unchanged", sizes),
    (
        "short buffers",
        "a message longer than `recv_at_most` is to take is `BufferTooShort` with its length, and stays",
        short_buffers,
    ),
    (
        "receive deadlines",
        "a receive waits until its deadline, then it is `Timeout`; one in the past looks once",
        receive_deadlines,
    ),
    (
        "messages that arrive bit by bit",
        "what has come of a message at a receive's deadline is kept for the next receive",
        slow_arrival,
    ),
    (
        "send deadlines",
        "a send waits while the link is full, until its deadline; its message then has not begun, is \
         completed by the next send, or is withdrawn",
        send_deadlines,
    ),
    (
        "flush",
        "`flush` completes a message that a deadline cut: pools and managers send without waiting, and \
         finish by it",
        flushing,
    ),
    ("poll", "`poll` waits for a message and takes nothing, and `is_ready` does not contradict it", poll),
    ("wait", "what `arm` names becomes ready with a message, and with the end of the peer", waiting),
    (
        "refused messages",
        "a message that refuses to be encoded is `SendError::Encode`, and the link is as it was",
        refused,
    ),
    (
        "what a message is told",
        "a message is told `sent` once if the link has taken it, also one that a deadline cut and that \
         is to be completed, and `unsent` if the link has not",
        told,
    ),
    (
        "the sender's end",
        "everything that was sent arrives, then every receive is `Closed`, and `poll` sees that",
        end_of_sender,
    ),
    (
        "the receiver's end",
        "a send is `Closed` once the receiver has gone, also one that waits for room",
        end_of_receiver,
    ),
    ("threads", "threads may share an end: no message is lost, doubled or mixed with another", threads),
    (
        "handles",
        "handles arrive with their message, in order; where the link passes none, they are `NoHandles`",
        handles,
    ),
];
