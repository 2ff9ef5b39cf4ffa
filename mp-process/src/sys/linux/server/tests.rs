//! Servers that are killed or stopped when they have made a child and told nobody of it.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::raw::fork_generation;
use mp_testkit::chaos::{self, Descendant, descendants};
use rustix::process::{Pid, Resource, Rlimit, Signal, getpid, getrlimit, kill_process, setrlimit};

use super::{SERVER_NAME, SPARE_NAME, orphans};
use crate::start::Launch;
use crate::sys::end::{Request, collect, signal};
use crate::{ForkServer, Process, StartMethod, active_children};

const LIMIT: Duration = Duration::from_secs(30);

/// In a server: does with its second child what its first argument says. The first one was
/// asked for by a start, the second one is made ahead.
pub(super) fn has_forked(child: i32) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    if COUNT.fetch_add(1, Ordering::Relaxed) != 1 {
        return;
    }
    let signal = |pid, signal| kill_process(pid, signal).unwrap();
    match std::env::args().nth(1).unwrap_or_default().as_str() {
        "die" => signal(getpid(), Signal::KILL),
        "die-with-child" => {
            signal(Pid::from_raw(child).unwrap(), Signal::KILL);
            signal(getpid(), Signal::KILL);
        }
        "die-with-stopped-child" => {
            signal(Pid::from_raw(child).unwrap(), Signal::STOP);
            signal(getpid(), Signal::KILL);
        }
        "stop" => signal(getpid(), Signal::STOP),
        "ask" => drop(fork_generation()),
        _ => {}
    }
}

/// Whether the room that is found next is taken by somebody else before it is used.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

pub(super) fn has_found_room() {
    if IS_TAKEN.swap(false, Ordering::Relaxed) {
        let most = getrlimit(Resource::Nofile).maximum;
        // More than the system wants for a `poll`, and all in use.
        setrlimit(Resource::Nofile, Rlimit { current: Some(3), maximum: most }).unwrap();
    }
}

fn start(word: &str) -> Process<()> {
    let builder = Process::builder().start_method(StartMethod::ForkServer).args([word]);
    builder.spawn(|()| (), ()).unwrap()
}

/// Servers and children without orders below this process.
fn crew() -> Vec<Descendant> {
    let is_crew = |below: &Descendant| [SPARE_NAME, SERVER_NAME].contains(&below.name.as_str());
    descendants(std::process::id()).into_iter().filter(is_crew).collect()
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "not {what}: {:?}", crew());
        thread::sleep(Duration::from_millis(1));
    }
}

/// One after the other, as they look at all children of this process.
#[test]
fn a_server_that_ends_before_its_answer_leaves_no_zombie() {
    for word in ["die", "die-with-child"] {
        for look in [list, start_another, join_another] {
            let earlier = Process::spawn(|()| (), ()).unwrap();
            // To join it would be a look.
            let process = start(word);
            wait_until("ended", || !process.is_alive());
            wait_until("dead", || crew().iter().all(Descendant::is_zombie));
            look(earlier);
            assert_eq!(crew(), [], "{word}");
        }
    }
    a_server_that_is_stopped_before_its_answer_leaves_no_zombie();
    a_child_that_outlives_its_server_is_collected_later();
    a_child_that_was_killed_before_its_orders_is_its_holders();
    a_program_of_the_same_name_is_its_starters();
    what_a_server_has_found_out_of_itself_is_not_taken_for_its_childs();
    a_child_that_was_lost_here_is_not_waited_for();
}

fn a_child_that_outlives_its_server_is_collected_later() {
    let process = start("die-with-stopped-child");
    wait_until("ended", || !process.is_alive());
    wait_until("dead", || crew().iter().any(Descendant::is_zombie));
    let _ = active_children();
    wait_until("stopped", || crew().iter().all(|one| one.state == 'T'));
    let [spare] = &crew()[..] else { panic!("{:?}", crew()) };
    chaos::kill(spare.pid).unwrap();
    wait_until("killed", || chaos::state(spare.pid) == Some('Z'));
    let _ = active_children();
    assert_eq!(crew(), []);
    process.join_timeout(LIMIT).unwrap();
    assert!(!orphans::told().contains(&process.pid()), "it is held, but not waited for any more");
}

