//! Servers of forks, as programs hold them.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use ipc_core::{EncodeError, Message, Packet};

use crate::boot::{self, Birth};
use crate::error::ProcessError;
use crate::family::ParentProcess;
use crate::function::Function;
use crate::init;
use crate::per_process::PerProcess;
use crate::settings::{Settings, Streams, Surroundings};
use crate::start::Launch;
use crate::sys::start::Server;

pub(crate) const NAME: &str = "mp-fork-server";

/// A server of forks of its own, in which a function has prepared what all its children
/// find in memory: a model that is loaded, tables, caches.
///
/// Children are started from it with [`Builder::fork_server`](crate::Builder::fork_server).
/// Other parts of the program are not affected: those that ask for
/// [`StartMethod::ForkServer`](crate::StartMethod::ForkServer) have theirs forked from a
/// server in which nothing has run.
///
/// When it is found dead, the next start makes a new one, where the function runs again.
/// So it does for children that are given another [executable](crate::Builder::executable)
/// or other [arguments](crate::Builder::args), which a fork has from the process that it was
/// forked from: for each such pair there is one more process of the server, of which the last
/// is kept. It ends when its last clone is dropped; its children do not.
///
/// # Examples
/// ```
/// # mp_process::init();
/// use std::sync::OnceLock;
/// use mp_process::{ForkServer, Process};
///
/// static TABLE: OnceLock<Vec<u64>> = OnceLock::new();
///
/// fn fill(size: u64) {
///     let _ = TABLE.set((0..size).map(|x| x * x).collect());
/// }
///
/// let server = ForkServer::start(fill, 1000)?;
/// let child = Process::builder().fork_server(&server).spawn(|i: usize| TABLE.get().unwrap()[i], 9)?;
/// assert_eq!(child.join()?, 81);
/// # Ok::<(), mp_process::ProcessError>(())
/// ```
#[doc(alias = "set_forkserver_preload")]
#[derive(Clone)]
pub struct ForkServer(Arc<Shared>);

struct Shared {
    /// One for each program and list of arguments, the one used last at the end.
    posts: PerProcess<Vec<Arc<Post>>>,
    orders: Orders,
    /// A function runs in it first.
    is_prepared: bool,
}

/// So many servers of other programs or arguments are kept, for the next child with the same.
const MOST_SPARE: usize = 1;

/// The place of the server of certain children.
struct Post {
    program: Option<OsString>,
    args: Option<Vec<OsString>>,
    /// Locked while its server is asked, which may be stuck: the other posts are not.
    seat: Mutex<Seat>,
}

/// A server's place, which may be vacant.
#[derive(Default)]
pub(crate) struct Seat {
    /// Where this process found itself when it started the server.
    inherited: Option<Surroundings>,
    pub(crate) server: Option<Server>,
}

/// Writes what the server is told.
type Orders = Box<dyn Fn(Birth) -> Result<Packet, EncodeError> + Send + Sync>;

impl ForkServer {
    /// Starts a server and runs `prepare` with `arg` in it; returns when that has returned.
    ///
    /// What it prepares is copied to each child as it is, so it must not start threads,
    /// which a fork does not copy.
    ///
    /// # Errors
    /// A [`ProcessError`] for which [`is_start_failure`](ProcessError::is_start_failure)
    /// holds: `prepare` panicked, ended the process or left threads behind, or as
    /// [`Builder::spawn`](crate::Builder::spawn).
    pub fn start<A: Message + Send + Sync>(prepare: fn(A), arg: A) -> Result<Self, ProcessError> {
        init::may_start()?;
        let given = (Function::new(prepare), arg);
        let orders =
            move |birth| boot::orders(birth, &Streams::default(), Server::serve_prepared::<A>, &given);
        let server = Self::with(Box::new(orders), true);
        crate::start::server_at_once(&server)?;
        Ok(server)
    }

    /// The one in which nothing has run, of this process.
    pub(crate) fn plain() -> Self {
        static PLAIN: PerProcess<Option<ForkServer>> = PerProcess::new();
        let orders = |birth| boot::orders(birth, &Streams::default(), Server::serve, &());
        PLAIN.with(|plain| plain.get_or_insert_with(|| Self::with(Box::new(orders), false)).clone())
    }

