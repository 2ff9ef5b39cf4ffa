//! The crates of this workspace and their files.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Failure;
use crate::shell;
use crate::text::{Manifest, quoted};

/// The root folder and the crates in it.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) crates: Vec<Crate>,
    pub(crate) rust_version: String,
}

/// One member.
pub(crate) struct Crate {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) manifest: Manifest,
}

impl Crate {
    /// Whether it goes to users, and not only to those who work on the project.
    pub(crate) fn is_shipped(&self) -> bool {
        self.manifest.value("package", "publish") != Some("false")
    }
}

impl Workspace {
    pub(crate) fn open() -> Result<Workspace, Failure> {
        let own = env::var("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").to_owned());
        let root = Path::new(&own).parent().ok_or("xtask stands in no workspace")?.to_owned();
        let manifest = Manifest::read(&root.join("Cargo.toml"))?;
        let members = manifest.value("workspace", "members").ok_or("no members")?;
        let crates: Result<Vec<Crate>, Failure> =
            quoted(members).map(|name| open_crate(&root, name)).collect();
        let rust_version = manifest.value("workspace.package", "rust-version").unwrap_or_default();
        Ok(Workspace { rust_version: rust_version.trim_matches('"').to_owned(), crates: crates?, root })
    }

    /// The crates that go to users.
    pub(crate) fn shipped(&self) -> impl Iterator<Item = &Crate> {
        self.crates.iter().filter(|member| member.is_shipped())
    }

    /// `-p NAME` for each crate that goes to users.
    pub(crate) fn shipped_arguments(&self) -> String {
        let arguments: Vec<_> = self.shipped().map(|member| format!("-p {}", member.name)).collect();
        arguments.join(" ")
    }

    /// Where cargo builds.
    pub(crate) fn target(&self) -> PathBuf {
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.root.join("target"), PathBuf::from)
    }

    /// Every file that git keeps or would keep, relative to the root.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>, Failure> {
        let list = "git ls-files --cached --others --exclude-standard";
        let list = shell::output(&mut shell::command(&self.root, list))?;
        let exists = |path: &PathBuf| self.root.join(path).is_file();
        Ok(list.lines().map(PathBuf::from).filter(exists).collect())
    }

    pub(crate) fn read(&self, file: &Path) -> Result<String, Failure> {
        let bytes = fs::read(self.root.join(file))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn open_crate(root: &Path, name: &str) -> Result<Crate, Failure> {
    let folder = root.join(name);
    let manifest = Manifest::read(&folder.join("Cargo.toml"))?;
    Ok(Crate { name: name.to_owned(), folder, manifest })
}
