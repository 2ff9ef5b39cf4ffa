//! Results to come: waiting for them, callbacks, futures, cancelling.

mod common;

use std::future::Future;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use common::{LONG, Tally, builder, pool_of, square};
use mp_pool::{AsyncResult, CallbackHandle};
use mp_process::StartMethod;
use mp_testkit::chaos;

fn main() -> ExitCode {
    const STARTED: &[common::Started] = common::started![
        a_result_is_got_later,
        many_results_are_got_in_any_order,
        a_map_comes_back_whole,
        get_timeout_can_be_asked_again,
        more_tasks_than_the_workers_hold_are_done_while_nobody_waits,
        what_is_handed_in_is_done_while_nobody_asks,
        what_is_handed_in_amid_a_call_is_done,
        ready_and_successful_tell,
        a_callback_gets_the_result,
        a_callback_that_panics_harms_nobody,
        a_callback_may_wait_for_others,
        callbacks_hear_of_the_pools_end,
        a_callback_may_come_after_the_end,
        a_task_with_a_callback_is_cancelled,
        a_callback_hears_that_its_result_was_taken,
        a_future_is_awaited,
        a_waker_may_use_the_pool,
        a_waker_that_panics_harms_nobody,
        the_last_waker_may_own_the_result,
        a_queued_task_is_cancelled,
        a_running_task_is_cancelled_with_its_worker,
        cancelling_one_job_harms_no_other,
        a_dropped_result_is_forgotten,
        results_of_a_closed_pool_are_errors,
        join_waits_for_results_that_nobody_waits_for,
        a_killed_worker_is_heard_of_without_a_caller,
        threads_get_while_others_map,
    ];
    common::run(STARTED, Vec::new())
}

fn nap(millis: u64) -> u64 {
    thread::sleep(Duration::from_millis(millis));
    millis
}

fn a_result_is_got_later(method: StartMethod) {
    let pool = pool_of(2, method);
    assert_eq!(pool.apply_async(square, 12).get().unwrap(), 144);
    let error = pool.apply_async(|x: u64| -> u64 { panic!("not {x}") }, 3).get().unwrap_err();
    assert_eq!(error.panic().unwrap().message(), "not 3");
}

fn many_results_are_got_in_any_order(method: StartMethod) {
    let pool = pool_of(2, method);
    let mut results: Vec<_> = (0..2_000).map(|x| (x, pool.apply_async(square, x))).collect();
    while let Some((x, result)) = results.pop() {
        assert_eq!(result.get().unwrap(), x * x);
    }
}

fn a_map_comes_back_whole(method: StartMethod) {
    let pool = pool_of(2, method);
    let squares = pool.map_async(square, 0..10_000).get().unwrap();
    assert!(squares.iter().enumerate().all(|(i, square)| *square == (i * i) as u64));
    assert!(pool.map_async(square, []).get().unwrap().is_empty());
    let error = pool.map_async(|x: u64| assert!(x < 5), 0..10).get().unwrap_err();
    assert_eq!(error.index(), Some(5));
}

fn get_timeout_can_be_asked_again(method: StartMethod) {
    let pool = pool_of(1, method);
    let mut slow = pool.apply_async(nap, 1500);
    assert!(slow.get_timeout(Duration::from_millis(10)).is_none());
    assert!(!slow.ready());
    assert_eq!(slow.get_timeout(Duration::from_secs(30)).unwrap().unwrap(), 1500);
    // It is given once.
    let again = slow.get_timeout(Duration::ZERO).unwrap().unwrap_err();
    assert!(again.to_string().contains("taken already") && !again.is_codec(), "{again}");
}

fn more_tasks_than_the_workers_hold_are_done_while_nobody_waits(method: StartMethod) {
    let pool = pool_of(2, method);
    let result = pool.map_async(nap, vec![1; 200]);
    let deadline = Instant::now() + Duration::from_secs(30);
    while !result.ready() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
    }
    assert!(result.ready());
    assert_eq!(result.get().unwrap().len(), 200);
}

