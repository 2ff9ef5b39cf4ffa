//! Whole programs: what happens at their ends, and in surroundings that are hostile.
//!
//! Each program is this one, told by a variable which role to play.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, process};

use mp_process::StartMethod;
use mp_testkit::chaos::Rng;
use mp_testkit::harness::{Suite, Trial, soak_time, variants};
use mp_testkit::program::Running;
use mp_testkit::{Census, Program};

mod roles;

/// Tells this program which role to play, and the start method.
const ROLE: &str = "MP_PROCESS_ROLE";
/// Has children never come to `init`.
const SLOW: &str = "MP_PROCESS_SLOW";
const LIMIT: Duration = Duration::from_secs(40);

fn main() -> ExitCode {
    if let Ok(role) = env::var(ROLE) {
        if env::var_os(SLOW).is_some() && env::var_os("MULTIPROCESS_CHILD").is_some() {
            // A child that has not come to `init` yet, and will not.
            thread::sleep(Duration::from_secs(600));
        }
        mp_process::init();
        let (name, method) = role.split_once(' ').expect("a role and a method");
        let (_, play) = roles::ROLES.iter().find(|(known, _)| *known == name).expect("a known role");
        play(method_named(method));
        return ExitCode::SUCCESS;
    }
    let mut trials = mp_testkit::trials![
        a_program_without_init_says_what_to_add,
        every_end_is_told,
        a_variable_set_by_a_stranger_does_no_harm,
        a_captured_closure_is_forked,
        the_server_is_replaced_when_it_is_killed,
        a_child_that_was_forked_ahead_may_be_killed,
        a_child_dies_with_its_root_before_init,
    ];
    trials.extend(each("the_tree_dies_with_its_root", the_tree_dies_with_its_root));
    trials.extend(each("the_tree_dies_at_any_moment_of_a_start", the_tree_dies_at_any_moment));
    for (name, role) in [
        ("stolen_statuses_cost_only_the_status", "collector"),
        ("ignored_ends_cost_only_the_status", "ignorer"),
        ("few_handles_are_enough_or_an_error", "poor"),
        ("hardly_a_handle_is_an_error_that_leaves_nothing", "full"),
        ("a_parent_is_not_asked_after_without_a_handle", "full_child"),
        ("exit_in_a_thread_does_not_wait_for_main", "exit_in_thread"),
        ("closed_outputs_do_no_harm", "silent"),
        ("blocked_signals_are_not_inherited", "blocked"),
        ("depth_is_bounded_by_memory_only", "depth"),
        ("handlers_of_the_program_are_not_for_children", "handlers"),
        ("a_stack_without_limit_tells_no_overflow", "unlimited"),
        ("a_removed_directory_does_no_harm", "adrift"),
        ("a_kill_for_want_of_memory_is_told_apart", "hungry"),
        ("a_dumped_core_is_told", "dumping"),
        ("the_executable_may_be_renamed_replaced_and_deleted", "moved"),
    ] {
        trials.extend(plays(name, role, &["spawn", "forkserver", "fork"]));
    }
    for (name, role) in [
        ("many_threads_start_children", "crowd"),
        ("threads_of_children_start_children", "threads_of_children"),
    ] {
        trials.extend(plays(name, role, &["spawn", "forkserver"]));
    }
    trials.extend(each("unfinished_output_is_written_once", unfinished_output_is_written_once));
    trials.extend(each("children_are_awaited_at_the_end_of_main", children_are_awaited));
    trials.extend(each("a_stuck_child_delays_the_end_for_its_grace_only", a_stuck_child_delays_the_end));
    trials.extend(each("ctrl_c_reaches_the_owner_alone", ctrl_c_reaches_the_owner_alone));
    Suite::new(trials).run()
}

fn each(name: &str, function: fn(&'static str)) -> Vec<Trial> {
    variants(name, ["spawn", "forkserver", "fork"].map(|method| (method, method)), function)
}

/// Trials that are done when the program has played its role.
fn plays(name: &str, role: &'static str, methods: &[&'static str]) -> Vec<Trial> {
    let trial = |method: &&'static str| {
        let method = *method;
        Trial::new(format!("{name}::{method}"), move || {
            program(role, method).run(LIMIT).unwrap().expect_success();
        })
    };
    methods.iter().map(trial).collect()
}

fn program(role: &str, method: &str) -> Program {
    Program::this().unwrap().env(ROLE, format!("{role} {method}"))
}

fn method_named(name: &str) -> StartMethod {
    match name {
        "spawn" => StartMethod::Spawn,
        "forkserver" => StartMethod::ForkServer,
        _ => StartMethod::Fork,
    }
}

