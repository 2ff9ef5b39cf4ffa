//! Links between processes, some of which are killed, stopped or hostile.
//!
//! The test starts itself as its children, and once more to repeat everything
//! on a single CPU. `MP_SOAK_SECONDS` prolongs the trials that go by chance.

mod child;
mod deaths;
mod handles;
mod hostile;
mod idle;
mod kills;
mod poor;
mod scribble;

use std::time::{Duration, Instant};

type Trial = (&'static str, fn());

const TRIALS: &[Trial] = &[
    ("a sender killed before, inside and after a message", deaths::sender),
    ("sleepers of each kind notice a death", deaths::sleepers),
    ("a killed receiver frees its sender", deaths::receiver),
    ("who only looks is told of a death", deaths::lookers),
    ("a broken pipe is an error and no signal", deaths::broken_pipe),
    ("a stopped sender keeps nobody past a deadline", deaths::stopped),
    ("a forked sibling does not hide a death", deaths::sibling),
    ("handles arrive in another process", handles::arrive),
    ("the descriptor limit costs a message, not the link", handles::limit),
    ("a message with more handles than fit at once", handles::many),
    ("no more than 64 handles", poor::limited),
    ("no more than 64 handles, as nobody", poor::limited_as_nobody),
    ("an idle wait costs no processor", idle::waits_cost_nothing),
    ("a wait after a wake costs no processor", idle::waits_after_a_wake_cost_nothing),
    ("a hostile sender", hostile::sender),
    ("a hostile receiver", hostile::receiver),
    ("kills at random", kills::at_random),
];

const ON_ONE_CPU: &str = "IPC_CORE_TEST_ONE_CPU";

fn main() {
    child::run_if_child();
    if std::env::args().any(|argument| argument == "--list") {
        TRIALS.iter().for_each(|(name, _)| println!("{name}: test"));
        return;
    }
    let on_one_cpu = std::env::var_os(ON_ONE_CPU).is_some();
    if on_one_cpu {
        child::stay_on_cpu(0);
    }
    let filter = std::env::args().nth(1).filter(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()));
    let chosen = TRIALS.iter().filter(|(name, _)| wanted(name));
    let passed = chosen.inspect(|(name, trial)| run(name, *trial)).count();
    let others = TRIALS.len() - passed;
    if !on_one_cpu {
        println!("test result: ok. {passed} passed; 0 failed; 0 ignored; 0 measured; {others} filtered out");
        println!("once more, on one CPU");
        let mut again = std::process::Command::new("/proc/self/exe");
        let again = again.args(filter).env(ON_ONE_CPU, "1").status().unwrap();
        assert!(again.success(), "on one CPU: {again}");
    }
}

fn run(name: &str, trial: fn()) {
    let limit = Duration::from_secs(120) + soak().unwrap_or_default() * 4;
    // A hang ends the process by a signal, and with it its children.
    child::end_after(Some(limit));
    let begun = Instant::now();
    // The first run starts what stays: the thread that watches.
    warm_up();
    let before = open_handles();
    trial();
    let after = settled_handles(before);
    assert!(after <= before, "{name}: {before} handles before, {after} after");
    child::end_after(None);
    println!("ok {:>6.2?}  {name}", begun.elapsed());
}

fn warm_up() {
    let (_tx, rx) = ipc_core::pipe::<u8>().unwrap();
    let _ = rx.recv_timeout(Duration::from_millis(1));
}

/// Some are closed by the thread that watches, a moment later.
fn settled_handles(level: usize) -> usize {
    for _ in 0..2000 {
        if open_handles() <= level {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    open_handles()
}

fn open_handles() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn soak() -> Option<Duration> {
    let seconds = std::env::var("MP_SOAK_SECONDS").ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}