/// Nobody waits, asks or hands in more: the pool sees to what its workers do not hold yet.
fn what_is_handed_in_is_done_while_nobody_asks(method: StartMethod) {
    static TALLY: OnceLock<Tally> = OnceLock::new();
    let tally = Tally::new();
    let remember = |tally: Tally| TALLY.set(tally).unwrap();
    let pool = builder(method).processes(2).initializer(remember, tally.clone()).build().unwrap();
    let count = |x: u64| TALLY.get().unwrap().add(0, x);
    for round in 1..=5 {
        let results: Vec<_> = (0..400).map(|_| pool.apply_async(count, 1)).collect();
        tally.await_at_least(0, 400 * round);
        assert!(results.into_iter().all(|result| result.get().is_ok()));
    }
    // As well while a caller sleeps for all.
    let hold = |tally: Tally| {
        tally.add(1, 1);
        tally.await_at_least(2, 1);
    };
    thread::scope(|scope| {
        let caller = scope.spawn(|| pool.apply(hold, tally.clone()));
        tally.await_at_least(1, 1);
        let results: Vec<_> = (0..400).map(|_| pool.apply_async(count, 1)).collect();
        tally.await_at_least(0, 2400);
        tally.add(2, 1);
        assert!(caller.join().unwrap().is_ok());
        assert!(results.into_iter().all(|result| result.get().is_ok()));
    });
}

/// Who hands it in does not wait for one who looks at the pool, and then nobody comes any more.
fn what_is_handed_in_amid_a_call_is_done(method: StartMethod) {
    const ROUNDS: u64 = 3000;
    let pool = pool_of(1, method);
    let (tally, round) = (Tally::new(), AtomicU64::new(0));
    let count = |tally: Tally| {
        tally.add(0, 1);
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            for next in 1..=ROUNDS {
                while round.load(Ordering::Acquire) < next {
                    thread::yield_now();
                }
                let _ = pool.stats();
            }
        });
        let mut results = Vec::new();
        for next in 1..=ROUNDS {
            let argument = tally.clone();
            round.store(next, Ordering::Release);
            (0..next % 64 * 16).for_each(|_| std::hint::spin_loop());
            results.push(pool.apply_async(count, argument));
            tally.await_at_least(0, next);
        }
    });
}

fn ready_and_successful_tell(method: StartMethod) {
    let pool = pool_of(2, method);
    let mut good = pool.apply_async(square, 2);
    let mut bad = pool.apply_async(|no: bool| assert!(no), false);
    good.wait();
    bad.wait();
    assert!(good.ready() && bad.ready());
    assert_eq!((good.successful(), bad.successful()), (Some(true), Some(false)));
    assert_eq!(good.get().unwrap(), 4);
    assert!(bad.get().unwrap_err().is_panic());
    let mut slow = pool.apply_async(nap, 200);
    assert_eq!(slow.successful(), None);
}

fn a_callback_gets_the_result(method: StartMethod) {
    let pool = pool_of(2, method);
    let (tx, rx) = channel();
    let handles: Vec<_> = (0..300)
        .map(|x| {
            let tx = tx.clone();
            pool.apply_async(square, x).on_done(move |result| tx.send(result.unwrap()).unwrap())
        })
        .collect();
    drop(tx);
    let mut squares: Vec<u64> = rx.iter().collect();
    squares.sort_unstable();
    assert_eq!(squares, (0..300).map(square).collect::<Vec<_>>());
    handles.into_iter().for_each(|handle| handle.join().unwrap());
}

fn a_callback_that_panics_harms_nobody(method: StartMethod) {
    let pool = pool_of(2, method);
    let bad = pool.apply_async(square, 1).on_done(|_| panic!("my own fault"));
    assert_eq!(bad.join().unwrap_err(), "my own fault");
    let good = pool.apply_async(square, 1).on_done(|result| assert_eq!(result.unwrap(), 1));
    good.join().unwrap();
    assert_eq!(pool.apply(square, 4).unwrap(), 16);
}

/// They all run on one thread, so that one which waits has the others run meanwhile.
fn a_callback_may_wait_for_others(method: StartMethod) {
    let pool = Arc::new(pool_of(2, method));
    let (tx, rx) = channel();
    let theirs = Arc::clone(&pool);
    let outer = pool.apply_async(square, 2).on_done(move |four| {
        let later = |x, tx: Sender<u64>| {
            theirs.apply_async(square, x).on_done(move |result| tx.send(result.unwrap()).unwrap())
        };
        let quick = later(four.unwrap(), tx.clone());
        let slow = theirs.apply_async(nap, 100).on_done(move |result| tx.send(result.unwrap()).unwrap());
        quick.join().unwrap();
        slow.join().unwrap();
        let bad = theirs.apply_async(square, 1).on_done(|_| panic!("within"));
        assert_eq!(bad.join().unwrap_err(), "within");
        // One that has run already is told as well.
        let done = theirs.apply_async(nap, 0).on_done(|_| ());
        theirs.apply_async(nap, 20).on_done(|_| ()).join().unwrap();
        done.join().unwrap();
    });
    assert!(rx.iter().eq([16, 100]));
    outer.join().unwrap();
    // Of a pool that ends meanwhile it is told as well.
    let theirs = Arc::clone(&pool);
    let outer = pool.apply_async(square, 2).on_done(move |_| {
        let heard = theirs.apply_async(nap, 600_000).on_done(|result| assert!(result.is_err()));
        theirs.terminate();
        heard.join().unwrap();
    });
    outer.join().unwrap();
}

