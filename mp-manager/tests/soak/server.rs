//! The server is killed under load, as often as asked for: what it has acknowledged is there.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::{Address, Receiver, Sender, pipe};
use mp_manager::{DictProxy, ListProxy, Manager, ManagerError, QueueProxy, ValueProxy};
use mp_process::Process;
use mp_testkit::chaos::Rng;
use mp_testkit::harness::soak_time;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

const KEY: &[u8] = b"a key for all servers";
const CLIENTS: u64 = 4;
const LONG: Duration = Duration::from_secs(60);

/// Whether that is enough: as many as were asked for, or some, and the time is up.
fn is_enough(kills: u64, begun: Instant) -> bool {
    match std::env::var("MP_SOAK_KILLS").ok().and_then(|asked| asked.parse::<u64>().ok()) {
        Some(asked) => kills >= asked,
        None => kills >= 25 && begun.elapsed() >= soak_time(),
    }
}

/// A user's object: what each client said last, and in which order all spoke.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Board {
    last: BTreeMap<u64, u64>,
    spoken: Vec<(u64, u64)>,
}

#[mp_manager::object]
#[allow(unreachable_pub)]
impl Board {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn say(&mut self, client: u64, number: u64) {
        self.last.insert(client, number);
        self.spoken.push((client, number));
        if self.spoken.len() > 200 {
            self.spoken.drain(..100);
        }
    }

    pub fn last(&self, client: u64) -> u64 {
        self.last.get(&client).copied().unwrap_or_default()
    }

    pub fn spoken(&self, client: u64) -> Vec<u64> {
        self.spoken.iter().filter(|(of, _)| *of == client).map(|(_, number)| *number).collect()
    }
}

fn start(address: &Address, folder: &Path) -> Manager {
    let builder = Manager::builder().address(address.clone()).authkey(KEY).state(folder).durable::<Board>();
    let builder = builder.register::<Board>();
    builder.start().unwrap()
}

pub(crate) fn what_was_acknowledged_is_there_after_kills() {
    let folder = std::env::temp_dir().join(format!("mp-soak-{}", std::process::id()));
    let address = Address::auto_file().unwrap();
    let mut rng = Rng::announced("what_was_acknowledged");
    let mut manager = start(&address, &folder);
    let (clients, stops): (Vec<_>, Vec<_>) = (0..CLIENTS)
        .map(|number| {
            let (stop, stopped) = pipe::<()>().unwrap();
            let client = Process::builder().kill_on_drop(true);
            (client.spawn(live, (number, address.clone(), stopped)).unwrap(), stop)
        })
        .unzip();
    let (begun, mut kills) = (Instant::now(), 0);
    // How often the log was written anew, and how often a kill came while it was.
    let (mut renewed, mut in_the_middle, mut file) = (0, 0, log_file(&folder));
    while !is_enough(kills, begun) {
        kills += 1;
        thread::sleep(Duration::from_millis(10 + rng.below(60) as u64));
        let pid = Pid::from_raw(manager.pid().unwrap() as i32).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        drop(manager);
        in_the_middle += u64::from(folder.join("log.next").exists());
        let before = std::mem::replace(&mut file, log_file(&folder));
        renewed += u64::from(before != file);
        manager = start(&address, &folder);
    }
    thread::sleep(Duration::from_millis(100));
    stops.iter().for_each(|stop: &Sender<()>| stop.send(&()).unwrap());
    let results: Vec<(u64, u64)> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    let (changes, looks): (Vec<u64>, Vec<u64>) = results.into_iter().unzip();
    println!("{kills} kills, {changes:?} acknowledged changes, {looks:?} looks after a kill");
    println!("the log was written anew before {renewed} kills, and while {in_the_middle} came");
    assert!(kills < 100 || (renewed > 0 && in_the_middle > 0), "no log was written anew");
    // Every client has been there after most of the kills.
    assert!(looks.iter().all(|looks| *looks > kills / 4), "{looks:?}");
    drop(manager);
    std::fs::remove_dir_all(folder).unwrap();
}

/// Which file the log is: one that was written anew is another.
fn log_file(folder: &Path) -> u64 {
    std::fs::metadata(folder.join("log")).unwrap().ino()
}

/// What a client knows of itself: its last changes that were acknowledged, and whether one more
/// may have been made.
#[derive(Debug, Default)]
struct Known {
    dict: u64,
    list: u64,
    value: u64,
    board: u64,
    put: u64,
    got: u64,
    nested: u64,
    changes: u64,
}

/// A client's life: how many of its changes were acknowledged, and how often it has looked whether
/// they are there.
fn live((number, address, stopped): (u64, Address, Receiver<()>)) -> (u64, u64) {
    let (mut known, mut looks) = (Known::default(), 0);
    while stopped.try_recv().is_err() {
        let begun = Instant::now();
        let manager = loop {
            match Manager::connect(&address, KEY) {
                Ok(manager) => break manager,
                Err(error) => assert!(begun.elapsed() < LONG, "{error}"),
            }
            thread::sleep(Duration::from_millis(1));
        };
        let error = work(number, &manager, &stopped, &mut known, &mut looks).err();
        assert!(error.as_ref().is_none_or(ManagerError::is_gone), "{error:?}");
        if error.is_none() {
            break;
        }
    }
    (known.changes, looks)
}

