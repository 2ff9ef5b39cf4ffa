//! Queues beside channels and processes in one wait.

use std::time::{Duration, Instant};

use ipc_core::wait;
use mp_process::Process;
use mp_sync::{Event, JoinableQueue, Lock, Queue, SharedAtomicU64, SimpleQueue};

const SHORT: Duration = Duration::from_millis(30);
const LONG: Duration = Duration::from_secs(20);

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn the_first_of_many_things_is_found() -> Outcome {
    let (first, second) = (Queue::<u32>::new()?, SimpleQueue::<u32>::new()?);
    let third = JoinableQueue::<u32>::new()?;
    let (tx, rx) = ipc_core::pipe::<u32>()?;
    let put = |(first, second, third): (Queue<u32>, SimpleQueue<u32>, JoinableQueue<u32>)| {
        for n in 0..20 {
            first.put(n).unwrap();
            second.put(n).unwrap();
            third.put(n).unwrap();
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    assert!(wait(&[&first, &second, &third, &rx], Some(SHORT))?.is_empty());
    let child = Process::spawn(put, (first.clone(), second.clone(), third.clone()))?;
    let sentinel = child.sentinel();
    let (mut got, mut ended) = (0, false);
    while got < 60 || !ended {
        let ready = wait(&[&first, &second, &third, &rx, &sentinel], Some(LONG))?;
        assert!(!ready.is_empty(), "{got} items came");
        got += ready.iter().filter(|place| take(**place, &first, &second, &third)).count();
        ended |= ready.contains(&4);
        if ready == [4] {
            assert_eq!(got, 60, "nothing that was put is overlooked");
        }
    }
    tx.send(&1)?;
    assert_eq!(wait(&[&first, &second, &third, &rx], Some(LONG))?, [3]);
    child.join()?;
    Ok(())
}

fn take(place: usize, first: &Queue<u32>, second: &SimpleQueue<u32>, third: &JoinableQueue<u32>) -> bool {
    match place {
        0 => first.try_get().is_ok(),
        1 => second.get().is_ok(),
        2 => third.try_get().is_ok(),
        _ => false,
    }
}

fn being_ready_takes_nothing() -> Outcome {
    let queue = Queue::new()?;
    queue.put("one".to_owned())?;
    for _ in 0..3 {
        assert_eq!(wait(&[&queue, &queue], Some(Duration::ZERO))?, [0, 1]);
    }
    assert_eq!(queue.try_get()?, "one");
    assert!(wait(&[&queue], Some(Duration::ZERO))?.is_empty());
    Ok(())
}

fn closing_is_noticed() -> Outcome {
    let queue = Queue::<u32>::new()?;
    let close = |queue: Queue<u32>| {
        std::thread::sleep(SHORT);
        queue.close();
    };
    let child = Process::spawn(close, queue.clone())?;
    assert_eq!(wait(&[&queue], Some(LONG))?, [0]);
    assert!(queue.try_get().is_err_and(|error| error.is_closed()));
    child.join()?;
    Ok(())
}

type Share = (Queue<u32>, Event, SharedAtomicU64);

/// Gets what comes, by waiting, until the queue is closed.
fn consume((queue, ready, got): Share) {
    ready.set();
    loop {
        wait(&[&queue], None).unwrap();
        match queue.try_get() {
            Ok(_) => drop(got.fetch_add(1, std::sync::atomic::Ordering::SeqCst)),
            Err(error) if error.is_closed() => return,
            Err(error) => assert!(error.is_empty(), "{error}"),
        }
    }
}

fn one_who_is_killed_waiting_leaves_the_others_awake() -> Outcome {
    let share: Share = (Queue::new()?, Event::new()?, SharedAtomicU64::new(0)?);
    let (queue, ready, got) = &share;
    let start = || -> Result<Process<()>, Box<dyn std::error::Error>> {
        ready.clear();
        let child = Process::builder().kill_on_drop(true).spawn(consume, share.clone())?;
        ready.wait_timeout(LONG)?;
        std::thread::sleep(Duration::from_millis(5));
        Ok(child)
    };
    let survivor = start()?;
    for round in 0..10 {
        let victim = start()?;
        if round % 2 == 0 {
            queue.put(round)?;
        }
        victim.kill()?;
        let before = got.load(std::sync::atomic::Ordering::SeqCst);
        queue.put(round)?;
        let until = Instant::now() + LONG;
        while !queue.is_empty() {
            assert!(Instant::now() < until, "an item lies there and nobody wakes, {before} before");
            std::thread::sleep(Duration::from_micros(100));
        }
        drop(victim.join());
    }
    queue.close();
    survivor.join_timeout(LONG)?;
    Ok(())
}

fn one_who_is_killed_putting_leaves_nobody_asleep() -> Outcome {
    let (queue, ready) = (Queue::<u32>::bounded(4)?, Event::new()?);
    let put = |(queue, ready): (Queue<u32>, Event)| {
        ready.set();
        while queue.put(1).is_ok() {}
    };
    for round in 0..10 {
        ready.clear();
        let child = Process::spawn(put, (queue.clone(), ready.clone()))?;
        ready.wait_timeout(LONG)?;
        let until = Instant::now() + Duration::from_micros(500 * round);
        while Instant::now() < until {
            assert_eq!(wait(&[&queue], Some(LONG))?, [0]);
            let _ = queue.try_get()?;
        }
        child.kill()?;
        drop(child.join());
        while let [0] = wait(&[&queue], Some(Duration::ZERO))?[..] {
            let _ = queue.try_get()?;
        }
        assert!(queue.is_empty());
    }
    Ok(())
}

fn threads_may_wait_side_by_side() -> Outcome {
    let share: Share = (Queue::new()?, Event::new()?, SharedAtomicU64::new(0)?);
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let share = share.clone();
            std::thread::spawn(move || consume(share))
        })
        .collect();
    for n in 0..500 {
        share.0.put(n)?;
    }
    let until = Instant::now() + LONG;
    while share.2.load(std::sync::atomic::Ordering::SeqCst) < 500 {
        assert!(
            Instant::now() < until,
            "{} items were got",
            share.2.load(std::sync::atomic::Ordering::SeqCst)
        );
        std::thread::sleep(Duration::from_micros(100));
    }
    share.0.close();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    Ok(())
}

fn main() -> std::process::ExitCode {
    let trials = mp_testkit::trials![
        the_first_of_many_things_is_found,
        being_ready_takes_nothing,
        closing_is_noticed,
        one_who_is_killed_waiting_leaves_the_others_awake,
        one_who_is_killed_putting_leaves_nobody_asleep,
        threads_may_wait_side_by_side,
    ];
    let warm_up = || {
        drop(Lock::new().unwrap());
        let child = Process::spawn(|()| (), ()).unwrap();
        let (sentinel, (_tx, rx)) = (child.sentinel(), ipc_core::pipe::<u32>().unwrap());
        wait(&[&sentinel, &rx], None).unwrap();
        assert!(rx.recv_timeout(Duration::from_millis(1)).is_err());
        child.join().unwrap();
    };
    mp_testkit::Suite::new(trials).timeout(Duration::from_secs(60)).warm_up(warm_up).run()
}
