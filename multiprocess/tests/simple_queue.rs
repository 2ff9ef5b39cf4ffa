//! `SimpleQueue`: put, get, empty, close.

mod common;

use common::{spawn, suite};
use multiprocess::{Event, SimpleQueue, StartMethod};

suite! {
    started: [items_go_from_process_to_process],
    plain: [a_simple_queue_is_closed_more_than_once],
}

fn items_go_from_process_to_process(method: StartMethod) {
    let (queue, may_put) = (SimpleQueue::new().unwrap(), Event::new().unwrap());
    let put = |(queue, may_put): (SimpleQueue<Option<bool>>, Event)| {
        may_put.wait();
        assert!(queue.empty());
        for item in [Some(true), Some(false), None] {
            queue.put(item).unwrap();
        }
    };
    let child = spawn(method, put, (queue.clone(), may_put.clone())).unwrap();
    assert!(queue.empty());
    may_put.set();
    child.join().unwrap();
    assert!(!queue.empty());
    assert_eq!([(); 3].map(|()| queue.get().unwrap()), [Some(true), Some(false), None]);
    assert!(queue.empty());
}

fn a_simple_queue_is_closed_more_than_once() {
    let queue = SimpleQueue::new().unwrap();
    queue.put(1).unwrap();
    queue.close();
    queue.close();
    assert!(queue.put(2).unwrap_err().is_closed());
    assert!(!queue.empty());
    assert_eq!(queue.get().unwrap(), 1);
    assert!(queue.empty());
    assert!(queue.get().unwrap_err().is_closed());
}