fn work(
    number: u64,
    manager: &Manager,
    stopped: &Receiver<()>,
    known: &mut Known,
    looks: &mut u64,
) -> Result<(), ManagerError> {
    let dict: DictProxy<u64, u64> = manager.durable("dict", |manager| manager.dict())?;
    let list: ListProxy<u64> = manager.durable(&format!("list{number}"), |manager| manager.list())?;
    let value: ValueProxy<u64> = manager.durable(&format!("value{number}"), |manager| manager.value(&0))?;
    let board: BoardProxy = manager.durable("board", BoardProxy::create)?;
    let queue: QueueProxy<u64> = manager.durable(&format!("queue{number}"), |manager| manager.queue())?;
    let nest: Nest = manager.durable(&format!("nest{number}"), |manager| manager.dict())?;
    let ballast: DictProxy<u64, Vec<u8>> =
        manager.durable(&format!("ballast{number}"), |manager| manager.dict())?;
    let all = (&dict, &list, &value, &board, &queue, &nest);
    *known = look(number, known, all)?;
    *looks += 1;
    while stopped.try_recv().is_err() {
        dict.insert(&number, &(known.dict + 1))?;
        known.dict += 1;
        list.push(&(known.list + 1))?;
        known.list += 1;
        value.set(&(known.value + 1))?;
        known.value += 1;
        board.say(number, known.board + 1)?;
        known.board += 1;
        queue.put(&(known.put + 1))?;
        known.put += 1;
        if known.put.is_multiple_of(3) {
            let got = queue.get()?;
            known.got += 1;
            assert_eq!(got, known.got, "an item came twice, or not at all");
        }
        known.nested = build(manager, &nest, known.nested + 1)?;
        // So that the log is written anew all the time, and again by each server that begins.
        if known.put.is_multiple_of(4) {
            ballast.insert(&(known.put % 24), &vec![number as u8; 250_000])?;
        }
        known.changes += 6;
    }
    look(number, known, all).map(drop)
}

/// Dictionaries in lists in a dictionary.
type Nest = DictProxy<u64, ListProxy<DictProxy<u64, u64>>>;

/// One number more, in a new dictionary in the last list; lists of long ago go, with what is in them.
fn build(manager: &Manager, nest: &Nest, number: u64) -> Result<u64, ManagerError> {
    let chunk = number / 10;
    if !nest.contains_key(&chunk)? {
        let list = manager.list()?;
        manager.make_durable(&list)?;
        nest.insert(&chunk, &list)?;
        for old in nest.keys()?.into_iter().filter(|old| old + 2 < chunk) {
            drop(nest.remove(&old)?);
        }
    }
    let last = manager.dict()?;
    manager.make_durable(&last)?;
    nest.get(&chunk)?.expect("it was put in").push(&last)?;
    drop(last);
    // It is found through the others, and is the same.
    let list = nest.get(&chunk)?.expect("it was put in");
    list.get(list.len()? - 1)?.insert(&0, &number)?;
    Ok(number)
}

/// The numbers in it, of which each but the last was acknowledged.
fn numbers(nest: &Nest) -> Result<Vec<u64>, ManagerError> {
    let mut numbers = Vec::new();
    for list in nest.values()? {
        for dict in list.to_vec()? {
            // One that was put in, and not filled any more.
            numbers.extend(dict.get(&0)?);
        }
    }
    Ok(numbers)
}

type All<'a> = (
    &'a DictProxy<u64, u64>,
    &'a ListProxy<u64>,
    &'a ValueProxy<u64>,
    &'a BoardProxy,
    &'a QueueProxy<u64>,
    &'a Nest,
);

/// What is there is what was acknowledged, or one change more.
fn look(
    number: u64,
    known: &Known,
    (dict, list, value, board, queue, nest): All<'_>,
) -> Result<Known, ManagerError> {
    let check = |what: &str, there: u64, known: u64| {
        assert!((known..=known + 1).contains(&there), "{what}: {there} is there, {known} was acknowledged");
        there
    };
    let values = list.to_vec()?;
    assert!(values.iter().copied().eq(1..=values.len() as u64), "the list is not in order");
    let spoken = board.spoken(number)?;
    assert!(spoken.windows(2).all(|two| two[0] + 1 == two[1]), "the board is not in order: {spoken:?}");
    let nested = numbers(nest)?;
    assert!(nested.windows(2).all(|two| two[0] + 1 == two[1]), "the nest is not in order: {nested:?}");
    assert!(nested.len() as u64 >= known.nested.min(10), "the nest has lost some: {nested:?}");
    // One call was under way: a put that is there, or a get that nobody has the item of.
    let (put, got) =
        match (queue.len()? as u64 + known.got).cast_signed().checked_sub(known.put.cast_signed()) {
            Some(0) => (known.put, known.got),
            Some(1) => (known.put + 1, known.got),
            Some(-1) => (known.put, known.got + 1),
            other => panic!("the queue is off by {other:?}: {known:?}"),
        };
    Ok(Known {
        dict: check("dict", dict.get(&number)?.unwrap_or_default(), known.dict),
        list: check("list", values.len() as u64, known.list),
        value: check("value", value.get()?, known.value),
        board: check("board", board.last(number)?, known.board),
        put,
        got,
        nested: check("nest", nested.last().copied().unwrap_or_default(), known.nested),
        changes: known.changes,
    })
}
