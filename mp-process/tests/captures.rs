//! What a forked closure has captured: moved to the child, lent to it, or of both.

mod common;

use std::fs;
use std::io::{Read, Write, pipe as bare_pipe};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ipc_core::{
    AcceptError, Address, ConnectError, ConnectOptions, Listener, RecvError, SendError, SharedMemory,
    connect, duplex, pipe,
};
use mp_process::{Process, StartMethod, current_process};

common::tests![
    a_captured_end_moves,
    the_end_of_the_child_is_told_to_who_waits_for_a_captured_end,
    ends_of_both_directions_move,
    an_end_that_is_lent_stays,
    a_clone_that_stays_keeps_the_end_here,
    a_captured_file_is_closed_here,
    no_handle_is_left,
    captures_are_dropped_once_on_each_side,
    a_panic_of_a_capture_does_not_hold_the_child_up,
    a_captured_process_lives_on,
    a_captured_listener_is_closed,
    a_listener_is_closed_beside_a_fork,
    captured_memory_keeps_its_name,
    what_a_fork_does_not_use_it_does_not_own,
];

fn main() -> ExitCode {
    common::run(TESTS)
}

const LONG: Duration = Duration::from_secs(20);

/// Closures are for forks; under the other methods a child of this program forks.
fn in_a_fork(method: StartMethod, test: fn(())) {
    if method == StartMethod::Fork {
        test(())
    } else {
        common::spawn(method, test, ()).unwrap().join().unwrap()
    }
}

fn a_captured_end_moves(method: StartMethod) {
    in_a_fork(method, |()| {
        let (tx, rx) = pipe::<String>().unwrap();
        let child = Process::fork(move || tx.send(&current_process().name().to_owned()).unwrap()).unwrap();
        assert_eq!(rx.recv_timeout(LONG).unwrap(), child.name());
        // It was closed there, and this process has no copy.
        assert!(matches!(rx.recv_timeout(LONG), Err(RecvError::Closed)));
        child.join().unwrap();
    });
}

fn the_end_of_the_child_is_told_to_who_waits_for_a_captured_end(method: StartMethod) {
    in_a_fork(method, |()| {
        let (tx, rx) = pipe::<u8>().unwrap();
        let child = Process::fork(move || {
            tx.send(&1).unwrap();
            std::thread::sleep(Duration::from_secs(600));
        });
        assert_eq!(rx.recv_timeout(LONG).unwrap(), 1);
        child.unwrap().kill().unwrap();
        assert!(matches!(rx.recv_timeout(LONG), Err(RecvError::Closed)));
        // One that was never used is told too.
        let (tx, rx) = pipe::<u8>().unwrap();
        let child = Process::fork(move || {
            std::thread::sleep(Duration::from_secs(600));
            drop(tx);
        });
        child.unwrap().kill().unwrap();
        assert!(matches!(rx.recv_timeout(LONG), Err(RecvError::Closed)));
    });
}

fn ends_of_both_directions_move(method: StartMethod) {
    in_a_fork(method, |()| {
        let (here, there) = duplex::<u32, u32>().unwrap();
        let child = Process::fork(move || {
            let mut count = 0;
            while let Ok(number) = there.recv() {
                there.send(&(number + 1)).unwrap();
                count += 1;
            }
            count
        });
        for number in 0..100 {
            here.send(&number).unwrap();
            assert_eq!(here.recv_timeout(LONG).unwrap(), number + 1);
        }
        drop(here);
        assert_eq!(child.unwrap().join().unwrap(), 100);
    });
}

fn an_end_that_is_lent_stays(method: StartMethod) {
    in_a_fork(method, |()| {
        let (tx, rx) = pipe::<u8>().unwrap();
        let child = Process::fork(|| {
            let sent = matches!(tx.send(&1), Err(SendError::Moved));
            sent && matches!(rx.recv(), Err(RecvError::Moved))
        });
        assert!(child.unwrap().join().unwrap());
        tx.send(&2).unwrap();
        assert_eq!(rx.recv_timeout(LONG).unwrap(), 2);
    });
}

fn a_clone_that_stays_keeps_the_end_here(method: StartMethod) {
    in_a_fork(method, |()| {
        let (tx, rx) = pipe::<u8>().unwrap();
        let clone = tx.clone();
        let child = Process::fork(move || matches!(clone.send(&1), Err(SendError::Moved)));
        assert!(child.unwrap().join().unwrap());
        tx.send(&2).unwrap();
        assert_eq!(rx.recv_timeout(LONG).unwrap(), 2);
    });
}

fn a_captured_file_is_closed_here(method: StartMethod) {
    in_a_fork(method, |()| {
        let (mut reader, mut writer) = bare_pipe().unwrap();
        let child = Process::fork(move || writer.write_all(b"from the child").unwrap()).unwrap();
        let mut text = String::new();
        // It ends when nobody has the other end any more.
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "from the child");
        child.join().unwrap();
    });
}

