//! The census sees what is left over, says what it is, and sees it go.

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::process::{self, Command};
use std::thread;
use std::time::Duration;

use mp_testkit::Census;

fn nothing_new_is_no_leak() {
    let start = Census::take();
    assert!(start.diff().is_empty());
    start.assert_level();
}

fn an_open_file_is_found_by_its_path() -> io::Result<()> {
    let start = Census::take();
    let file = File::open("/etc/hostname").or_else(|_| File::open("/proc/version"))?;
    let leaks = start.level().expect_err("the file is open");
    assert_eq!(leaks.handles.len(), 1, "{leaks}");
    drop(file);
    start.assert_level();
    Ok(())
}

fn a_socket_that_replaced_another_is_no_leak() -> io::Result<()> {
    let old = UnixStream::pair()?;
    let start = Census::take();
    let new = UnixStream::pair()?;
    drop(old);
    start.assert_level();
    drop(new);
    Ok(())
}

fn one_socket_more_is_a_leak() -> io::Result<()> {
    let _old = UnixStream::pair()?;
    let start = Census::take();
    let _new = UnixStream::pair()?;
    let leaks = start.diff();
    assert_eq!(leaks.handles.len(), 2, "{leaks}");
    assert!(leaks.to_string().contains("socket:["), "{leaks}");
    Ok(())
}

fn a_child_and_its_zombie_are_found() -> io::Result<()> {
    let start = Census::take();
    let mut child = Command::new("sleep").arg("600").spawn()?;
    let found = start.diff().processes;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].pid, found[0].parent), (child.id(), process::id()));
    child.kill()?;
    let leaks = start.level().expect_err("a zombie is left over");
    assert!(leaks.processes[0].is_zombie(), "{leaks}");
    child.wait()?;
    start.assert_level();
    Ok(())
}

fn a_grandchild_and_an_orphan_are_found() -> io::Result<()> {
    let start = Census::take();
    // The shell ends at once, and what it started goes on without a parent of ours.
    let mut shell = Command::new("sh").args(["-c", "sleep 600 & echo started"]).spawn()?;
    shell.wait()?;
    let leaks = start.level().expect_err("the orphan lives");
    assert_eq!(leaks.processes.len(), 1, "{leaks}");
    assert_ne!(leaks.processes[0].parent, process::id());
    mp_testkit::chaos::kill(leaks.processes[0].pid)?;
    start.assert_level();
    Ok(())
}

fn a_name_in_shared_memory_is_found() -> io::Result<()> {
    let start = Census::take();
    let name = format!("mp-testkit-{}", process::id());
    let path = format!("/dev/shm/{name}");
    File::create(&path)?;
    let names = start.diff().names;
    std::fs::remove_file(&path)?;
    assert!(names.contains(&name), "{names:?}");
    start.assert_level();
    Ok(())
}

fn a_name_that_another_program_holds_is_no_leak() -> io::Result<()> {
    let start = Census::take();
    let name = format!("mp-testkit-other-{}", process::id());
    let path = format!("/dev/shm/{name}");
    // Neither its parent nor its environment is of this suite.
    let hold = format!("(exec 3>{path}; echo held; exec >&- 2>&-; exec sleep 600) & echo $!");
    let shell = Command::new("sh").args(["-c", &hold]).env_clear().output();
    let text = String::from_utf8_lossy(&shell?.stdout).into_owned();
    let other: u32 = text.lines().find_map(|line| line.parse().ok()).expect("its id");
    let held = start.diff().names;
    mp_testkit::chaos::kill(other)?;
    // What nobody holds any more is somebody's leak.
    let left = start.level().expect_err("the name is there").names;
    std::fs::remove_file(&path)?;
    assert!(text.contains("held") && !held.contains(&name), "{held:?}");
    assert!(left.contains(&name), "{left:?}");
    start.assert_level();
    Ok(())
}

fn a_name_that_no_program_of_ours_makes_is_no_leak() -> io::Result<()> {
    let start = Census::take();
    // As a program that was killed leaves it: nobody holds it.
    let name = format!("iox2_testkit_{}", process::id());
    let path = format!("/dev/shm/{name}");
    File::create(&path)?;
    let (names, seen) = (start.diff().names, Census::take().names().contains(&name));
    std::fs::remove_file(&path)?;
    assert!(seen && !names.contains(&name), "{names:?}");
    Ok(())
}

fn time_in_which_this_process_stood_still_does_not_count() -> io::Result<()> {
    let start = Census::take();
    let halt = "sleep 0.3; kill -STOP $PPID; sleep 2.5; kill -CONT $PPID; sleep 0.5";
    let mut child = Command::new("sh").args(["-c", halt]).spawn()?;
    let waiting = thread::spawn(move || child.wait());
    let level = start.level();
    waiting.join().expect("it waits for the child")?;
    level.expect("the child has ended");
    Ok(())
}

fn what_goes_in_a_moment_is_no_leak() -> io::Result<()> {
    let start = Census::take();
    let pair = UnixStream::pair()?;
    let closer = thread::spawn(move || {
        thread::sleep(Duration::from_millis(100));
        drop(pair);
    });
    start.assert_level();
    closer.join().expect("the thread only sleeps");
    Ok(())
}

mp_testkit::main!(
    nothing_new_is_no_leak,
    an_open_file_is_found_by_its_path,
    a_socket_that_replaced_another_is_no_leak,
    one_socket_more_is_a_leak,
    a_child_and_its_zombie_are_found,
    a_grandchild_and_an_orphan_are_found,
    a_name_in_shared_memory_is_found,
    a_name_that_another_program_holds_is_no_leak,
    a_name_that_no_program_of_ours_makes_is_no_leak,
    what_goes_in_a_moment_is_no_leak,
    time_in_which_this_process_stood_still_does_not_count,
);
