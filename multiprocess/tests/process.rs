//! Processes: who they are, what they are given, how they end.

mod common;

use std::collections::BTreeSet;
use std::process::exit;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{LONG, SHORT, builder, spawn, suite};
use mp_testkit::chaos;
use multiprocess::process::Stdio;
use multiprocess::{
    Connection, Event, Handle, Process, Queue, Receiver, Sender, SharedAtomicU32, StartMethod,
    active_children, cpu_count, current_process, duplex, parent_process, pipe, wait,
};

suite! {
    started: [
        arguments_arrive_unchanged,
        a_child_knows_its_name_and_its_parent,
        a_child_is_active_until_it_has_ended,
        a_grandchild_ends_with_its_parent,
        children_start_children_in_order,
        a_process_is_another_one,
        terminate_ends_a_child_by_its_signal,
        kill_ends_a_child_by_its_signal,
        an_interrupt_of_a_child_is_not_heeded,
        joining_with_no_time_returns_at_once,
        a_sentinel_is_ready_when_the_child_has_ended,
        many_at_once_all_end_well,
        many_terminated_at_once_all_end_so,
        a_child_finds_no_handles_of_others,
        exit_codes_are_told,
        a_panic_is_an_error_and_not_a_print,
        an_error_that_a_child_returns_keeps_its_text,
        kill_on_drop_ends_a_child_with_its_handle,
        a_child_writes_where_it_is_told,
        a_child_passes_its_queue_to_a_grandchild,
        waiting_survives_a_stop_and_a_continue,
        waiting_survives_signals_that_are_handled,
        a_child_takes_thousands_of_arguments,
        a_child_waits_for_threads_in_a_scope,
        a_process_shows_its_name_and_its_end,
        a_lock_made_in_the_server_is_shared_by_its_children,
    ],
    plain: [
        the_main_process_is_itself,
        there_is_at_least_one_cpu,
        the_default_start_method_is_listed_first,
        a_function_is_a_value,
    ],
}

fn the_main_process_is_itself() {
    assert_eq!(current_process().name(), "MainProcess");
    assert_eq!(current_process().pid(), std::process::id());
    assert!(!current_process().is_child());
    assert!(parent_process().is_none());
}

fn there_is_at_least_one_cpu() {
    assert!(cpu_count() >= 1);
}

fn the_default_start_method_is_listed_first() {
    assert_eq!(StartMethod::available()[0], StartMethod::default());
    let all = StartMethod::available().iter().map(|method| format!("{method:?}"));
    assert_eq!(BTreeSet::from_iter(all), ["Fork", "ForkServer", "Spawn"].map(String::from).into());
}

fn a_function_is_a_value() {
    let functions = [multiprocess::Function::new(|x: u32| x + 1), multiprocess::Function::new(|x| x * 10)];
    assert_eq!(functions.iter().fold(1, |x, function| function(x)), 20);
}

fn arguments_arrive_unchanged(method: StartMethod) {
    type Arguments = (u8, String, Vec<Option<f64>>, [i64; 3]);
    let arguments: Arguments = (1, "zwei".to_owned(), vec![Some(3.0), None], [4, -5, i64::MAX]);
    let child = spawn(method, |arguments: Arguments| arguments, arguments.clone()).unwrap();
    assert_eq!(child.join().unwrap(), arguments);
}

fn a_child_knows_its_name_and_its_parent(method: StartMethod) {
    let who = |()| {
        let parent = parent_process().expect("a child has a parent");
        let own = current_process();
        (own.name().to_owned(), own.is_child(), parent.name().to_owned(), parent.pid())
    };
    let named = builder(method).name("reader").spawn(who, ()).unwrap();
    let unnamed = spawn(method, who, ()).unwrap();
    let main = ("MainProcess".to_owned(), std::process::id());
    let expected = |name: &str| (name.to_owned(), true, main.0.clone(), main.1);
    let name = unnamed.name().to_owned();
    assert!(name.starts_with("Process-"), "{name}");
    assert_eq!(named.join().unwrap(), expected("reader"));
    assert_eq!(unnamed.join().unwrap(), expected(&name));
}

fn a_child_is_active_until_it_has_ended(method: StartMethod) {
    let (here, there) = duplex::<u8, u8>().unwrap();
    let child = spawn(method, |conn: Connection<u8, u8>| conn.recv().unwrap(), there).unwrap();
    let is_active = |pid| active_children().iter().any(|child| child.pid() == pid);
    assert!(child.is_alive() && child.exit_status().is_none() && is_active(child.pid()));
    here.send(&7).unwrap();
    wait(&[&child.sentinel()], None).unwrap();
    assert!(!child.is_alive() && child.exit_status().unwrap().success() && !is_active(child.pid()));
    assert_eq!(child.join().unwrap(), 7);
}

