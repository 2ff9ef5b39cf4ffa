//! A map in a server, over a bare socket: requests and answers by the codec, each with
//! its length before it.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::event::epoll;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clock::{apart, rate_each, time_each};
use crate::contest::{Answer, Failure, Job, Mode};
use crate::crowd;
use crate::kernel::Fork;

/// So many requests are sent before the first answer is read: those of a socket that
/// holds no more answers would be waited for by both sides.
const WINDOW: usize = 100;

/// What a client asks.
#[derive(Serialize, Deserialize)]
enum Request {
    Get(String),
    Set(String, u64),
    Increment(u64),
    End,
}

/// A socket, whatever its kind.
trait Socket: Read + Write + AsFd + Send {}
impl<S: Read + Write + AsFd + Send> Socket for S {}

/// One that listens.
enum Listening {
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener, SocketAddr),
}

pub(super) fn measure(name: &str, job: &Job) -> Result<Answer, Failure> {
    crowd::many_descriptors()?;
    let listening =
        Listening::new(matches!(job.question.as_str(), "connect" | "get-by-socket") && job.number == 1)?;
    let threads = name == "echo-threads";
    let (server, mut first) = apart(job.mode, || {
        let server = Fork::run(|| if threads { serve_by_threads(&listening) } else { serve(&listening) })?;
        let mut first = Client::to(&listening)?;
        let _ = first.ask(&Request::Set("the key".to_owned(), 0))?;
        Ok((server, first))
    })?;
    let answer = ask(job, &listening, &server, &mut first)?;
    let _ = first.ask(&Request::End)?;
    drop(first);
    server.join()?;
    Ok(answer)
}

fn ask(job: &Job, listening: &Listening, server: &Fork, first: &mut Client) -> Result<Answer, Failure> {
    let call = |client: &mut Client, turn: u64| client.ask(&request(&job.question, turn)).map(drop);
    match (job.question.as_str(), job.mode) {
        ("get" | "set", Mode::Free) => crowd::calls_of_forks(job, || Client::to(listening), call),
        ("get" | "set" | "method" | "get-by-socket", _) => {
            time_each(job.mode, job.budget, |turn| call(first, turn))
        }
        ("pipelined", _) => rate_each(job.budget, || {
            for _ in 0..job.number / WINDOW {
                (0..WINDOW).try_for_each(|_| first.write(&Request::Increment(1)))?;
                first.flush()?;
                (0..WINDOW).try_for_each(|_| first.receive().map(drop))?;
            }
            Ok(job.number / WINDOW * WINDOW)
        }),
        ("connect", _) => time_each(job.mode, job.budget, |turn| call(&mut Client::to(listening)?, turn)),
        _ => crowd::memory_per_client_of_fork(server.pid(), job.number, || {
            (0..job.number)
                .map(|turn| {
                    let mut client = Client::to(listening)?;
                    call(&mut client, turn as u64)?;
                    Ok(client)
                })
                .collect::<Result<Vec<Client>, Failure>>()
        }),
    }
}

fn request(question: &str, turn: u64) -> Request {
    match question {
        "set" => Request::Set("the key".to_owned(), turn),
        "method" => Request::Increment(1),
        _ => Request::Get("the key".to_owned()),
    }
}

/// A connection, with the bytes that are read and not yet taken, and those that are to
/// be sent.
struct Client {
    socket: Box<dyn Socket>,
    read: Vec<u8>,
    written: Vec<u8>,
}

impl Client {
    fn to(listening: &Listening) -> Result<Self, Failure> {
        Ok(Self::over(match listening {
            Listening::Unix(_, path) => Box::new(UnixStream::connect(path)?),
            Listening::Tcp(_, address) => {
                let socket = TcpStream::connect(address)?;
                socket.set_nodelay(true)?;
                Box::new(socket)
            }
        }))
    }

    fn over(socket: Box<dyn Socket>) -> Self {
        Self { socket, read: Vec::new(), written: Vec::new() }
    }

    fn ask(&mut self, request: &Request) -> Result<Option<u64>, Failure> {
        self.write(request)?;
        self.flush()?;
        self.receive()
    }

    fn write(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let start = self.written.len();
        self.written.extend([0; 4]);
        self.written = postcard::to_extend(value, mem::take(&mut self.written))?;
        let len = u32::try_from(self.written.len() - start - 4)?;
        self.written[start..start + 4].copy_from_slice(&len.to_le_bytes());
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.write_all(&self.written)?;
        self.written.clear();
        Ok(())
    }

