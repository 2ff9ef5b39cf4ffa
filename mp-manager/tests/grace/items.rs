//! Items that are on their way when the network is cut.

use std::thread;
use std::time::Duration;

use ipc_core::{Address, Sender, pipe};
use mp_manager::{AsyncReply, ListProxy, Manager, QueueProxy};
use mp_process::Process;

use super::scene::{KEY, LONG, Scene, policy, scene, scene_with, soon};

/// A queue from both sides, and the far one asks for an item.
fn asked(scene: &Scene) -> (QueueProxy<u64>, QueueProxy<u64>, AsyncReply<u64>) {
    scene.near.publish("queue", &scene.near.queue::<u64>().unwrap()).unwrap();
    let (near, far) =
        (scene.near.find("queue").unwrap(), scene.far.find::<QueueProxy<u64>>("queue").unwrap());
    let reply = far.get_async().unwrap();
    // The request has come when this has.
    assert!(far.is_empty().unwrap());
    (near, far, reply)
}

pub(super) fn items_of_a_client_that_does_not_come_back_are_others() {
    let scene = scene_with(Duration::from_millis(200));
    let (near, far, reply) = asked(&scene);
    scene.cable.tear();
    (1..=3).for_each(|x| near.put(&x).unwrap());
    soon("an item is lost", || near.len().unwrap() == 3);
    assert_eq!([(), (), ()].map(|()| near.try_get().unwrap()), [Some(1), Some(2), Some(3)]);
    // It comes too late, and has nothing.
    scene.cable.mend();
    assert!(reply.get().unwrap_err().is_gone());
    near.put(&4).unwrap();
    assert_eq!(far.get().unwrap(), 4);
}

pub(super) fn an_item_comes_once_to_one_that_comes_back() {
    let scene = scene();
    let (near, far, reply) = asked(&scene);
    for round in 0..10 {
        let reply = if round == 0 { None } else { Some(far.get_async().unwrap()) };
        if round % 2 == 0 {
            scene.cable.tear();
        }
        near.put(&round).unwrap();
        if round % 2 == 0 {
            scene.cable.mend()
        } else {
            scene.cable.cut()
        }
        if let Some(reply) = reply {
            assert_eq!(reply.get().unwrap(), round);
        }
    }
    assert_eq!(reply.get().unwrap(), 0);
    assert!(near.is_empty().unwrap());
    // What came to it is not there again when it has gone.
    let Scene { server: _server, near: manager, far: its, cable: _cable } = scene;
    let list: ListProxy<u8> = its.list().unwrap();
    assert_eq!(manager.object_count().unwrap(), 2);
    drop((far, list, its));
    soon("references stay", || manager.object_count().unwrap() == 1);
    assert!(near.get_timeout(Duration::from_millis(20)).unwrap().is_none());
}

pub(super) fn what_is_kept_for_killed_clients_is_bounded() {
    const CLIENTS: usize = 20;
    const MOST: usize = 8;
    const ITEM: usize = 256 << 10;
    // The first 64 KiB of each do not count.
    const COUNTED: usize = 192 << 10;
    let builder = Manager::builder().address(Address::tcp("127.0.0.1", 0)).authkey(KEY);
    let server = builder.max_unread(MOST * COUNTED).grace(Duration::from_secs(3600)).serve().unwrap();
    let near = Manager::connect(server.address(), KEY).unwrap();
    let queues: Vec<QueueProxy<Vec<u8>>> = (0..CLIENTS).map(|_| near.queue().unwrap()).collect();
    let name = |number: usize| format!("queue {number}");
    (0..).zip(&queues).for_each(|(number, queue)| near.publish(&name(number), queue).unwrap());
    let (tx, rx) = pipe().unwrap();
    let ask = |(address, tx): (Address, Sender<()>)| {
        let ask = |number| {
            let far = Manager::connect(&address, KEY).unwrap().reconnect(policy());
            let queue: QueueProxy<Vec<u8>> = far.find(&format!("queue {number}")).unwrap();
            let reply = queue.get_async().unwrap();
            assert!(queue.is_empty().unwrap());
            (far, reply)
        };
        let _asked: Vec<_> = (0..CLIENTS).map(ask).collect();
        tx.send(&()).unwrap();
        thread::sleep(Duration::from_secs(100));
    };
    let child = Process::spawn(ask, (server.address().clone(), tx)).unwrap();
    rx.recv().unwrap();
    child.kill().unwrap();
    assert!(child.join().is_err());
    for queue in &queues {
        queue.put(&vec![7; ITEM]).unwrap();
    }
    // Those that were parted with have nothing, and the items are there again.
    let out = || queues.iter().filter(|queue| queue.is_empty().unwrap()).count();
    soon("too much is kept", || out() <= MOST);
    assert!(out() >= MOST / 2, "{} are waited for", out());
}

pub(super) fn more_than_a_client_may_leave_unread_is_kept_for_one_that_was_away() {
    const LONG_ONES: u64 = 80;
    const SHORT_ONES: u64 = 300;
    let scene = scene_with(3 * LONG);
    let queue: QueueProxy<(u64, String)> = scene.near.queue().unwrap();
    scene.near.publish("queue", &queue).unwrap();
    let far: QueueProxy<(u64, String)> = scene.far.find("queue").unwrap();
    let gets: Vec<_> = (0..LONG_ONES + SHORT_ONES).map(|_| far.get_async().unwrap()).collect();
    // All of them wait there.
    assert!(far.is_empty().unwrap());
    scene.cable.tear();
    (0..LONG_ONES).for_each(|item| queue.put(&(item, "7".repeat(1 << 20))).unwrap());
    scene.cable.mend();
    // While it is given those, there are more.
    (LONG_ONES..LONG_ONES + SHORT_ONES).for_each(|item| {
        queue.put(&(item, String::new())).unwrap();
        thread::sleep(Duration::from_millis(1));
    });
    for (expected, get) in (0..).zip(gets) {
        let (item, value) = get.get().unwrap();
        assert_eq!((item, value.len()), (expected, if item < LONG_ONES { 1 << 20 } else { 0 }));
    }
}
