//! Records of children, taken to the logger of the process that owns the tree.
//!
//! A child has no logger of its own, as it never comes to the `main` that would install one.
//! It gets one that sends each record as one message to a socket which all the tree shares.
//! Where that is full a child waits shortly, then drops records and counts them.

use std::cell::{Cell, RefCell};
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ipc_core::raw;
use ipc_core::{DecodeError, EncodeError, Handle, Packet};
use log::{Level, LevelFilter, Log, Metadata, Record};
use serde::{Deserialize, Serialize};

use crate::boot::Birth;
use crate::family::current_process;
use crate::panic::catch_panic;
use crate::per_process::PerProcess;
use crate::sys::logs as sys;
use crate::tail::{self, Tail};

/// Longer messages are cut.
const LONGEST: usize = 16 << 10;

/// How long a record waits for room.
const PATIENCE: Duration = Duration::from_millis(200);

/// Writes the records of this process and of all its children to the standard error
/// stream, as `[LEVEL/Process-1] message`.
///
/// It takes the place of a logger of the program's, for which there is only one. Children
/// start with the level that holds when they are started.
///
/// # Errors
/// The program has a logger already.
///
/// # Examples
/// ```
/// # mp_process::init();
/// mp_process::log_to_stderr(log::LevelFilter::Info)?;
/// log::info!("begins"); // [INFO/MainProcess] begins
/// let child = mp_process::Process::spawn(|()| log::warn!("is here"), ())?;
/// child.join()?; // [WARNING/Process-1] is here
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn log_to_stderr(level: LevelFilter) -> Result<(), log::SetLoggerError> {
    log::set_logger(&ToStderr)?;
    SHOWS_NAMES.store(true, Ordering::Relaxed);
    log::set_max_level(level);
    Ok(())
}

struct ToStderr;

/// The logger shows by itself which process a record is of.
static SHOWS_NAMES: AtomicBool = AtomicBool::new(false);

impl Log for ToStderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = if record.level() == Level::Warn { "WARNING" } else { record.level().as_str() };
            // A thread that ends has none.
            let process = DELIVERED.try_with(|process| process.borrow().clone()).ok().flatten();
            let process = process.as_deref().unwrap_or_else(|| current_process().name());
            // One write, so that lines of several processes do not mix.
            let line = format!("[{level}/{process}] {}\n", record.args());
            let _ = io::stderr().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

thread_local! {
    /// The process whose record this thread gives to the logger.
    static DELIVERED: RefCell<Option<String>> = const { RefCell::new(None) };
    static DELIVERS: Cell<bool> = const { Cell::new(false) };
}

/// What a child is told: where its records go, and up to which level.
#[derive(Debug, Serialize, Deserialize)]
struct Ticket {
    socket: Handle,
    level: u8,
}

/// A record on its way.
#[derive(Debug, Serialize, Deserialize)]
struct Sent {
    level: u8,
    process: String,
    target: String,
    file: Option<String>,
    line: Option<u32>,
    message: String,
    /// The number under which its parent keeps its last records, or zero.
    tail: u64,
    /// How many of this process's were dropped before it.
    lost: u64,
}

/// In a child: where its records go.
static UP: OnceLock<Handle> = OnceLock::new();

/// In a child: the number that is on its records.
static TAIL: AtomicU64 = AtomicU64::new(0);

pub(crate) fn set_tail(number: u64) {
    TAIL.store(number, Ordering::Relaxed);
}

/// Has the last records be kept of a child that is about to be started, if its records will
/// come to this process.
pub(crate) fn begin_tail(birth: &mut Birth) -> Option<Tail> {
    if log::max_level() == LevelFilter::Off || UP.get().is_some() {
        return None;
    }
    let tail = Tail::begin();
    birth.tail = tail.number();
    Some(tail)
}

