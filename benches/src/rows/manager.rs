//! What do calls to objects in a server cost, and what do clients cost the server?
//!
//! The bound is a server of one thread, or one thread for each client, that looks a
//! number up in a map, with the same requests by the codec alone over a bare socket.

use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs, process};

use ipc_core::Address;
use mp_manager::{Builder, DictProxy, Manager};
use mp_process::Process;
use mp_sync::Barrier;

use super::{By, Row};
use crate::clock::{apart, rate_each, time_each};
use crate::contest::{Answer, Failure, Job, Mode};
use crate::crowd;

/// So many clients are there in the rows of memory and threads.
const CROWD: usize = 500;
/// Numbers of the kinds of sockets.
const UNIX: usize = 0;
const TCP: usize = 1;

pub(super) fn rows() -> Vec<Row> {
    let mut rows = calls();
    rows.extend(crowds());
    rows.extend(durable());
    rows.extend(ends());
    rows
}

/// One client, and how long one call of it takes.
fn calls() -> Vec<Row> {
    let row = |what: &str, mode, question| {
        let row = Row::times(format!("manager/{what}"), mode, question, 1);
        let cpython = if mode == Mode::Hot { 15.0 } else { 5.0 };
        let row = if mode == Mode::Hot { row.within(3) } else { row };
        row.against("bound", By::Bound("echo"), 1.0 / 1.2)
            .against("cpython", By::Python("manager.py", "unix"), cpython)
            .against("tarpc", By::Rival("tarpc", "unix"), if mode == Mode::OneCore { 2.0 } else { 1.0 })
            .against("redis", By::Rival("redis", "unix"), 1.0)
    };
    let mut rows = Vec::new();
    for mode in [Mode::Hot, Mode::OneCore] {
        rows.extend(["get", "set", "method"].map(|question| row(question, mode, question)));
    }
    rows.extend([Mode::Hot, Mode::OneCore].into_iter().flat_map(by_socket));
    rows.push(
        Row::rates("manager/pipelined", Mode::Free, "pipelined", 1_000)
            .beside("bound", By::Bound("echo"))
            .against("cpython", By::Python("manager.py", "unix"), 50.0)
            .beside("tarpc", By::Rival("tarpc", "unix"))
            .beside("redis", By::Rival("redis", "unix")),
    );
    rows.push(
        Row::rates("manager/batch", Mode::Free, "batch", 1_000)
            .beside("one-by-one", By::Ourselves("singly", 1))
            .beside("pipelined", By::Ourselves("pipelined", 1_000)),
    );
    rows
}

/// As a client that calls seldom, over a plain socket.
fn by_socket(mode: Mode) -> [Row; 2] {
    [("unix", UNIX), ("tcp", TCP)].map(|(way, number)| {
        let row = Row::times(format!("manager/get-over-{way}"), mode, "get-by-socket", number);
        let is_hot = mode == Mode::Hot;
        let row = if is_hot { row.within(10) } else { row };
        row.against("bound", By::Bound("echo"), 1.0 / 1.2)
            .against("cpython", By::Python("manager.py", way), if is_hot { 4.0 } else { 2.7 })
            .against("tarpc", By::Rival("tarpc", way), if is_hot { 1.0 } else { 2.0 })
            .against("redis", By::Rival("redis", way), 1.0)
    })
}

