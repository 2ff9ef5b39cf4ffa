//! Senders and receivers that are killed at random instants, and peers that scribble: a
//! moment of each in a test run; in a soak as many kills as `MP_SOAK_KILLS` says, or as fit
//! into `MP_SOAK_SECONDS` seconds.
//!
//! The children are forks of this program, which is small; each sets itself a timer that
//! kills it. The seed is printed; `MP_TESTKIT_SEED` sets it.
//!
//! # Safety
//! The calls of the C library take numbers, or structures that they fill. A forked child
//! uses its ends and a word of shared memory, and leaves without unwinding.

#![allow(unsafe_code)]

#[path = "processes/scribble.rs"]
mod scribble;

use std::fs::File;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ipc_core::link::{Link, PipeLink, RingLink, RingOptions, SocketLink};
use ipc_core::{Handle, Receiver, RecvError, SendError, Sender, SharedMemory, WaitSet, pipe, wait};
use mp_testkit::chaos::Rng;
use serde::{Deserialize, Serialize};

/// No wait may take longer, on however busy a machine.
const LATE: Duration = Duration::from_secs(60);
/// How long one scribbler is endured.
const PATIENCE: Duration = Duration::from_millis(300);

/// A message that shows whether it is whole.
#[derive(Serialize, Deserialize)]
struct Numbered {
    /// Of several.
    sender: usize,
    number: u64,
    bytes: Vec<u8>,
    handle: Option<Handle>,
}

impl Numbered {
    fn new(number: u64, null: Option<&Handle>) -> Self {
        let null = null.filter(|_| number.is_multiple_of(3));
        let handle = null.map(|null| null.try_clone().unwrap());
        Self { sender: 0, number, bytes: vec![number as u8; Self::len(number)], handle }
    }

    /// Mostly small, at times in parts, once in a while larger than the link.
    fn len(number: u64) -> usize {
        match number % 50 {
            17 => 500_000,
            5 => 70_000,
            rest => rest as usize * 31,
        }
    }

    fn is(&self, number: u64, has_handles: bool) -> bool {
        self.number == number
            && self.bytes.len() == Self::len(number)
            && self.bytes.iter().all(|byte| *byte == number as u8)
            && self.handle.is_some() == (has_handles && number.is_multiple_of(3))
    }
}

type Ends = (Sender<Numbered>, Receiver<Numbered>);

type Make = fn() -> Ends;

const LINKS: [(&str, Make); 4] = [
    ("ring", || over(RingLink::pipe(RingOptions::default()).unwrap())),
    ("small ring", || over(RingLink::pipe(RingOptions::default().capacity(4096)).unwrap())),
    ("pipe", || over(PipeLink::pair().unwrap())),
    ("socket", || over(SocketLink::pair().unwrap())),
];

fn over((tx, rx): (impl Link + 'static, impl Link + 'static)) -> Ends {
    (Sender::over(tx), Receiver::over(rx))
}

fn main() {
    let set = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let time = Duration::from_secs(set("MP_SOAK_SECONDS").unwrap_or(6));
    let mut random = Rng::announced("ipc-core soak");
    warm_up();
    let before = open_handles();
    let mut total = 0;
    let mut longest = Duration::ZERO;
    const CROWDS: (&str, u64, Kill) = ("crowds", CROWD as u64, kill_crowd);
    for (name, make) in LINKS {
        for (who, at_once, kill) in
            [("senders", 1, kill_sender as Kill), ("receivers", 1, kill_receiver), CROWDS]
        {
            let begun = Instant::now();
            let goes_on = |kills: u64| match set("MP_SOAK_KILLS") {
                Some(all) => kills < all.div_ceil(12),
                None => begun.elapsed() < time / 18,
            };
            let (mut kills, mut messages) = (0, 0);
            while goes_on(kills) {
                let round = Instant::now();
                messages += kill(make(), &mut random);
                longest = longest.max(round.elapsed());
                kills += at_once;
            }
            let took = begun.elapsed().as_secs_f64();
            println!("{name:>10}, {who:>9}: {kills:>6} kills, {messages:>9} messages, {took:.1} s");
            assert_eq!(settled_handles(before), before, "handles are left");
            total += kills;
        }
    }
    println!("{total} kills, the longest round took {longest:?}");
    for (who, endure) in [("sender", scribbling_sender as fn(u64)), ("receiver", scribbling_receiver)] {
        let (begun, mut rounds) = (Instant::now(), 0);
        while begun.elapsed() < time / 6 {
            endure(random.next_u64());
            rounds += 1;
        }
        println!("a {who} that scribbles: {rounds} of them, {:.1} s", begun.elapsed().as_secs_f64());
    }
    assert_eq!(settled_handles(before), before, "handles are left");
}