/// Where the records of children come in, and the end that they get.
static HUB: PerProcess<Option<(&'static Handle, Handle)>> = PerProcess::new();

/// Writes into the orders of a child where its records go.
pub(crate) fn append(packet: &mut Packet) -> Result<(), EncodeError> {
    packet.append(&ticket())
}

fn ticket() -> Option<Ticket> {
    let level = log::max_level();
    if level == LevelFilter::Off {
        return None;
    }
    let socket = match UP.get() {
        Some(up) => up.try_clone(),
        None => HUB.with(|hub| {
            if hub.is_none() {
                *hub = Some(open_hub()?);
            }
            hub.as_ref().ok_or(io::ErrorKind::Other)?.1.try_clone()
        }),
    };
    // Without a way for its records a child still does its work.
    Some(Ticket { socket: socket.ok()?, level: level as u8 })
}

/// In a child: reads from the orders where its records go.
pub(crate) fn install(packet: &mut Packet) -> Result<(), DecodeError> {
    if let Some(Ticket { socket, level }) = packet.read::<Option<Ticket>>()? {
        // A fork has a copy of the program's logger, if there is one, and keeps that.
        if log::set_logger(&Upwards).is_ok() {
            let _ = UP.set(socket);
            log::set_max_level(LevelFilter::iter().nth(level.into()).unwrap_or(LevelFilter::Off));
        }
    }
    Ok(())
}

/// Sends each record to the process that owns the tree.
struct Upwards;

static LOST: AtomicU64 = AtomicU64::new(0);
/// Nobody made room in time, so nobody is waited for until there is some.
static IS_STUCK: AtomicBool = AtomicBool::new(false);

impl Log for Upwards {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        let Some(up) = UP.get().filter(|_| self.enabled(record.metadata())) else { return };
        let lost = LOST.load(Ordering::Relaxed);
        let sent = Sent {
            level: record.level() as u8,
            process: current_process().name().to_owned(),
            target: record.target().to_owned(),
            file: record.file().map(str::to_owned),
            line: record.line(),
            message: cut(record.args().to_string()),
            tail: TAIL.load(Ordering::Relaxed),
            lost,
        };
        let mut packet = Packet::new();
        let patience = if IS_STUCK.load(Ordering::Relaxed) { Duration::ZERO } else { PATIENCE };
        if packet.append(&sent).is_ok() && sys::send(up, packet.bytes(), patience) {
            IS_STUCK.store(false, Ordering::Relaxed);
            LOST.fetch_sub(lost, Ordering::Relaxed);
        } else {
            IS_STUCK.store(true, Ordering::Relaxed);
            LOST.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

fn cut(mut message: String) -> String {
    if message.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|at| message.is_char_boundary(*at));
        message.truncate(end.unwrap_or(0));
        message.push('…');
    }
    message
}

fn open_hub() -> io::Result<(&'static Handle, Handle)> {
    let (ours, theirs) = sys::pair()?;
    // The thread has it until the process ends.
    let ours: &'static Handle = Box::leak(Box::new(ours));
    let take = move || {
        while ipc_core::wait(&[ours], None).is_ok() {
            let _busy = busy();
            deliver_from(ours, || true);
        }
    };
    sys::start_thread("mp-logs", take)?;
    Ok((ours, theirs))
}

static BUSY: raw::PerProcess<Mutex<()>> = raw::PerProcess::new(Mutex::new(()), |_| Mutex::new(()));

/// Held while the program's logger runs here, so that no fork comes in between.
pub(crate) fn busy() -> MutexGuard<'static, ()> {
    BUSY.here().lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives what has come to the program's logger: that of a child that has ended. A logger
/// that is slow or stuck does not hold up whoever joins the child.
pub(crate) fn deliver() {
    if DELIVERS.get() {
        // The logger itself waits for a child.
        return;
    }
    let Some(hub) = HUB.with(|hub| hub.as_ref().map(|(ours, _)| *ours)) else { return };
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Ok(_busy) = BUSY.here().try_lock() {
            return deliver_from(hub, || Instant::now() < deadline);
        }
        std::thread::sleep(Duration::from_micros(100));
    }
}

fn deliver_from(hub: &Handle, goes_on: impl Fn() -> bool) {
    let mut bytes = vec![0; 4 * LONGEST];
    DELIVERS.set(true);
    while goes_on()
        && let Some(len) = sys::recv(hub, &mut bytes)
    {
        let mut packet = Packet::new();
        packet.extend_bytes(&bytes[..len]);
        if let Ok(sent) = packet.read::<Sent>() {
            // A logger may be anybody's code.
            let _ = catch_panic(|| hand_over(sent));
        }
    }
    DELIVERED.set(None);
    DELIVERS.set(false);
}

fn hand_over(sent: Sent) {
    DELIVERED.set(Some(sent.process.clone()));
    if sent.lost > 0 {
        let text = format!("{} records were lost, as there was no room for them", sent.lost);
        show(&sent, Level::Warn, &text);
    }
    if let Some(level) = Level::iter().find(|level| *level as u8 == sent.level) {
        tail::add(sent.tail, format!("[{level}] {}", sent.message));
        show(&sent, level, &sent.message);
    }
}

fn show(sent: &Sent, level: Level, text: &str) {
    let mut record = Record::builder();
    record.level(level).target(&sent.target).file(sent.file.as_deref()).line(sent.line);
    let logger = log::logger();
    if !logger.enabled(record.build().metadata()) {
        return;
    }
    if SHOWS_NAMES.load(Ordering::Relaxed) {
        logger.log(&record.args(format_args!("{text}")).build());
    } else {
        logger.log(&record.args(format_args!("[{}] {text}", sent.process)).build());
    }
}
