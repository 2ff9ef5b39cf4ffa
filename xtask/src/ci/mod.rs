//! `cargo xtask ci`: all that a change must pass, in order, ending at the first failure.

pub(crate) mod builds;
mod suites;

use std::fmt;
use std::time::Instant;

use crate::Failure;
use crate::loom;
use crate::parity;
use crate::shell::{command, output, show};
use crate::tidy;
use crate::workspace::Workspace;

use suites::Totals;

/// The platforms that are type-checked: one without an implementation, so that nothing above `sys/` grows a
/// descriptor, and one whose processor and C library differ in what `sys/` touches.
const OTHER_PLATFORMS: [(&str, &str); 2] =
    [("windows type-check", "x86_64-pc-windows-gnu"), ("aarch64 type-check", "aarch64-unknown-linux-gnu")];

/// Shipped for tests, which know the platform that they run on.
const LINUX_ONLY: [&str; 1] = ["mp-testkit"];

/// A step that ran, or that could not run here.
pub(crate) enum Done {
    Passed,
    Skipped(String),
}

/// Runs the steps. The totals of the tests are the last line, alone on it.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    let start = Instant::now();
    let mut totals = Totals::default();
    let result = steps(workspace, &mut totals);
    println!("\nci took {:.0} s", start.elapsed().as_secs_f64());
    if totals != Totals::default() {
        println!("{totals}");
    }
    result
}

fn steps(workspace: &Workspace, totals: &mut Totals) -> Result<(), Failure> {
    step("tidy", "ARCHITECTURE.md", || passed(tidy::run(workspace)))?;
    step("fmt", "rustfmt.toml", || passed(show(&mut command(&workspace.root, "cargo fmt --all --check"))))?;
    step("clippy", "Cargo.toml, [workspace.lints]; no warnings", || {
        let line = "cargo clippy --workspace --all-targets -- -D warnings";
        passed(show(&mut command(&workspace.root, line)))
    })?;
    step("docs", "rustdoc without warnings", || {
        let mut doc = command(&workspace.root, "cargo doc --no-deps");
        passed(show(doc.env("RUSTDOCFLAGS", "-D warnings")))
    })?;
    step("parity", "docs/parity.md: what it names is there", || passed(parity::run(workspace)))?;
    step("each crate alone", "ARCHITECTURE.md: each crate builds alone", || alone(workspace))?;
    step("packages", "each shipped crate can be packed", || packages(workspace))?;
    step("tests", "cargo test --workspace", || passed(suites::all(workspace, totals)))?;
    step("tests on one core", "no test may need two processors", || suites::on_one_core(workspace, totals))?;
    step("other builds", "multiprocess/tests/builds: the facade in a user's crate", || {
        builds::run(workspace)
    })?;
    step("models", "xtask/src/loom.rs: mutants must fail", || passed(loom::run(workspace)))?;
    for (name, platform) in OTHER_PLATFORMS {
        step(name, "ARCHITECTURE.md: only sys/ knows the platform", || other_platform(workspace, platform))?;
    }
    step("oldest compiler", "Cargo.toml, rust-version", || oldest_compiler(workspace))
}

/// Runs one step between a header and its duration. A failure names the step and its rule.
fn step(name: &str, rule: &str, run: impl FnOnce() -> Result<Done, Failure>) -> Result<(), Failure> {
    println!("\n==> {name}");
    let start = Instant::now();
    let result = run();
    let took = start.elapsed().as_secs_f64();
    match &result {
        Ok(Done::Passed) => println!("    {name}: {took:.1} s"),
        Ok(Done::Skipped(reason)) => println!("    skipped: {name} ({reason})"),
        Err(_) => println!("    {name}: failed after {took:.1} s"),
    }
    match result {
        Ok(_) => Ok(()),
        Err(failure) => Err(format!("step `{name}` failed; the rule: {rule}\n{failure}").into()),
    }
}

/// Each crate by itself, so that none leans on a feature that another one turns on.
fn alone(workspace: &Workspace) -> Result<Done, Failure> {
    for member in workspace.shipped() {
        let mut features = vec![""];
        if member.manifest.has_section("features") {
            features.extend([" --no-default-features", " --all-features"]);
        }
        for choice in features {
            let line = format!("cargo check --quiet -p {}{choice}", member.name);
            show(&mut command(&workspace.root, &line))?;
        }
    }
    Ok(Done::Passed)
}

/// Packs what would be published. It is not built from there: each crate was built alone before.
fn packages(workspace: &Workspace) -> Result<Done, Failure> {
    let others = workspace.crates.iter().filter(|member| !member.is_shipped());
    let without: String = others.map(|member| format!(" --exclude {}", member.name)).collect();
    let line = format!("cargo package --workspace --no-verify --allow-dirty --offline --quiet{without}");
    passed(show(&mut command(&workspace.root, &line)))
}

fn other_platform(workspace: &Workspace, platform: &str) -> Result<Done, Failure> {
    let add = format!("rustup target add {platform}");
    if let Err(failure) = output(&mut command(&workspace.root, &add)) {
        return skipped(failure);
    }
    let portable = workspace.shipped().filter(|member| !LINUX_ONLY.contains(&member.name.as_str()));
    let packages: String = portable.map(|member| format!(" -p {}", member.name)).collect();
    let line = format!("cargo check --target {platform}{packages}");
    passed(show(&mut command(&workspace.root, &line)))
}

fn oldest_compiler(workspace: &Workspace) -> Result<Done, Failure> {
    let version = format!("{}.0", workspace.rust_version);
    let is_there = format!("rustup run {version} cargo --version");
    if output(&mut command(&workspace.root, &is_there)).is_err() {
        let install = format!("rustup toolchain install {version} --profile minimal");
        if let Err(failure) = output(&mut command(&workspace.root, &install)) {
            return skipped(failure);
        }
    }
    let packages = workspace.shipped_arguments();
    let line = format!("rustup run {version} cargo check {packages}");
    passed(show(&mut command(&workspace.root, &line)))
}

fn passed(result: Result<(), Failure>) -> Result<Done, Failure> {
    result.map(|()| Done::Passed)
}

fn skipped(reason: impl fmt::Display) -> Result<Done, Failure> {
    Ok(Done::Skipped(reason.to_string()))
}