fn handles() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn no_handle_is_left(method: StartMethod) {
    in_a_fork(method, |()| {
        let round = |()| {
            let (tx, rx) = pipe::<u8>().unwrap();
            let (_reader, writer) = bare_pipe().unwrap();
            let child = Process::fork(move || {
                drop(writer);
                // So that the wait for it is a long one, for which handles are opened once.
                std::thread::sleep(Duration::from_millis(5));
                tx.send(&1).unwrap();
            });
            assert_eq!(rx.recv_timeout(LONG).unwrap(), 1);
            child.unwrap().join().unwrap();
        };
        // On a busy machine the first long wait may be a later one.
        let is_level = |_| {
            let before = handles();
            (0..20).for_each(|_| round(()));
            handles() == before
        };
        round(());
        assert!((0..4).any(is_level), "{} handles", handles());
    });
}

/// Counts how often it is dropped in each process.
struct Counts;

static DROPS: AtomicU32 = AtomicU32::new(0);

impl Drop for Counts {
    fn drop(&mut self) {
        DROPS.fetch_add(1, Ordering::Relaxed);
    }
}

fn captures_are_dropped_once_on_each_side(method: StartMethod) {
    in_a_fork(method, |()| {
        let counts = Counts;
        let child = Process::fork(move || {
            let before = DROPS.load(Ordering::Relaxed);
            drop(counts);
            (before, DROPS.load(Ordering::Relaxed))
        });
        assert_eq!(child.unwrap().join().unwrap(), (0, 1));
        assert_eq!(DROPS.load(Ordering::Relaxed), 1);
    });
}

/// Panics when it is dropped where it was made.
struct PanicsHere(u32);

impl Drop for PanicsHere {
    fn drop(&mut self) {
        if std::process::id() == self.0 {
            panic!("dropped here");
        }
    }
}

fn a_panic_of_a_capture_does_not_hold_the_child_up(method: StartMethod) {
    in_a_fork(method, |()| {
        let (tx, rx) = pipe::<u8>().unwrap();
        let bad = PanicsHere(std::process::id());
        let forked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            Process::fork(move || {
                let _bad = bad;
                tx.send(&1).unwrap();
            })
        }));
        assert!(forked.is_err());
        assert_eq!(rx.recv_timeout(LONG).unwrap(), 1);
    });
}

fn a_captured_process_lives_on(method: StartMethod) {
    in_a_fork(method, |()| {
        let (tx, rx) = pipe::<u8>().unwrap();
        let wait = |rx: ipc_core::Receiver<u8>| rx.recv().unwrap();
        let other = Process::builder().kill_on_drop(true).spawn(wait, rx).unwrap();
        let pid = other.pid();
        Process::fork(move || drop(other)).unwrap().join().unwrap();
        // It was not killed, neither there nor here.
        assert!(mp_process::active_children().iter().any(|child| child.pid() == pid));
        tx.send(&1).unwrap();
    });
}

fn a_captured_listener_is_closed(method: StartMethod) {
    in_a_fork(method, |()| {
        let listener = Listener::bind(&Address::auto_file().unwrap()).unwrap();
        let address = listener.address().clone();
        let child = Process::fork(move || matches!(listener.accept::<u8, u8>(), Err(AcceptError::Closed)));
        assert!(child.unwrap().join().unwrap());
        let connected = connect::<u8, u8>(&address, ConnectOptions::default());
        assert!(matches!(connected, Err(ConnectError::NoListener(_))), "{connected:?}");
    });
}

fn a_listener_is_closed_beside_a_fork(method: StartMethod) {
    in_a_fork(method, |()| {
        let listener = Listener::bind(&Address::auto_file().unwrap()).unwrap();
        let (tx, rx) = pipe::<u8>().unwrap();
        // It has copies of all that the listener has open, and lives on.
        let child = Process::fork(move || rx.recv().unwrap());
        std::thread::scope(|scope| {
            let wait = || matches!(listener.accept::<u8, u8>(), Err(AcceptError::Closed));
            let waiting = [scope.spawn(wait), scope.spawn(wait)];
            std::thread::sleep(Duration::from_millis(20));
            listener.close();
            assert!(waiting.into_iter().all(|thread| thread.join().unwrap()));
        });
        tx.send(&1).unwrap();
        child.unwrap().join().unwrap();
    });
}

fn captured_memory_keeps_its_name(method: StartMethod) {
    in_a_fork(method, |()| {
        let memory = SharedMemory::create_auto(4096).unwrap();
        let name = memory.name().unwrap().to_owned();
        let child = Process::fork(move || memory.write(0, b"from the child")).unwrap();
        child.join().unwrap();
        let mut text = [0; 14];
        SharedMemory::open(&name).unwrap().read(0, &mut text);
        assert_eq!(&text, b"from the child");
        // This process goes on; its janitor would remove the name at its end.
        fs::remove_file(format!("/dev/shm/{name}")).unwrap();
    });
}

fn what_a_fork_does_not_use_it_does_not_own(method: StartMethod) {
    in_a_fork(method, |()| {
        let (tx, rx) = pipe::<u8>().unwrap();
        // The copies in the child end with it, and nobody notices.
        Process::fork(|| ()).unwrap().join().unwrap();
        tx.send(&1).unwrap();
        assert_eq!(rx.recv_timeout(LONG).unwrap(), 1);
    });
}
