//! A user's crate outside of the workspace, built in ways that change what a function is,
//! or how a program ends, and run: under the usual test harness, in a process for each
//! test, small and without symbols, without unwinding, and static as well.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Done;
use crate::Failure;
use crate::shell::{command, output, show};
use crate::workspace::Workspace;

/// The crate.
const FIXTURE: &str = "multiprocess/tests/builds";
/// The name of its program.
const PROGRAM: &str = "builds";
/// A platform without shared libraries.
const STATIC: &str = "x86_64-unknown-linux-musl";

/// Builds and runs it in each way that is possible here.
pub(crate) fn run(workspace: &Workspace) -> Result<Done, Failure> {
    let fixture = Fixture::prepare(workspace)?;
    show(&mut command(&fixture.folder, "cargo fmt --check"))?;
    println!("     cargo test");
    show(&mut fixture.cargo("test --quiet", &workspace.target()))?;
    match output(&mut command(&workspace.root, "cargo nextest --version")) {
        Ok(_) => {
            println!("     cargo nextest");
            show(&mut fixture.cargo("nextest run --status-level fail", &workspace.target()))?;
        }
        Err(failure) => println!("     skipped: cargo nextest ({failure})"),
    }
    println!("     fat LTO, opt-level 3, stripped");
    fixture.run("smallest", None)?;
    println!("     panic=abort");
    fixture.run("abort", None)?;
    match output(&mut command(&workspace.root, &format!("rustup target add {STATIC}"))) {
        Ok(_) => {
            println!("     static, panic=abort");
            fixture.run("abort", Some(STATIC))?;
        }
        Err(failure) => println!("     skipped: static ({failure})"),
    }
    Ok(Done::Passed)
}

struct Fixture {
    folder: PathBuf,
    /// What the workspace does not build for itself goes here.
    target: PathBuf,
}

impl Fixture {
    /// With the versions of dependencies that the workspace has.
    fn prepare(workspace: &Workspace) -> Result<Self, Failure> {
        let folder = workspace.root.join(FIXTURE);
        fs::copy(workspace.root.join("Cargo.lock"), folder.join("Cargo.lock"))?;
        Ok(Self { folder, target: workspace.target().join("builds") })
    }

    fn cargo(&self, line: &str, target: &Path) -> Command {
        let mut command = command(&self.folder, &format!("cargo {line}"));
        command.env("CARGO_TARGET_DIR", target);
        command
    }

    /// Builds the program with a profile of the crate's, and has it check itself.
    fn run(&self, profile: &str, platform: Option<&str>) -> Result<(), Failure> {
        let target = platform.map(|platform| format!(" --target {platform}")).unwrap_or_default();
        let build = format!("build --quiet --bin {PROGRAM} --profile {profile}{target}");
        show(&mut self.cargo(&build, &self.target))?;
        let folder = self.target.join(platform.unwrap_or_default()).join(profile);
        show(&mut Command::new(folder.join(PROGRAM)))
    }
}