fn callbacks_hear_of_the_pools_end(method: StartMethod) {
    let pool = pool_of(1, method);
    let (tx, rx) = channel();
    let handle = pool.apply_async(nap, 600_000).on_done(move |result| {
        tx.send(result.unwrap_err().pool_error().is_some()).unwrap();
    });
    drop(pool);
    assert!(rx.recv_timeout(Duration::from_secs(30)).unwrap());
    handle.join().unwrap();
}

/// Of a result that has come, failed, or was cancelled while it ran or was queued.
fn a_callback_may_come_after_the_end(method: StartMethod) {
    let pool = pool_of(1, method);
    let (done, failed) = (pool.apply_async(square, 3), pool.apply_async(|no: bool| assert!(no), false));
    let mut asked = pool.apply_async(square, 4);
    [&done, &asked].into_iter().for_each(AsyncResult::wait);
    failed.wait();
    assert_eq!(asked.successful(), Some(true));
    let (running, queued) = (pool.apply_async(nap, 600_000), pool.apply_async(nap, 600_000));
    assert!(!running.wait_timeout(Duration::from_millis(30)));
    [&queued, &running].into_iter().for_each(AsyncResult::cancel);
    done.on_done(|result| assert_eq!(result.unwrap(), 9)).join().unwrap();
    asked.on_done(|result| assert_eq!(result.unwrap(), 16)).join().unwrap();
    failed.on_done(|result| assert!(result.unwrap_err().is_panic())).join().unwrap();
    for cancelled in [running, queued] {
        cancelled.on_done(|result| assert!(result.unwrap_err().is_cancelled())).join().unwrap();
    }
}

/// Says what it was called with, as often as it is called.
fn told<T: Send + 'static>(
    result: AsyncResult<T>,
) -> (CallbackHandle, Receiver<Result<T, mp_pool::TaskError>>) {
    let (tx, rx) = channel();
    (result.on_done(move |result| tx.send(result).unwrap()), rx)
}

/// A queued one, one that runs and one that has come: each hears once, of the first thing.
fn a_task_with_a_callback_is_cancelled(method: StartMethod) {
    let pool = pool_of(1, method);
    let tally = Tally::new();
    let endless = |tally: Tally| {
        tally.add(0, 1);
        nap(600_000)
    };
    let (done, squares) = told(pool.apply_async(square, 3));
    assert_eq!(squares.recv_timeout(LONG).unwrap().unwrap(), 9);
    done.cancel();
    let (running, of_running) = told(pool.apply_async(endless, tally.clone()));
    tally.await_at_least(0, 1);
    let (queued, of_queued) = told(pool.apply_async(nap, 600_000));
    let (map, of_map) = told(pool.map_async(nap, vec![600_000; 40]));
    for handle in [&queued, &map, &running, &queued, &running] {
        handle.cancel();
    }
    assert!(of_queued.recv_timeout(LONG).unwrap().unwrap_err().is_cancelled());
    assert!(of_map.recv_timeout(LONG).unwrap().unwrap_err().is_cancelled());
    assert!(of_running.recv_timeout(LONG).unwrap().unwrap_err().is_cancelled());
    [done, running, queued, map].into_iter().for_each(|handle| handle.join().unwrap());
    // Nobody has the senders any more: nothing was said twice.
    assert!(squares.recv().is_err() && of_running.recv().is_err() && of_queued.recv().is_err());
    assert_eq!(pool.apply(square, 4).unwrap(), 16);
    // A handle may be used when its pool is no more.
    let (late, of_late) = told(pool.apply_async(nap, 600_000));
    drop(pool);
    late.cancel();
    late.join().unwrap();
    assert!(of_late.recv().unwrap().unwrap_err().pool_error().is_some());
}