/// Has a server end that leaves a child behind, and both collected.
fn lose_a_server(others: &[u32]) {
    start("die").join().unwrap();
    wait_until("collected", || {
        let _ = active_children();
        crew().iter().all(|one| others.contains(&one.pid))
    });
}

fn a_child_that_was_killed_before_its_orders_is_its_holders() {
    let server = ForkServer::plain();
    let launch = Launch { args: Some(vec!["holds".into()]), ..Launch::default() };
    let (born, link) = server.seat(&launch, |seat| server.launch(&launch, seat)?.child().unwrap()).unwrap();
    lose_a_server(&[born.pid]);
    let end = born.end.as_ref().unwrap();
    signal(end, Request::Kill).unwrap();
    wait_until("killed", || chaos::state(born.pid) == Some('Z'));
    let _ = active_children();
    let (status, _) = collect(end).unwrap().unwrap();
    assert_eq!(status.signal(), Some(Signal::KILL.as_raw()));
    // Its holder lets go of it.
    drop((born, link));
}

fn a_program_of_the_same_name_is_its_starters() {
    let folder = std::env::temp_dir().join(format!("namesake-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    let path = folder.join("fork-server");
    fs::copy("/bin/true", &path).unwrap();
    let mut child = std::process::Command::new(&path).spawn().unwrap();
    wait_until("ended", || chaos::state(child.id()) == Some('Z'));
    lose_a_server(&[]);
    let _ = active_children();
    let status = child.wait();
    fs::remove_dir_all(&folder).unwrap();
    assert!(status.unwrap().success());
}

fn list(_: Process<()>) {
    let _ = active_children();
}

fn start_another(_: Process<()>) {
    Process::spawn(|()| (), ()).unwrap();
}

fn join_another(earlier: Process<()>) {
    earlier.join().unwrap();
}

fn a_server_that_is_stopped_before_its_answer_leaves_no_zombie() {
    start("stop").join().unwrap();
    let is_stopped = || crew().iter().any(|one| one.name == SERVER_NAME && one.state == 'T');
    wait_until("stopped", || is_stopped() && crew().iter().any(|one| one.name == SPARE_NAME));
    let spare = crew().into_iter().find(|one| one.name == SPARE_NAME).unwrap().pid;
    // It is given up for one with other arguments.
    start("other").join().unwrap();
    wait_until("killed", || !is_stopped());
    wait_until("at an end", || matches!(chaos::state(spare), None | Some('Z')));
    let _ = active_children();
    assert_eq!(chaos::state(spare), None);
    // The other server and its child are all that is there.
    assert!(crew().iter().all(|one| !one.is_zombie()) && crew().len() <= 2, "{:?}", crew());
}

fn what_a_server_has_found_out_of_itself_is_not_taken_for_its_childs() {
    let generation = || {
        let builder = Process::builder().start_method(StartMethod::ForkServer).args(["ask"]);
        builder.spawn(|()| fork_generation(), ()).unwrap().join().unwrap()
    };
    // The server asks when it has forked the second one.
    let of_a_server = generation();
    generation();
    assert_ne!(generation(), of_a_server);
}

/// The first child of a new server, whose handles find no room: the next start does not wait for it.
fn a_child_that_was_lost_here_is_not_waited_for() {
    let lose_one = |()| {
        let all = getrlimit(Resource::Nofile);
        IS_TAKEN.store(true, Ordering::Relaxed);
        let builder = Process::builder().start_method(StartMethod::ForkServer);
        let lost = builder.spawn(|()| (), ()).unwrap_err();
        setrlimit(Resource::Nofile, all).unwrap();
        let begun = Instant::now();
        let another = Process::builder().start_method(StartMethod::ForkServer).spawn(|()| (), ()).unwrap();
        another.join().unwrap();
        (lost.to_string(), begun.elapsed())
    };
    let (lost, took) = Process::spawn(lose_one, ()).unwrap().join().unwrap();
    assert!(lost.contains("may not open as many handles"), "{lost}");
    assert!(took < LIMIT - Duration::from_secs(5), "{took:?}");
}
