//! A program that answers one question, again and again.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::options::Options;
use crate::busy;
use crate::contest::Answer;
use crate::rows::{By, Row};

/// How much longer than its budget an answer may take.
const GRACE: Duration = Duration::from_secs(20);

/// One program, started and waiting to be asked.
pub(super) struct Contestant {
    child: Child,
    asks: ChildStdin,
    lines: Receiver<String>,
}

impl Contestant {
    /// What it says on its standard error is not shown: start it by hand to see it.
    pub(super) fn start(by: By, row: &Row, options: &Options) -> Result<Self, String> {
        let (program, words) = options.program(by, row.small)?;
        let (question, number) = match by {
            By::Ourselves(question, number) => (question, number),
            _ => (row.question, row.number),
        };
        let mut command = Command::new(&program);
        command.args(words).args([question, row.mode.name(), &number.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        command.env(busy::ROUNDS, busy::rounds_per_microsecond().to_string());
        let child = command.spawn();
        let mut child = child.map_err(|error| format!("{}: {error}", program.display()))?;
        let asks = child.stdin.take().ok_or("no input")?;
        let answers = child.stdout.take().ok_or("no output")?;
        let (tx, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(answers).lines().map_while(Result::ok) {
                let _ = tx.send(line);
            }
        });
        Ok(Self { child, asks, lines })
    }

    /// Lets it measure for about so long.
    pub(super) fn ask(&mut self, budget: Duration) -> Result<Answer, String> {
        let asked = writeln!(self.asks, "go {}", budget.as_millis());
        asked.map_err(|_| "it ended".to_owned())?;
        match self.lines.recv_timeout(budget + GRACE) {
            Ok(line) => serde_json::from_str(&line).map_err(|error| format!("{error}: {line}")),
            Err(mpsc::RecvTimeoutError::Timeout) => Err("no answer in time".into()),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err("it ended without an answer".into()),
        }
    }
}

impl Drop for Contestant {
    /// With all that it has started.
    fn drop(&mut self) {
        if let Some(group) = Pid::from_raw(self.child.id() as i32) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}
