//! The built suites of the workspace, as cargo tells them.

use std::path::{Path, PathBuf};

use crate::Failure;
use crate::shell::{command, output};
use crate::workspace::Workspace;

/// The program of one file, or folder, of a crate's `tests`.
pub(crate) struct Suite {
    /// The folder of its crate.
    pub(crate) folder: PathBuf,
    /// Its name in `tests`.
    pub(crate) name: String,
    pub(crate) program: String,
}

impl Suite {
    /// The name of its crate's folder.
    pub(crate) fn member(&self) -> &str {
        self.folder.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// The tests that it runs when nobody asks for more.
    pub(crate) fn tests(&self) -> Result<Vec<String>, Failure> {
        let list = output(&mut command(&self.folder, &format!("{} --list", self.program)))?;
        let tests = list.lines().filter_map(|line| line.strip_suffix(": test"));
        Ok(tests.map(str::to_owned).collect())
    }
}

/// Builds what `cargo test --workspace` builds, and tells its suites.
pub(crate) fn suites(workspace: &Workspace) -> Result<Vec<Suite>, Failure> {
    let build = "cargo test --workspace --no-run --quiet --message-format json";
    let messages = output(&mut command(&workspace.root, build))?;
    let is_test = |line: &&str| line.contains("\"kind\":[\"test\"]");
    Ok(messages.lines().filter(is_test).filter_map(suite).collect())
}

fn suite(line: &str) -> Option<Suite> {
    let folder = Path::new(field(line, "manifest_path")?).parent()?.to_owned();
    let (_, target) = line.split_once("\"target\":")?;
    let name = field(target, "name")?.to_owned();
    Some(Suite { folder, name, program: field(line, "executable")?.to_owned() })
}

/// A string in a line of JSON. Paths of this workspace hold no character that JSON escapes.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("\"{name}\":\""))?;
    rest.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_is_read_from_a_message() {
        let line = r#"{"manifest_path":"/a/b/Cargo.toml","target":{"kind":["test"],"name":"x"},"executable":"/t/x-1"}"#;
        let suite = suite(line).expect("a suite");
        assert_eq!((suite.member(), suite.name.as_str(), suite.program.as_str()), ("b", "x", "/t/x-1"));
    }

    #[test]
    fn what_has_no_program_is_no_suite() {
        assert!(
            suite(r#"{"manifest_path":"/a/Cargo.toml","target":{"name":"x"},"executable":null}"#).is_none()
        );
    }
}
