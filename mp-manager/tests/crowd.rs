//! Many clients, many threads, much at once.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use ipc_core::{Address, Sender, pipe};
use mp_manager::{ListProxy, Manager};
use mp_process::Process;
use mp_testkit::harness::Suite;
use rustix::process::{Resource, Rlimit};

fn main() -> ExitCode {
    let trials = mp_testkit::trials![
        many_threads_over_one_connection,
        two_hundred_clients,
        two_hundred_idle_clients_and_a_bounded_server,
        ten_thousand_idle_clients,
        many_clients_that_do_not_read,
        one_object_and_many_callers,
        more_long_methods_than_threads,
        large_values,
        a_value_beyond_the_limit_is_its_calls_error,
    ];
    Suite::new(trials).warm_up(warm_up).run()
}

/// The threads that start processes and watch peers keep a few handles for good.
fn warm_up() {
    Manager::start().unwrap().list::<u8>().unwrap().push(&1).unwrap();
}

struct Sum(u64);

#[mp_manager::object]
#[allow(unreachable_pub)]
impl Sum {
    pub fn new() -> Self {
        Self(0)
    }

    pub fn add(&mut self, x: u64) -> u64 {
        self.0 += x;
        self.0
    }

    pub fn double(&self, x: u64) -> u64 {
        2 * x
    }

    pub fn sleep(&self, time: Duration) {
        thread::sleep(time);
    }

    /// Threads and handles of the server's process.
    pub fn resources(&self) -> (usize, usize) {
        let count = |folder: &str| std::fs::read_dir(folder).unwrap().count();
        (count("/proc/self/task"), count("/proc/self/fd"))
    }
}

fn many_threads_over_one_connection() {
    let manager = Manager::start().unwrap();
    let sum = SumProxy::create(&manager).unwrap();
    thread::scope(|scope| {
        for thread in 0..16 {
            let sum = sum.clone();
            scope.spawn(move || {
                for turn in 0..200 {
                    let x = thread * 1000 + turn;
                    assert_eq!(sum.double(x).unwrap(), 2 * x);
                    sum.add(1).unwrap();
                }
            });
        }
    });
    assert_eq!(sum.add(0).unwrap(), 16 * 200);
}

/// Connects many times, and uses all connections in turn: each is a client.
fn crowd((address, count): (Address, usize)) -> u64 {
    let managers: Vec<Manager> = (0..count).map(|_| Manager::connect(&address, "crowd").unwrap()).collect();
    let lists: Vec<ListProxy<u64>> = managers.iter().map(|manager| manager.find("list").unwrap()).collect();
    for turn in 0..10 {
        lists.iter().for_each(|list| list.push(&turn).unwrap());
    }
    lists.len() as u64 * (0..10).sum::<u64>()
}

fn two_hundred_clients() {
    let server = Manager::builder().authkey("crowd").serve().unwrap();
    let manager = Manager::connect(server.address(), "crowd").unwrap();
    let list = manager.list::<u64>().unwrap();
    manager.publish("list", &list).unwrap();
    let children: Vec<_> =
        (0..8).map(|_| Process::spawn(crowd, (server.address().clone(), 25)).unwrap()).collect();
    let sum: u64 = children.into_iter().map(|child| child.join().unwrap()).sum();
    let pushed = list.to_vec().unwrap();
    assert_eq!((pushed.len(), pushed.iter().sum::<u64>()), (2000, sum));
    assert_eq!(manager.object_count().unwrap(), 1);
}

fn two_hundred_idle_clients_and_a_bounded_server() {
    let manager = Manager::builder().authkey("idle").start().unwrap();
    let list = manager.list::<u64>().unwrap();
    manager.publish("list", &list).unwrap();
    let before = Manager::connect(manager.address(), "idle").unwrap();
    let options = || ipc_core::ConnectOptions::new().authkey("idle".into());
    let idle: Vec<_> =
        (0..200).map(|_| ipc_core::connect_link(manager.address(), options()).unwrap()).collect();
    (0..100).for_each(|x| list.push(&x).unwrap());
    assert_eq!(before.find::<ListProxy<u64>>("list").unwrap().len().unwrap(), 100);
    drop(idle);
    assert_eq!(list.len().unwrap(), 100);
}

/// Kilobytes of memory that are this process's own.
fn own_memory(pid: u32) -> usize {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let lines = rollup.lines().filter(|line| line.starts_with("Private_"));
    lines.map(|line| line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap()).sum()
}

