//! What CPython made is ours to use, and the other way round.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use ipc_core::{Item, ShareableList, SharedMemory};
use mp_testkit::harness::Skip;

use crate::exists;
use crate::lists::items;

/// By its path, because a wrapper of the same name in `PATH` may start slowly.
const PYTHON: &str = "/usr/bin/python3";

type Outcome = Result<Option<Skip>, Box<dyn std::error::Error>>;

/// A program in Python, which writes a line to say something and reads one to go on.
struct Python {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Python {
    /// `None` where there is no CPython with shared memory.
    fn run(program: &str, argument: &str) -> Result<Option<Self>, Box<dyn std::error::Error>> {
        let test = Command::new(PYTHON).args(["-c", "import multiprocessing.shared_memory"]).output();
        if !test.is_ok_and(|output| output.status.success()) {
            return Ok(None);
        }
        let mut child = Command::new(PYTHON)
            .args(["-c", &(PRELUDE.to_owned() + program), argument])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (input, output) =
            (child.stdin.take().ok_or("no input")?, child.stdout.take().ok_or("no output")?);
        Ok(Some(Self { child, input, output: BufReader::new(output) }))
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    fn go_on(&mut self) -> std::io::Result<()> {
        self.input.write_all(b"\n")
    }

    fn end(mut self) -> Result<(), Box<dyn std::error::Error>> {
        drop(self.input);
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the program in Python: {status}").into()) }
    }
}

/// CPython's tracker removes names that its process only opened, unless told not to.
const PRELUDE: &str = "
import sys
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory, ShareableList
def opened(it):
    resource_tracker.unregister((it.shm if hasattr(it, 'shm') else it)._name, 'shared_memory')
    return it
def say(what): print(what, flush=True)
";

fn no_python() -> Outcome {
    Ok(Some(Skip(format!("{PYTHON} has no multiprocessing.shared_memory"))))
}

pub(crate) fn memory_of_cpython() -> Outcome {
    let program = "
shm = SharedMemory(create=True, size=1000)
shm.buf[:5] = b'hello'
say(shm.name)
sys.stdin.readline()
assert bytes(shm.buf[995:1000]) == b'RUST!', bytes(shm.buf[995:1000])
shm.close(); shm.unlink()
";
    let Some(mut python) = Python::run(program, "")? else { return no_python() };
    let name = python.line()?;
    let opened = SharedMemory::open(&name)?;
    assert_eq!(opened.size(), 1000);
    let mut bytes = [0; 5];
    opened.read(0, &mut bytes);
    assert_eq!(&bytes, b"hello");
    opened.write(995, b"RUST!");
    drop(opened);
    assert!(exists(&name), "it is CPython's to remove");
    python.go_on()?;
    python.end()?;
    assert!(!exists(&name));
    Ok(None)
}

pub(crate) fn memory_for_cpython() -> Outcome {
    let program = "
shm = opened(SharedMemory(sys.argv[1]))
assert shm.size == 1000, shm.size
assert bytes(shm.buf[:5]) == b'hello'
shm.buf[995:1000] = b'SNAKE'
shm.close()
";
    let made = SharedMemory::create_auto(1000)?;
    made.write(0, b"hello");
    let name = made.name().ok_or("no name")?.to_owned();
    let Some(python) = Python::run(program, &name)? else { return no_python() };
    python.end()?;
    let mut bytes = [0; 5];
    made.read(995, &mut bytes);
    assert_eq!(&bytes, b"SNAKE");
    drop(made);
    assert!(!exists(&name));
    Ok(None)
}

pub(crate) fn a_list_of_cpython() -> Outcome {
    let program = "
items = [None, True, 7, -2.5, 'text', b'bytes', 'x' * 100, 'last']
made = ShareableList(items)
say(made.shm.name)
sys.stdin.readline()
assert made[0] == 'now text', made[0]
assert made[2] is False and made[3] is None, list(made)
assert made[4] == 123 and made[6] == 'y' * 104, list(made)
assert made[7] == 'last'
made.shm.close(); made.shm.unlink()
";
    let Some(mut python) = Python::run(program, "")? else { return no_python() };
    let list = ShareableList::open(&python.line()?)?;
    let expected: Vec<Item> = vec![
        Item::None,
        true.into(),
        7.into(),
        (-2.5).into(),
        "text".into(),
        b"bytes".as_slice().into(),
        "x".repeat(100).into(),
        "last".into(),
    ];
    assert_eq!(list.iter().collect::<Result<Vec<_>, _>>()?, expected);
    list.set(0, "now text")?;
    list.set(2, false)?;
    list.set(3, ())?;
    list.set(4, 123)?;
    list.set(6, "y".repeat(104))?;
    python.go_on()?;
    python.end()?;
    Ok(None)
}

pub(crate) fn a_list_for_cpython() -> Outcome {
    let program = "
found = opened(ShareableList(name=sys.argv[1]))
say(repr(list(found)))
found[3] = 'shorter'
found[7] = 'longer..'
found[9] = b'bytes now'
found.shm.close()
";
    let list = ShareableList::create_auto(items())?;
    let Some(mut python) = Python::run(program, list.name())? else { return no_python() };
    // CPython takes zeros at the end of texts away, ours too.
    let expected = "[None, True, False, -7, 9223372036854775807, 2.5, '', 'plain', 'eight by', \
                    'äöü€ und noch mehr', 'zero at the end', b'', b'\\x00\\x01\\x02', b'']";
    assert_eq!(python.line()?, expected);
    python.end()?;
    assert_eq!(list.get(3)?, "shorter".into());
    assert_eq!(list.get(7)?, "longer..".into());
    assert_eq!(list.get(9)?, b"bytes now".as_slice().into());
    assert_eq!(list.get(10)?, "zero at the end\0".into(), "what it did not touch is exact");
    Ok(None)
}
