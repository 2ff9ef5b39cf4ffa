//! Modules of functions as objects.

// What is exposed is `pub`.
#![allow(unreachable_pub)]

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::Address;
use mp_manager::{Manager, Proxy};
use mp_process::Process;
use mp_testkit::harness::Suite;

fn main() -> ExitCode {
    let trials = mp_testkit::trials![
        functions_run_in_the_server,
        a_proxy_of_a_module_travels,
        functions_are_called_ahead,
        functions_are_called_by_name,
        listed_functions_only,
        a_panic_poisons_nothing,
        what_a_module_keeps_is_the_servers,
        functions_return_objects_and_iterators,
        a_module_is_registered_for_strangers,
        a_module_of_another_name,
    ];
    Suite::new(trials).warm_up(warm_up).run()
}

/// The threads that start processes and watch peers keep a few handles for good.
fn warm_up() {
    Manager::start().unwrap().list::<u8>().unwrap().push(&1).unwrap();
}

/// What stands for operators.
#[mp_manager::object]
mod operator {
    use std::collections::BTreeMap;

    /// What only this module has a name for.
    pub type Counts = BTreeMap<String, usize>;

    /// Adds.
    pub fn add(a: i64, b: i64) -> i64 {
        checked(a.checked_add(b))
    }

    pub fn swap((a, b): (i64, i64)) -> (i64, i64) {
        (b, a)
    }

    pub fn count(words: Vec<String>) -> Counts {
        words.into_iter().fold(Counts::new(), |mut counts, word| {
            *counts.entry(word).or_default() += 1;
            counts
        })
    }

    pub fn divide(a: i64, b: i64) -> Result<i64, String> {
        a.checked_div(b).ok_or_else(|| format!("{a} / {b}"))
    }

    pub fn pid() -> u32 {
        std::process::id()
    }

    pub fn r#loop(r#type: i64) -> i64 {
        r#type
    }

    #[cfg(any())]
    pub fn not_there(nothing: Nothing) {}

    fn checked(sum: Option<i64>) -> i64 {
        sum.expect("the sum is too large")
    }
}

fn functions_run_in_the_server() {
    let manager = Manager::start().unwrap();
    let op = OperatorProxy::create(&manager).unwrap();
    assert_eq!(op.add(23, 45).unwrap(), 68);
    assert_eq!(op.swap((1, 2)).unwrap(), (2, 1));
    assert_eq!(op.divide(6, 0).unwrap(), Err("6 / 0".to_owned()));
    let words = ["a", "b", "a"].map(str::to_owned).to_vec();
    assert_eq!(op.count(words).unwrap(), operator::Counts::from([("a".to_owned(), 2), ("b".to_owned(), 1)]));
    assert_eq!(Some(op.pid().unwrap()), manager.pid());
    // The module itself is what it was.
    assert_eq!((operator::add(1, 2), operator::pid()), (3, std::process::id()));
}

fn a_proxy_of_a_module_travels() {
    let manager = Manager::start().unwrap();
    let op = OperatorProxy::create(&manager).unwrap();
    let add = |op: OperatorProxy| op.add(op.pid().unwrap().into(), 0).unwrap();
    let pid = Process::spawn(add, op.clone()).unwrap().join().unwrap();
    assert_eq!(u32::try_from(pid).ok(), manager.pid());
    assert_eq!(manager.object_count().unwrap(), 1);
    drop(op);
    // What the other process let go of before its end has its own way to the server.
    let begun = Instant::now();
    while manager.object_count().unwrap() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "the object stays");
        thread::sleep(Duration::from_millis(1));
    }
}

fn functions_are_called_ahead() {
    let manager = Manager::start().unwrap();
    let op = OperatorProxy::create(&manager).unwrap();
    let replies: Vec<_> = (0..100).map(|n| op.add_async(n, n).unwrap()).collect();
    for (n, reply) in (0..).zip(replies) {
        assert_eq!(reply.get().unwrap(), n + n);
    }
}