fn sleep_long(_: ()) {
    sleep(Duration::from_secs(600));
}

/// Starts a grandchild that holds a sender, and tells its id.
fn hold_by_a_grandchild((method, tx): (StartMethod, Sender<u32>)) {
    let hold = |tx: Sender<u32>| {
        tx.send(&std::process::id()).unwrap();
        sleep_long(());
    };
    spawn(method, hold, tx).unwrap().join().unwrap();
}

fn a_grandchild_ends_with_its_parent(method: StartMethod) {
    let (tx, rx) = pipe::<u32>().unwrap();
    let child = spawn(method, hold_by_a_grandchild, (method, tx)).unwrap();
    let grandchild = rx.recv().unwrap();
    assert_ne!(grandchild, child.pid());
    child.kill().unwrap();
    child.join().unwrap_err();
    assert!(matches!(rx.recv_timeout(LONG), Err(multiprocess::RecvError::Closed)));
    let start = Instant::now();
    while chaos::state(grandchild).is_some_and(|state| state != 'Z') {
        assert!(start.elapsed() < LONG);
        sleep(SHORT / 20);
    }
}

/// Puts its own number and has two children do so, in order.
fn recurse((method, queue, path): (StartMethod, Queue<Vec<u8>>, Vec<u8>)) {
    queue.put(path.clone()).unwrap();
    for i in 0..2 {
        if path.len() < 2 {
            let path = [&path[..], &[i]].concat();
            spawn(method, recurse, (method, queue.clone(), path)).unwrap().join().unwrap();
        }
    }
}

fn children_start_children_in_order(method: StartMethod) {
    let queue = Queue::new().unwrap();
    recurse((method, queue.clone(), Vec::new()));
    queue.close();
    let paths: Vec<Vec<u8>> = queue.iter().collect::<Result<_, _>>().unwrap();
    let expected: [&[u8]; 7] = [&[], &[0], &[0, 0], &[0, 1], &[1], &[1, 0], &[1, 1]];
    assert_eq!(paths, expected);
}

fn a_process_is_another_one(method: StartMethod) {
    let child = spawn(method, |()| std::process::id(), ()).unwrap();
    let pid = child.pid();
    assert_eq!(child.join().unwrap(), pid);
    assert_ne!(pid, std::process::id());
}

fn terminate_ends_a_child_by_its_signal(method: StartMethod) {
    let child = begun(method);
    child.terminate().unwrap();
    assert_eq!(child.join().unwrap_err().signal(), Some(15));
}

fn kill_ends_a_child_by_its_signal(method: StartMethod) {
    let child = begun(method);
    child.kill().unwrap();
    assert_eq!(child.join().unwrap_err().signal(), Some(9));
}

/// A child that has come to its function, and stays there.
fn begun(method: StartMethod) -> Process<()> {
    let ready = Event::new().unwrap();
    let stay = |ready: Event| {
        ready.set();
        sleep_long(());
    };
    let child = spawn(method, stay, ready.clone()).unwrap();
    ready.wait_timeout(LONG).unwrap();
    child
}

fn an_interrupt_of_a_child_is_not_heeded(method: StartMethod) {
    let child = begun(method);
    child.interrupt().unwrap();
    assert!(child.join_timeout(SHORT).unwrap_err().is_timeout());
    child.kill().unwrap();
    child.join().unwrap_err();
}

fn joining_with_no_time_returns_at_once(method: StartMethod) {
    let child = spawn(method, sleep_long, ()).unwrap();
    let start = Instant::now();
    assert!(child.join_timeout(Duration::ZERO).unwrap_err().is_timeout());
    assert!(child.is_alive());
    assert!(start.elapsed() < LONG);
    child.kill().unwrap();
    child.join().unwrap_err();
}

fn a_sentinel_is_ready_when_the_child_has_ended(method: StartMethod) {
    let event = Event::new().unwrap();
    let child = spawn(method, |event: Event| event.wait(), event.clone()).unwrap();
    let sentinel = child.sentinel();
    assert_eq!(wait(&[&sentinel], Some(SHORT)).unwrap(), []);
    event.set();
    assert_eq!(wait(&[&sentinel], Some(LONG)).unwrap(), [0]);
    assert!(!child.is_alive());
}

