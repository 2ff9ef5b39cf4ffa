//! Several calls in one message.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::{Address, Sender, pipe};
use mp_manager::{AsyncReply, DictProxy, EventProxy, ListProxy, LockProxy, Manager};
use mp_process::Process;
use mp_testkit::chaos;
use mp_testkit::harness::Suite;

fn main() -> ExitCode {
    let trials = mp_testkit::trials![
        calls_of_several_objects_go_together,
        nothing_goes_before_the_end,
        an_error_is_its_calls_own,
        calls_keep_their_order,
        a_call_that_waits_holds_up_no_other,
        as_many_as_one_likes,
        too_many_without_an_answer_are_errors,
        long_values_go_in_several_messages,
        handles_go_by_themselves,
        what_is_given_up_is_not_sent,
        values_nobody_wants,
        arguments_stay_until_they_are_there,
        a_reply_inside_sends_what_was_gathered,
        a_child_makes_one_and_dies,
        the_end_of_the_server_is_told,
        over_tcp,
        by_many_threads,
        what_is_asked_after_a_batch_is_done_after_it,
        a_ring_that_is_dropped_meanwhile,
    ];
    Suite::new(trials).warm_up(warm_up).run()
}

/// The threads that start processes and watch peers keep a few handles for good.
fn warm_up() {
    let manager = Manager::start().unwrap();
    let child = Process::spawn(|list: ListProxy<u8>| list.push(&1).unwrap(), manager.list().unwrap());
    child.unwrap().join().unwrap();
}

/// Longer than anything takes that does happen.
const LONG: Duration = Duration::from_secs(20);

fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

struct Log(Vec<u64>, Option<Sender<u64>>);

#[mp_manager::object]
#[allow(unreachable_pub)]
impl Log {
    pub fn new() -> Self {
        Self(Vec::new(), None)
    }

    pub fn add(&mut self, x: u64) -> usize {
        self.0.push(x);
        self.0.len()
    }

    pub fn all(&self) -> Vec<u64> {
        self.0.clone()
    }

    pub fn fail(&self) {
        panic!("on purpose");
    }

    pub fn wait(&self, event: EventProxy) {
        event.wait().unwrap();
    }

    pub fn len_of(&self, list: ListProxy<u64>) -> usize {
        list.len().unwrap_or(usize::MAX)
    }

    pub fn tell(&mut self, whom: Sender<u64>) {
        self.1 = Some(whom);
        self.1.iter().for_each(|whom| whom.send(&(self.0.len() as u64)).unwrap());
    }
}

fn calls_of_several_objects_go_together() {
    let manager = Manager::start().unwrap();
    let log = LogProxy::create(&manager).unwrap();
    let (list, dict) = (manager.list::<u64>().unwrap(), manager.dict::<String, u64>().unwrap());
    let key = "key".to_owned();
    let calls = manager.batch(|batch| {
        let (log, list, dict) = (batch.of(&log), batch.of(&list), batch.of(&dict));
        let replies = (list.push_async(&5)?, dict.insert_async(&key, &6)?, log.add_async(7)?);
        assert_eq!((batch.len(), batch.is_empty()), (3, false));
        Ok((replies, (list.to_vec_async()?, dict.get_async(&key)?, log.all_async()?)))
    });
    let ((pushed, inserted, added), (all, got, logged)) = calls.unwrap();
    assert_eq!((pushed.get().unwrap(), inserted.get().unwrap(), added.get().unwrap()), ((), None, 1));
    assert_eq!((all.get().unwrap(), got.get().unwrap()), (vec![5], Some(6)));
    // A method that looks waits for its turn, but may overtake nothing.
    assert!(logged.get().unwrap().len() <= 1);
    assert_eq!(manager.object_count().unwrap(), 3);
}

fn nothing_goes_before_the_end() {
    let manager = Manager::start().unwrap();
    let list = manager.list::<u64>().unwrap();
    let (first, second) = manager
        .batch(|batch| {
            let first = batch.of(&list).push_async(&1)?;
            assert_eq!(list.len()?, 0);
            batch.send()?;
            soon("it was not sent", || list.len().unwrap() == 1);
            let second = batch.of(&list).push_async(&2)?;
            assert_eq!(list.len()?, 1);
            Ok((first, second))
        })
        .unwrap();
    first.get().unwrap();
    second.get().unwrap();
    assert_eq!(list.to_vec().unwrap(), [1, 2]);
    // A proxy that outlives its batch is one like any other.
    let later = manager.batch(|batch| Ok(batch.of(&list))).unwrap();
    later.push_async(&3).unwrap().get().unwrap();
    assert_eq!(later.len().unwrap(), 3);
}

