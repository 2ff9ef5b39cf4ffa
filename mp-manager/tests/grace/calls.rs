//! Calls that a cut finds under way.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use mp_manager::{DictProxy, EventProxy, ListProxy, QueueProxy};
use mp_testkit::chaos::Rng;

use super::scene::{LONG, TallyProxy, scene};

pub(super) fn a_call_in_the_middle_has_its_answer() {
    let scene = scene();
    let tally = TallyProxy::create(&scene.far).unwrap();
    scene.far.publish("tally", &tally).unwrap();
    for number in 0..5 {
        let begun: EventProxy = scene.near.event().unwrap();
        scene.near.publish("begun", &begun).unwrap();
        let (tally, its) = (tally.clone(), scene.far.find::<EventProxy>("begun").unwrap());
        let caller = thread::spawn(move || tally.add_slowly(number, its));
        assert!(begun.wait_timeout(LONG).unwrap());
        if number % 2 == 0 {
            scene.cable.cut()
        } else {
            scene.cable.tear()
        }
        thread::sleep(Duration::from_millis(if number == 3 { 500 } else { 50 }));
        scene.cable.mend();
        assert_eq!(caller.join().unwrap().unwrap(), 1);
    }
    assert_eq!((tally.most().unwrap(), tally.len().unwrap()), (1, 5));
}

pub(super) fn a_call_that_waits_goes_on_waiting() {
    let scene = scene();
    let queue: QueueProxy<u64> = scene.near.queue().unwrap();
    scene.near.publish("queue", &queue).unwrap();
    let far: QueueProxy<u64> = scene.far.find("queue").unwrap();
    for item in 0..5 {
        let waits = far.clone();
        let waiter = thread::spawn(move || waits.get());
        thread::sleep(Duration::from_millis(50));
        scene.cable.tear();
        thread::sleep(Duration::from_millis(50));
        // Given to a caller who is not there just now.
        queue.put(&item).unwrap();
        scene.cable.mend();
        assert_eq!(waiter.join().unwrap().unwrap(), item);
        assert!(queue.is_empty().unwrap());
    }
}

pub(super) fn answers_that_nobody_has_read_come_again() {
    let scene = scene();
    let list: ListProxy<u64> = scene.far.list().unwrap();
    for round in 0..5 {
        let pushes: Vec<_> = (0..200u64).map(|x| list.push_async(&(round * 200 + x)).unwrap()).collect();
        let lens: Vec<_> = (0..50).map(|_| list.len_async().unwrap()).collect();
        scene.cable.cut();
        pushes.into_iter().for_each(|push| push.get().unwrap());
        lens.into_iter().for_each(|len| assert_eq!(len.get().unwrap() as u64, (round + 1) * 200));
    }
    assert_eq!(list.to_vec().unwrap(), (0..1000).collect::<Vec<_>>());
}

pub(super) fn long_values_over_cuts() {
    let scene = scene();
    let dict: DictProxy<u64, Vec<u8>> = scene.far.dict().unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let users: Vec<_> = (0..3u64)
            .map(|number| {
                let dict = dict.clone();
                scope.spawn(move || {
                    for round in 0..8u8 {
                        let value = vec![round; 1_500_000];
                        dict.insert(&number, &value).unwrap();
                        assert!(dict.get(&number).unwrap().unwrap() == value);
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            let mut rng = Rng::announced("long_values_over_cuts");
            while !is_over.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(40 + rng.below(60) as u64));
                scene.cable.cut();
            }
        });
        let ended: Vec<_> = users.into_iter().map(|user| user.join()).collect();
        is_over.store(true, Ordering::SeqCst);
        ended.into_iter().for_each(|ended| ended.unwrap());
    });
}
