//! An item beyond what 32 bits can count.

mod common;

use common::fork;
use mp_sync::{PutError, Queue};

const LEN: usize = (4 << 30) + 4097;

#[test]
#[ignore = "takes 13 GiB of memory: `cargo test --release -p mp-sync --test large -- --ignored`"]
fn an_item_of_more_than_four_gigabytes_goes_through_a_queue() {
    let queue = Queue::builder().memory(9 << 30).build::<Vec<u8>>().unwrap();
    let places = || (0..LEN).step_by(1 << 20);
    let consumer = fork(|| {
        let item = queue.get().unwrap();
        assert!(item.len() == LEN && item[LEN - 1] == 1);
        assert!(places().all(|place| item[place] == (place >> 20) as u8));
        assert_eq!(queue.get().unwrap(), [7], "what comes behind it");
    });
    // Pages that nobody writes take no memory here.
    let mut item = vec![0; LEN];
    item[LEN - 1] = 1;
    places().for_each(|place| item[place] = (place >> 20) as u8);
    queue.put(item).unwrap();
    queue.put(vec![7]).unwrap();
    assert!(consumer.join());
    assert!(queue.is_empty());
    println!("{LEN} bytes came");
}

#[test]
fn an_item_that_is_too_large_for_its_queue_says_how_large_it_may_be() {
    let queue = Queue::builder().memory(1 << 20).build::<Vec<u8>>().unwrap();
    let error = queue.put(vec![0; 600_000]).unwrap_err();
    let PutError::TooLarge { len, largest, .. } = &error else { panic!("{error}") };
    assert_eq!(*largest, (1 << 19) - 16);
    assert!(error.to_string().contains(&len.to_string()), "{error}");
    let mut fits = error.into_item();
    fits.truncate((1 << 19) - 64);
    queue.put(fits).unwrap();
}