fn the_tree_dies_with_its_root(method: &'static str) {
    let before = Census::take();
    let root = program("tree", method).start().unwrap();
    for _ in 0..6 {
        root.wait_for_line("here", LIMIT).unwrap();
    }
    root.kill().unwrap();
    expect_no_survivors(root, &before);
}

/// Soon after the root was killed nothing of its tree is left.
fn expect_no_survivors(mut root: Running, before: &Census) {
    let killed = Instant::now();
    root.wait(LIMIT).unwrap();
    loop {
        let left = before.diff().processes;
        if left.is_empty() {
            return;
        }
        assert!(killed.elapsed() < LIMIT / 2, "still there: {left:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn the_tree_dies_at_any_moment(method: &'static str) {
    let mut rng = Rng::announced("moments");
    let began = Instant::now();
    let mut rounds = 0;
    while rounds < 60 || (rounds < 500 && began.elapsed() < soak_time()) {
        let before = Census::take();
        let root = program("starter", method).start().unwrap();
        thread::sleep(rng.pause(Duration::from_millis(30)));
        root.kill().unwrap();
        expect_no_survivors(root, &before);
        rounds += 1;
    }
}

fn a_child_dies_with_its_root_before_init() {
    for method in ["spawn", "forkserver"] {
        let before = Census::take();
        let root = program("tree", method).env(SLOW, "1").start().unwrap();
        let began = Instant::now();
        // The program, and a child of it or its server.
        while before.diff().processes.len() < 2 {
            assert!(began.elapsed() < LIMIT, "no child begins");
            thread::sleep(Duration::from_millis(1));
        }
        root.kill().unwrap();
        expect_no_survivors(root, &before);
    }
}

fn the_server_is_replaced_when_it_is_killed() {
    program("server_killed", "forkserver").run(LIMIT).unwrap().expect_success();
}

fn a_child_that_was_forked_ahead_may_be_killed() {
    program("spare_killed", "forkserver").run(LIMIT).unwrap().expect_success();
}

fn unfinished_output_is_written_once(method: &'static str) {
    let finished = program("unfinished", method).run(LIMIT).unwrap().expect_success();
    assert_eq!(finished.stdout, "by Rust by C from the child\nand back\n");
}

fn children_are_awaited(method: &'static str) {
    let finished = program("patient", method).run(LIMIT).unwrap().expect_success();
    assert_eq!(finished.stdout, "done\ndone\n");
}

fn a_stuck_child_delays_the_end(method: &'static str) {
    let began = Instant::now();
    program("impatient", method).run(LIMIT).unwrap().expect_success();
    // Ten seconds would be the grace of those that were not told otherwise.
    assert!(began.elapsed() > Duration::from_millis(300) && began.elapsed() < Duration::from_secs(9));
}

fn ctrl_c_reaches_the_owner_alone(method: &'static str) {
    let before = Census::take();
    let running = program("ctrl_c", method).start().unwrap();
    running.wait_for_line("started", LIMIT).unwrap();
    running.ctrl_c().unwrap();
    let finished = running.finish(LIMIT).unwrap();
    assert_eq!(finished.signal(), Some(2));
    assert_eq!(finished.stderr, "");
    before.assert_level();
}

fn a_captured_closure_is_forked() {
    program("fork_captures", "fork").run(LIMIT).unwrap().expect_success();
}

fn a_program_without_init_says_what_to_add() {
    let finished = Program::example("no_init").unwrap().run(LIMIT).unwrap();
    assert_eq!(finished.code(), Some(1), "{finished:?}");
    assert!(finished.stderr.contains("init()"), "{finished:?}");
    assert_eq!(finished.stdout, "main runs\n", "a second generation: {finished:?}");
}

fn every_end_is_told() {
    Program::example("ends").unwrap().run(LIMIT).unwrap().expect_success();
}

fn a_variable_set_by_a_stranger_does_no_harm() {
    let parent = process::id().to_string();
    for value in ["", "nonsense", "1", "1:1", "1:2:3", parent.as_str(), &format!("{parent}:8")] {
        let run = program("depth", "spawn").env("MULTIPROCESS_CHILD", value).run(LIMIT);
        run.unwrap().expect_success();
    }
    // A socket in the place of the input that is not ours.
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut command = Command::new("/proc/self/exe");
    command.arg0("stranger").env(ROLE, "depth spawn").env("MULTIPROCESS_CHILD", format!("{parent}:1"));
    let status = command.stdin(std::os::fd::OwnedFd::from(theirs)).status().unwrap();
    drop(ours);
    assert!(status.success());
}
