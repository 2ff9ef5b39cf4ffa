//! Processes, as `/proc` lists them.

use std::fs;

use crate::chaos::Descendant;

/// The fields of `/proc/PID/stat` that follow the name, counted from the state.
const STATE: usize = 0;
const PARENT: usize = 1;
const STARTED: usize = 19;

/// Every process that can be seen.
pub(crate) fn all() -> Vec<Descendant> {
    pids().filter_map(read).collect()
}

/// One process, or `None` when it is gone.
pub(crate) fn read(pid: u32) -> Option<Descendant> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Those of `everyone` that descend from `pid`, parents before their children.
pub(crate) fn below(pid: u32, everyone: &[Descendant]) -> Vec<Descendant> {
    let mut found: Vec<Descendant> = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for child in everyone.iter().filter(|process| process.parent == parent) {
            parents.push(child.pid);
            found.push(child.clone());
        }
    }
    found
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The name stands in parentheses and may hold any character, parentheses included.
fn parse(pid: u32, stat: &str) -> Option<Descendant> {
    let (before, after) = stat.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    Some(Descendant {
        pid,
        parent: fields.get(PARENT)?.parse().ok()?,
        name: name.to_owned(),
        state: fields.get(STATE)?.chars().next()?,
        started: fields.get(STARTED)?.parse().ok()?,
    })
}
