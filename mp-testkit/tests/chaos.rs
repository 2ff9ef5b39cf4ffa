//! Random numbers repeat, and only processes below this one are killed.

use std::io;
use std::process::{self, Command, Stdio};
use std::time::Duration;

use mp_testkit::chaos::{self, Chaos, Rng};

fn one_seed_gives_one_run() {
    let draw = |seed| {
        let mut rng = Rng::new(seed);
        (0..100).map(|_| rng.below(1000)).collect::<Vec<_>>()
    };
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
    assert!(draw(7).iter().all(|number| *number < 1000));
}

fn every_face_of_a_die_comes_up() {
    let mut rng = Rng::announced("every_face_of_a_die_comes_up");
    let mut seen = [false; 6];
    (0..1000).for_each(|_| seen[rng.below(6)] = true);
    assert_eq!(seen, [true; 6]);
}

fn descendants_are_listed_parents_first() -> io::Result<()> {
    // The second command keeps the shell from becoming the sleep.
    let mut shell = Command::new("sh").args(["-c", "sleep 600; true"]).stderr(Stdio::null()).spawn()?;
    while chaos::descendants(shell.id()).is_empty() {
        std::thread::yield_now();
    }
    let below = chaos::descendants(process::id());
    assert_eq!(below[0].pid, shell.id());
    assert_eq!(below[1].parent, shell.id());
    chaos::kill(below[1].pid)?;
    shell.wait()?;
    Ok(())
}

fn a_stopped_process_goes_on() -> io::Result<()> {
    let mut child = Command::new("sleep").arg("600").spawn()?;
    chaos::stop(child.id())?;
    while chaos::state(child.id()) != Some('T') {
        std::thread::yield_now();
    }
    chaos::cont(child.id())?;
    while chaos::state(child.id()) == Some('T') {
        std::thread::yield_now();
    }
    child.kill()?;
    child.wait()?;
    assert_eq!(chaos::state(child.id()), None);
    Ok(())
}

fn a_stranger_is_not_killed() {
    let mut rng = Rng::new(1);
    let parent = std::os::unix::process::parent_id();
    assert_eq!(chaos::kill_at_random(&[parent], &mut rng), None);
    assert_eq!(chaos::kill_at_random(&[], &mut rng), None);
}

fn chaos_kills_until_it_is_finished() -> io::Result<()> {
    let sleeper = || Command::new("sleep").arg("600").spawn();
    let mut children = [sleeper()?, sleeper()?, sleeper()?];
    let pids = children.each_ref().map(process::Child::id).to_vec();
    let chaos = Chaos::start(Rng::new(3), Duration::from_millis(2), {
        let pids = pids.clone();
        move || pids.clone()
    });
    for child in &mut children {
        assert!(!child.wait()?.success());
    }
    let mut killed = chaos.finish();
    killed.sort_unstable();
    killed.dedup();
    assert_eq!(killed, pids);
    Ok(())
}

mp_testkit::main!(
    one_seed_gives_one_run,
    every_face_of_a_die_comes_up,
    descendants_are_listed_parents_first,
    a_stopped_process_goes_on,
    a_stranger_is_not_killed,
    chaos_kills_until_it_is_finished,
);
