//! Programs that must not compile: what is said of them, and at which place.
//!
//! They stand in `tests/refused`. Under a line, a comment marks the place of an error and has words
//! of its text: `//  ^^^^ return a copy`. For one of the compiler's own it is the number, as the words are the
//! compiler's. Every mark must be met, and every error be marked; but what the compiler says besides of
//! a line that is marked is its own affair, and differs from one version to the next.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

/// A test for each program.
macro_rules! programs {
    ($($name:ident),+ $(,)?) => {
        const PROGRAMS: &[&str] = &[$(stringify!($name)),+];

        $(
            #[test]
            fn $name() {
                is_refused(stringify!($name));
            }
        )+
    };
}

programs![
    arguments_that_borrow,
    arguments_that_do_not_travel,
    constructors_that_cannot_be_called,
    functions_of_modules,
    generics_without_bounds,
    iterators_that_borrow,
    iterators_that_cannot_stay,
    methods_that_cannot_be_called,
    modules_elsewhere,
    names_of_modules,
    names_that_are_not_there,
    names_that_proxies_have,
    objects_that_threads_cannot_share,
    options_that_are_not_there,
    other_items,
    traits,
    types_without_the_attribute,
    values_that_borrow,
    values_that_do_not_travel,
];

#[test]
fn every_program_is_tried() {
    let files = fs::read_dir(folder("refused")).unwrap().map(|file| file.unwrap().path());
    let names: BTreeSet<String> =
        files.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(names, PROGRAMS.iter().map(|name| (*name).to_owned()).collect());
}

/// What looks much the same compiles.
#[test]
fn what_is_accepted() {
    assert_eq!(errors(library(), &accepted()), []);
}

/// An error at a place: a line and the columns from one to before another.
#[derive(Debug, PartialEq, Eq)]
struct Error {
    line: u64,
    columns: (u64, u64),
    text: String,
    /// Those of the attribute have no number.
    is_the_compilers: bool,
}

fn is_refused(name: &str) {
    let program = folder("refused").join(name).with_extension("rs");
    let marks = marks(&fs::read_to_string(&program).unwrap());
    let errors = errors(library(), &program);
    let meets = |mark: &Error, error: &Error| {
        (mark.line, mark.columns) == (error.line, error.columns) && error.text.contains(&mark.text)
    };
    let is_besides = |mark: &Error, error: &Error| mark.line == error.line && error.is_the_compilers;
    let is_marked = |error: &&Error| marks.iter().any(|mark| meets(mark, error) || is_besides(mark, error));
    let unmarked = errors.iter().filter(|error| !is_marked(error));
    let unmet = marks.iter().filter(|mark| !errors.iter().any(|error| meets(mark, error)));
    let (unmarked, unmet) = (unmarked.collect::<Vec<_>>(), unmet.collect::<Vec<_>>());
    assert!(unmarked.is_empty() && unmet.is_empty(), "not marked: {unmarked:#?}\nmarked: {unmet:#?}");
    assert!(!marks.is_empty());
}

/// What the comments of a program say.
fn marks(program: &str) -> Vec<Error> {
    let mut line = 0;
    let mut marks = Vec::new();
    for (number, text) in (1..).zip(program.lines()) {
        let Some(after) =
            text.trim_start().strip_prefix("//").filter(|after| after.trim_start().starts_with('^'))
        else {
            line = number;
            continue;
        };
        let text_begins = after.trim_start().trim_start_matches('^');
        let end = (text.len() - text_begins.len()) as u64 + 1;
        let start = text.find('^').unwrap() as u64 + 1;
        let text = text_begins.trim().to_owned();
        marks.push(Error { line, columns: (start, end), text, is_the_compilers: false });
    }
    marks
}

/// What the compiler says of a program, in the first place that it names.
fn errors(library: &Path, program: &Path) -> Vec<Error> {
    let name = program.file_stem().unwrap().to_str().unwrap();
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    fs::create_dir_all(&out).unwrap();
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition", "2024", "--crate-type", "lib", "--emit", "metadata", "--error-format", "json"]);
    rustc.arg("--out-dir").arg(&out).arg("--extern").arg(format!("mp_manager={}", library.display()));
    for folder in [deps(), host_deps()] {
        rustc.arg("-L").arg(format!("dependency={}", folder.display()));
    }
    let output = rustc.arg(program).env("CARGO_MANIFEST_DIR", env!("CARGO_MANIFEST_DIR")).output().unwrap();
    fs::remove_dir_all(&out).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let lines = said.lines().filter(|line| line.starts_with('{'));
    let messages = lines.map(|line| serde_json::from_str::<Value>(line).expect(line));
    let errors: Vec<Value> = messages.filter(|message| message["level"] == "error").collect();
    assert_eq!(errors.is_empty(), output.status.success(), "{said}");
    // The last one counts the others.
    let is_an_error = |message: &Value| !message["message"].as_str().unwrap().starts_with("aborting due to");
    errors.into_iter().filter(is_an_error).map(|message| error(program, &message)).collect()
}

fn error(program: &Path, message: &Value) -> Error {
    let code = message["code"]["code"].as_str().unwrap_or_default();
    let text = format!("{code} {}", message["message"].as_str().unwrap());
    let is_the_compilers = !code.is_empty();
    let spans = message["spans"].as_array().unwrap();
    let Some(mut span) = spans.iter().find(|span| span["is_primary"] == true) else {
        return Error { line: 0, columns: (0, 0), text, is_the_compilers };
    };
    // What another macro writes is looked for where that is used.
    while Path::new(span["file_name"].as_str().unwrap()) != program && span["expansion"].is_object() {
        span = &span["expansion"]["span"];
    }
    let number = |key: &str| span[key].as_u64().unwrap();
    let columns = (number("column_start"), number("column_end"));
    Error { line: number("line_start"), columns, text, is_the_compilers }
}

/// The library that the programs use: of those that were built, with one set of features or
/// another, the newest that this compiler can use and that is no newer than this program, as one
/// that is being built now would be. It is of the sources as they are: the one that this program was
/// built with, which is no newer, would have been built anew if they had changed since.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let files = fs::read_dir(deps()).unwrap().map(|file| file.unwrap().path());
        let is_library = |file: &PathBuf| {
            let name = file.file_name().unwrap().to_str().unwrap_or_default();
            name.starts_with("libmp_manager-") && name.ends_with(".rlib")
        };
        let built = |file: &PathBuf| fs::metadata(file).and_then(|data| data.modified()).ok();
        let own = built(&env::current_exe().unwrap());
        let mut libraries: Vec<_> = files
            .filter(|file| is_library(file) && built(file).is_some_and(|time| Some(time) <= own))
            .collect();
        libraries.sort_by_key(built);
        let program = accepted();
        let newest = libraries.last().expect("this program needs one");
        let good = libraries.iter().rev().find(|library| errors(library, &program).is_empty());
        good.unwrap_or_else(|| panic!("{}: {:#?}", program.display(), errors(newest, &program))).clone()
    })
}

fn accepted() -> PathBuf {
    folder("accepted").join("all.rs")
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// Where this program and the libraries lie.
fn deps() -> PathBuf {
    env::current_exe().unwrap().parent().unwrap().to_owned()
}

/// Where the attribute lies, which runs on the machine that compiles.
fn host_deps() -> PathBuf {
    deps().ancestors().nth(3).unwrap().join("debug").join("deps")
}
