//! A process that removes the names of one that was killed.
//!
//! It is started with the first name that a process makes, a socket file's or that of
//! shared memory, and ends when that process has none left. It holds nothing but the
//! end of a pipe, is nobody's child, and no signal to the tree reaches it: when its owner
//! has ended, it removes what is left, and ends.

use std::env;
use std::time::Duration;

use ipc_core::Handle;
use ipc_core::raw::{NameKeeper, OwnedName, keep_names_by};

use crate::builder::Builder;
use crate::per_process::PerProcess;
use crate::settings::Stdio;
use crate::sys::janitor::{self, Notes};

/// Has janitors started from now on.
pub(crate) fn employ() {
    keep_names_by(&Employer);
}

/// How long a janitor may take to begin, before its owner goes on without.
const PATIENCE: Duration = Duration::from_secs(10);

/// This process's janitor, if it has names.
#[derive(Debug, Default)]
struct Staff {
    notes: Option<Notes>,
    names: Vec<OwnedName>,
}

static STAFF: PerProcess<Staff> = PerProcess::new();

struct Employer;

impl NameKeeper for Employer {
    fn made(&self, name: &OwnedName) {
        STAFF.with(|staff| {
            staff.names.push(name.clone());
            if staff.notes.is_none() {
                staff.notes = start();
            }
            // A janitor that was killed itself is replaced with the next name.
            let is_noted = staff.notes.as_mut().is_some_and(|notes| notes.made(name).is_ok());
            if !is_noted {
                staff.notes = None;
            }
        });
    }

    fn gone(&self, name: &OwnedName) {
        STAFF.with(|staff| {
            let Some(place) = staff.names.iter().position(|known| known == name) else { return };
            staff.names.swap_remove(place);
            let Some(mut notes) = staff.notes.take() else { return };
            match notes.gone(name) {
                Ok(()) if !staff.names.is_empty() => staff.notes = Some(notes),
                _ => notes.farewell(),
            }
        });
    }
}

/// A janitor that has begun; none is a kindness less, and no error of who makes a name.
fn start() -> Option<Notes> {
    let (notes, theirs) = Notes::open().ok()?;
    // It needs no environment, but for what finds the program's libraries.
    let variables = env::vars_os().map(|(key, _)| key);
    let unneeded = variables.filter(|key| !key.to_string_lossy().starts_with("LD_"));
    let builder = Builder::new().name("mp-janitor").current_dir("/");
    let builder = builder.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let builder = unneeded.fold(builder, |builder, key| builder.env_remove(key));
    let begin: fn((Handle, u32)) -> bool = janitor::begin;
    let child = builder.kill_on_drop(true).spawn(begin, (theirs, std::process::id())).ok()?;
    // The one started makes another one, which nobody waits for, and ends.
    child.join_timeout(PATIENCE).ok()?.then_some(notes)
}