type Kill = fn(Ends, &mut Rng) -> u64;

/// The child sends until it is killed; everything that comes is whole and in order.
fn kill_sender((tx, rx): Ends, random: &mut Rng) -> u64 {
    let has_handles = tx.capabilities().passes_handles && random.chance(50);
    let after = random.pause(Duration::from_millis(2));
    let child = fork(|| {
        tx.adopt();
        rx.abandon();
        die_after(after);
        let null = has_handles.then(null);
        (0..).take_while(|number| tx.send(&Numbered::new(*number, null.as_ref())).is_ok()).for_each(drop);
    });
    tx.abandon();
    drop(tx);
    let rx = Arc::new(rx);
    let set = WaitSet::new().unwrap();
    set.add(1, Arc::clone(&rx)).unwrap();
    let mut received = 0;
    loop {
        let result = match random.below(4) {
            0 => rx.recv(),
            1 => rx.recv_timeout(LATE),
            2 => {
                assert_eq!(wait(&[&*rx], Some(LATE)).unwrap(), [0], "a wait slept over something");
                rx.try_recv()
            }
            _ => {
                assert_eq!(set.wait(Some(LATE)).unwrap(), [1], "a set slept over something");
                rx.try_recv()
            }
        };
        match result {
            Ok(message) => assert!(message.is(received, has_handles), "message {received} is torn"),
            // What is ready may be the beginning of a message, of which the rest comes.
            Err(RecvError::Timeout) => continue,
            Err(RecvError::Closed) => break,
            Err(RecvError::Cut) => continue,
            Err(error) => panic!("{error}"),
        }
        received += 1;
    }
    reap(child);
    received
}

/// How many send over one channel.
const CROWD: usize = 3;

/// Several children send, each until it is killed; what comes of each is whole and in its order.
fn kill_crowd((tx, rx): Ends, random: &mut Rng) -> u64 {
    let has_handles = tx.capabilities().passes_handles && random.chance(50);
    let (mover, moved) = pipe::<Sender<Numbered>>().unwrap();
    let clones = [(); CROWD].map(|()| {
        mover.send(&tx.clone()).unwrap();
        moved.recv().unwrap()
    });
    drop((mover, moved, tx));
    let children = [0, 1, 2].map(|sender: usize| {
        let after = random.pause(Duration::from_millis(4));
        fork(|| {
            clones[sender].adopt();
            let others = clones.iter().enumerate().filter(|(other, _)| *other != sender);
            others.for_each(|(_, other)| other.abandon());
            rx.abandon();
            die_after(after);
            let null = has_handles.then(null);
            let all = (0..).map(|number| Numbered { sender, ..Numbered::new(number, null.as_ref()) });
            all.take_while(|message| clones[sender].send(message).is_ok()).for_each(drop);
        })
    });
    clones.iter().for_each(Sender::abandon);
    drop(clones);
    let mut received = [0; CROWD];
    loop {
        let result = match random.below(3) {
            0 => rx.recv(),
            1 => rx.recv_timeout(LATE),
            _ => {
                assert_eq!(wait(&[&rx], Some(LATE)).unwrap(), [0], "a wait slept over something");
                rx.try_recv()
            }
        };
        match result {
            Ok(message) => {
                let number = &mut received[message.sender];
                assert!(message.is(*number, has_handles), "message {number} is torn");
                *number += 1;
            }
            Err(RecvError::Closed) => break,
            Err(RecvError::Timeout | RecvError::Cut) => continue,
            Err(error) => panic!("{error}"),
        }
    }
    children.into_iter().for_each(reap);
    received.iter().sum()
}

