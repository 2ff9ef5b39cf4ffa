//! Pools over a transport: workers that come late, in disorder or not at all.

#[path = "../common/mod.rs"]
mod common;
mod links;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::{LONG, square};
use ipc_core::link::Link;
use ipc_core::{Address, ConnectOptions, Listener, connect_link};
use links::{
    a_link_that_panics_in_the_worker_is_not_its_initializer,
    a_link_that_panics_when_it_is_read_costs_its_worker,
    a_link_that_panics_when_it_is_waited_for_costs_its_worker, who_comes_after_the_end_is_turned_away,
};
use mp_pool::{Builder, Pool, Transport};
use mp_process::StartMethod;
use mp_testkit::chaos;

fn main() -> ExitCode {
    const STARTED: &[common::Started] = &[
        ("every_verb_goes_over_a_transport", every_verb_goes_over_a_transport),
        ("workers_that_die_come_again", workers_that_die_come_again),
        ("a_worker_that_never_comes_holds_up_nobody", a_worker_that_never_comes_holds_up_nobody),
        ("terminate_ends_who_is_on_his_way", terminate_ends_who_is_on_his_way),
        ("join_ends_who_is_on_his_way", join_ends_who_is_on_his_way),
        ("a_pool_to_which_nobody_comes_any_more_gives_up", a_pool_to_which_nobody_comes_any_more_gives_up),
        (
            "a_large_task_goes_on_while_another_is_waited_for",
            a_large_task_goes_on_while_another_is_waited_for,
        ),
        ("a_transport_that_panics_is_an_error", a_transport_that_panics_is_an_error),
        ("an_end_frees_who_waits_for_one_that_never_comes", an_end_frees_who_waits_for_one_that_never_comes),
        ("who_comes_too_late_for_a_smaller_pool_leaves", who_comes_too_late_for_a_smaller_pool_leaves),
        ("whoever_looks_meets_others_too", whoever_looks_meets_others_too),
        ("who_comes_after_the_end_is_turned_away", who_comes_after_the_end_is_turned_away),
        ("resize_says_who_did_not_come", resize_says_who_did_not_come),
        ("states_are_made_and_left_over_a_transport", states_are_made_and_left_over_a_transport),
        (
            "a_link_that_panics_in_the_worker_is_not_its_initializer",
            a_link_that_panics_in_the_worker_is_not_its_initializer,
        ),
    ];
    let others = mp_testkit::trials![
        an_accept_that_never_returns_is_an_error,
        a_link_that_panics_when_it_is_read_costs_its_worker,
        a_link_that_panics_when_it_is_waited_for_costs_its_worker,
    ];
    common::run(STARTED, others)
}

/// Workers connect to a socket.
#[derive(Debug)]
struct Local(Listener);

impl Local {
    fn path(&self) -> PathBuf {
        match self.0.address() {
            Address::File(path) => path.to_owned(),
            other => panic!("{other:?} is no file"),
        }
    }
}

impl Transport for Local {
    fn address(&self) -> io::Result<String> {
        Ok(self.path().display().to_string())
    }

    fn accept(&self, deadline: Instant) -> io::Result<Option<Box<dyn Link>>> {
        Ok(self.0.accept_link(Some(deadline)).ok().map(|accepted| accepted.into_link()))
    }
}

/// Connects, unless a file says that it is to stay away, or to say no.
fn connect(path: String) -> io::Result<Box<dyn Link>> {
    let order = fs::read_to_string(sign(Path::new(&path))).unwrap_or_default();
    if order == "stay" {
        fs::write(absent(Path::new(&path)), std::process::id().to_string())?;
        thread::sleep(Duration::from_secs(600));
    }
    while order == "late" && sign(Path::new(&path)).exists() {
        fs::write(absent(Path::new(&path)), std::process::id().to_string())?;
        thread::sleep(Duration::from_millis(1));
    }
    if order == "refuse" {
        return Err(io::Error::other("no way there"));
    }
    connect_link(&Address::file(path), ConnectOptions::default()).map_err(io::Error::other)
}

/// Where workers read what they are to do.
fn sign(path: &Path) -> PathBuf {
    path.with_extension("sign")
}

