//! Files to count, and what their counts should be.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use mp_testkit::chaos::Rng;

const MIB: usize = 1 << 20;

/// A directory that goes when this is dropped.
pub(crate) struct Corpus {
    folder: PathBuf,
}

impl Corpus {
    pub(crate) fn new() -> io::Result<Corpus> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("wordcount-{}-{number}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder)?;
        Ok(Corpus { folder })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> io::Result<PathBuf> {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&self.folder))?;
        fs::write(&path, bytes)?;
        Ok(path)
    }

    /// One large text file, and its text.
    pub(crate) fn large(&self) -> io::Result<(PathBuf, String)> {
        let text = text(&mut Rng::new(1), 3 * MIB);
        Ok((self.write("large.txt", &text)?, text))
    }

    /// Files of all kinds: those that count, as one text, and the names of those that do not.
    pub(crate) fn fill(&self) -> io::Result<(Vec<String>, Vec<&'static str>)> {
        let mut rng = Rng::new(2);
        let mut texts = vec![String::new(), "one".into(), text(&mut rng, 5 * MIB)];
        texts.extend((0..40).map(|_| text(&mut rng, 20_000)));
        // One word, larger than any batch's look ahead, in a file that is cut.
        texts.push(format!("{} end", "é9Z".repeat(MIB)));
        for (number, text) in texts.iter().enumerate() {
            self.write(&format!("folder-{}/{number}.txt", number % 3), text)?;
        }
        let mut skipped = vec!["binary.bin", "late.txt", "latin-1.txt", "socket"];
        self.write("binary.bin", b"words\0and more")?;
        self.write("latin-1.txt", b"caf\xe9 au lait")?;
        let mut late = text(&mut rng, 5 * MIB).into_bytes();
        late.extend(b"\xff");
        self.write("late.txt", late)?;
        UnixListener::bind(self.folder.join("socket"))?;
        symlink(".", self.folder.join("loop"))?;
        let secret = self.write("secret.txt", "not for you")?;
        fs::set_permissions(&secret, Permissions::from_mode(0o000))?;
        if File::open(&secret).is_ok() {
            // Whoever runs this may read everything.
            texts.push("not for you".into());
        } else {
            skipped.push("secret.txt");
        }
        Ok((texts, skipped))
    }
}

impl Drop for Corpus {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Text in several scripts, of about `size` bytes.
fn text(rng: &mut Rng, size: usize) -> String {
    const WORDS: [&str; 16] = [
        "the",
        "The",
        "of",
        "x86_64",
        "fn",
        "Straße",
        "ÉTÉ",
        "ΟΔΟΣ",
        "İzmir",
        "слово",
        "漢字",
        "e\u{301}t",
        "🦀",
        "٣٤٥",
        "-",
        "2026",
    ];
    const BETWEEN: [&str; 5] = [" ", " ", "\n", ", ", "\u{2003}"];
    let mut text = String::with_capacity(size + 64);
    while text.len() < size {
        if rng.chance(20) {
            text.push_str(&format!("Word{}", rng.below(20_000)));
        } else {
            text.extend(rng.pick(&WORDS).copied());
        }
        text.extend(rng.pick(&BETWEEN).copied());
    }
    text
}

/// The counts, as the definition of a word has it.
pub(crate) fn words<'a>(texts: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for text in texts {
        for word in text.split(|char: char| !char.is_alphanumeric()) {
            if !word.is_empty() {
                let lower = word.chars().flat_map(char::to_lowercase).collect();
                *counts.entry(lower).or_insert(0) += 1;
            }
        }
    }
    counts
}