fn a_callback_hears_that_its_result_was_taken(method: StartMethod) {
    let pool = pool_of(1, method);
    let mut taken = pool.apply_async(square, 3);
    assert_eq!(taken.get_timeout(LONG).unwrap().unwrap(), 9);
    let (handle, said) = told(taken);
    handle.join().unwrap();
    assert!(said.recv().unwrap().unwrap_err().to_string().contains("taken already"));
    // Never on the thread that asks, not even where all is known.
    pool.close();
    let here = thread::current().id();
    let refused = pool.apply_async(square, 3).on_done(move |result| {
        assert!(result.is_err() && thread::current().id() != here);
    });
    refused.join().unwrap();
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest runtime there is.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(std::sync::Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

fn a_future_is_awaited(method: StartMethod) {
    let pool = pool_of(2, method);
    assert_eq!(block_on(pool.apply_async(nap, 30)).unwrap(), 30);
    let sum = block_on(async {
        let (a, b) = (pool.apply_async(square, 3), pool.map_async(square, 0..100));
        a.await.unwrap() + b.await.unwrap().len() as u64
    });
    assert_eq!(sum, 109);
}

type Awaited = std::pin::Pin<Box<dyn Future<Output = Result<u64, mp_pool::TaskError>> + Send>>;

/// An async task that its waker owns, and that a wake polls at once.
struct Inline {
    task: std::sync::Mutex<Option<Awaited>>,
    done: std::sync::mpsc::Sender<u64>,
}

impl Wake for Inline {
    fn wake(self: std::sync::Arc<Self>) {
        let waker = Waker::from(std::sync::Arc::clone(&self));
        let mut task = self.task.lock().unwrap();
        let Some(future) = task.as_mut() else { return };
        if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            let _ = self.done.send(result.unwrap_or(0));
        }
    }
}

fn a_waker_may_use_the_pool(method: StartMethod) {
    let pool = pool_of(1, method);
    let (done, results) = channel();
    let task: Awaited = Box::pin(pool.apply_async(nap, 100));
    Wake::wake(std::sync::Arc::new(Inline { task: std::sync::Mutex::new(Some(task)), done }));
    assert_eq!(results.recv_timeout(Duration::from_secs(30)).unwrap(), 100);
    assert_eq!(pool.apply(square, 2).unwrap(), 4);
}

/// Tells that it was woken, and panics.
struct Grumpy(std::sync::Mutex<Sender<()>>);

impl Wake for Grumpy {
    fn wake(self: Arc<Self>) {
        let _ = self.0.lock().unwrap().send(());
        panic!("not now");
    }
}

/// Whoever drives wakes it, and drives on: here the pool's own thread, because nobody waits.
fn a_waker_that_panics_harms_nobody(method: StartMethod) {
    let pool = pool_of(1, method);
    let (woken, wakes) = channel();
    let (done, results) = channel();
    for x in 0..3 {
        let mut future = pin!(pool.apply_async(nap, 20));
        let waker = Waker::from(Arc::new(Grumpy(std::sync::Mutex::new(woken.clone()))));
        assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        wakes.recv_timeout(LONG).unwrap();
        assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
        let done = done.clone();
        let _handle = pool.apply_async(square, x).on_done(move |square| done.send(square.unwrap()).unwrap());
        assert_eq!(results.recv_timeout(LONG).unwrap(), x * x);
    }
}

fn the_last_waker_may_own_the_result(method: StartMethod) {
    let pool = pool_of(1, method);
    let (done, results) = channel();
    for _ in 0..2 {
        let task: Awaited = Box::pin(pool.apply_async(nap, 100));
        let inline = Inline { task: std::sync::Mutex::new(Some(task)), done: done.clone() };
        Wake::wake(std::sync::Arc::new(inline));
        results.recv_timeout(Duration::from_secs(30)).unwrap();
    }
    let forgotten: Awaited = Box::pin(pool.apply_async(nap, 100));
    let inline = Inline { task: std::sync::Mutex::new(Some(forgotten)), done };
    Wake::wake(std::sync::Arc::new(inline));
    pool.terminate();
}

fn a_queued_task_is_cancelled(method: StartMethod) {
    let pool = pool_of(1, method);
    let pids = pool.pids();
    let slow = pool.apply_async(nap, 1500);
    let queued: Vec<_> = (0..50).map(|_| pool.apply_async(nap, 600_000)).collect();
    queued.iter().for_each(|result| result.cancel());
    let cancelled = queued.into_iter().map(|result| result.get().unwrap_err());
    assert!(cancelled.into_iter().all(|error| error.is_cancelled()));
    assert_eq!(slow.get().unwrap(), 1500);
    assert_eq!(pool.apply(square, 2).unwrap(), 4);
    assert_eq!(pool.pids(), pids, "a worker died for what it had not begun");
}

fn cancelling_one_job_harms_no_other(method: StartMethod) {
    let pool = pool_of(1, method);
    let nap = |micros: u64| {
        thread::sleep(Duration::from_micros(micros));
        micros
    };
    assert_eq!(pool.imap(nap, [200; 20]).filter(Result::is_ok).count(), 20);
    for round in 0..300 {
        // The one is about to end when it is cancelled, and the others are next.
        let unwanted = pool.apply_async(nap, 300);
        let wanted: Vec<_> = (0..3).map(|_| pool.apply_async(nap, 200)).collect();
        thread::sleep(Duration::from_micros(200 + round % 300));
        unwanted.cancel();
        for result in wanted {
            assert_eq!(result.get().unwrap(), 200, "in round {round}");
        }
        assert!(unwanted.get().map_or_else(|error| error.is_cancelled(), |value| value == 300));
    }
}

fn a_running_task_is_cancelled_with_its_worker(method: StartMethod) {
    let pool = pool_of(2, method);
    let before = pool.pids();
    let tally = Tally::new();
    let endless = |tally: Tally| {
        tally.add(0, std::process::id().into());
        nap(600_000)
    };
    let endless = pool.apply_async(endless, tally.clone());
    tally.await_at_least(0, 1);
    endless.cancel();
    assert!(endless.get().unwrap_err().is_cancelled());
    assert_eq!(pool.map(square, 0..100).unwrap()[9], 81);
    let (was_at_it, after) = (tally.get(0) as u32, pool.pids());
    assert!(before.contains(&was_at_it) && !after.contains(&was_at_it));
    assert_eq!(before.iter().filter(|pid| after.contains(pid)).count(), 1, "the other one went as well");
}

fn a_dropped_result_is_forgotten(method: StartMethod) {
    let pool = pool_of(1, method);
    for _ in 0..100 {
        drop(pool.apply_async(nap, 1));
    }
    assert_eq!(pool.apply(square, 2).unwrap(), 4);
}

fn results_of_a_closed_pool_are_errors(method: StartMethod) {
    let pool = pool_of(1, method);
    let slow = pool.apply_async(nap, 600_000);
    pool.close();
    assert!(pool.apply_async(square, 1).get().unwrap_err().pool_error().unwrap().is_closed());
    pool.terminate();
    assert!(slow.get().unwrap_err().pool_error().is_some());
}

fn join_waits_for_results_that_nobody_waits_for(method: StartMethod) {
    let pool = pool_of(2, method);
    let results: Vec<_> = (0..40).map(|_| pool.apply_async(nap, 5)).collect();
    pool.join();
    assert!(results.into_iter().all(|result| result.get().unwrap() == 5));
}

fn a_killed_worker_is_heard_of_without_a_caller(method: StartMethod) {
    let pool = pool_of(2, method);
    let (tx, rx) = channel();
    let tally = Tally::new();
    let endless = |tally: Tally| {
        tally.add(0, 1);
        nap(600_000)
    };
    let endless = pool.apply_async(endless, tally.clone());
    let handle = endless.on_done(move |result| tx.send(result.unwrap_err()).unwrap());
    tally.await_at_least(0, 1);
    // Nobody is busy with it any more.
    thread::sleep(Duration::from_millis(100));
    pool.pids().iter().for_each(|pid| chaos::kill(*pid).unwrap());
    let error = rx.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(error.is_worker_died() && error.signal() == Some(9), "{error}");
    handle.join().unwrap();
    assert_eq!(pool.apply(square, 2).unwrap(), 4);
}

fn threads_get_while_others_map(method: StartMethod) {
    let pool = pool_of(3, method);
    thread::scope(|scope| {
        for part in 0..6u64 {
            let pool = &pool;
            scope.spawn(move || {
                for round in 0..50 {
                    let later: Vec<_> = (0..10).map(|x| pool.apply_async(square, part + x)).collect();
                    assert_eq!(pool.map(square, 0..50).unwrap()[7], 49);
                    for (x, result) in later.into_iter().enumerate() {
                        assert_eq!(result.get().unwrap(), square(part + x as u64), "round {round}");
                    }
                }
            });
        }
    });
}