/// The child receives until it is killed, and notes what it received.
fn kill_receiver((tx, rx): Ends, random: &mut Rng) -> u64 {
    let has_handles = tx.capabilities().passes_handles && random.chance(50);
    let after = random.pause(Duration::from_millis(2));
    let notes = SharedMemory::anonymous(4096).unwrap();
    let child = fork(|| {
        rx.adopt();
        tx.abandon();
        die_after(after);
        for number in 0.. {
            let Ok(message) = rx.recv() else { return };
            let note = if message.is(number, has_handles) { number + 1 } else { u64::MAX };
            notes.atomic_u64(0).store(note, Ordering::SeqCst);
        }
    });
    rx.abandon();
    drop(rx);
    let null = has_handles.then(null);
    let mut sent = 0;
    loop {
        match tx.send_timeout(&Numbered::new(sent, null.as_ref()), LATE) {
            Ok(()) => sent += 1,
            Err(SendError::Closed) => break,
            Err(error) => panic!("{error}"),
        }
    }
    reap(child);
    let received = notes.atomic_u64(0).load(Ordering::SeqCst);
    // The last one may have been taken before its sender knew that it was sent.
    assert!(received <= sent + 1, "it received what was not sent, or not as it was sent");
    received
}

/// A reader of what a scribbler writes gets errors, and never hangs.
fn scribbling_sender(seed: u64) {
    let (tx, rx) = pipe::<Vec<u8>>().unwrap();
    let child = fork(|| {
        tx.adopt();
        rx.abandon();
        die_after(PATIENCE);
        scribble::scribble_as_sender(&tx, seed);
    });
    tx.abandon();
    drop(tx);
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let begun = Instant::now();
        let step = Duration::from_millis(5);
        let _ = wait(&[&rx], Some(step)).unwrap();
        let result = rx.recv_timeout(step);
        assert!(begun.elapsed() < LATE, "it was kept past its deadline");
        match result {
            Ok(value) => assert!(value.len() < 64 << 20, "longer than anything that was sent"),
            Err(RecvError::Timeout | RecvError::Decode(_) | RecvError::Io(_)) => {}
            Err(_) => break,
        }
    }
    reap(child);
}

fn scribbling_receiver(seed: u64) {
    let (tx, rx) = pipe::<Vec<u8>>().unwrap();
    let child = fork(|| {
        rx.adopt();
        tx.abandon();
        die_after(PATIENCE);
        scribble::scribble_as_receiver(&rx, seed);
    });
    rx.abandon();
    drop(rx);
    let until = Instant::now() + PATIENCE;
    let mut size = 1;
    while Instant::now() < until {
        let begun = Instant::now();
        size = size * 5 % 100_003;
        let result = tx.send_timeout(&vec![1; size], Duration::from_millis(5));
        assert!(begun.elapsed() < LATE, "it was kept past its deadline");
        if matches!(result, Err(SendError::Closed)) {
            break;
        }
    }
    reap(child);
}

fn null() -> Handle {
    OwnedFd::from(File::open("/dev/null").unwrap()).into()
}

/// Runs `work` in a child that ends with it.
fn fork(work: impl FnOnce()) -> i32 {
    // SAFETY: the other threads of this program hold no lock that the child takes.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "no child");
    if child > 0 {
        return child;
    }
    // SAFETY: it ends with its parent.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err();
    // SAFETY: nothing of the parent's is run or written out.
    unsafe { libc::_exit(code.into()) }
}

/// Has the kernel kill this process after `time`, wherever it is then.
fn die_after(time: Duration) {
    // SAFETY: all zeros are valid for these structures, and the calls read them.
    unsafe {
        let mut event: libc::sigevent = mem::zeroed();
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = libc::SIGKILL;
        let mut timer: libc::timer_t = mem::zeroed();
        assert_eq!(libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer), 0);
        let mut at: libc::itimerspec = mem::zeroed();
        at.it_value.tv_sec = time.as_secs() as _;
        // A time of zero would mean never.
        at.it_value.tv_nsec = (time.subsec_nanos().max(1)) as _;
        assert_eq!(libc::timer_settime(timer, 0, &raw const at, std::ptr::null_mut()), 0);
    }
}

fn reap(child: i32) {
    let mut status = 0;
    // SAFETY: the call fills the number.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    let was_killed = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
    assert!(was_killed || libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "status {status:#x}");
}

/// The thread that watches peers stays for the life of the process.
fn warm_up() {
    let (_tx, rx) = pipe::<u8>().unwrap();
    let _ = rx.recv_timeout(Duration::from_millis(1));
}

/// Some are closed by the thread that watches, a moment later.
fn settled_handles(level: usize) -> usize {
    let begun = Instant::now();
    while open_handles() > level && begun.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(5));
    }
    open_handles()
}

fn open_handles() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