    fn receive(&mut self) -> Result<Option<u64>, Failure> {
        loop {
            match self.next()? {
                Some(answer) => return Ok(answer),
                None => self.fill()?,
            }
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut bytes = [0; 4096];
        match self.socket.read(&mut bytes)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            count => {
                self.read.extend_from_slice(&bytes[..count]);
                Ok(())
            }
        }
    }

    /// A whole message, if one was read.
    fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Failure> {
        let Some(len) = self.read.first_chunk().map(|len| u32::from_le_bytes(*len) as usize) else {
            return Ok(None);
        };
        if self.read.len() < 4 + len {
            return Ok(None);
        }
        let value = postcard::from_bytes(&self.read[4..4 + len])?;
        self.read.drain(..4 + len);
        Ok(Some(value))
    }

    /// Answers what was read; whether it was the last of all.
    fn answer(&mut self, mut answer: impl FnMut(Request) -> Option<u64>) -> Result<bool, Failure> {
        while let Some(request) = self.next()? {
            let is_end = matches!(request, Request::End);
            self.write(&answer(request))?;
            if is_end {
                self.flush()?;
                return Ok(true);
            }
        }
        self.flush()?;
        Ok(false)
    }
}

#[derive(Default)]
struct State {
    map: HashMap<String, u64>,
    count: u64,
}

impl State {
    fn answer(&mut self, request: Request) -> Option<u64> {
        match request {
            Request::Get(key) => self.map.get(&key).copied(),
            Request::Set(key, value) => self.map.insert(key, value),
            Request::Increment(by) => {
                self.count += by;
                Some(self.count)
            }
            Request::End => None,
        }
    }
}

/// One thread for all clients.
fn serve(listening: &Listening) {
    let (mut clients, mut state) = (HashMap::new(), State::default());
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll");
    let add = |socket: &dyn AsFd, id: u64| {
        let data = epoll::EventData::new_u64(id);
        epoll::add(&poll, socket.as_fd(), data, epoll::EventFlags::IN).expect("one more to wait for");
    };
    add(listening, 0);
    let mut next = 1;
    let mut events = Vec::with_capacity(256);
    loop {
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None).expect("events");
        for event in &events {
            let id = event.data.u64();
            if id == 0 {
                let client = Client::over(listening.accept().expect("a client"));
                add(&client.socket.as_fd(), next);
                clients.insert(next, client);
                next += 1;
                continue;
            }
            let Some(client) = clients.get_mut(&id) else { continue };
            match client
                .fill()
                .map_err(Failure::from)
                .and_then(|()| client.answer(|request| state.answer(request)))
            {
                Ok(true) => return,
                Ok(false) => {}
                Err(_) => _ = clients.remove(&id),
            }
        }
    }
}

/// One thread for each client.
fn serve_by_threads(listening: &Listening) {
    let state = Arc::new(Mutex::new(State::default()));
    loop {
        let mut client = Client::over(listening.accept().expect("a client"));
        let state = Arc::clone(&state);
        thread::spawn(move || {
            while client.fill().is_ok() {
                let answer = |request| state.lock().unwrap_or_else(PoisonError::into_inner).answer(request);
                match client.answer(answer) {
                    Ok(false) => {}
                    Ok(true) => process::exit(0),
                    Err(_) => return,
                }
            }
        });
    }
}

impl Listening {
    fn new(is_tcp: bool) -> Result<Self, Failure> {
        if is_tcp {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let address = listener.local_addr()?;
            return Ok(Self::Tcp(listener, address));
        }
        let path = env::temp_dir().join(format!("bench-echo-{}", process::id()));
        let _ = fs::remove_file(&path);
        Ok(Self::Unix(UnixListener::bind(&path)?, path))
    }

    fn accept(&self) -> io::Result<Box<dyn Socket>> {
        Ok(match self {
            Self::Unix(listener, _) => Box::new(listener.accept()?.0),
            Self::Tcp(listener, _) => {
                let socket = listener.accept()?.0;
                socket.set_nodelay(true)?;
                Box::new(socket)
            }
        })
    }
}

impl AsFd for Listening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(listener, _) => listener.as_fd(),
            Self::Tcp(listener, _) => listener.as_fd(),
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            let _ = fs::remove_file(path);
        }
    }
}