fn ten_thousand_idle_clients() {
    const CLIENTS: usize = 10_000;
    let limit = rustix::process::getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|most| most < CLIENTS as u64 + 1000) {
        eprintln!("skipped: a process may have no more than {:?} handles here", limit.maximum);
        return;
    }
    let raised = Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(Resource::Nofile, raised).unwrap();
    let manager = Manager::builder().authkey("ten thousand").start().unwrap();
    let list = manager.list::<u64>().unwrap();
    manager.publish("list", &list).unwrap();
    let connect = |manager: &Manager| {
        let manager = Manager::connect(manager.address(), "ten thousand").unwrap();
        let list: ListProxy<u64> = manager.find("list").unwrap();
        assert_eq!(list.len().unwrap(), 0);
        list
    };
    let few: Vec<_> = (0..200).map(|_| connect(&manager)).collect();
    let before = own_memory(manager.pid().unwrap());
    let many = thread::scope(|scope| {
        let all = || (0..CLIENTS / 4).map(|_| connect(&manager)).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(all)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(manager.objects().unwrap()[0].references, (CLIENTS + 200 + 2) as u64);
    let each = (own_memory(manager.pid().unwrap()) - before) * 1024 / CLIENTS;
    assert!(each < 2048, "{each} bytes for each idle client");
    // Each is served as if it were alone.
    (0..100).for_each(|turn| many[turn * 97].push(&1).unwrap());
    assert_eq!(list.len().unwrap(), 100);
    let threads = std::fs::read_dir(format!("/proc/{}/task", manager.pid().unwrap())).unwrap().count();
    assert!(threads < 10, "{threads} threads");
    drop((few, many));
    while manager.objects().unwrap()[0].references > 2 {
        thread::sleep(Duration::from_millis(1));
    }
    rustix::process::setrlimit(Resource::Nofile, limit).unwrap();
}

/// Clients that ask for a megabyte each and read nothing of it.
fn hoard((address, told): (Address, Sender<()>)) {
    let ask = |_| {
        let list: ListProxy<Vec<u8>> = Manager::connect(&address, "hoard").unwrap().find("list").unwrap();
        (list.get_async(0).unwrap(), list)
    };
    let _unread: Vec<_> = (0..HOARDERS).map(ask).collect();
    told.send(&()).unwrap();
    thread::sleep(Duration::from_secs(100));
}

const HOARDERS: usize = 80;

fn many_clients_that_do_not_read() {
    let manager = Manager::builder().authkey("hoard").max_unread(8 << 20).start().unwrap();
    let list = manager.list_from(&[vec![7u8; 1 << 20]]).unwrap();
    manager.publish("list", &list).unwrap();
    assert_eq!(list.get(0).unwrap().len(), 1 << 20);
    let before = own_memory(manager.pid().unwrap());
    for _ in 0..3 {
        let (told, all_asked) = pipe().unwrap();
        let child = Process::spawn(hoard, (manager.address().clone(), told)).unwrap();
        while !all_asked.poll(Duration::ZERO).unwrap() {
            assert_eq!(list.len().unwrap(), 1);
        }
        let more = (own_memory(manager.pid().unwrap()).saturating_sub(before)) >> 10;
        assert!(more < HOARDERS / 2, "{more} MiB more for {HOARDERS} clients");
        child.kill().unwrap();
        assert!(child.join().is_err());
        while manager.objects().unwrap()[0].references > 2 {
            thread::sleep(Duration::from_millis(1));
        }
    }
    // Nothing counts that was kept for the dead: there is room for one that takes its time.
    let slow = Manager::connect(manager.address(), "hoard").unwrap();
    let slow: ListProxy<Vec<u8>> = slow.find("list").unwrap();
    let unread: Vec<_> = (0..4).map(|_| slow.get_async(0).unwrap()).collect();
    (0..100).for_each(|_| assert_eq!(list.get(0).unwrap().len(), 1 << 20));
    unread.into_iter().for_each(|reply| assert_eq!(reply.get().unwrap().len(), 1 << 20));
}

fn one_object_and_many_callers() {
    let manager = Manager::start().unwrap();
    let sum = SumProxy::create(&manager).unwrap();
    let add = |sum: SumProxy| {
        let add = || {
            for _ in 0..100 {
                sum.add(1).unwrap();
            }
        };
        thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(add))));
    };
    let children: Vec<_> = (0..6).map(|_| Process::spawn(add, sum.clone()).unwrap()).collect();
    children.into_iter().for_each(|child| child.join().unwrap());
    assert_eq!(sum.add(0).unwrap(), 6 * 4 * 100);
    let (threads, handles) = sum.resources().unwrap();
    assert!(threads < 45 && handles < 40, "{threads} threads, {handles} handles");
}

fn more_long_methods_than_threads() {
    let manager = Manager::builder().max_threads(4).start().unwrap();
    let sum = SumProxy::create(&manager).unwrap();
    let list = manager.list_from(&[1]).unwrap();
    thread::scope(|scope| {
        let sleepers: Vec<_> =
            (0..12).map(|_| scope.spawn(|| sum.sleep(Duration::from_millis(100)).unwrap())).collect();
        // The objects of the crate are served meanwhile.
        (0..100).for_each(|_| assert_eq!(list.len().unwrap(), 1));
        sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
    });
    assert!(sum.resources().unwrap().0 < 12);
}

fn large_values() {
    let manager = Manager::start().unwrap();
    let list = manager.list::<Vec<u8>>().unwrap();
    let large: Vec<u8> = (0..8u32 << 20).map(|x| x as u8).collect();
    list.push(&large).unwrap();
    assert!(list.get(0).unwrap() == large);
    assert!(list.iter().map(Result::unwrap).all(|value| value == large));
}

fn a_value_beyond_the_limit_is_its_calls_error() {
    let manager = Manager::builder().max_message(64 << 10).start().unwrap();
    let list = manager.list::<Vec<u8>>().unwrap();
    let error = list.push(&vec![0; 100 << 10]).unwrap_err();
    assert!(error.is_codec(), "{error}");
    (0..10).for_each(|_| list.push(&vec![0; 32 << 10]).unwrap());
    // The answer is limited too, by what this side takes.
    assert_eq!(list.to_vec().unwrap().len(), 10);
}
