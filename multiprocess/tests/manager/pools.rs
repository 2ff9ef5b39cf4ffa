//! Pools in a manager's server.

use std::thread::sleep;
use std::time::Duration;

use multiprocess::manager::{ListProxy, Proxy};
use multiprocess::{Error, PoolProxy, StartMethod};

use super::common::{LONG, SHORT, spawn};
use super::start;

fn square(x: u64) -> u64 {
    x * x
}

pub(super) fn a_pool(method: StartMethod) {
    let manager = start();
    let pool = PoolProxy::create(&manager, 2).unwrap();
    let work = |pool: PoolProxy| {
        let begun = pool.apply_async(square, 9).unwrap();
        assert_eq!(pool.apply(square, 7).unwrap(), 49);
        assert_eq!(pool.map(square, 0..100).unwrap(), (0..100).map(square).collect::<Vec<_>>());
        assert_eq!(pool.starmap(|a: u8, b: u8| a + b, [(1, 2), (3, 4)]).unwrap(), [3, 7]);
        assert_eq!(begun.get().unwrap().unwrap(), 81);
        assert!(pool.map(square, []).unwrap().is_empty());
        assert!(pool.starmap(|a: u8, _: u8| a, []).unwrap().is_empty());
        assert!(pool.imap(square, []).next().is_none());
    };
    let children: Vec<_> = (0..2).map(|_| spawn(method, work, pool.clone()).unwrap()).collect();
    work(pool.clone());
    children.into_iter().for_each(|child| child.join().unwrap());
    // A task uses objects of the manager that its pool is in.
    let list = manager.list::<u64>().unwrap();
    let push = |(list, x): (ListProxy<u64>, u64)| list.push(&x).unwrap();
    pool.map(push, (0..10).map(|x| (list.clone(), x))).unwrap();
    let mut pushed = list.to_vec().unwrap();
    pushed.sort_unstable();
    assert_eq!(pushed, (0..10).collect::<Vec<_>>());
    // Its workers are children of the server.
    assert_eq!(pool.pids().unwrap().len(), 2);
    assert!(!pool.pids().unwrap().contains(&std::process::id()));
}

pub(super) fn a_pool_called_by_name() {
    let manager = start();
    let pool = PoolProxy::create(&manager, 1).unwrap();
    let object = pool.object();
    for (name, why) in [
        ("map", "among those that `methods` lists"),
        ("apply", "a proxy alone can do"),
        ("apply_async", "only a proxy sends one ahead"),
        ("update", "a proxy alone can do"),
    ] {
        let error = object.call_by_name::<_, ()>(name, &()).unwrap_err();
        assert!(error.is_no_method() && error.to_string().contains(why), "{name}: {error}");
    }
    // What can be called is listed, and called.
    let methods = object.methods().unwrap();
    assert!(methods.iter().any(|method| method.name == "pids"), "{methods:?}");
    assert_eq!(object.call_by_name::<_, Vec<u32>>("pids", &()).unwrap(), pool.pids().unwrap());
}

pub(super) fn tasks_of_a_pool_that_fail() {
    let manager = start();
    let pool = PoolProxy::create(&manager, 1).unwrap();
    let fail = |x: u64| if x == 3 { panic!("at {x}") } else { x };
    let failed = |result: Result<Vec<u64>, Error>| match result {
        Err(Error::FailedTask(failed)) => failed,
        other => panic!("{other:?}"),
    };
    let error = failed(pool.map(fail, 0..5));
    assert_eq!((error.panic().unwrap().message(), error.index()), ("at 3", Some(3)));
    let exit = |_: u64| -> u64 { std::process::abort() };
    assert!(failed(pool.map(exit, [1])).is_worker_died());
    assert_eq!(pool.apply(square, 2).unwrap(), 4);
    assert!(matches!(PoolProxy::create(&manager, 0), Err(error) if error.is_refused()));
    // The server is killed under a task.
    let begun = pool.apply_async(sleep, LONG).unwrap();
    mp_testkit::chaos::kill(manager.pid().unwrap()).unwrap();
    assert!(begun.get().unwrap_err().is_gone());
}

pub(super) fn a_pool_ends() {
    let manager = start();
    let pool = PoolProxy::create(&manager, 2).unwrap();
    let begun: Vec<_> = (0..100).map(|x| pool.apply_async(square, x).unwrap()).collect();
    let other = pool.clone();
    let waiting = std::thread::spawn(move || other.join().unwrap());
    pool.join().unwrap();
    waiting.join().unwrap();
    for (x, begun) in (0..).zip(begun) {
        assert_eq!(begun.get().unwrap().unwrap(), square(x));
    }
    let Err(Error::FailedTask(closed)) = pool.apply(square, 1) else { panic!("it takes a task") };
    assert!(closed.is_of_pool(), "{closed}");
    pool.join().unwrap();
    // One that is terminated fails what it has begun.
    let pool = PoolProxy::create(&manager, 1).unwrap();
    let begun = pool.apply_async(sleep, LONG).unwrap();
    pool.terminate().unwrap();
    assert!(begun.get().unwrap().unwrap_err().is_of_pool());
    // One that is dropped goes with its workers.
    let pool = PoolProxy::create(&manager, 2).unwrap();
    let pids = pool.pids().unwrap();
    drop(pool);
    while pids.iter().any(|pid| mp_testkit::chaos::state(*pid).is_some()) {
        sleep(Duration::from_millis(1));
    }
}

pub(super) fn a_pool_brings_values_one_by_one() {
    let manager = start();
    let pool = PoolProxy::create(&manager, 2).unwrap();
    let taken = std::cell::Cell::new(0);
    let items = (0..).inspect(|_| taken.set(taken.get() + 1));
    let first: Vec<u64> = pool.imap(square, items).take(10).map(Result::unwrap).collect();
    assert_eq!(first, (0..10).map(square).collect::<Vec<_>>());
    assert!(taken.get() < 100);
    let slow_first = |x: u64| {
        if x == 0 {
            sleep(100 * SHORT);
        }
        x
    };
    let mut all: Vec<u64> = pool.imap_unordered(slow_first, 0..20).map(Result::unwrap).collect();
    assert_ne!(all[0], 0);
    all.sort_unstable();
    assert_eq!(all, (0..20).collect::<Vec<_>>());
    assert_eq!(pool.imap(square, []).count(), 0);
}
