//! Parents, children and what is below them, under each start method.

mod common;
#[path = "common/streams.rs"]
mod streams;

use std::cell::Cell;
use std::io::Read;
use std::os::unix::process::parent_id;
use std::process::Command;
use std::thread;
use std::time::Duration;

use common::{builder, spawn};
use ipc_core::wait;
use mp_process::{StartMethod, active_children, parent_process};
use streams::{stream, text};

common::tests![
    parents_and_children_know_each_other,
    active_children_are_ended_and_joined,
    the_end_of_a_parent_is_waited_for,
    a_whole_tree_is_killed,
    interrupts_are_for_the_owner_of_the_tree,
    an_interrupt_before_a_child_begins_does_no_harm,
    programs_that_a_child_starts_hear_interrupts,
    an_interrupt_ends_a_child_that_has_it_so,
];

fn main() -> std::process::ExitCode {
    common::run(TESTS)
}

fn parents_and_children_know_each_other(method: StartMethod) {
    assert!(parent_process().is_none());
    let before = active_children().len();
    let look = |wait: ipc_core::Receiver<()>| {
        wait.recv().unwrap();
        parent_process().map(|parent| (parent.name().to_owned(), parent.pid(), parent_id()))
    };
    let (go_on, wait) = ipc_core::pipe().unwrap();
    let child = spawn(method, look, wait).unwrap();
    assert_eq!(active_children().len(), before + 1);
    assert!(active_children().iter().any(|active| active.pid() == child.pid()));
    go_on.send(&()).unwrap();
    let (name, pid, system) = child.join().unwrap().unwrap();
    assert_eq!((name.as_str(), pid), ("MainProcess", std::process::id()));
    // A server may have to be the parent of what it forks.
    assert!(system == pid || method == StartMethod::ForkServer);
    assert_eq!(active_children().len(), before);
}

fn active_children_are_ended_and_joined(method: StartMethod) {
    let sleep = |()| thread::sleep(Duration::from_secs(600));
    let held = spawn(method, sleep, ()).unwrap();
    drop(spawn(method, sleep, ()).unwrap());
    let pids = [
        held.pid(),
        active_children().iter().map(|child| child.pid()).find(|pid| *pid != held.pid()).unwrap(),
    ];
    let ours: Vec<_> = active_children().into_iter().filter(|child| pids.contains(&child.pid())).collect();
    assert_eq!(ours.len(), 2);
    for child in &ours {
        assert!(child.is_alive() && child.exit_status().is_none());
        assert!(child.join_timeout(Duration::from_millis(5)).unwrap_err().is_timeout());
    }
    // Children do not heed this one.
    ours[0].interrupt().unwrap();
    ours[0].terminate().unwrap();
    ours[1].kill_tree().unwrap();
    for (child, signal) in ours.iter().zip([15, 9]) {
        assert_eq!(child.join().unwrap().signal(), Some(signal));
        assert_eq!(child.join_timeout(Duration::ZERO).unwrap().signal(), Some(signal));
        assert!(!child.is_alive() && child.exit_status().is_some());
    }
    // What they were told is not taken from who holds the process.
    let signal = ours.iter().position(|child| child.pid() == held.pid()).map(|at| [15, 9][at]);
    assert_eq!(held.join().unwrap_err().signal(), signal);
    assert!(active_children().iter().all(|child| !pids.contains(&child.pid())));
}

/// Has this process live on when its parent ends, waits for that, and tells.
fn outlive((told, is_alive): (ipc_core::Sender<bool>, ipc_core::Sender<bool>)) {
    // SAFETY: asks for no signal.
    #[allow(unsafe_code)]
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, 0);
    }
    let parent = parent_process().unwrap();
    let sentinel = parent.sentinel().unwrap();
    let runs_on = parent.join_timeout(Duration::from_millis(5)).unwrap_err().is_timeout();
    is_alive.send(&(runs_on && parent.is_alive())).unwrap();
    let ready = wait(&[&sentinel], Some(Duration::from_secs(20))).unwrap();
    parent.join().unwrap();
    told.send(&(ready == [0] && !parent.is_alive())).unwrap();
}