/// Many clients, and how many calls a server answers.
fn crowds() -> Vec<Row> {
    let beside = |row: Row, cpython: Option<f64>, redis: Option<f64>| {
        let others = [
            ("bound", By::Bound("echo"), Some(0.75)),
            ("bound-threads", By::Bound("echo-threads"), Some(0.75)),
            ("cpython", By::Python("manager.py", "unix"), cpython),
            ("tarpc", By::Rival("tarpc", "unix"), Some(1.0)),
            ("redis", By::Rival("redis", "unix"), redis),
        ];
        others.into_iter().fold(row, |row, (name, by, target)| match target {
            Some(target) => row.against(name, by, target),
            None => row.beside(name, by),
        })
    };
    let row = |question: &'static str, clients: usize| {
        Row::rates(format!("manager/{question}-by-{clients}"), Mode::Free, question, clients)
    };
    let mut rows = vec![
        row("get", 1)
            .beside("bound", By::Bound("echo"))
            .beside("bound-threads", By::Bound("echo-threads"))
            .beside("cpython", By::Python("manager.py", "unix"))
            .beside("tarpc", By::Rival("tarpc", "unix"))
            .beside("redis", By::Rival("redis", "unix")),
        beside(row("get", 4), Some(8.0), Some(3.0)),
        beside(row("get", 16), Some(12.0), Some(1.1)).against("ours-by-4", By::Ourselves("get", 4), 1.0),
        beside(row("get", 64), Some(7.0), Some(1.0)).against("ours-by-4", By::Ourselves("get", 4), 1.0),
        beside(row("set", 4), Some(8.0), Some(3.0)),
        beside(row("set", 16), Some(12.0), Some(1.1)).against("ours-by-4", By::Ourselves("set", 4), 1.0),
        beside(row("set", 64), Some(7.0), Some(1.0)).against("ours-by-4", By::Ourselves("set", 4), 1.0),
    ];
    rows.extend([256, 1000].map(|clients| beside(row("get", clients), None, None).grows()));
    rows
}

/// What it costs that state survives the server: a kill of it, and a loss of power.
fn durable() -> Vec<Row> {
    let mut rows = Vec::new();
    for mode in [Mode::Hot, Mode::OneCore] {
        rows.push(
            Row::times("manager/durable-set", mode, "durable-set", 1)
                .beside("plain", By::Ourselves("set", 1))
                .against("redis", By::Rival("redis", "unix"), 1.0),
        );
    }
    for clients in [1, 4, 16] {
        rows.push(
            Row::rates(format!("manager/synced-set-by-{clients}"), Mode::Free, "synced-set", clients)
                .beside("redis", By::Rival("redis", "unix")),
        );
    }
    rows
}

/// The beginnings and ends of objects, connections and servers, and what they hold.
fn ends() -> Vec<Row> {
    let times =
        |what: &str, question, number| Row::times(format!("manager/{what}"), Mode::Free, question, number);
    vec![
        times("create-drop", "create", UNIX).against("cpython", By::Python("manager.py", "unix"), 50.0),
        times("create-drop-tcp", "create", TCP).against("cpython", By::Python("manager.py", "tcp"), 200.0),
        times("connect-unix", "connect", UNIX)
            .within(200)
            .against("bound", By::Bound("echo"), 0.5)
            .against("cpython", By::Python("manager.py", "unix"), 1.7)
            .against("tarpc", By::Rival("tarpc", "unix"), 1.0)
            .beside("redis", By::Rival("redis", "unix")),
        times("connect-tcp", "connect", TCP)
            .within(200)
            .against("bound", By::Bound("echo"), 0.5)
            .against("cpython", By::Python("manager.py", "tcp"), 200.0)
            .against("tarpc", By::Rival("tarpc", "tcp"), 1.0)
            .beside("redis", By::Rival("redis", "tcp")),
        times("start-call-end", "start", 0)
            .within(2_000)
            .against("cpython", By::Python("manager.py", "unix"), 3.0)
            .against("cpython-tcp", By::Python("manager.py", "tcp"), 100.0),
        Row::amounts("manager/idle-client", "idle", CROWD)
            .within(2_000)
            .beside("bound", By::Bound("echo"))
            .against("cpython", By::Python("manager.py", "unix"), 9.0)
            .beside("tarpc", By::Rival("tarpc", "unix"))
            .against("redis", By::Rival("redis", "unix"), 4.0),
        Row::amounts("manager/threads", "threads", CROWD)
            .of("threads")
            .against("ours-of-1", By::Ourselves("threads", 1), 1.0)
            .beside("cpython", By::Python("manager.py", "unix")),
    ]
}

