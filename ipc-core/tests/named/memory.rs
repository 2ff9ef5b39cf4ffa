//! Memory with a name.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ipc_core::SharedMemory;
use mp_process::Process;

use crate::{Outcome, exists};

pub(crate) fn two_see_the_same() -> Outcome {
    let made = SharedMemory::create_auto(5000)?;
    let name = made.name().ok_or("no name")?.to_owned();
    assert_eq!(made.size(), 5000, "exactly, and not whole pages");
    let sum = Process::spawn(
        |name: String| {
            let opened = SharedMemory::open(&name).unwrap();
            assert_eq!(opened.size(), 5000);
            let mut bytes = [0; 3];
            opened.read(4997, &mut bytes);
            opened.write(0, b"back");
            u32::from(bytes[0]) + u32::from(bytes[2])
        },
        {
            made.write(4997, &[1, 2, 3]);
            name.clone()
        },
    )?;
    assert_eq!(sum.join()?, 4);
    let mut bytes = [0; 4];
    made.read(0, &mut bytes);
    assert_eq!(&bytes, b"back");
    Ok(())
}

pub(crate) fn names_are_checked() -> Outcome {
    for name in ["", ".", "..", "a/b", "a\0b", &"x".repeat(255)] {
        let error = SharedMemory::create(name, 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}: {error}");
        assert_eq!(SharedMemory::open(name).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(SharedMemory::create_auto(0).unwrap_err().kind(), ErrorKind::InvalidInput);
    let error = SharedMemory::open("ipc-core-nothing").unwrap_err();
    assert!(
        error.kind() == ErrorKind::NotFound && error.to_string().contains("`ipc-core-nothing`"),
        "{error}"
    );
    let made = SharedMemory::create_auto(1)?;
    let taken = SharedMemory::create(made.name().ok_or("no name")?, 1);
    let error = taken.unwrap_err();
    assert!(
        error.kind() == ErrorKind::AlreadyExists && error.to_string().contains("another name"),
        "{error}"
    );
    assert_eq!(SharedMemory::anonymous(1)?.name(), None);
    Ok(())
}

pub(crate) fn only_the_maker_removes_the_name() -> Outcome {
    let made = SharedMemory::create_auto(10)?;
    let name = made.name().ok_or("no name")?.to_owned();
    let opened = SharedMemory::open(&name)?;
    assert!(made.removes_name() && !opened.removes_name());
    drop(opened);
    assert!(exists(&name));
    let child = Process::spawn(|name: String| SharedMemory::open(&name).map(drop).is_ok(), name.clone())?;
    assert!(child.join()?);
    assert!(exists(&name), "a process that opened it has ended");
    drop(made);
    assert!(!exists(&name));
    Ok(())
}

pub(crate) fn a_name_given_to_other_memory_stays() -> Outcome {
    let first = SharedMemory::create_auto(10)?;
    let name = first.name().ok_or("no name")?.to_owned();
    first.unlink()?;
    first.unlink()?;
    assert!(!exists(&name));
    let second = SharedMemory::create(&name, 20)?;
    first.unlink()?;
    drop(first);
    assert!(exists(&name));
    drop(second);
    assert!(!exists(&name));
    Ok(())
}

pub(crate) fn a_name_can_be_left() -> Outcome {
    let mut made = SharedMemory::create_auto(10)?;
    let name = made.name().ok_or("no name")?.to_owned();
    made.leave_name();
    drop(made);
    let opened = SharedMemory::open(&name)?;
    opened.unlink()?;
    assert!(!exists(&name));
    Ok(())
}

/// At once, and not when a page of it is touched.
pub(crate) fn more_than_there_is_is_an_error() -> Outcome {
    let name = format!("ipc-core-huge-{}", std::process::id());
    let error = SharedMemory::create(&name, 1 << 45).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::OutOfMemory), "{error:?}");
    assert!(!exists(&name));
    Ok(())
}

pub(crate) fn it_travels_and_outlives_its_name() -> Outcome {
    let made = SharedMemory::create_auto(100)?;
    let name = made.name().ok_or("no name")?.to_owned();
    made.write(50, b"luggage");
    let (tx, rx) = ipc_core::pipe::<SharedMemory>()?;
    tx.send(&made)?;
    drop(made);
    let received = rx.recv()?;
    assert_eq!((received.name(), received.size()), (Some(name.as_str()), 100));
    assert!(!received.removes_name());
    let mut bytes = [0; 7];
    received.read(50, &mut bytes);
    assert_eq!(&bytes, b"luggage");
    Ok(())
}

pub(crate) fn bounds_are_kept() -> Outcome {
    for memory in [SharedMemory::create_auto(10)?, SharedMemory::anonymous(10)?] {
        memory.write(10, &[]);
        for (offset, len) in [(10, 1), (0, 11), (usize::MAX, 2)] {
            let write = AssertUnwindSafe(|| memory.write(offset, &vec![0; len]));
            assert!(quietly(write).is_err());
            let read = AssertUnwindSafe(|| memory.read(offset, &mut vec![0; len]));
            assert!(quietly(read).is_err());
        }
    }
    Ok(())
}

fn quietly(run: impl FnOnce() + std::panic::UnwindSafe) -> std::thread::Result<()> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = catch_unwind(run);
    std::panic::set_hook(hook);
    result
}
