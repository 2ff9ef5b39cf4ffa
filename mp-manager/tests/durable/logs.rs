//! The log in its file: foreign, cut off, written anew.

use std::fs;
use std::thread;

use mp_manager::{DictProxy, JoinableQueueProxy, ListProxy, Manager, SemaphoreProxy};
use mp_testkit::chaos::Rng;

use super::{Folder, TallyProxy, keep, log, soon, text};

pub(crate) fn a_folder_of_something_else_is_an_error() {
    for bytes in [b"something else altogether".as_slice(), b"", b"mp-manager state\x02\0\0\0"] {
        let folder = Folder::new();
        fs::create_dir(&folder.0).unwrap();
        fs::write(folder.0.join("log"), bytes).unwrap();
        let error = folder.builder().start().unwrap_err();
        assert!(error.is_state() && !error.is_state_locked(), "{error}");
        assert_eq!(fs::read(folder.0.join("log")).unwrap(), bytes);
    }
}

pub(crate) fn a_log_that_was_cut_off_anywhere_comes_back_as_far_as_it_goes() {
    let folder = Folder::new();
    let manager = folder.start();
    let list: ListProxy<u64> = keep(&manager, "list", manager.list().unwrap());
    let before = log(&folder).len();
    (0..20).for_each(|x| list.push(&x).unwrap());
    drop(manager);
    let whole = log(&folder);
    let mut rng = Rng::announced("a_log_that_was_cut_off");
    let mut last = u64::MAX;
    for _ in 0..12 {
        let end = before + rng.below(whole.len() - before + 1);
        let garbage = vec![rng.next_u64() as u8; rng.below(30)];
        fs::write(folder.0.join("log"), [&whole[..end], &garbage].concat()).unwrap();
        let manager = folder.start();
        let list: ListProxy<u64> = manager.find("list").unwrap();
        let values = list.to_vec().unwrap();
        let most = (end - before) as u64 * 20 / (whole.len() - before) as u64;
        assert_eq!(values, (0..most).collect::<Vec<_>>());
        // And it goes on from there.
        list.push(&77).unwrap();
        let manager = folder.again(manager);
        assert_eq!(manager.find::<ListProxy<u64>>("list").unwrap().len().unwrap() as u64, most + 1);
        last = last.min(most);
    }
    assert!(last < 20, "nothing was cut off");
}

pub(crate) fn a_log_is_written_anew_while_it_grows() {
    let folder = Folder::new();
    let manager = folder.start();
    let others: Vec<_> = (0..3u64)
        .map(|number| {
            let manager = manager.clone();
            thread::spawn(move || {
                let list: ListProxy<u64> =
                    manager.durable(&format!("list{number}"), |manager| manager.list()).unwrap();
                (0..2000).for_each(|x| list.push(&x).unwrap());
                let dropped: ListProxy<u64> = manager.list().unwrap();
                manager.make_durable(&dropped).unwrap();
            })
        })
        .collect();
    much(&manager, 500);
    others.into_iter().for_each(|other| other.join().unwrap());
    soon("the log stays long", || manager.state_size().unwrap().unwrap().0 < 12_000_000);
    assert_eq!(manager.state_size().unwrap().unwrap().1, 5);
    let manager = folder.again(manager);
    let dict: DictProxy<u64, String> = manager.find("dict").unwrap();
    assert_eq!(dict.len().unwrap(), 10);
    (0..10).for_each(|key| assert!(dict.get(&key).unwrap().unwrap().ends_with(&(490 + key).to_string())));
    assert_eq!(manager.find::<TallyProxy>("tally").unwrap().get(text("rounds")).unwrap(), 500);
    for number in 0..3 {
        let list: ListProxy<u64> = manager.find(&format!("list{number}")).unwrap();
        assert_eq!(list.to_vec().unwrap(), (0..2000).collect::<Vec<_>>());
    }
    assert_eq!(manager.object_count().unwrap(), 5);
}

