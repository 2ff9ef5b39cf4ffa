//! A mark in the environment that every process of a suite inherits.
//!
//! An orphan is the child of another process, and so cannot be found by its parent. It keeps
//! the environment it was started with.
//!
//! # Safety
//!
//! Setting a variable is unsound while another thread reads the environment. It is done only
//! while the kernel counts one thread in this process.

#![allow(unsafe_code)]

use std::env;
use std::fs;
use std::process;

use super::proc;
use crate::chaos::Descendant;

const VARIABLE: &str = "MP_TESTKIT_TREE";

/// Marks the processes that this one will start. Marks that were inherited stay beside the new
/// one, so that a suite can find what the programs that it runs leave behind.
pub(crate) fn mark_this_tree() {
    if !has_one_thread() {
        return;
    }
    let inherited = env::var(VARIABLE).unwrap_or_default();
    let marks = format!("{inherited} {}", own_mark());
    // SAFETY: no other thread exists that could read the environment, as was just checked; none
    // can appear, since only this thread could start it.
    unsafe { env::set_var(VARIABLE, marks.trim_start()) };
}

/// Process `root`, all that descend from it, and all that wear the mark of this one.
pub(crate) fn family(root: u32) -> Vec<Descendant> {
    let everyone = proc::all();
    let mut family: Vec<_> = everyone.iter().filter(|process| process.pid == root).cloned().collect();
    family.extend(proc::below(root, &everyone));
    let mark = own_mark();
    let orphans: Vec<_> = everyone
        .into_iter()
        .filter(|process| !family.iter().any(|member| member.is_same(process)))
        .filter(|process| wears(&mark, process))
        .collect();
    family.extend(orphans);
    family
}

/// Every process that can be seen and is not in the family of `root`.
pub(crate) fn strangers(root: u32) -> Vec<Descendant> {
    let family = family(root);
    let mut everyone = proc::all();
    everyone.retain(|process| !family.iter().any(|member| member.is_same(process)));
    everyone
}

fn has_one_thread() -> bool {
    fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

fn own_mark() -> String {
    let me = process::id();
    let started = proc::read(me).map_or(0, |process| process.started);
    format!("{me}-{started}")
}

fn wears(mark: &str, process: &Descendant) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{}/environ", process.pid)) else {
        return false;
    };
    let mut entries = environment.split(|byte| *byte == 0).filter_map(|entry| str::from_utf8(entry).ok());
    let marks = entries.find_map(|entry| entry.strip_prefix(VARIABLE)?.strip_prefix('='));
    marks.is_some_and(|marks| marks.split(' ').any(|worn| worn == mark))
}