fn functions_are_called_by_name() {
    let manager = Manager::start().unwrap();
    let op = OperatorProxy::create(&manager).unwrap();
    let methods = op.object().methods().unwrap();
    let names: Vec<_> = methods.iter().map(|method| method.name.as_str()).collect();
    assert_eq!(names, ["add", "swap", "count", "divide", "pid", "loop"]);
    assert_eq!(methods[0].signature, "fn add(a: i64, b: i64) -> i64");
    assert_eq!(methods[5].signature, "fn loop(type: i64) -> i64");
    assert_eq!(op.object().call_by_name::<_, i64>("loop", &(5i64,)).unwrap(), op.r#loop(5).unwrap());
    assert!(methods.iter().all(|method| !method.changes));
    assert_eq!(op.object().call_by_name::<_, i64>("add", &(3i64, 4i64)).unwrap(), 7);
    assert!(op.object().call_by_name::<_, i64>("checked", &(Some(3i64),)).is_err());
    assert_eq!(manager.objects().unwrap()[0].type_name, "Operator");
}

#[mp_manager::object(exposed(shown, _also))]
mod listed {
    pub fn shown() -> u8 {
        hidden()
    }

    fn _also() -> u8 {
        2
    }

    pub fn hidden() -> u8 {
        1
    }
}

fn listed_functions_only() {
    let manager = Manager::start().unwrap();
    let listed = ListedProxy::create(&manager).unwrap();
    assert_eq!((listed.shown().unwrap(), listed._also().unwrap()), (1, 2));
    let names: Vec<&str> = ListedProxy::METHODS.iter().map(|method| method.name).collect();
    assert_eq!(names, ["shown", "_also"]);
}

fn a_panic_poisons_nothing() {
    let manager = Manager::start().unwrap();
    let op = OperatorProxy::create(&manager).unwrap();
    let error = op.add(i64::MAX, 1).unwrap_err();
    assert_eq!(error.panic().unwrap().message(), "the sum is too large");
    assert_eq!(op.add(1, 1).unwrap(), 2);
}

#[mp_manager::object]
mod tally {
    use std::sync::atomic::{AtomicU64, Ordering};

    static CALLS: AtomicU64 = AtomicU64::new(0);

    pub fn next() -> u64 {
        CALLS.fetch_add(1, Ordering::Relaxed)
    }
}

/// Two objects of a module are one module there, and this process's is another one.
fn what_a_module_keeps_is_the_servers() {
    let manager = Manager::start().unwrap();
    let (one, two) = (TallyProxy::create(&manager).unwrap(), TallyProxy::create(&manager).unwrap());
    assert_eq!((one.next().unwrap(), two.next().unwrap(), one.next().unwrap()), (0, 1, 2));
    assert_ne!(one, two);
    assert_eq!(tally::next(), 0);
}

/// Makes things.
#[mp_manager::object]
mod factory {
    use super::{Operator, OperatorProxy};

    pub fn operator() -> OperatorProxy {
        OperatorProxy::host(Operator).unwrap()
    }

    pub fn squares(to: u64) -> impl Iterator<Item = u64> + Send + use<> {
        (0..to).map(|n| n * n)
    }

    /// As the proxy's own are called.
    pub fn new(factory: FactoryProxy) -> bool {
        factory.squares(2).is_ok()
    }

    pub fn view() -> u8 {
        7
    }
}

fn functions_return_objects_and_iterators() {
    let manager = Manager::start().unwrap();
    let factory = FactoryProxy::create(&manager).unwrap();
    assert_eq!(factory.operator().unwrap().add(1, 2).unwrap(), 3);
    let squares: Vec<u64> = factory.squares(4).unwrap().items(3).collect::<Result<_, _>>().unwrap();
    assert_eq!(squares, [0, 1, 4, 9]);
    assert!(factory.new(FactoryProxy::create(&manager).unwrap()).unwrap());
    assert_eq!(factory.view().unwrap(), 7);
}

fn a_module_is_registered_for_strangers() {
    const KEY: &str = "key";
    let server = Manager::builder().authkey(KEY).serve().unwrap();
    let manager = Manager::connect(server.address(), KEY).unwrap();
    let error = OperatorProxy::create(&manager).unwrap_err();
    assert!(error.is_refused() && error.to_string().contains("Operator::new"), "{error}");
    let server = Manager::builder().authkey(KEY).register::<Operator>().serve().unwrap();
    let manager = Manager::connect(server.address(), KEY).unwrap();
    manager.publish("operator", &OperatorProxy::create(&manager).unwrap()).unwrap();
    let add = |address: Address| {
        let op: OperatorProxy = Manager::connect(&address, KEY).unwrap().find("operator").unwrap();
        op.with_timeout(Duration::from_secs(60)).add(20, 22).unwrap()
    };
    assert_eq!(Process::spawn(add, server.address().clone()).unwrap().join().unwrap(), 42);
}

#[mp_manager::object(proxy = Bits)]
mod r#bit_ops_2 {
    //! Of bits.

    pub fn count(of: u64) -> u32 {
        of.count_ones()
    }
}

/// Also in a function, and where a crate has the same name.
fn a_module_of_another_name() {
    #[mp_manager::object]
    mod core {
        pub fn one() -> u8 {
            1
        }
    }

    let manager = Manager::start().unwrap();
    assert_eq!(Bits::create(&manager).unwrap().count(7).unwrap(), 3);
    // This process is no server.
    assert!(Bits::host(BitOps2).is_err());
    assert_eq!(CoreProxy::create(&manager).unwrap().one().unwrap(), 1);
}
