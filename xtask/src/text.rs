//! Enough of TOML, Rust and Markdown to check rules on them, and no more.

use std::fs;
use std::path::Path;

use crate::Failure;

/// A manifest as sections of keys and values, the values as they are written.
pub(crate) struct Manifest {
    entries: Vec<(String, String, String)>,
}

impl Manifest {
    pub(crate) fn read(path: &Path) -> Result<Manifest, Failure> {
        let text = fs::read_to_string(path);
        let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Manifest::parse(&text))
    }

    pub(crate) fn parse(text: &str) -> Manifest {
        let mut entries: Vec<(String, String, String)> = Vec::new();
        let mut section = String::new();
        let mut in_list = false;
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            if in_list {
                if let Some(last) = entries.last_mut() {
                    last.2.push_str(line);
                }
            } else if let Some(title) = line.strip_prefix('[') {
                section = title.trim_matches(['[', ']']).to_owned();
            } else if let Some((key, value)) = line.split_once('=') {
                entries.push((section.clone(), key.trim().to_owned(), value.trim().to_owned()));
            }
            in_list = entries.last().is_some_and(|last| is_open(&last.2));
        }
        Manifest { entries }
    }

    /// The value of a key, with its quotes.
    pub(crate) fn value(&self, section: &str, key: &str) -> Option<&str> {
        let mut section = self.section(section);
        section.find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// Whether a key is there, or taken over from the workspace.
    pub(crate) fn has(&self, section: &str, key: &str) -> bool {
        let inherited = format!("{key}.workspace");
        self.section(section).any(|(name, _)| name == key || name == inherited)
    }

    pub(crate) fn has_section(&self, section: &str) -> bool {
        self.section(section).next().is_some()
    }

    /// The crates under `dependencies` (or `dev-dependencies`), also those of one target only.
    pub(crate) fn dependencies(&self, kind: &str) -> Vec<(&str, &str)> {
        let suffix = format!(".{kind}");
        let infix = format!("{kind}.");
        let mut found = Vec::new();
        for (section, key, value) in &self.entries {
            if section == kind || section.ends_with(&suffix) {
                let name = key.split('.').next().unwrap_or(key);
                found.push((name.trim_matches('"'), value.as_str()));
            } else if let Some(name) = section.strip_prefix(&infix) {
                found.push((name, value.as_str()));
            }
        }
        found
    }

    fn section(&self, section: &str) -> impl Iterator<Item = (&str, &str)> {
        let entries = self.entries.iter().filter(move |entry| entry.0 == section);
        entries.map(|(_, key, value)| (key.as_str(), value.as_str()))
    }
}

/// The strings in quotes in `text`.
pub(crate) fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('"').skip(1).step_by(2)
}

/// Rust source with its comments blanked, so that lines keep their numbers.
pub(crate) fn without_comments(source: &str) -> String {
    let strip = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    let lines: Vec<String> = source.lines().map(strip).collect();
    lines.join("\n")
}

/// The words of Rust source, each with the number of its line. A `!` belongs to its word.
pub(crate) fn words(source: &str) -> impl Iterator<Item = (usize, &str)> {
    let of_word = |c: char| c.is_alphanumeric() || c == '_' || c == '!';
    source.lines().enumerate().flat_map(move |(index, line)| {
        let words = line.split(move |c| !of_word(c)).filter(|word| !word.is_empty());
        words.map(move |word| (index + 1, word))
    })
}

/// The conditions of `cfg(…)`, `cfg!(…)` and `cfg_attr(…)`, each with the number of its line.
pub(crate) fn conditions(source: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for opening in ["cfg(", "cfg!(", "cfg_attr("] {
        for (start, _) in source.match_indices(opening) {
            let line = source[..start].lines().count().max(1);
            found.push((line, parenthesised(&source[start + opening.len()..])));
        }
    }
    found
}

/// The targets of links in Markdown, outside code, each with the number of its line.
pub(crate) fn links(markdown: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (index, line) in markdown.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        found.extend(targets.map(|target| (index + 1, target)));
    }
    found
}

fn is_open(value: &str) -> bool {
    value.starts_with('[') && value.matches('[').count() > value.matches(']').count()
}

/// What comes before the parenthesis that closes one opened before `text`.
fn parenthesised(text: &str) -> &str {
    let mut depth = 1;
    for (index, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[..index];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_gives_values_lists_and_dependencies() {
        let manifest = Manifest::parse(
            "[package]\nname = \"a\"\nlicense.workspace = true\nkeys = [\n\"x\",\n\"y\",\n]\n\
             [dependencies]\nb.workspace = true\nc = \"1\"\n[dependencies.d]\nversion = \"2\"\n\
             [target.'cfg(unix)'.dependencies]\ne = \"1\"\n",
        );
        assert_eq!(manifest.value("package", "name"), Some("\"a\""));
        assert!(manifest.has("package", "license"));
        let keys: Vec<_> = quoted(manifest.value("package", "keys").unwrap()).collect();
        assert_eq!(keys, ["x", "y"]);
        let names: Vec<_> = manifest.dependencies("dependencies").iter().map(|d| d.0).collect();
        assert_eq!(names, ["b", "c", "d", "e"]);
    }

    #[test]
    fn conditions_are_found_over_several_lines() {
        let source = "\n#[cfg(any(\n  unix,\n  test))]\nfn f() {}\nif cfg!(windows) {}";
        assert_eq!(conditions(source), [(2, "any(\n  unix,\n  test)"), (6, "windows")]);
    }

    #[test]
    fn links_in_code_are_passed_over() {
        let text = "see [a](a.md) and [b](b.md#c)\n```\nx[0](y)\n```\n[d](d)";
        assert_eq!(links(text), [(1, "a.md"), (1, "b.md#c"), (5, "d")]);
    }

    #[test]
    fn words_keep_their_lines_and_bangs() {
        let found: Vec<_> = words("let x;\n println!(1)").collect();
        assert_eq!(found, [(1, "let"), (1, "x"), (2, "println!"), (2, "1")]);
    }
}