fn many_at_once_all_end_well(method: StartMethod) {
    let children: Vec<_> = (0..20).map(|i| spawn(method, |x: u32| x * x, i).unwrap()).collect();
    for (i, child) in (0..).zip(children) {
        assert_eq!(child.join().unwrap(), i * i);
    }
}

fn many_terminated_at_once_all_end_so(method: StartMethod) {
    let children: Vec<_> = (0..10).map(|_| begun(method)).collect();
    children.iter().for_each(|child| child.terminate().unwrap());
    for child in children {
        assert_eq!(child.join().unwrap_err().signal(), Some(15));
    }
}

fn a_child_finds_no_handles_of_others(method: StartMethod) {
    let count = |()| std::fs::read_dir("/proc/self/fd").unwrap().count();
    let _pipes: Vec<_> = (0..20).map(|_| pipe::<u8>().unwrap()).collect();
    let counts: Vec<_> = (0..5).map(|_| spawn(method, count, ()).unwrap().join().unwrap()).collect();
    assert!(counts.windows(2).all(|pair| pair[0] == pair[1]), "{counts:?}");
    if method != StartMethod::Fork {
        assert!(counts[0] < 20, "{counts:?}");
    }
}

fn exit_codes_are_told(method: StartMethod) {
    for code in [0, 1, 8, 255] {
        let error = spawn::<_, ()>(method, |code: i32| exit(code), code).unwrap().join().unwrap_err();
        assert_eq!((error.exit_code(), error.signal()), (Some(code), None));
    }
}

fn a_panic_is_an_error_and_not_a_print(method: StartMethod) {
    let (reader, writer) = std::io::pipe().unwrap();
    let stderr = Stdio::from(Handle::from(std::os::fd::OwnedFd::from(writer)));
    let child = builder(method).stderr(stderr).spawn(|()| panic!("no {}", 1), ()).unwrap();
    let error: multiprocess::ProcessError = Process::<()>::join(child).unwrap_err();
    assert_eq!(error.panic().unwrap().message(), "no 1");
    assert_eq!(std::io::read_to_string(reader).unwrap(), "");
}

fn an_error_that_a_child_returns_keeps_its_text(method: StartMethod) {
    fn get(queue: Queue<u8>) -> multiprocess::Result<u8> {
        Ok(queue.get()?)
    }
    let queue = Queue::new().unwrap();
    queue.put(7).unwrap();
    assert_eq!(spawn(method, get, queue.clone()).unwrap().join().unwrap().unwrap(), 7);
    queue.close();
    let here = multiprocess::Error::from(queue.get().unwrap_err());
    let told = spawn(method, get, queue).unwrap().join().unwrap().unwrap_err();
    assert!(matches!(told, multiprocess::Error::Told(_)));
    assert_eq!(told.to_string(), here.to_string());
}

fn kill_on_drop_ends_a_child_with_its_handle(method: StartMethod) {
    let (tx, rx) = pipe::<u8>().unwrap();
    let hold = |_tx: Sender<u8>| sleep_long(());
    drop(builder(method).kill_on_drop(true).spawn(hold, tx).unwrap());
    assert!(matches!(rx.recv_timeout(LONG), Err(multiprocess::RecvError::Closed)));
}

fn a_child_writes_where_it_is_told(method: StartMethod) {
    let (reader, writer) = std::io::pipe().unwrap();
    let stdout = Stdio::from(Handle::from(std::os::fd::OwnedFd::from(writer)));
    let child = builder(method).stdout(stdout).spawn(|()| println!("hello"), ()).unwrap();
    child.join().unwrap();
    assert_eq!(std::io::read_to_string(reader).unwrap(), "hello\n");
}

fn a_child_passes_its_queue_to_a_grandchild(method: StartMethod) {
    let pass = |(method, queue): (StartMethod, Queue<u32>)| {
        let put = |queue: Queue<u32>| queue.put(42).unwrap();
        spawn(method, put, queue).unwrap().join().unwrap();
    };
    let queue = Queue::new().unwrap();
    spawn(method, pass, (method, queue.clone())).unwrap().join().unwrap();
    assert_eq!(queue.try_get().unwrap(), 42);
}

fn waiting_survives_a_stop_and_a_continue(method: StartMethod) {
    let (tx, rx) = pipe::<u8>().unwrap();
    let (ready, came) = (Event::new().unwrap(), Queue::new().unwrap());
    let take = |(ready, rx, came): (Event, Receiver<u8>, Queue<u8>)| {
        ready.set();
        rx.recv().unwrap() + came.get().unwrap()
    };
    let child = spawn(method, take, (ready.clone(), rx, came.clone())).unwrap();
    ready.wait_timeout(LONG).unwrap();
    let interrupt = || {
        sleep(SHORT);
        chaos::stop(child.pid()).unwrap();
        chaos::cont(child.pid()).unwrap();
    };
    interrupt();
    tx.send(&1).unwrap();
    interrupt();
    came.put(2).unwrap();
    assert_eq!(child.join().unwrap(), 3);
}

