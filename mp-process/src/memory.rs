//! Children that the system kills for want of memory.

use crate::per_process::PerProcess;
use crate::sys::memory::kills;

/// How many kills are accounted for.
static KNOWN: PerProcess<Option<u64>> = PerProcess::new();

/// To be called before a child is started: what was counted before is not its death.
pub(crate) fn count_from_here() {
    KNOWN.with(|known| {
        if known.is_none() {
            *known = kills();
        }
    });
}

/// Whether the system has killed one more; each kill explains one death.
pub(crate) fn was_one_killed() -> bool {
    KNOWN.with(|known| match (known.as_mut(), kills()) {
        (Some(known), Some(now)) if now > *known => {
            *known += 1;
            true
        }
        _ => false,
    })
}