type Above = (StartMethod, ipc_core::Sender<bool>, ipc_core::Sender<bool>);

fn the_end_of_a_parent_is_waited_for(method: StartMethod) {
    let parent = |(method, told, is_alive): Above| {
        let child = spawn(method, outlive, (told, is_alive)).unwrap();
        child.join().unwrap();
    };
    let (told, tell) = ipc_core::pipe().unwrap();
    let (is_alive, alive) = ipc_core::pipe().unwrap();
    let child = spawn(method, parent, (method, told, is_alive)).unwrap();
    assert!(alive.recv().unwrap());
    child.kill().unwrap();
    child.join().unwrap_err();
    // A child that watches its owner by a thread, which some platforms need, does not outlive it.
    match tell.recv_timeout(Duration::from_secs(20)) {
        Ok(seen) => assert!(seen),
        Err(ipc_core::RecvError::Closed) => assert_eq!(method, StartMethod::ForkServer),
        Err(error) => panic!("{error}"),
    }
}

fn a_whole_tree_is_killed(method: StartMethod) {
    let (reader, stdout) = stream();
    let start_programs = |()| {
        let mut program = Command::new("sh").args(["-c", "sleep 600 & echo started; wait"]).spawn().unwrap();
        program.wait().unwrap();
    };
    let child = builder(method).stdout(stdout).spawn(start_programs, ()).unwrap();
    let mut line = [0; 8];
    (&reader).read_exact(&mut line).unwrap();
    assert!(child.is_alive());
    child.kill_tree().unwrap();
    assert_eq!(child.join().unwrap_err().signal(), Some(9));
    // The end of it comes when the last of them is gone.
    assert_eq!(text(reader), "");
}

thread_local! {
    static NOTHING: Cell<u32> = const { Cell::new(0) };
}

fn interrupts_are_for_the_owner_of_the_tree(method: StartMethod) {
    let (reader, stdout) = stream();
    let nap = |()| {
        println!("here");
        thread::sleep(Duration::from_millis(200));
        NOTHING.set(1);
        NOTHING.get()
    };
    let child = builder(method).stdout(stdout).spawn(nap, ()).unwrap();
    let mut line = [0; 5];
    (&reader).read_exact(&mut line).unwrap();
    child.interrupt().unwrap();
    assert_eq!(child.join().unwrap(), 1);
}

fn an_interrupt_before_a_child_begins_does_no_harm(method: StartMethod) {
    for round in 0..20 {
        let child = spawn(method, |x: u32| x + 1, round).unwrap();
        child.interrupt().unwrap();
        assert_eq!(child.join().unwrap(), round + 1);
    }
}

fn programs_that_a_child_starts_hear_interrupts(method: StartMethod) {
    let output = |()| Command::new("sh").args(["-c", "kill -INT $$; echo deaf"]).output().unwrap().stdout;
    assert_eq!(spawn(method, output, ()).unwrap().join().unwrap(), b"");
}

fn an_interrupt_ends_a_child_that_has_it_so(method: StartMethod) {
    let (ready, is_ready) = ipc_core::pipe().unwrap();
    let stay = |ready: ipc_core::Sender<()>| {
        // SAFETY: restores what the system does about the signal.
        #[allow(unsafe_code)]
        unsafe {
            libc::signal(libc::SIGINT, libc::SIG_DFL);
        }
        ready.send(&()).unwrap();
        thread::sleep(Duration::from_secs(600));
    };
    let child = spawn(method, stay, ready).unwrap();
    is_ready.recv().unwrap();
    child.interrupt().unwrap();
    assert_eq!(child.join().unwrap_err().signal(), Some(2));
}
