//! Limits of stack and memory, and what is left of a crash.

use std::fs;
use std::path::PathBuf;
use std::{env, process};

use mp_process::{OutOfMemory, Process, Resource, StartMethod};
use mp_testkit::chaos::{self, descendants};

use super::spawn;

pub(super) fn with_unlimited_stack(method: StartMethod) {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a valid structure.
    #[allow(unsafe_code)]
    let raised = unsafe { libc::setrlimit(libc::RLIMIT_STACK, &limit) } == 0;
    let child = spawn(method, |()| {
        // SAFETY: a wild write, which the kernel answers with a signal.
        #[allow(unsafe_code)]
        unsafe {
            (8 as *mut u8).write_volatile(1);
        }
    });
    let error = child.join().unwrap_err();
    assert!(!raised || !error.is_stack_overflow(), "{error}");
    assert_eq!(error.signal(), Some(11), "{error}");
}

/// Lives in a control group with little memory, where it may make one.
pub(super) fn with_little_memory(method: StartMethod) {
    let Some(group) = group_with_memory(96 << 20) else {
        println!("skipped: no control group can be made here");
        return;
    };
    let eat = |()| vec![1u8; 1 << 30].iter().map(|byte| u64::from(*byte)).sum::<u64>();
    let error = spawn(method, eat).join().unwrap_err();
    assert_eq!(error.signal(), Some(9), "{error}");
    assert_eq!(error.status().unwrap().out_of_memory(), Some(OutOfMemory::Killed), "{error}");
    assert!(error.to_string().contains("no memory left"), "{error}");
    // A death of another kind is not taken for one of these.
    let child = spawn(method, |()| chaos::kill(process::id()).unwrap());
    assert!(!child.join().unwrap_err().is_out_of_memory());
    // The group goes when this process has left it.
    let _ = fs::write(group.parent().unwrap().join("cgroup.procs"), process::id().to_string());
    for child in descendants(process::id()) {
        let _ = fs::write(group.parent().unwrap().join("cgroup.procs"), child.pid.to_string());
    }
    fs::remove_dir(&group).unwrap();
}

/// A new control group, which this process has entered.
fn group_with_memory(bytes: u64) -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let (root, own, limit) = groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        match (fields.next()?, fields.next()?) {
            ("memory", path) => Some(("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes")),
            ("", path) if PathBuf::from(format!("/sys/fs/cgroup{path}/memory.max")).exists() => {
                Some(("/sys/fs/cgroup", path, "memory.max"))
            }
            _ => None,
        }
    })?;
    let group = PathBuf::from(format!("{root}{own}/mp-process-{}", process::id()));
    fs::create_dir(&group).ok()?;
    let entered = fs::write(group.join(limit), bytes.to_string())
        .and_then(|()| fs::write(group.join("cgroup.procs"), process::id().to_string()));
    let _ = fs::write(group.join("memory.swappiness"), "0");
    let _ = fs::write(group.join("memory.swap.max"), "0");
    entered.map_err(|_| fs::remove_dir(&group)).ok().map(|()| group)
}

pub(super) fn with_a_core_file(method: StartMethod) {
    let folder = env::temp_dir().join(format!("core-{}", process::id()));
    fs::create_dir(&folder).unwrap();
    let child = |most: u64| {
        let builder = Process::builder().start_method(method).current_dir(&folder);
        let child = builder.limit(Resource::CoreSize, most).spawn(|()| process::abort(), ()).unwrap();
        Process::<()>::join(child).unwrap_err().status().unwrap()
    };
    let (none, some) = (child(0), child(u64::MAX));
    let has_dumped = fs::read_dir(&folder).unwrap().next().is_some();
    fs::remove_dir_all(&folder).unwrap();
    assert!(!none.core_dumped(), "{none}");
    // Where it goes is the system's to say.
    assert!(some.core_dumped() || !has_dumped, "{some}");
    assert_eq!(some.core_dumped(), some.to_string().contains("dumped core"), "{some}");
}