/// Where one that stays away says who it is.
fn absent(path: &Path) -> PathBuf {
    path.with_extension("absent")
}

/// What the workers that are started next do instead of coming, until it is dropped.
struct Sign(PathBuf);

impl Sign {
    fn set(path: &Path, order: &str) -> Self {
        // In one step: a worker reads all of it or nothing.
        fs::write(path.with_extension("draft"), order).unwrap();
        fs::rename(path.with_extension("draft"), sign(path)).unwrap();
        Self(path.to_owned())
    }

    fn lift(&self) {
        let _ = fs::remove_file(sign(&self.0));
    }
}

impl Drop for Sign {
    fn drop(&mut self) {
        self.lift();
        let _ = fs::remove_file(absent(&self.0));
    }
}

fn over_a_transport(processes: usize, method: StartMethod) -> (Builder, PathBuf) {
    let local = Local(Listener::bind(&Address::auto_file().unwrap()).unwrap());
    let path = local.path();
    (Pool::builder().processes(processes).start_method(method).transport(local, connect), path)
}

fn until(mut what: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !what() {
        assert!(begun.elapsed() < LONG, "it does not come");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Kills a worker whose heir stays away; which process that is.
fn lose_one(pool: &Pool, path: &Path) -> u32 {
    chaos::kill(pool.pids()[0]).unwrap();
    let mut heir = None;
    until(|| {
        // The task may be with the one that was killed.
        let _ = pool.apply(square, 3);
        heir = fs::read_to_string(absent(path)).ok().and_then(|pid| pid.parse().ok());
        heir.is_some()
    });
    heir.unwrap()
}

fn is_there(pid: u32) -> bool {
    chaos::state(pid).is_some_and(|state| state != 'Z')
}

fn every_verb_goes_over_a_transport(method: StartMethod) {
    let (builder, _) = over_a_transport(2, method);
    let pool = builder.build().unwrap();
    assert_eq!(pool.apply(square, 7).unwrap(), 49);
    assert!(pool.map(square, 0..5000).unwrap().into_iter().eq((0..5000).map(square)));
    let texts: Result<Vec<String>, _> = pool.imap(|x: u32| x.to_string(), 0..500).collect();
    assert!(texts.unwrap().into_iter().eq((0..500).map(|x| x.to_string())));
    assert_eq!(pool.imap_unordered(square, 0..100).map(Result::unwrap).sum::<u64>(), 328_350);
    let large = vec![5u8; 8 << 20];
    assert_eq!(pool.apply_async(|bytes: Vec<u8>| bytes, large.clone()).get().unwrap(), large);
    let shared = pool.share(&large).unwrap();
    assert_eq!(shared.map(|bytes, x: usize| bytes[x], 0..9).unwrap(), [5; 9]);
    assert!(pool.apply(|()| -> u32 { panic!("not today") }, ()).unwrap_err().is_panic());
    assert_eq!(pool.stats().workers.len(), 2);
    drop(shared);
    pool.join();
}

fn workers_that_die_come_again(method: StartMethod) {
    let (builder, _) = over_a_transport(6, method);
    let pool = builder.retries(u32::MAX).build().unwrap();
    for round in 0..4 {
        // All of them: the next ones come in any order, and each is met by whoever looks.
        let old = pool.pids();
        old.iter().for_each(|pid| drop(chaos::kill(*pid)));
        assert_eq!(pool.apply(square, round).unwrap(), round * round);
        until(|| {
            let _ = pool.apply(square, 1);
            let pids = pool.pids();
            pids.len() == 6 && pids.iter().all(|pid| !old.contains(pid))
        });
    }
    assert!(pool.map(square, 0..1000).unwrap().into_iter().eq((0..1000).map(square)));
}

fn a_worker_that_never_comes_holds_up_nobody(method: StartMethod) {
    let (builder, path) = over_a_transport(2, method);
    let pool = builder.build().unwrap();
    let sign = Sign::set(&path, "stay");
    let heir = lose_one(&pool, &path);
    for round in 0..20 {
        assert_eq!(pool.apply(square, round).unwrap(), round * round);
        assert_eq!(pool.apply_async(square, round).get().unwrap(), round * round);
    }
    assert!(pool.map(square, 0..1000).unwrap().into_iter().eq((0..1000).map(square)));
    assert_eq!((pool.stats().workers.len(), pool.pids().len()), (2, 1));
    // All that was done while the pool still waited for this very one.
    assert!(is_there(heir), "it was waited for until it was given up");
    sign.lift();
    chaos::kill(heir).unwrap();
    until(|| pool.pids().len() == 2);
    assert_eq!(pool.map(square, 0..10).unwrap()[9], 81);
}

fn terminate_ends_who_is_on_his_way(method: StartMethod) {
    let (builder, path) = over_a_transport(2, method);
    let pool = builder.build().unwrap();
    let _sign = Sign::set(&path, "stay");
    let heir = lose_one(&pool, &path);
    assert!(is_there(heir));
    pool.terminate();
    assert!(!is_there(heir));
    assert!(pool.apply(square, 1).unwrap_err().pool_error().is_some_and(|error| error.is_closed()));
}

fn join_ends_who_is_on_his_way(method: StartMethod) {
    let (builder, path) = over_a_transport(2, method);
    let pool = builder.build().unwrap();
    let _sign = Sign::set(&path, "stay");
    let heir = lose_one(&pool, &path);
    let later = pool.map_async(square, 0..1000);
    assert!(is_there(heir));
    pool.join();
    assert!(!is_there(heir));
    drop(later);
}

fn a_pool_to_which_nobody_comes_any_more_gives_up(method: StartMethod) {
    let (builder, path) = over_a_transport(2, method);
    let pool = builder.build().unwrap();
    let _sign = Sign::set(&path, "refuse");
    let later = pool.apply_async(|()| thread::sleep(LONG), ());
    // With one worker left it goes on.
    chaos::kill(pool.pids()[1]).unwrap();
    until(|| {
        let _ = pool.stats();
        pool.pids().len() < 2
    });
    pool.pids().into_iter().for_each(|pid| chaos::kill(pid).unwrap());
    let mut error = later.get().unwrap_err();
    until(|| {
        // What the last one was at is lost with it.
        let is_over = error.pool_error().is_some();
        if !is_over {
            error = pool.apply(square, 1).unwrap_err();
        }
        is_over
    });
    let error = error.pool_error().unwrap().clone();
    assert!(error.is_broken() && error.to_string().contains("no way there"), "{error}");
}

fn resize_says_who_did_not_come(method: StartMethod) {
    let (builder, path) = over_a_transport(1, method);
    let pool = builder.build().unwrap();
    pool.resize(3).unwrap();
    assert_eq!(pool.pids().len(), 3);
    pool.resize(1).unwrap();
    until(|| {
        let _ = pool.apply(square, 1);
        pool.pids().len() == 1
    });
    let sign = Sign::set(&path, "refuse");
    let error = pool.resize(2).unwrap_err();
    assert!(error.to_string().contains("no way there"), "{error}");
    assert_eq!((pool.apply(square, 5).unwrap(), pool.pids().len()), (25, 1));
    sign.lift();
    pool.resize(2).unwrap();
    assert_eq!(pool.pids().len(), 2);
}

fn states_are_made_and_left_over_a_transport(method: StartMethod) {
    let (builder, path) = over_a_transport(2, method);
    let folder = path.with_extension("left");
    fs::create_dir(&folder).unwrap();
    // Too large to lie on the way.
    let builder = builder.state(|table: Vec<u64>| table, vec![3; 300_000]);
    let leave = |_: &mut Vec<u64>, folder: String| {
        fs::write(Path::new(&folder).join(std::process::id().to_string()), "").unwrap();
    };
    let pool = builder.at_exit(leave, folder.display().to_string()).build().unwrap();
    chaos::kill(pool.pids()[0]).unwrap();
    until(|| {
        let _ = pool.apply_state(|table, x: usize| table[x], 1);
        pool.pids().len() == 2
    });
    assert_eq!(pool.map_state(|table, x: usize| table[x] + x as u64, 0..100).unwrap()[99], 102);
    let pids = pool.pids();
    pool.join();
    assert!(pids.iter().all(|pid| folder.join(pid.to_string()).exists()));
    fs::remove_dir_all(folder).unwrap();
}

/// The link takes it in parts, and whoever sleeps for all was asleep before the first.
fn a_large_task_goes_on_while_another_is_waited_for(method: StartMethod) {
    let (builder, path) = over_a_transport(2, method);
    let pool = builder.build().unwrap();
    let (begun, end) = (path.with_extension("begun"), path.with_extension("end"));
    let wait = |(begun, end): (PathBuf, PathBuf)| {
        fs::write(begun, "").unwrap();
        until(|| end.exists());
    };
    thread::scope(|scope| {
        let waiting = scope.spawn(|| pool.apply(wait, (begun.clone(), end.clone())));
        until(|| begun.exists());
        let large = vec![7u8; 8 << 20];
        assert!(pool.apply(|bytes: Vec<u8>| bytes, large.clone()).unwrap() == large);
        let later = pool.apply_async(|bytes: Vec<u8>| bytes, large.clone());
        assert!(later.get().unwrap() == large);
        assert!(!waiting.is_finished(), "it was not waited for");
        fs::write(&end, "").unwrap();
        waiting.join().unwrap().unwrap();
    });
    [begun, end].iter().for_each(|path| fs::remove_file(path).unwrap());
}

/// What a [`Moody`] transport does.
const WORKS: u8 = 0;
const PANICS: u8 = 1;
const STAYS: u8 = 2;
/// It stays, and somebody waits for it.
const STUCK: u8 = 3;

/// A transport that can be told not to keep its word.
#[derive(Debug)]
struct Moody {
    local: Local,
    mood: Arc<AtomicU8>,
}

impl Transport for Moody {
    fn address(&self) -> io::Result<String> {
        self.local.address()
    }

    fn accept(&self, deadline: Instant) -> io::Result<Option<Box<dyn Link>>> {
        assert_ne!(self.mood.load(Ordering::SeqCst), PANICS, "no more today");
        let _ = self.mood.compare_exchange(STAYS, STUCK, Ordering::SeqCst, Ordering::SeqCst);
        while self.mood.load(Ordering::SeqCst) == STUCK {
            thread::sleep(Duration::from_millis(1));
        }
        self.local.accept(deadline)
    }
}

fn over_a_moody_one(method: StartMethod) -> (Pool, Arc<AtomicU8>) {
    let local = Local(Listener::bind(&Address::auto_file().unwrap()).unwrap());
    let mood = Arc::new(AtomicU8::new(WORKS));
    let transport = Moody { local, mood: Arc::clone(&mood) };
    let builder = Pool::builder().processes(1).start_method(method).transport(transport, connect);
    (builder.build().unwrap(), mood)
}

fn a_transport_that_panics_is_an_error(method: StartMethod) {
    let (pool, mood) = over_a_moody_one(method);
    mood.store(PANICS, Ordering::SeqCst);
    let error = pool.resize(2).unwrap_err();
    assert!(error.to_string().contains("no more today"), "{error}");
    assert_eq!(pool.apply(square, 3).unwrap(), 9);
    mood.store(WORKS, Ordering::SeqCst);
    pool.resize(2).unwrap();
    assert_eq!((pool.pids().len(), pool.apply(square, 4).unwrap()), (2, 16));
    // Without any worker it is the pool's end.
    mood.store(PANICS, Ordering::SeqCst);
    pool.pids().into_iter().for_each(|pid| chaos::kill(pid).unwrap());
    let mut error = None;
    until(|| {
        error = pool.apply(square, 1).err().filter(|error| error.pool_error().is_some());
        error.is_some()
    });
    assert!(error.unwrap().to_string().contains("no more today"));
}

fn an_end_frees_who_waits_for_one_that_never_comes(method: StartMethod) {
    let (pool, mood) = over_a_moody_one(method);
    mood.store(STAYS, Ordering::SeqCst);
    thread::scope(|scope| {
        let resized = scope.spawn(|| pool.resize(2));
        until(|| mood.load(Ordering::SeqCst) == STUCK);
        assert_eq!(pool.apply(square, 3).unwrap(), 9);
        pool.terminate();
        assert!(resized.join().unwrap().unwrap_err().is_closed());
    });
    // Its thread ends as soon as the transport lets it.
    mood.store(WORKS, Ordering::SeqCst);
    until(|| Arc::strong_count(&mood) == 2);
    drop(pool);
    until(|| Arc::strong_count(&mood) == 1);
}

fn who_comes_too_late_for_a_smaller_pool_leaves(method: StartMethod) {
    let (builder, path) = over_a_transport(1, method);
    let pool = builder.build().unwrap();
    let first = pool.pids();
    let sign = Sign::set(&path, "late");
    thread::scope(|scope| {
        let grown = scope.spawn(|| pool.resize(4));
        until(|| absent(&path).exists());
        let shrunk = scope.spawn(|| pool.resize(1));
        until(|| pool.workers() == 1);
        sign.lift();
        let _ = (grown.join().unwrap(), shrunk.join().unwrap());
    });
    // Those that have their place keep it, and of the others none stays.
    until(|| {
        let _ = pool.apply(square, 1);
        pool.pids().len() == 1
    });
    let asked = Instant::now();
    while asked.elapsed() < Duration::from_millis(50) {
        assert_eq!((pool.apply(square, 3).unwrap(), pool.pids()), (9, first.clone()));
    }
    // Who comes where there are not too many stays.
    pool.resize(4).unwrap();
    let all = pool.pids();
    assert_eq!((pool.map(square, 0..1000).unwrap()[9], pool.pids(), all.len()), (81, all.clone(), 4));
}

/// A transport that lets one thread meet all who come, until that one has met its own worker.
#[derive(Debug)]
struct OneDoor {
    local: Local,
    keeper: Arc<Mutex<Keeper>>,
}

#[derive(Debug, Default)]
struct Keeper {
    /// How many are to come before the first is let in.
    awaited: usize,
    came: Vec<Box<dyn Link>>,
    thread: Option<thread::ThreadId>,
    asked: Option<Instant>,
}

impl Transport for OneDoor {
    fn address(&self) -> io::Result<String> {
        self.local.address()
    }

    fn accept(&self, deadline: Instant) -> io::Result<Option<Box<dyn Link>>> {
        let mut keeper = self.keeper.lock().unwrap();
        if keeper.came.len() < keeper.awaited {
            let came = self.local.accept(deadline)?;
            keeper.came.extend(came);
            return Ok(None);
        }
        keeper.awaited = 0;
        if keeper.came.is_empty() {
            drop(keeper);
            return self.local.accept(deadline);
        }
        // One who asks no more has met its own.
        let is_free = keeper.asked.is_none_or(|at| at.elapsed() > Duration::from_millis(300));
        let me = thread::current().id();
        if keeper.thread.is_none() || is_free {
            keeper.thread = Some(me);
        }
        if keeper.thread == Some(me) {
            keeper.asked = Some(Instant::now());
            return Ok(keeper.came.pop());
        }
        drop(keeper);
        thread::sleep(Duration::from_millis(1));
        Ok(None)
    }
}

fn whoever_looks_meets_others_too(method: StartMethod) {
    let local = Local(Listener::bind(&Address::auto_file().unwrap()).unwrap());
    let keeper = Arc::<Mutex<Keeper>>::default();
    let door = OneDoor { local, keeper: Arc::clone(&keeper) };
    let grown = 9;
    let builder = Pool::builder().processes(1).start_method(method);
    let pool = builder.transport(door, connect).build().unwrap();
    keeper.lock().unwrap().awaited = grown - 1;
    pool.resize(grown).unwrap();
    let pids = pool.pids();
    assert_eq!((pids.len(), pool.map(square, 0..1000).unwrap()[9]), (grown, 81));
    assert_eq!(pool.pids(), pids);
}

fn an_accept_that_never_returns_is_an_error() {
    let local = Local(Listener::bind(&Address::auto_file().unwrap()).unwrap());
    let mood = Arc::new(AtomicU8::new(STUCK));
    let transport = Moody { local, mood: Arc::clone(&mood) };
    let error = Pool::builder().processes(2).transport(transport, connect).build().unwrap_err();
    assert!(error.is_broken() && error.to_string().contains("whether `accept` returns"), "{error}");
    // Nobody waits for the threads that are in there.
    mood.store(WORKS, Ordering::SeqCst);
    until(|| Arc::strong_count(&mood) == 1);
}