fn an_error_is_its_calls_own() {
    let manager = Manager::start().unwrap();
    let log = LogProxy::create(&manager).unwrap();
    let list = manager.list_from(&[1u64]).unwrap();
    let (beyond, fails, len) = manager
        .batch(|batch| {
            let (log, list) = (batch.of(&log), batch.of(&list));
            Ok((list.get_async(9)?, log.fail_async()?, list.len_async()?))
        })
        .unwrap();
    assert!(beyond.get().unwrap_err().is_out_of_range());
    assert!(fails.get().unwrap_err().is_panic());
    assert_eq!(len.get().unwrap(), 1);
}

fn calls_keep_their_order() {
    let manager = Manager::start().unwrap();
    let log = LogProxy::create(&manager).unwrap();
    let mut expected = 0;
    for _ in 0..20 {
        let replies = manager.batch(|batch| {
            let gathered = batch.of(&log);
            let mut replies: Vec<_> = (0..50).map(|x| gathered.add_async(x)).collect::<Result<_, _>>()?;
            // One that waits goes behind those.
            expected += 51;
            assert_eq!(gathered.add(50)?, expected);
            replies.push(gathered.add_async(51)?);
            expected += 1;
            Ok(replies)
        });
        let lens: Vec<usize> = replies.unwrap().into_iter().map(|reply| reply.get().unwrap()).collect();
        assert_eq!(*lens.last().unwrap(), expected);
        assert!(lens.is_sorted());
    }
    let all = log.all().unwrap();
    assert!(all.chunks(52).all(|turn| turn.iter().copied().eq(0..52)));
}

fn a_call_that_waits_holds_up_no_other() {
    let manager = Manager::start().unwrap();
    let log = LogProxy::create(&manager).unwrap();
    let (queue, list) = (manager.queue::<u64>().unwrap(), manager.list::<u64>().unwrap());
    let event = manager.event().unwrap();
    let (item, wait, len) = manager
        .batch(|batch| {
            let item = batch.of(&queue).get_async()?;
            let wait = batch.of(&log).wait_async(event.clone())?;
            Ok((item, wait, batch.of(&list).len_async()?))
        })
        .unwrap();
    assert_eq!(len.get().unwrap(), 0);
    assert!(!wait.is_ready() && !item.is_ready());
    queue.put(&3).unwrap();
    assert_eq!(item.get().unwrap(), 3);
    event.set().unwrap();
    wait.get().unwrap();
}

fn as_many_as_one_likes() {
    let manager = Manager::builder().max_calls(16).start().unwrap();
    let list = manager.list::<u64>().unwrap();
    let replies = manager.batch(|batch| {
        let list = batch.of(&list);
        (0..20_000).map(|x| list.push_async(&x)).collect::<Result<Vec<_>, _>>()
    });
    replies.unwrap().into_iter().for_each(|reply| reply.get().unwrap());
    assert!(list.to_vec().unwrap().into_iter().eq(0..20_000));
}

fn too_many_without_an_answer_are_errors() {
    let manager = Manager::builder().max_calls(16).start().unwrap();
    let queue = manager.queue::<u64>().unwrap();
    let replies = manager.batch(|batch| {
        let queue = batch.of(&queue);
        (0..20).map(|_| queue.get_async()).collect::<Result<Vec<_>, _>>()
    });
    let mut replies = replies.unwrap();
    for busy in replies.split_off(16) {
        assert!(busy.get().unwrap_err().is_busy());
    }
    // There is no room for a put either, until one waits no more.
    drop(replies.pop());
    for (x, reply) in replies.into_iter().enumerate() {
        queue.put(&(x as u64)).unwrap();
        assert_eq!(reply.get().unwrap(), x as u64);
    }
}

fn long_values_go_in_several_messages() {
    let manager = Manager::builder().max_message(1 << 20).start().unwrap();
    let list = manager.list::<Vec<u8>>().unwrap();
    let (pushed, got) = manager
        .batch(|batch| {
            let list = batch.of(&list);
            let push = |x| list.push_async(&vec![x; 100_000]);
            let pushed = (0..40).map(push).collect::<Result<Vec<_>, _>>()?;
            Ok((pushed, (0..40).map(|at| list.get_async(at)).collect::<Result<Vec<_>, _>>()?))
        })
        .unwrap();
    pushed.into_iter().for_each(|reply| reply.get().unwrap());
    for (x, reply) in (0..).zip(got) {
        assert_eq!(reply.get().unwrap(), vec![x; 100_000]);
    }
}

