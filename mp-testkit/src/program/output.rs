//! The streams of a program, read by threads as they come.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// One stream of a program, read by a thread as it comes.
pub(super) struct Captured {
    stream: Mutex<Stream>,
    changed: Condvar,
}

#[derive(Default)]
struct Stream {
    text: String,
    unseen: VecDeque<String>,
    ended: bool,
}

impl Captured {
    pub(super) fn read(source: Option<impl Read + Send + 'static>) -> Arc<Captured> {
        let stream = Mutex::new(Stream::default());
        let captured = Arc::new(Captured { stream, changed: Condvar::new() });
        let writer = Arc::clone(&captured);
        thread::spawn(move || {
            if let Some(source) = source {
                writer.copy(BufReader::new(source));
            }
            writer.lock().ended = true;
            writer.changed.notify_all();
        });
        captured
    }

    fn copy(&self, mut source: impl BufRead) {
        let mut line = Vec::new();
        while matches!(source.read_until(b'\n', &mut line), Ok(1..)) {
            let text = String::from_utf8_lossy(&line).into_owned();
            let mut stream = self.lock();
            stream.text.push_str(&text);
            stream.unseen.push_back(text.trim_end().to_owned());
            self.changed.notify_all();
            line.clear();
        }
    }

    pub(super) fn next_line(&self, part: &str, deadline: Instant) -> Result<String, ErrorKind> {
        let mut stream = self.lock();
        loop {
            while let Some(line) = stream.unseen.pop_front() {
                if line.contains(part) {
                    return Ok(line);
                }
            }
            if stream.ended {
                return Err(ErrorKind::UnexpectedEof);
            }
            stream = self.wait(stream, deadline).ok_or(ErrorKind::TimedOut)?;
        }
    }

    pub(super) fn wait_for_end(&self, deadline: Instant) -> bool {
        let mut stream = self.lock();
        while !stream.ended {
            let Some(later) = self.wait(stream, deadline) else {
                return false;
            };
            stream = later;
        }
        true
    }

    /// Waits for a change; `None` when the deadline is over.
    fn wait<'a>(&self, stream: MutexGuard<'a, Stream>, deadline: Instant) -> Option<MutexGuard<'a, Stream>> {
        let left = left_until(deadline);
        if left.is_zero() {
            return None;
        }
        let waited = self.changed.wait_timeout(stream, left);
        Some(waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    pub(super) fn text(&self) -> String {
        self.lock().text.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Stream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn left_until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