pub(super) fn ours(job: &Job) -> Option<Result<Answer, Failure>> {
    Some(match (job.question.as_str(), job.mode) {
        ("get" | "set" | "synced-set", Mode::Free) => crowd_of_processes(job),
        ("get" | "set" | "durable-set", _) => one_client(job),
        ("get-by-socket", _) => by_plain_socket(job),
        ("method", _) => method(job),
        ("pipelined", _) => pipelined(job),
        ("batch", _) => batch(job),
        ("singly", _) => singly(job),
        ("create", _) => create(job),
        ("connect", _) => connect(job),
        ("start", _) => start(job),
        ("idle" | "threads", _) => idle(job),
        _ => return None,
    })
}

/// A user's object.
struct Counter(u64);

#[mp_manager::object]
#[allow(unreachable_pub, missing_docs)]
impl Counter {
    pub fn new(start: u64) -> Self {
        Self(start)
    }

    pub fn increment(&mut self, by: u64) -> u64 {
        self.0 += by;
        self.0
    }
}

type Dict = DictProxy<String, u64>;

fn key() -> String {
    "the key".to_owned()
}

/// A folder for a server's state, gone with the contestant.
struct Folder(PathBuf);

impl Folder {
    /// One, if the question is about state that survives, and a builder that knows it.
    fn for_question(question: &str) -> (Option<Self>, Builder) {
        let builder = Manager::builder();
        let folder = env::temp_dir().join(format!("bench-state-{}", process::id()));
        match question {
            "durable-set" => (Some(Self(folder.clone())), builder.state(folder)),
            "synced-set" => (Some(Self(folder.clone())), builder.state(folder).sync()),
            _ => (None, builder),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn make_dict(manager: &Manager, is_durable: bool) -> Result<Dict, Failure> {
    let dict: Dict = manager.dict()?;
    dict.insert(&key(), &0)?;
    if is_durable {
        manager.make_durable(&dict)?;
    }
    manager.publish("dict", &dict)?;
    Ok(dict)
}

fn one_client(job: &Job) -> Result<Answer, Failure> {
    let (folder, builder) = Folder::for_question(&job.question);
    let (_manager, dict) = apart(job.mode, || {
        let manager = builder.start()?;
        let dict = make_dict(&manager, folder.is_some())?;
        Ok((manager, dict))
    })?;
    time_each(job.mode, job.budget, |turn| call(&job.question, &dict, turn))
}

fn call(question: &str, dict: &Dict, turn: u64) -> Result<(), Failure> {
    let value = if question == "get" { dict.get(&key())? } else { dict.insert(&key(), &turn)? };
    if value.is_some() { Ok(()) } else { Err("no value".into()) }
}

fn method(job: &Job) -> Result<Answer, Failure> {
    let (_manager, counter) = apart(job.mode, || {
        let manager = Manager::start()?;
        let counter = CounterProxy::create(&manager, 0)?;
        counter.increment(0)?;
        Ok((manager, counter))
    })?;
    let mut counted = 0;
    time_each(job.mode, job.budget, |_| {
        counted += 1;
        if counter.increment(1)? == counted { Ok(()) } else { Err("another count".into()) }
    })
}

fn pipelined(job: &Job) -> Result<Answer, Failure> {
    let manager = Manager::start()?;
    let counter = CounterProxy::create(&manager, 0)?;
    let mut counted = 0;
    rate_each(job.budget, || {
        let replies = (0..job.number).map(|_| counter.increment_async(1));
        for reply in replies.collect::<Result<Vec<_>, _>>()? {
            counted += 1;
            if reply.get()? != counted {
                return Err("another count".into());
            }
        }
        Ok(job.number)
    })
}

/// As [`pipelined`], in one message.
fn batch(job: &Job) -> Result<Answer, Failure> {
    let manager = Manager::start()?;
    let counter = CounterProxy::create(&manager, 0)?;
    let mut counted = 0;
    rate_each(job.budget, || {
        let replies = manager.batch(|batch| {
            let counter = batch.of(&counter);
            (0..job.number).map(|_| counter.increment_async(1)).collect::<Result<Vec<_>, _>>()
        });
        for reply in replies? {
            counted += 1;
            if reply.get()? != counted {
                return Err("another count".into());
            }
        }
        Ok(job.number)
    })
}

/// As [`pipelined`], each call after the one before.
fn singly(job: &Job) -> Result<Answer, Failure> {
    let manager = Manager::start()?;
    let counter = CounterProxy::create(&manager, 0)?;
    let mut counted = 0;
    rate_each(job.budget, || {
        counted += 1;
        if counter.increment(1)? == counted { Ok(1) } else { Err("another count".into()) }
    })
}

/// What a client's process is told.
type Orders = (Address, usize, Barrier, String, Duration);

const SECRET: &str = "bench";

fn crowd_of_processes(job: &Job) -> Result<Answer, Failure> {
    crowd::many_descriptors()?;
    let (folder, builder) = Folder::for_question(&job.question);
    let manager = builder.authkey(SECRET).start()?;
    let _dict = make_dict(&manager, folder.is_some())?;
    let shares = crowd::shares(job.number);
    let start = Barrier::new(u32::try_from(shares.len())?)?;
    let mut processes = Vec::new();
    for share in shares {
        let orders: Orders =
            (manager.address().clone(), share, start.clone(), job.question.clone(), job.budget);
        processes.push(Process::spawn(be_clients, orders)?);
    }
    let mut turns = Vec::new();
    for process in processes {
        turns.push(process.join()?);
    }
    Ok(crowd::of_calls(turns.into_iter()))
}

fn be_clients((address, count, start, question, budget): Orders) -> (u64, Duration) {
    let connect = |_| {
        let manager = Manager::connect(&address, SECRET).expect("a connection");
        let dict: Dict = manager.find("dict").expect("the dict");
        (manager, dict)
    };
    let mut clients: Vec<(Manager, Dict)> = (0..count).map(connect).collect();
    let call = |(_, dict): &mut (Manager, Dict), turn| call(&question, dict, turn);
    crowd::warm_up(&mut clients, call).expect("calls");
    start.wait().expect("nobody died");
    crowd::take_turns(budget, &mut clients, call).expect("calls")
}

fn create(job: &Job) -> Result<Answer, Failure> {
    let manager = reachable_by(job).start()?;
    time_each(job.mode, job.budget, |_| {
        drop(CounterProxy::create(&manager, 0)?);
        Ok(())
    })
}

fn reachable_by(job: &Job) -> Builder {
    let builder = Manager::builder().authkey(SECRET).register::<Counter>();
    if job.number == TCP { builder.address(Address::tcp("127.0.0.1", 0)) } else { builder }
}

/// By a client that gets no other way than its socket.
fn by_plain_socket(job: &Job) -> Result<Answer, Failure> {
    let (manager, _dict) = apart(job.mode, || {
        let manager = reachable_by(job).max_rings(0).start()?;
        let dict = make_dict(&manager, false)?;
        Ok((manager, dict))
    })?;
    let client = Manager::connect(manager.address(), SECRET)?;
    let dict: Dict = client.find("dict")?;
    time_each(job.mode, job.budget, |turn| call("get", &dict, turn))
}

/// Connects, and makes the first call.
fn connect(job: &Job) -> Result<Answer, Failure> {
    let manager = reachable_by(job).start()?;
    time_each(job.mode, job.budget, |_| {
        let client = Manager::connect(manager.address(), SECRET)?;
        if client.object_count()? == 0 { Ok(()) } else { Err("an object".into()) }
    })
}

fn start(job: &Job) -> Result<Answer, Failure> {
    time_each(job.mode, job.budget, |_| {
        let manager = Manager::start()?;
        manager.dict::<u32, u32>()?.insert(&1, &1)?;
        Ok(())
    })
}

fn idle(job: &Job) -> Result<Answer, Failure> {
    crowd::many_descriptors()?;
    let manager = Manager::builder().authkey(SECRET).start()?;
    let server = manager.pid().ok_or("no server")?;
    let connect = || -> Result<Vec<Manager>, Failure> {
        let clients = (0..job.number).map(|_| Manager::connect(manager.address(), SECRET));
        let clients: Vec<Manager> = clients.collect::<Result<_, _>>()?;
        for client in &clients {
            client.object_count()?;
        }
        Ok(clients)
    };
    if job.question == "idle" {
        return crowd::memory_per_client(server, job.number, connect);
    }
    let _clients = connect()?;
    crowd::threads(server)
}
