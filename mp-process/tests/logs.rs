//! Records of children, as programs see them: each trial is a program of its own, because a
//! program has one logger.

use std::process::{self, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{env, panic, thread};

use log::{LevelFilter, Log, Metadata, Record};
use mp_process::{Process, StartMethod, log_to_stderr};
use mp_testkit::Program;
use mp_testkit::chaos;
use mp_testkit::harness::{Suite, Trial};

/// Names what this program is to do.
const ROLE: &str = "MP_PROCESS_LOGS";
const METHODS: [(&str, StartMethod); 3] =
    [("spawn", StartMethod::Spawn), ("forkserver", StartMethod::ForkServer), ("fork", StartMethod::Fork)];

type Role = (&'static str, fn(StartMethod), fn(&str, &str));

const ROLES: &[Role] = &[
    ("records_are_written_with_the_name_of_their_process", to_stderr, expect_names),
    ("records_reach_the_logger_of_the_program_before_join_returns", to_logger, expect_nothing),
    ("events_of_tracing_reach_the_logger_of_the_program", events, expect_nothing),
    ("nobody_hangs_when_the_logger_does", to_a_stuck_logger, expect_nothing),
    ("what_a_killed_child_had_said_is_there", killed, expect_nothing),
    ("lost_records_are_counted_and_told_once", with_losses, expect_nothing),
    ("long_records_are_cut", too_long, expect_nothing),
    ("a_logger_that_panics_gets_the_next_record", to_a_panicking_logger, expect_nothing),
    ("the_last_records_of_a_child_are_kept", with_a_tail, expect_nothing),
];

fn main() -> ExitCode {
    if let Ok(role) = env::var(ROLE) {
        mp_process::init();
        let (name, method) = role.split_once(' ').unwrap();
        let play = ROLES.iter().find(|role| role.0 == name).unwrap().1;
        play(METHODS.iter().find(|known| known.0 == method).unwrap().1);
        return ExitCode::SUCCESS;
    }
    let trials = ROLES.iter().flat_map(|(name, _, expect)| {
        METHODS.map(|(method, _)| {
            Trial::new(format!("{name}::{method}"), move || {
                let program = Program::this().unwrap().env(ROLE, format!("{name} {method}"));
                let finished = program.run(Duration::from_secs(40)).unwrap().expect_success();
                expect(&finished.stderr, method);
            })
        })
    });
    Suite::new(trials.collect()).run()
}

fn expect_nothing(errors: &str, _: &str) {
    assert_eq!(errors, "");
}

fn expect_names(errors: &str, method: &str) {
    let expected = "[INFO/MainProcess] begins\n[WARNING/reader] is at 7\n[INFO/reader:1] is below\n";
    assert_eq!(errors, expected, "{method}");
}

fn say_below(_: ()) {
    log::info!("is below");
    log::debug!("nobody asked for this");
}

fn to_stderr(method: StartMethod) {
    log_to_stderr(LevelFilter::Info).unwrap();
    assert!(log_to_stderr(LevelFilter::Info).is_err());
    log::info!("begins");
    let say = |(method, x): (StartMethod, u32)| {
        log::warn!("is at {x}");
        Process::builder().start_method(method).spawn(say_below, ()).unwrap().join().unwrap();
    };
    let child = Process::builder().start_method(method).name("reader").spawn(say, (method, 7));
    child.unwrap().join().unwrap();
}

/// Keeps what it is given, or sleeps.
struct Keeper {
    naps: Duration,
}

/// The logger takes nothing in.
static IS_CLOSED: AtomicBool = AtomicBool::new(false);

static KEPT: Mutex<Vec<(u32, String)>> = Mutex::new(Vec::new());

impl Log for Keeper {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() != "unwanted"
    }

    fn log(&self, record: &Record<'_>) {
        thread::sleep(self.naps);
        while IS_CLOSED.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(1));
        }
        if record.target() == "panics" {
            panic::panic_any(());
        }
        let text = format!("{} {} {}", record.level(), record.target(), record.args());
        KEPT.lock().unwrap().push((process::id(), text));
    }

    fn flush(&self) {}
}