/// Counts interrupts while it waits for a message, an item, and the end of a child of its own.
fn take_under_signals((method, rx, came, ready, go, count): Waits) -> u8 {
    let wait = |go: Event| {
        go.wait();
        3
    };
    // Before there is the thread of the handler, beside which nothing is forked.
    let child = spawn(method, wait, go).unwrap();
    let handler = move || {
        count.fetch_add(1, SeqCst);
    };
    ctrlc::set_handler(handler).unwrap();
    ready.set();
    rx.recv().unwrap() + came.get().unwrap() + child.join().unwrap()
}

type Waits = (StartMethod, Receiver<u8>, Queue<u8>, Event, Event, SharedAtomicU32);

fn waiting_survives_signals_that_are_handled(method: StartMethod) {
    let (tx, rx) = pipe::<u8>().unwrap();
    let (came, ready, go) = (Queue::new().unwrap(), Event::new().unwrap(), Event::new().unwrap());
    let count = SharedAtomicU32::new(0).unwrap();
    let given = (method, rx, came.clone(), ready.clone(), go.clone(), count.clone());
    let child = spawn(method, take_under_signals, given).unwrap();
    ready.wait_timeout(LONG).unwrap();
    let interrupt = || {
        let before = count.load(SeqCst);
        let start = Instant::now();
        while count.load(SeqCst) < before + 3 {
            assert!(start.elapsed() < LONG, "nobody handles it");
            child.interrupt().unwrap();
            sleep(SHORT / 4);
        }
    };
    interrupt();
    tx.send(&1).unwrap();
    interrupt();
    came.put(2).unwrap();
    interrupt();
    go.set();
    assert_eq!(child.join().unwrap(), 6);
}

fn a_child_takes_thousands_of_arguments(method: StartMethod) {
    let count = |()| std::env::args().skip(1).count();
    let child = builder(method).args((0..5000).map(|i| i.to_string())).spawn(count, ());
    if method == StartMethod::Fork {
        assert!(child.unwrap_err().is_start_failure(), "who is forked has those of its parent");
    } else {
        assert_eq!(child.unwrap().join().unwrap(), 5000);
    }
}

fn a_child_waits_for_threads_in_a_scope(method: StartMethod) {
    let work = |()| {
        let mut done = false;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                sleep(SHORT);
                done = true;
            });
        });
        done
    };
    assert!(spawn(method, work, ()).unwrap().join().unwrap());
}

static SHARED: std::sync::OnceLock<(multiprocess::Lock, multiprocess::Value<u32>)> =
    std::sync::OnceLock::new();

fn make_a_lock(start: u32) {
    let both = (multiprocess::Lock::new().unwrap(), multiprocess::Value::new(start).unwrap());
    assert!(SHARED.set(both).is_ok());
}

fn a_lock_made_in_the_server_is_shared_by_its_children(method: StartMethod) {
    if method != StartMethod::ForkServer {
        return;
    }
    let server = multiprocess::process::ForkServer::start(make_a_lock, 40).unwrap();
    let count = |()| {
        let (lock, value) = SHARED.get().unwrap();
        for _ in 0..200 {
            let _guard = lock.lock().unwrap();
            let old = *value.lock().unwrap();
            std::thread::yield_now();
            *value.lock().unwrap() = old + 1;
        }
        *value.lock().unwrap()
    };
    let start = |_| Process::builder().fork_server(&server).spawn(count, ()).unwrap();
    let children: Vec<_> = (0..4).map(start).collect();
    let counts: Vec<_> = children.into_iter().map(|child| child.join().unwrap()).collect();
    assert_eq!(counts.into_iter().max(), Some(40 + 800));
}

fn a_process_shows_its_name_and_its_end(method: StartMethod) {
    let child = builder(method).name("shown").spawn(|()| exit(3), ()).unwrap();
    wait(&[&child.sentinel()], None).unwrap();
    let shown = format!("{child:?}");
    assert!(shown.contains("shown") && shown.contains(&child.pid().to_string()), "{shown}");
    assert_eq!(child.exit_status().unwrap().to_string(), "exited with code 3");
    let _: Result<(), _> = child.join();
}
