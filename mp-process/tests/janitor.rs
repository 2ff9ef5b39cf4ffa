//! Names of processes that were killed, or that left without a word.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::{Address, Listener, SharedMemory};
use mp_process::{Process, StartMethod};
use mp_testkit::harness::Suite;

/// Tells this program what to do.
const ROLE: &str = "MP_JANITOR_ROLE";
/// No janitor takes so long, on however busy a machine.
const LATE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    if let Ok(role) = env::var(ROLE) {
        mp_process::init();
        play(&role);
        return ExitCode::SUCCESS;
    }
    let trials = mp_testkit::trials![
        names_of_a_killed_process_go,
        names_that_nobody_dropped_go,
        names_left_on_purpose_stay,
        a_killed_child_leaves_nothing_to_its_parent,
        another_file_in_the_place_stays,
        no_janitor_outlives_its_work,
    ];
    Suite::new(trials).run()
}

fn play(role: &str) {
    match role {
        "leave" => {
            std::mem::forget(make());
            process::exit(0)
        }
        "leave on purpose" => {
            let (listener, mut memory) = make();
            memory.leave_name();
            drop((listener, memory));
        }
        "hold" => {
            let _names = make();
            thread::sleep(Duration::from_secs(600));
        }
        "drop" => {
            (0..3).for_each(|_| drop(make()));
            println!("dropped");
            thread::sleep(Duration::from_secs(600));
        }
        // A child makes the names, and its parent lives on.
        method => {
            let method = match method {
                "spawn" => StartMethod::Spawn,
                "forkserver" => StartMethod::ForkServer,
                _ => StartMethod::Fork,
            };
            let hold: fn(()) = |()| play("hold");
            let child = Process::builder().start_method(method).spawn(hold, ()).unwrap();
            println!("child {}", child.pid());
            let _ = child.join();
            thread::sleep(Duration::from_secs(600));
        }
    }
}

/// Names, which are told to whoever reads the output.
fn make() -> (Listener, SharedMemory) {
    let listener = Listener::bind(&Address::auto_file().unwrap()).unwrap();
    let memory = SharedMemory::create_auto(4096).unwrap();
    let Address::File(path) = listener.address() else { unreachable!("asked for a file") };
    println!("name {}", path.display());
    println!("name /dev/shm/{}", memory.name().unwrap());
    (listener, memory)
}

/// A program of its own; killed when dropped.
struct Owner {
    program: Child,
    lines: std::io::Lines<BufReader<process::ChildStdout>>,
}

impl Owner {
    fn start(role: &str) -> Self {
        let mut command = Command::new("/proc/self/exe");
        let mut program = command.env(ROLE, role).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(program.stdout.take().unwrap()).lines();
        Self { program, lines }
    }

    /// What stands behind `word` in the next line.
    fn tells(&mut self, word: &str) -> String {
        let line = self.lines.next().unwrap().unwrap();
        line.strip_prefix(word).unwrap_or_else(|| panic!("`{line}` instead of {word}")).trim().to_owned()
    }

    fn names(&mut self) -> [PathBuf; 2] {
        let names = [(); 2].map(|()| PathBuf::from(self.tells("name")));
        // Told after they were made, and so after the janitor knew.
        assert!(names.iter().all(|name| name.exists()), "{names:?}");
        names
    }

    fn kill(&mut self) {
        self.program.kill().unwrap();
        self.program.wait().unwrap();
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.kill();
    }
}

fn go(names: &[PathBuf]) {
    let begun = Instant::now();
    while names.iter().any(|name| name.exists()) {
        assert!(begun.elapsed() < LATE, "{names:?} stay");
        thread::sleep(Duration::from_millis(5));
    }
    // The folder of an automatic address was made for it.
    let folder = names[0].parent().unwrap();
    while folder != env::temp_dir() && is_empty(folder) {
        assert!(begun.elapsed() < LATE, "{} stays", folder.display());
        thread::sleep(Duration::from_millis(5));
    }
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

fn names_of_a_killed_process_go() {
    let mut owner = Owner::start("hold");
    let names = owner.names();
    owner.kill();
    go(&names);
}

fn names_that_nobody_dropped_go() {
    let mut owner = Owner::start("leave");
    let names = [(); 2].map(|()| PathBuf::from(owner.tells("name")));
    owner.program.wait().unwrap();
    go(&names);
}

fn names_left_on_purpose_stay() {
    let mut owner = Owner::start("leave on purpose");
    let names = [(); 2].map(|()| PathBuf::from(owner.tells("name")));
    owner.program.wait().unwrap();
    no_janitors();
    assert!(!names[0].exists() && names[1].exists());
    fs::remove_file(&names[1]).unwrap();
}

fn a_killed_child_leaves_nothing_to_its_parent() {
    for method in ["spawn", "forkserver", "fork"] {
        let mut owner = Owner::start(method);
        // Parent and child tell as they come to it.
        let mut lines = [(); 3].map(|()| owner.lines.next().unwrap().unwrap());
        lines.sort_unstable_by_key(|line| line.starts_with("name"));
        let child = lines[0].strip_prefix("child ").unwrap().parse().unwrap();
        let names = [&lines[1], &lines[2]].map(|line| PathBuf::from(line.strip_prefix("name ").unwrap()));
        assert!(names.iter().all(|name| name.exists()), "{names:?}");
        mp_testkit::chaos::kill(child).unwrap();
        go(&names);
        assert!(owner.program.try_wait().unwrap().is_none(), "{method}: the parent lives");
    }
}

fn another_file_in_the_place_stays() {
    let mut owner = Owner::start("hold");
    let [socket, memory] = owner.names();
    // The first one lives on while there is a name for it, so that its number is not used again.
    let aside = memory.with_extension("aside");
    fs::rename(&memory, &aside).unwrap();
    fs::write(&memory, "another's").unwrap();
    owner.kill();
    go(&[socket]);
    no_janitors();
    assert!(memory.exists(), "another's file was removed");
    fs::remove_file(&memory).unwrap();
    fs::remove_file(&aside).unwrap();
}

fn no_janitor_outlives_its_work() {
    let mut owner = Owner::start("drop");
    (0..6).for_each(|_| drop(owner.tells("name")));
    owner.tells("dropped");
    no_janitors();
    assert!(owner.program.try_wait().unwrap().is_none());
}

/// Waits until no process of this program is a janitor.
fn no_janitors() {
    let begun = Instant::now();
    while janitors() > 0 {
        assert!(begun.elapsed() < LATE, "a janitor stays");
        thread::sleep(Duration::from_millis(5));
    }
}

fn janitors() -> usize {
    let own = fs::read_link("/proc/self/exe").unwrap();
    let is_janitor = |process: &Path| {
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
        name.trim_end() == "mp-janitor" && fs::read_link(process.join("exe")).is_ok_and(|exe| exe == own)
    };
    fs::read_dir("/proc").unwrap().flatten().filter(|entry| is_janitor(&entry.path())).count()
}