fn install(naps: Duration) {
    log::set_boxed_logger(Box::new(Keeper { naps })).unwrap();
    log::set_max_level(LevelFilter::Debug);
}

fn to_logger(method: StartMethod) {
    install(Duration::ZERO);
    let say = |count: u32| {
        log::debug!(target: "unwanted", "its logger says so");
        (0..count).for_each(|i| log::debug!(target: "tests", "record {i}"));
    };
    Process::builder().start_method(method).name("talker").spawn(say, 500).unwrap().join().unwrap();
    let kept = KEPT.lock().unwrap();
    if method == StartMethod::Fork {
        // A fork has a copy of the logger itself.
        assert!(kept.is_empty());
        return;
    }
    assert_eq!(kept.len(), 500);
    let is_right = |(i, (pid, text)): (usize, &(u32, String))| {
        *pid == process::id() && *text == format!("DEBUG tests [talker] record {i}")
    };
    assert!(kept.iter().enumerate().all(is_right), "{kept:?}");
}

fn events(method: StartMethod) {
    install(Duration::ZERO);
    let say = |count: u32| {
        let span = tracing::info_span!("reading", file = "a.txt");
        let _inside = span.enter();
        (0..count).for_each(|i| tracing::warn!(target: "tests", i, "an event"));
    };
    Process::builder().start_method(method).name("talker").spawn(say, 50).unwrap().join().unwrap();
    let kept = KEPT.lock().unwrap();
    let events = kept.iter().filter(|(_, text)| text.contains("WARN tests")).collect::<Vec<_>>();
    // A fork has a copy of the logger itself.
    assert_eq!(events.len(), if method == StartMethod::Fork { 0 } else { 50 }, "{kept:?}");
    let is_right = |(i, (pid, text)): (usize, &&(u32, String))| {
        *pid == process::id() && *text == format!("WARN tests [talker] an event i={i}")
    };
    assert!(events.iter().enumerate().all(is_right), "{kept:?}");
}

fn to_a_stuck_logger(method: StartMethod) {
    install(if method == StartMethod::Fork { Duration::ZERO } else { Duration::from_secs(1) });
    let say = |()| {
        (0..2000).for_each(|i| log::debug!("record {i}: {}", "x".repeat(1000)));
        7
    };
    let began = Instant::now();
    let child = Process::builder().start_method(method).spawn(say, ()).unwrap();
    // It ends although nobody takes in what it says.
    assert!(!ipc_core::wait(&[&child.sentinel()], Some(Duration::from_secs(30))).unwrap().is_empty());
    assert_eq!(child.join().unwrap(), 7);
    assert!(began.elapsed() < Duration::from_secs(30));
    process::exit(0);
}

fn killed(method: StartMethod) {
    install(Duration::ZERO);
    let say = |()| {
        log::debug!("last words");
        chaos::kill(process::id()).unwrap();
        thread::sleep(Duration::from_secs(60));
    };
    let child = Process::builder().start_method(method).name("talker").spawn(say, ()).unwrap();
    assert_eq!(child.join().unwrap_err().signal(), Some(9));
    let kept = KEPT.lock().unwrap();
    assert!(method == StartMethod::Fork || kept[0].1.ends_with("[talker] last words"), "{kept:?}");
}