pub(crate) fn a_log_that_is_written_anew_is_whole_at_each_moment() {
    let folder = Folder::new();
    let mut rng = Rng::announced("a_log_that_is_written_anew");
    let mut manager = folder.start();
    let mut done = 0;
    for _ in 0..8 {
        let (dict, tally) = much(&manager, 0);
        // Long enough that one is under way, or just done.
        let rounds = 60 + rng.below(40) as u64;
        for round in 0..rounds {
            dict.insert(&(round % 10), &format!("{:060000}", done + round)).unwrap();
            tally.add(text("rounds"), 1).unwrap();
        }
        done += rounds;
        manager = folder.again(manager);
        let (dict, tally) = much(&manager, 0);
        assert_eq!(tally.get(text("rounds")).unwrap(), done);
        let last = dict.get(&((rounds - 1) % 10)).unwrap().unwrap();
        assert_eq!(last.parse::<u64>().unwrap(), done - 1);
    }
}

pub(crate) fn a_log_that_is_written_anew_has_all_that_it_refers_to() {
    const LIVE: usize = 200;
    let folder = Folder::new();
    let mut manager = folder.start();
    manager.durable("queue", |manager| manager.list::<ListProxy<String>>()).unwrap();
    let mut last = 0;
    for _ in 0..3 {
        let outer: ListProxy<ListProxy<String>> = manager.find("queue").unwrap();
        for _ in 0..500 {
            // Of those in the list the first goes, and with it its object, while a log is written anew.
            let inner = manager.list().unwrap();
            manager.make_durable(&inner).unwrap();
            inner.push(&format!("{last:020000}")).unwrap();
            outer.push(&inner).unwrap();
            last += 1;
            if last > LIVE {
                drop(outer.remove_at(0).unwrap());
            }
        }
        drop(outer);
        manager = folder.again(manager);
        let outer: ListProxy<ListProxy<String>> = manager.find("queue").unwrap();
        let kept = outer.to_vec().unwrap();
        let kept: Vec<usize> =
            kept.iter().map(|inner| inner.get(0).unwrap().parse::<usize>().unwrap()).collect();
        assert_eq!(kept, (last - LIVE..last).collect::<Vec<_>>());
    }
}

/// Where the frames of a log begin, what each tells, and of which object.
fn frames(log: &[u8]) -> Vec<(usize, u8, u64)> {
    let (mut at, mut frames) = (20, Vec::new());
    while let Some(len) = log[at..].first_chunk() {
        frames.push((at, log[at + 8], u64::from_le_bytes(*log[at + 9..].first_chunk().unwrap())));
        at += 8 + u32::from_le_bytes(*len) as usize;
    }
    frames
}

const MADE: u8 = 1;
const CHANGED: u8 = 2;

/// Starts with a log that cannot be done again from `at` on: that is said, and nothing is changed.
fn is_refused_at(folder: &Folder, bytes: &[u8], at: usize, why: &str) {
    fs::write(folder.0.join("log"), bytes).unwrap();
    let error = folder.builder().start().unwrap_err();
    let text = error.to_string();
    assert!(error.is_state(), "{error}");
    let file = folder.0.join("log").display().to_string();
    assert!(text.contains(&file) && text.contains(&format!("byte {at}")) && text.contains(why), "{error}");
    assert_eq!(log(folder), bytes);
    // What it says is to be done.
    fs::write(folder.0.join("log"), &bytes[..at]).unwrap();
    folder.start();
}

pub(crate) fn what_cannot_be_done_again_is_an_error_of_the_start() {
    let folder = Folder::new();
    let manager = folder.start();
    let outer: ListProxy<ListProxy<u64>> = keep(&manager, "outer", manager.list().unwrap());
    let inner: ListProxy<u64> = manager.list().unwrap();
    manager.make_durable(&inner).unwrap();
    outer.push(&inner).unwrap();
    inner.push(&1).unwrap();
    drop((outer, inner, manager));
    let whole = log(&folder);
    let all = frames(&whole);
    // An object that is not there is put into another one, and is changed.
    let made = all.iter().rposition(|(_, tells, _)| *tells == MADE).unwrap();
    let (from, to) = (all[made].0, all[made + 1].0);
    let without = [&whole[..from], &whole[to..]].concat();
    is_refused_at(&folder, &without, from, "no such object");
    let last = all.last().unwrap().0;
    let without = [&whole[..from], &whole[last..]].concat();
    is_refused_at(&folder, &without, from, "nothing stands before it");
    // A change of which the kind is not known, and whose checksum holds.
    let (at, tells, _) = *all.last().unwrap();
    assert_eq!(tells, CHANGED);
    let mut other = whole.clone();
    other[at + 8 + 11] = 99;
    let sum = crc32fast::hash(&other[at + 8..]).to_le_bytes();
    other[at + 4..at + 8].copy_from_slice(&sum);
    is_refused_at(&folder, &other, at, "change of the `list`");
    // The same of a whole frame.
    let mut other = whole.clone();
    other[at + 8] = 99;
    let sum = crc32fast::hash(&other[at + 8..]).to_le_bytes();
    other[at + 4..at + 8].copy_from_slice(&sum);
    is_refused_at(&folder, &other, at, "this version");
}

