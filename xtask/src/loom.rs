//! `cargo xtask loom`: the bare protocols under the model checker, and mutants of them, which
//! must fail.
//!
//! The mutants stand beside the models, as tests that must panic: a protocol with a weaker
//! ordering, or without a wake-up.

use crate::Failure;
use crate::shell::{command, show};
use crate::workspace::Workspace;

/// What has models: the crate, and how cargo finds them in it.
const MODELS: [&str; 3] = [
    "-p mp-sync --lib models",
    "-p ipc-core --test loom_ring --test loom_turn",
    "-p mp-pool --test loom_claims --test loom_inbox",
];

/// Builds with a cfg of our own, because `loom` means other things to other crates, and in
/// a folder of its own, because all dependencies are built anew for it.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    for models in MODELS {
        let line = format!("cargo test --profile models --quiet --target-dir target/loom {models}");
        show(command(&workspace.root, &line).env("RUSTFLAGS", "--cfg under_loom"))?;
    }
    Ok(())
}