/// As long as it takes until `is_so` of what the logger has.
fn wait_until(is_so: impl Fn(&[String]) -> bool) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let kept: Vec<_> = KEPT.lock().unwrap().iter().map(|(_, text)| text.clone()).collect();
        if is_so(&kept) {
            return kept;
        }
        assert!(Instant::now() < deadline, "{kept:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn with_losses(method: StartMethod) {
    if method == StartMethod::Fork {
        return;
    }
    install(Duration::ZERO);
    IS_CLOSED.store(true, Ordering::Relaxed);
    let (told, tells) = ipc_core::pipe::<u32>().unwrap();
    let (goes_on, go) = ipc_core::pipe::<()>().unwrap();
    let say = |(told, go): (ipc_core::Sender<u32>, ipc_core::Receiver<()>)| {
        (0..2000).for_each(|i| log::debug!(target: "tests", "record {i}: {}", "x".repeat(1000)));
        told.send(&2000).unwrap();
        go.recv().unwrap();
        (0..2).for_each(|_| log::debug!(target: "tests", "there is room"));
    };
    let child = Process::builder().start_method(method).spawn(say, (told, go)).unwrap();
    let said = tells.recv().unwrap();
    IS_CLOSED.store(false, Ordering::Relaxed);
    // All that was sent has come when the count stands still for a while.
    let (mut before, mut still) = (0, 0);
    while before == 0 || still < 5 {
        thread::sleep(Duration::from_millis(200));
        let now = KEPT.lock().unwrap().len();
        still = if now == before { still + 1 } else { 0 };
        before = now;
    }
    goes_on.send(&()).unwrap();
    child.join().unwrap();
    let kept = wait_until(|kept| kept.iter().filter(|text| text.contains("there is room")).count() == 2);
    let records = kept.iter().filter(|text| text.contains("record ")).count();
    let is_loss = |text: &&String| text.starts_with("WARN") && text.contains("records were lost");
    let losses: Vec<_> = kept.iter().filter(is_loss).collect();
    let [loss] = losses[..] else { panic!("{losses:?}") };
    let lost: u32 = loss.split(' ').find_map(|word| word.parse().ok()).unwrap();
    assert!(lost > 0);
    assert_eq!(u32::try_from(records).unwrap() + lost, said);
}

fn too_long(method: StartMethod) {
    if method == StartMethod::Fork {
        return;
    }
    install(Duration::ZERO);
    let say = |()| log::debug!(target: "tests", "x{}", "\u{e9}".repeat(20_000));
    Process::builder().start_method(method).spawn(say, ()).unwrap().join().unwrap();
    let kept = wait_until(|kept| kept.len() == 1);
    assert!(kept[0].ends_with("\u{e9}\u{2026}"), "{}", kept[0].len());
    assert!(kept[0].len() < 17 << 10, "{}", kept[0].len());
}

fn to_a_panicking_logger(method: StartMethod) {
    if method == StartMethod::Fork {
        return;
    }
    install(Duration::ZERO);
    panic::set_hook(Box::new(|_| {}));
    let say = |()| {
        log::debug!(target: "panics", "one");
        log::debug!(target: "tests", "two");
        // The thread that takes them in lives on, too.
        thread::sleep(Duration::from_millis(100));
        log::debug!(target: "panics", "three");
        thread::sleep(Duration::from_millis(100));
        log::debug!(target: "tests", "four");
    };
    let child = Process::builder().start_method(method).spawn(say, ()).unwrap();
    wait_until(|kept| kept.len() == 2 && kept[0].ends_with("two") && kept[1].ends_with("four"));
    child.join().unwrap();
}

fn with_a_tail(method: StartMethod) {
    install(Duration::ZERO);
    let say = |()| {
        (0..12).for_each(|i| log::debug!("record {i}"));
        log::warn!("{}", "\u{e9}".repeat(1000));
    };
    let child = Process::builder().start_method(method).spawn(say, ()).unwrap();
    child.join_timeout(Duration::MAX).unwrap();
    let last = child.last_records();
    if method == StartMethod::Fork {
        // A fork has a copy of the logger itself.
        assert!(last.is_empty());
        return;
    }
    assert_eq!(last[..9], [3, 4, 5, 6, 7, 8, 9, 10, 11].map(|i| format!("[DEBUG] record {i}")));
    assert_eq!(last.len(), 10);
    assert!(last[9].starts_with("[WARN] \u{e9}") && (500..=512).contains(&last[9].len()), "{last:?}");
}
