//! Clones of a sender in several processes: each message whole, each sender's in its order,
//! and an end that comes with the last of them.

use std::collections::HashMap;
use std::env;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::Duration;

use ipc_core::link::{Link, PipeLink, RingLink, RingOptions, SocketLink};
use ipc_core::{Bulk, Handle, Message, Receiver, Sender, pipe};
use mp_process::{Process, ProcessError, StartMethod};
use mp_testkit::Program;
use mp_testkit::harness::{Suite, Trial, variants};
use serde::{Deserialize, Serialize};

mod buffers;
mod deaths;
mod ends;
mod leaving;
mod order;

/// Longer than anything takes that does happen.
const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(30);
const SENDERS: u64 = 4;

type Ends<T> = (Sender<T>, Receiver<T>);

/// A message that shows whether it is whole.
#[derive(Serialize, Deserialize)]
struct Numbered {
    sender: u64,
    number: u64,
    /// Walked by nobody one by one, which takes its time where nothing is optimised.
    bytes: Bulk<u8>,
    handle: Option<Handle>,
}

impl Numbered {
    fn new(sender: u64, number: u64, handle: Option<Handle>) -> Self {
        Self { sender, number, bytes: vec![(sender + number) as u8; Self::len(number)].into(), handle }
    }

    fn len(number: u64) -> usize {
        match number % 40 {
            17 => 300_000,
            5 => 30_000,
            rest => rest as usize * 29,
        }
    }

    fn check(&self, expected: &mut HashMap<u64, u64>) {
        let next = expected.entry(self.sender).or_insert(0);
        assert_eq!(self.number, *next, "out of the order of sender {}", self.sender);
        *next += 1;
        assert_eq!(self.bytes.len(), Self::len(self.number), "cut");
        let right = Self::new(self.sender, self.number, None);
        assert!(self.bytes == right.bytes, "mixed with another one");
    }
}

fn over<T: Message>((tx, rx): (impl Link + 'static, impl Link + 'static)) -> Ends<T> {
    (Sender::over(tx), Receiver::over(rx))
}

/// The links that several processes may send over.
fn each<T: Message>() -> Vec<(&'static str, Ends<T>)> {
    vec![
        ("ring", pipe().unwrap()),
        ("small ring", over(RingLink::pipe(RingOptions::default().capacity(4096)).unwrap())),
        ("pipe", over(PipeLink::pair().unwrap())),
        ("socket", over(SocketLink::pair().unwrap())),
    ]
}

fn null() -> Handle {
    OwnedFd::from(File::open("/dev/null").unwrap()).into()
}

fn spawn<A: Message, R: Message>(
    method: StartMethod,
    function: fn(A) -> R,
    argument: A,
) -> Result<Process<R>, ProcessError> {
    Process::builder().start_method(method).spawn(function, argument)
}

fn end<R: Message>(child: Process<R>) {
    child.kill().unwrap();
    assert!(child.join().is_err());
}

fn chatter((tx, sender, count): (Sender<Numbered>, u64, u64)) {
    let handles = tx.capabilities().passes_handles;
    for number in 0..count {
        let handle = (handles && number.is_multiple_of(3)).then(null);
        tx.send(&Numbered::new(sender, number, handle)).unwrap();
    }
}

fn chatter_for_ever((tx, sender): (Sender<Numbered>, u64)) {
    chatter_for_ever_over(&tx, sender);
}

fn chatter_for_ever_over(tx: &Sender<Numbered>, sender: u64) {
    let handles = tx.capabilities().passes_handles;
    for number in 0.. {
        let handle = (handles && number % 2 == 0).then(null);
        if tx.send(&Numbered::new(sender, number, handle)).is_err() {
            return;
        }
    }
}

type Started = (&'static str, fn(StartMethod));

macro_rules! named {
    ($($group:ident::$test:ident),* $(,)?) => { &[$((stringify!($test), $group::$test)),*] };
}

const STARTED: &[Started] = named![
    order::each_senders_messages_come_whole_and_in_order,
    order::a_clone_travels_inside_each_message,
    ends::the_end_comes_with_the_last_clone,
    ends::a_wait_is_told_of_the_last_clone,
    deaths::killed_senders_tear_nothing_and_keep_nobody,
    deaths::a_stopped_sender_keeps_nobody_past_a_deadline,
    ends::who_only_looks_is_told_of_the_end,
    order::a_receiver_moves_while_many_send,
    leaving::a_sender_leaves_between_two_messages_of_its_threads,
    buffers::a_small_buffer_splits_no_chunk,
    buffers::a_chunk_that_went_out_in_two_is_a_message_cut,
    buffers::a_sender_stopped_in_the_middle_of_a_chunk_keeps_nobody,
    leaving::a_sender_held_for_a_stopped_receiver_comes_back,
];
const PLAIN: &[(&str, fn())] = named![
    leaving::a_moved_clone_is_gone_and_the_others_are_not,
    order::a_clone_travels_over_its_own_channel,
    ends::a_clone_that_nobody_receives_is_closed_with_its_channel,
    leaving::a_clone_made_while_the_only_sender_leaves_goes_with_it,
    leaving::a_clone_waits_for_the_only_sender_that_leaves,
    leaving::a_sender_stays_while_a_thread_is_in_the_middle_of_a_message,
    leaving::a_move_waits_to_the_deadline_of_its_message,
    leaving::over_tcp_only_the_last_clone_moves,
    leaving::a_sender_whose_message_is_refused_stays,
    leaving::an_end_goes_to_one_place_and_stays_where_it_is_sent_to_two,
    leaving::an_end_on_its_way_goes_nowhere_else_in_between,
    leaving::an_end_in_a_value_that_is_refused_half_way_stays,
    buffers::a_chunk_given_up_half_way_ends_the_channel,
];

/// Names the one test that this program is to run by itself.
const ALONE: &str = "IPC_CORE_TEST_ALONE";

fn main() -> ExitCode {
    if let Ok(name) = env::var(ALONE) {
        mp_process::init();
        let (_, test) = STARTED.iter().find(|(known, _)| *known == name).expect("a known test");
        test(StartMethod::Fork);
        return ExitCode::SUCCESS;
    }
    let methods = [("spawn", StartMethod::Spawn), ("forkserver", StartMethod::ForkServer)];
    let started = STARTED.iter().flat_map(|(name, test)| {
        let mut trials = variants(name, methods, *test);
        trials.push(Trial::new(format!("{name}::fork"), || by_forks(name)));
        trials
    });
    let started = started.chain(variants(
        "killed_processes_of_many_threads_keep_nobody",
        methods,
        deaths::killed_processes_of_many_threads_keep_nobody,
    ));
    let plain = PLAIN.iter().map(|(name, test)| Trial::new(*name, *test));
    Suite::new(started.chain(plain).collect()).warm_up(warm_up).run()
}

/// A process is forked only by one without threads, which a watchdog is.
fn by_forks(name: &str) {
    let program = Program::this().expect("this program").env(ALONE, name);
    program.run(Duration::from_secs(100)).expect("an end").expect_success();
}

/// What stays for the life of the process.
fn warm_up() {
    for method in [StartMethod::Spawn, StartMethod::ForkServer] {
        spawn(method, |()| (), ()).unwrap().join().unwrap();
    }
    let (_tx, rx) = pipe::<u8>().unwrap();
    assert!(rx.recv_timeout(Duration::from_millis(1)).is_err());
}