fn handles_go_by_themselves() {
    let manager = Manager::start().unwrap();
    let log = LogProxy::create(&manager).unwrap();
    let (tx, rx) = pipe::<u64>().unwrap();
    let (first, told, last) = manager
        .batch(|batch| {
            let log = batch.of(&log);
            Ok((log.add_async(1)?, log.tell_async(tx)?, log.add_async(2)?))
        })
        .unwrap();
    assert_eq!((first.get().unwrap(), last.get().unwrap()), (1, 2));
    told.get().unwrap();
    assert_eq!(rx.recv().unwrap(), 1);
}

fn what_is_given_up_is_not_sent() {
    let manager = Manager::start().unwrap();
    let list = manager.list::<u64>().unwrap();
    let failed = manager.batch(|batch| {
        let pushed = batch.of(&list).push_async(&1)?;
        list.get(100)?;
        Ok(pushed)
    });
    assert!(failed.unwrap_err().is_out_of_range());
    let panics =
        || manager.batch(|batch| -> Result<(), _> { panic!("{:?}", batch.of(&list).push_async(&1)) });
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
    assert_eq!(list.len().unwrap(), 0);
    // Nothing is left of them.
    drop(list);
    soon("objects stay", || manager.object_count().unwrap() == 0);
}

fn values_nobody_wants() {
    let manager = Manager::start().unwrap();
    let list = manager.list::<u64>().unwrap();
    let lists = manager.list_from(std::slice::from_ref(&list)).unwrap();
    let last = manager
        .batch(|batch| {
            let (list, lists) = (batch.of(&list), batch.of(&lists));
            list.push_async(&1)?.detach();
            // A value with a reference in it.
            lists.get_async(0)?.detach();
            drop(lists.get_async(0)?);
            list.len_async()
        })
        .unwrap();
    assert_eq!(last.get().unwrap(), 1);
    // One that is here already.
    let ready = lists.get_async(0).unwrap();
    assert_eq!(lists.len().unwrap(), 1);
    soon("it is not here", || ready.is_ready());
    ready.detach();
    drop((list, lists));
    soon("objects stay", || manager.object_count().unwrap() == 0);
}

fn arguments_stay_until_they_are_there() {
    let manager = Manager::start().unwrap();
    let log = LogProxy::create(&manager).unwrap();
    let lists = manager.list::<ListProxy<u64>>().unwrap();
    let (len, pushed) = manager
        .batch(|batch| {
            // Nobody else has these: the calls keep them, and the objects that they are made of.
            let list = manager.list_from(&[1, 2, 3])?;
            let pushed = batch.of(&lists).push_async(&list)?;
            batch.of(&lists).push_async(&manager.list_from(&[4])?)?.detach();
            Ok((batch.of(&log).len_of_async(list)?, pushed))
        })
        .unwrap();
    assert_eq!(len.get().unwrap(), 3);
    pushed.get().unwrap();
    assert_eq!(lists.get(0).unwrap().to_vec().unwrap(), [1, 2, 3]);
    assert_eq!(lists.get(1).unwrap().to_vec().unwrap(), [4]);
    let gone = manager.batch(|batch| batch.of(&manager.list_from(&[1u8])?).len_async()).unwrap();
    assert_eq!(gone.get().unwrap(), 1);
    drop((lists, log));
    soon("objects stay", || manager.object_count().unwrap() == 0);
}

fn a_reply_inside_sends_what_was_gathered() {
    let manager = Manager::start().unwrap();
    let log = LogProxy::create(&manager).unwrap();
    manager
        .batch(|batch| {
            let log = batch.of(&log);
            let (first, second) = (log.add_async(1)?, log.add_async(2)?);
            assert_eq!(AsyncReply::wait_any([&first]), Some(0));
            assert_eq!((first.get()?, second.get()?), (1, 2));
            Ok(())
        })
        .unwrap();
}

type Shared = (Manager, ListProxy<u64>, LockProxy, Sender<u64>);

fn a_child_makes_one_and_dies() {
    let manager = Manager::start().unwrap();
    let (list, lock) = (manager.list::<u64>().unwrap(), manager.lock().unwrap());
    let work = |(manager, list, lock, tx): Shared| {
        let lists: Vec<_> = (0..5).map(|_| manager.list::<u64>().unwrap()).collect();
        let batch = manager.batch(|batch| {
            let lists =
                lists.iter().map(|one| batch.of(one).push_async(&1)).collect::<Result<Vec<_>, _>>()?;
            Ok((batch.of(&lock).lock_async()?, batch.of(&list).push_async(&1)?, lists))
        });
        let (guard, pushed, lists) = batch.unwrap();
        let _guard = guard.get().unwrap();
        pushed.get().unwrap();
        tx.send(&(lists.len() as u64)).unwrap();
        thread::sleep(Duration::from_secs(100));
    };
    for turn in 1..4 {
        let (tx, rx) = pipe().unwrap();
        let child = Process::spawn(work, (manager.clone(), list.clone(), lock.clone(), tx)).unwrap();
        assert_eq!(rx.recv().unwrap(), 5);
        assert!(lock.try_lock().unwrap().is_none());
        child.kill().unwrap();
        assert!(child.join().is_err());
        drop(lock.lock_timeout(LONG).unwrap().unwrap());
        assert_eq!(list.len().unwrap(), turn);
        soon("objects stay", || manager.object_count().unwrap() == 2);
    }
}