pub(crate) fn damage_in_the_middle_is_an_error_and_a_cut_at_the_end_is_not() {
    let folder = Folder::new();
    let manager = folder.start();
    let list: ListProxy<u64> = keep(&manager, "list", manager.list().unwrap());
    (0..20).for_each(|x| list.push(&x).unwrap());
    drop((list, manager));
    let whole = log(&folder);
    let all = frames(&whole);
    let mut rng = Rng::announced("damage_in_the_middle");
    // Every part of a frame: its length, its checksum, its body.
    for part in [0, 3, 4, 7, 8, 9, 18, 19] {
        let frame = all.len() / 3 + rng.below(all.len() / 2);
        let mut flipped = whole.clone();
        flipped[all[frame].0 + part] ^= 1 << rng.below(8);
        is_refused_at(&folder, &flipped, all[frame].0, "checksum");
        // A torn end beside it hides nothing.
        is_refused_at(&folder, &flipped[..flipped.len() - 1], all[frame].0, "checksum");
        let mut flipped = whole.clone();
        let last = all.last().unwrap().0;
        flipped[last + part] ^= 1 << rng.below(8);
        fs::write(folder.0.join("log"), &flipped).unwrap();
        let manager = folder.start();
        let list: ListProxy<u64> = manager.find("list").unwrap();
        assert_eq!(list.to_vec().unwrap(), (0..19).collect::<Vec<_>>(), "{part}");
        assert_eq!(fs::read(folder.0.join("log.cut")).unwrap(), flipped[last..]);
    }
}

pub(crate) fn what_failed_is_in_no_log() {
    let folder = Folder::new();
    let manager = folder.start();
    let list: ListProxy<Vec<u8>> = keep(&manager, "list", manager.list_from(&[vec![1; 1000]]).unwrap());
    let semaphore: SemaphoreProxy = keep(&manager, "semaphore", manager.bounded_semaphore(1).unwrap());
    let queue: JoinableQueueProxy<u8> = keep(&manager, "queue", manager.joinable_queue().unwrap());
    let before = log(&folder);
    assert!(list.set(1, &Vec::new()).unwrap_err().is_out_of_range());
    assert!(list.update(7, |_: &mut Vec<u8>, (): ()| (), ()).unwrap_err().is_out_of_range());
    assert!(list.repeat(1 << 40).unwrap_err().is_refused());
    assert!(semaphore.release(1).unwrap_err().is_refused());
    assert!(queue.task_done().unwrap_err().is_refused());
    assert_eq!(log(&folder), before);
    let manager = folder.again(manager);
    assert_eq!(manager.find::<ListProxy<Vec<u8>>>("list").unwrap().to_vec().unwrap(), [vec![1; 1000]]);
}

/// Changes that make a log long: how often each was done.
fn much(manager: &Manager, rounds: u64) -> (DictProxy<u64, String>, TallyProxy) {
    let dict: DictProxy<u64, String> = manager.durable("dict", |manager| manager.dict()).unwrap();
    let tally: TallyProxy = manager.durable("tally", TallyProxy::create).unwrap();
    for round in 0..rounds {
        dict.insert(&(round % 10), &format!("{round:060000}")).unwrap();
        tally.add(text("rounds"), 1).unwrap();
    }
    (dict, tally)
}