    fn with(orders: Orders, is_prepared: bool) -> Self {
        Self(Arc::new(Shared { posts: PerProcess::new(), orders, is_prepared }))
    }

    /// Runs `run` with the place of this process's server for such children.
    pub(crate) fn seat<R>(&self, launch: &Launch, run: impl FnOnce(&mut Seat) -> R) -> R {
        let (post, given_up) = self.0.posts.with(|posts| {
            let at = posts.iter().position(|post| post.serves(launch));
            let post = at.map_or_else(|| Arc::new(Post::for_children_of(launch)), |at| posts.remove(at));
            let mut spare = posts.iter().filter(|post| !post.is_needed()).count();
            spare += usize::from(!post.is_usual());
            let mut given_up = Vec::new();
            while spare > MOST_SPARE
                && let Some(oldest) = posts.iter().position(|post| !post.is_needed())
            {
                given_up.push(posts.remove(oldest));
                spare -= 1;
            }
            posts.push(Arc::clone(&post));
            (post, given_up)
        });
        // A stuck server takes a while to end, for which the others need not wait.
        drop(given_up);
        run(&mut post.seat.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a new server there, in which its function has returned.
    pub(crate) fn launch<'a>(&self, launch: &Launch, seat: &'a mut Seat) -> io::Result<&'a mut Server> {
        let birth = Birth {
            name: NAME.to_owned(),
            depth: init::may_start().map_err(io::Error::other)?,
            parent: ParentProcess::this(),
            settings: Settings::default(),
            announce: true,
            tail: 0,
        };
        let orders = (self.0.orders)(birth).map_err(io::Error::other)?;
        // What is left of the last one goes first.
        seat.server = None;
        seat.inherited = Some(Surroundings::of_this_process());
        let server = Server::launch(launch, orders)?;
        if self.0.is_prepared {
            server.await_prepared()?;
        }
        server.watch();
        Ok(seat.server.insert(server))
    }

    /// Adds to `settings` what a child would have inherited from this process, where the
    /// server has it otherwise.
    pub(crate) fn take_along(&self, launch: &Launch, settings: &mut Settings) {
        self.seat(launch, |seat| settings.take_along(seat.inherited.as_ref()));
    }
}

impl Post {
    fn for_children_of(launch: &Launch) -> Self {
        Self { program: launch.program.clone(), args: launch.args.clone(), seat: Mutex::default() }
    }

    fn serves(&self, launch: &Launch) -> bool {
        self.program == launch.program && self.args == launch.args
    }

    /// Whether it is the usual one, or in use or just about to be, or passes on how children
    /// end that are not joined yet. The list of all posts is locked.
    fn is_needed(self: &Arc<Self>) -> bool {
        self.is_usual()
            || Arc::strong_count(self) > 1
            || self
                .seat
                .try_lock()
                .map_or(true, |seat| seat.server.as_ref().is_some_and(Server::has_relayed_children))
    }

    /// The server's id, unless it is being asked just now.
    fn pid(&self) -> Option<u32> {
        self.seat.try_lock().ok()?.server.as_ref().map(Server::pid)
    }

    fn is_usual(&self) -> bool {
        self.program.is_none() && self.args.is_none()
    }
}

impl fmt::Debug for ForkServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pid = self.0.posts.with(|posts| posts.iter().find(|post| post.is_usual())?.pid());
        f.debug_struct("ForkServer").field("pid", &pid).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_post_that_is_about_to_be_used_is_not_given_up() {
        let server = ForkServer::plain();
        let with = |word: &str| Launch { args: Some(vec![word.into()]), ..Launch::default() };
        server.seat(&with("first"), |_| {});
        let find =
            |posts: &mut Vec<Arc<Post>>| posts.iter().find(|post| post.serves(&with("first"))).cloned();
        let held = server.0.posts.with(find).unwrap();
        for word in ["second", "third"] {
            server.seat(&with(word), |_| {});
        }
        assert!(server.0.posts.with(find).is_some_and(|post| Arc::ptr_eq(&post, &held)));
        drop(held);
        server.seat(&with("fourth"), |_| {});
        server.seat(&with("fifth"), |_| {});
        assert!(server.0.posts.with(find).is_none());
    }
}
