//! A large array through the bare ring, by one copy, and the wake alone.
//!
//! # Safety
//! New memory is mapped, written and unmapped here, and nowhere else.

#![allow(unsafe_code)]

use std::cell::RefCell;
use std::hint::black_box;
use std::ptr;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

use super::ring::{Ring, Wait};
use crate::clock::{pin, time_prepared};
use crate::contest::{Answer, Failure, Job};
use crate::kernel::Fork;
use crate::payload::{FIRST, LAST, check, message, set_number};
use crate::rows::array::{array, sum};

pub(super) fn measure(name: &str, job: &Job) -> Result<Answer, Failure> {
    match name {
        "ring" => ring(job, job.number, Wait::Hybrid),
        "wake" => wake(job),
        "read" => {
            pin(job.mode.processors()[1])?;
            let items = array(job.number);
            time_prepared(
                job.budget,
                |_| Ok(()),
                || {
                    black_box(sum(black_box(&items)));
                    Ok(())
                },
            )
        }
        "memcpy" => {
            let (from, mut to) = (array(job.number), array(job.number));
            let copy = || {
                to.copy_from_slice(black_box(&from));
                black_box(&mut to);
                Ok(())
            };
            time_prepared(job.budget, |_| Ok(()), copy)
        }
        "memcpy-fresh" => {
            let from = array(job.number);
            time_prepared(job.budget, |_| Ok(()), || Ok(copy_to_large_pages(&from)?))
        }
        _ => Err(format!("no bound is called {name}").into()),
    }
}

fn copy_to_large_pages(from: &[f64]) -> rustix::io::Result<()> {
    let len = size_of_val(from);
    let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: a new mapping at an address that the kernel chooses, which is as long as
    // what is copied into it, and unmapped when nothing looks at it any more.
    unsafe {
        let to = mmap_anonymous(ptr::null_mut(), len, protection, flags)?;
        madvise(to, len, Advice::LinuxHugepage)?;
        ptr::copy_nonoverlapping(from.as_ptr(), to.cast(), from.len());
        munmap(black_box(to), len)
    }
}

/// A word goes there, and one comes back, between two processes of which one has filled an array before
/// that and the other one has slept meanwhile, and before it has read one: so it is with whoever sends it.
fn wake(job: &Job) -> Result<Answer, Failure> {
    let (there, back) = (Ring::new(Wait::Futex)?, Ring::new(Wait::Futex)?);
    let [own, other] = job.mode.processors();
    let items = array(job.number);
    let mut filled = items.clone();
    let peer = Fork::run(|| {
        pin(other).expect("a processor");
        let mut received = message(8);
        loop {
            back.write(&[1]);
            there.read(&mut received);
            back.write(&[1]);
            if check(&received) == LAST {
                return;
            }
            black_box(sum(black_box(&items)));
        }
    })?;
    pin(own)?;
    let bytes = RefCell::new(message(8));
    let prepare = |turn| {
        back.read(&mut [0]);
        filled.copy_from_slice(black_box(&items));
        set_number(&mut bytes.borrow_mut(), FIRST + turn);
        Ok(())
    };
    let send = || {
        there.write(&bytes.borrow());
        back.read(&mut [0]);
        Ok(())
    };
    let answer = time_prepared(job.budget, prepare, send)?;
    set_number(&mut bytes.borrow_mut(), LAST);
    there.write(&bytes.borrow());
    peer.join()?;
    Ok(answer)
}

/// `len` bytes go there, and one comes back; another one before, when there is no more to be checked.
fn ring(job: &Job, len: usize, wait: Wait) -> Result<Answer, Failure> {
    let (there, back) = (Ring::new(wait)?, Ring::new(wait)?);
    let [own, other] = job.mode.processors();
    let mut received = message(len);
    let peer = Fork::run(|| {
        pin(other).expect("a processor");
        loop {
            back.write(&[1]);
            there.read(&mut received);
            back.write(&[1]);
            if check(&received) == LAST {
                return;
            }
        }
    })?;
    pin(own)?;
    let bytes = RefCell::new(message(len));
    let prepare = |turn| {
        back.read(&mut [0]);
        set_number(&mut bytes.borrow_mut(), FIRST + turn);
        Ok(())
    };
    let send = || {
        there.write(&bytes.borrow());
        back.read(&mut [0]);
        Ok(())
    };
    let answer = time_prepared(job.budget, prepare, send)?;
    set_number(&mut bytes.borrow_mut(), LAST);
    there.write(&bytes.borrow());
    peer.join()?;
    Ok(answer)
}