fn the_end_of_the_server_is_told() {
    let manager = Manager::start().unwrap();
    let (queue, list) = (manager.queue::<u64>().unwrap(), manager.list::<u64>().unwrap());
    let (item, len) =
        manager.batch(|batch| Ok((batch.of(&queue).get_async()?, batch.of(&list).len_async()?))).unwrap();
    assert_eq!(len.get().unwrap(), 0);
    chaos::kill(manager.pid().unwrap()).unwrap();
    assert!(item.get().unwrap_err().is_gone());
    let too_late = manager.batch(|batch| batch.of(&list).len_async());
    assert!(too_late.and_then(AsyncReply::get).unwrap_err().is_gone());
}

fn over_tcp() {
    let server = Manager::builder().address(Address::tcp("127.0.0.1", 0)).authkey("key").serve().unwrap();
    let manager = Manager::connect(server.address(), "key").unwrap();
    let list = manager.list::<u64>().unwrap();
    for turn in 0..100 {
        let (pushed, len) = manager
            .batch(|batch| Ok((batch.of(&list).push_async(&turn)?, batch.of(&list).len_async()?)))
            .unwrap();
        pushed.get().unwrap();
        assert_eq!(len.get().unwrap() as u64, turn + 1);
    }
}

fn by_many_threads() {
    let manager = Manager::start().unwrap();
    let dict = manager.dict::<u64, u64>().unwrap();
    let work = |thread: u64| {
        let (manager, dict) = (manager.clone(), dict.clone());
        move || {
            for turn in 0..100 {
                let key = thread * 1000 + turn;
                let calls = |dict: DictProxy<u64, u64>| {
                    Ok((dict.insert_async(&key, &turn)?, dict.get_async(&key)?, dict.remove_async(&key)?))
                };
                let (old, got, removed) = manager.batch(|batch| calls(batch.of(&dict))).unwrap();
                // In another order than they were sent.
                assert_eq!(removed.get().unwrap(), Some(turn));
                assert_eq!((old.get().unwrap(), got.get().unwrap()), (None, Some(turn)));
            }
        }
    };
    thread::scope(|scope| (0..8).for_each(|thread| drop(scope.spawn(work(thread)))));
    assert!(dict.is_empty().unwrap());
}

fn what_is_asked_after_a_batch_is_done_after_it() {
    let manager = Manager::start().unwrap();
    let start = || {
        let list = manager.list().unwrap();
        Process::spawn(ask_after_batches, (manager.clone(), list)).unwrap()
    };
    let children: Vec<_> = (0..2).map(|_| start()).collect();
    children.into_iter().for_each(|child| child.join().unwrap());
}

/// Over the socket first, and then over shared memory, of which the server is told in two ways.
fn ask_after_batches((manager, list): (Manager, ListProxy<u64>)) {
    const CALLS: usize = 30;
    for turn in 1..=1000 {
        let push =
            |list: ListProxy<u64>| (0..CALLS).map(|_| list.push_async(&1)).collect::<Result<Vec<_>, _>>();
        let pushes = manager.batch(|batch| push(batch.of(&list))).unwrap();
        assert_eq!(list.len_async().unwrap().get().unwrap(), turn * CALLS);
        pushes.into_iter().for_each(|push| push.get().unwrap());
    }
}

fn a_ring_that_is_dropped_meanwhile() {
    let manager = Manager::start().unwrap();
    let list = manager.list::<u64>().unwrap();
    (0..500).for_each(|x| list.push(&x).unwrap());
    // The server drops a ring that was not used; batches go on over the socket.
    for pause in [0, 11] {
        thread::sleep(Duration::from_secs(pause));
        let replies = manager.batch(|batch| {
            let list = batch.of(&list);
            (0..100).map(|x| list.get_async(x)).collect::<Result<Vec<_>, _>>()
        });
        assert!(replies.unwrap().into_iter().map(|reply| reply.get().unwrap()).eq(0..100));
    }
}
