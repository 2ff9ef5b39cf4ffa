//! Many of them.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use ipc_core::{Address, Receiver, Sender, pipe};
use mp_manager::{ListProxy, LockProxy, Manager, ManagerError, QueueProxy, SemaphoreProxy};
use mp_process::Process;
use mp_testkit::chaos::Rng;
use mp_testkit::harness::soak_time;

use super::scene::{KEY, TallyProxy, policy, scene_with, soon};

/// Clients in processes of their own do all there is to do, while the cable is cut again and again.
pub(super) fn a_thousand_cuts() {
    let scene = scene_with(Duration::from_secs(60));
    let cuts = if soak_time() > Duration::from_secs(5) { 1000 } else { 150 };
    let counter = scene.near.value(&0u64).unwrap();
    scene.near.publish("counter", &counter).unwrap();
    scene.near.publish("lock", &scene.near.lock().unwrap()).unwrap();
    scene.near.publish("permits", &scene.near.semaphore(2).unwrap()).unwrap();
    let queue: QueueProxy<u64> = scene.near.queue().unwrap();
    scene.near.publish("queue", &queue).unwrap();
    let tally = TallyProxy::create(&scene.far).unwrap();
    scene.far.publish("tally", &tally).unwrap();
    let before = scene.near.object_count().unwrap();
    let clients: Vec<_> = (0..3u64)
        .map(|number| {
            let ((tx, stop), (ready, is_ready)) = (pipe::<()>().unwrap(), pipe().unwrap());
            let client = Process::spawn(live, (scene.cable.address(), number, stop, ready)).unwrap();
            is_ready.recv().unwrap();
            (client, tx)
        })
        .collect();
    let mut rng = Rng::announced("a_thousand_cuts");
    for _ in 0..cuts {
        thread::sleep(Duration::from_millis(1 + rng.below(25) as u64));
        if rng.below(5) == 0 {
            scene.cable.tear();
            thread::sleep(Duration::from_millis(rng.below(30) as u64));
            scene.cable.mend();
        } else {
            scene.cable.cut();
        }
    }
    let done: u64 = clients
        .into_iter()
        .map(|(client, stop)| {
            let _ = stop.send(&());
            client.join().unwrap()
        })
        .sum();
    assert!(done > 0);
    // Each round was done once, and nothing is left of it.
    assert_eq!(counter.get().unwrap(), done);
    assert_eq!((tally.len().unwrap(), tally.most().unwrap()), (done, 1));
    assert_eq!(queue.len().unwrap(), 0);
    let lock: LockProxy = scene.near.find("lock").unwrap();
    let permits: SemaphoreProxy = scene.near.find("permits").unwrap();
    soon("references stay", || scene.near.object_count().unwrap() == before);
    assert!(!lock.is_locked().unwrap());
    assert_eq!(permits.available().unwrap(), 2);
}

/// Its rounds, until it is stopped.
fn live((address, number, stop, ready): (Address, u64, Receiver<()>, Sender<()>)) -> u64 {
    static DONE: AtomicU64 = AtomicU64::new(0);
    let work = || -> Result<(), ManagerError> {
        let far = Manager::connect(&address, KEY)?.reconnect(policy());
        let counter: mp_manager::ValueProxy<u64> = far.find("counter")?;
        let (lock, permits): (LockProxy, SemaphoreProxy) = (far.find("lock")?, far.find("permits")?);
        let queue: QueueProxy<u64> = far.find("queue")?;
        let tally: TallyProxy = far.find("tally")?;
        ready.send(&()).unwrap();
        thread::scope(|scope| {
            let threads: Vec<_> = (0..2u64)
                .map(|thread| {
                    let (far, counter, lock, permits) = (&far, &counter, &lock, &permits);
                    let (queue, tally, stop) = (&queue, &tally, &stop);
                    scope.spawn(move || -> Result<(), ManagerError> {
                        let mut round = 0;
                        while matches!(stop.poll(Duration::ZERO), Ok(false)) {
                            // Not one step, so that the lock is needed.
                            let guard = lock.lock()?;
                            counter.set(&(counter.get()? + 1))?;
                            drop(guard);
                            let permit = permits.acquire()?;
                            queue.put(&round)?;
                            queue.get()?;
                            drop(permit);
                            let own: ListProxy<u64> = far.list_from(&[1, 2, 3])?;
                            let later = own.push_async(&4)?;
                            assert_eq!(tally.add((number * 2 + thread) << 32 | round)?, 1);
                            later.get()?;
                            assert_eq!(own.len()?, 4);
                            round += 1;
                            DONE.fetch_add(1, Ordering::SeqCst);
                        }
                        Ok(())
                    })
                })
                .collect();
            threads.into_iter().try_for_each(|thread| thread.join().unwrap())
        })
    };
    work().unwrap_or_else(|error| panic!("{error}"));
    DONE.load(Ordering::SeqCst)
}
