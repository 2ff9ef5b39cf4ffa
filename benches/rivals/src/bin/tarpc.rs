//! `tarpc` over a Unix socket or TCP, with `bincode` and `tokio`'s runtime of one
//! thread in each process.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::future::Future;
use std::io;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use benches::clock::{apart, rate_each, time_each};
use benches::contest::{Answer, Failure, Job, Mode};
use benches::crowd;
use benches::kernel::Fork;
use futures::future::try_join_all;
use futures::prelude::*;
use tarpc::serde_transport::{Transport, tcp, unix};
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::{client, context};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

const KEY: &str = "the key";

#[tarpc::service]
trait Map {
    async fn get(key: String) -> Option<u64>;
    async fn set(key: String, value: u64) -> Option<u64>;
    async fn increment(by: u64) -> u64;
}

fn main() -> ExitCode {
    rivals::main(|what, job| match job.question.as_str() {
        "get" | "set" | "method" | "pipelined" | "connect" | "idle" => Some(measure(what, job)),
        // Theirs is always a plain one.
        "get-by-socket" => Some(measure(what, &Job { question: "get".to_owned(), ..job.clone() })),
        _ => None,
    })
}

fn measure(what: &str, job: &Job) -> Result<Answer, Failure> {
    crowd::many_descriptors()?;
    let place = Place::new(what);
    let (server, first) = apart(job.mode, || {
        let server = Server(Some(Fork::run(|| place.serve().expect("a server"))?));
        let first = place.connect_soon()?;
        first.call("set", 0)?;
        Ok((server, first))
    })?;
    let call = |client: &mut Client, turn: u64| client.call(&job.question, turn);
    match (job.question.as_str(), job.mode) {
        ("get" | "set", Mode::Free) => {
            // A runtime is not forked with.
            drop(first);
            crowd::calls_of_forks(job, || place.connect(), call)
        }
        ("get" | "set" | "method", _) => {
            time_each(job.mode, job.budget, |turn| first.call(&job.question, turn))
        }
        ("pipelined", _) => rate_each(job.budget, || {
            let calls = (0..job.number).map(|_| first.map.increment(context::current(), 1));
            Ok(first.runtime.block_on(try_join_all(calls))?.len())
        }),
        ("connect", _) => time_each(job.mode, job.budget, |turn| place.connect()?.call("get", turn)),
        _ => crowd::memory_per_client_of_fork(server.pid(), job.number, || {
            let connect = |turn| {
                let client = place.connect()?;
                client.call("get", turn)?;
                Ok(client)
            };
            (0..job.number as u64).map(connect).collect::<Result<Vec<Client>, Failure>>()
        }),
    }
}

/// A connection, and the runtime that drives it.
struct Client {
    runtime: Runtime,
    map: MapClient,
}

impl Client {
    fn call(&self, question: &str, turn: u64) -> Result<(), Failure> {
        let context = context::current();
        self.runtime.block_on(async {
            match question {
                "set" => drop(self.map.set(context, KEY.to_owned(), turn).await?),
                "method" => drop(self.map.increment(context, 1).await?),
                _ => drop(self.map.get(context, KEY.to_owned()).await?),
            }
            Ok(())
        })
    }
}

/// A server's process, which ends when this is dropped.
struct Server(Option<Fork>);

impl Server {
    fn pid(&self) -> u32 {
        self.0.as_ref().map_or(0, Fork::pid)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.take().map(Fork::kill);
    }
}

/// Where a server listens.
enum Place {
    Unix(String),
    Tcp(u16),
}

impl Place {
    fn new(what: &str) -> Self {
        if what == "tcp" {
            let free = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|socket| socket.local_addr());
            return Self::Tcp(free.expect("a port").port());
        }
        let path = env::temp_dir().join(format!("bench-tarpc-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        Self::Unix(path.display().to_string())
    }

    fn serve(&self) -> io::Result<()> {
        let state = Service::default();
        runtime().block_on(async {
            match self {
                Self::Unix(path) => {
                    let clients = unix::listen(path, Bincode::default).await?;
                    clients.for_each(|client| state.serve_client(client)).await;
                }
                Self::Tcp(port) => {
                    let clients = tcp::listen(("127.0.0.1", *port), Bincode::default).await?;
                    let serve = |client: io::Result<_>| {
                        state.serve_client(client.and_then(|client: Transport<TcpStream, _, _, _>| {
                            client.get_ref().set_nodelay(true)?;
                            Ok(client)
                        }))
                    };
                    clients.for_each(serve).await;
                }
            }
            Ok(())
        })
    }

    fn connect(&self) -> Result<Client, Failure> {
        let runtime = runtime();
        let map = runtime.block_on(async {
            let config = client::Config::default();
            io::Result::Ok(match self {
                Self::Unix(path) => {
                    MapClient::new(config, unix::connect(path, Bincode::default).await?).spawn()
                }
                Self::Tcp(port) => {
                    let connection = tcp::connect(("127.0.0.1", *port), Bincode::default).await?;
                    connection.get_ref().set_nodelay(true)?;
                    MapClient::new(config, connection).spawn()
                }
            })
        })?;
        Ok(Client { runtime, map })
    }

    /// Waits for a server that has just been started.
    fn connect_soon(&self) -> Result<Client, Failure> {
        let begin = Instant::now();
        loop {
            match self.connect() {
                Err(_) if begin.elapsed() < Duration::from_secs(5) => {
                    thread::sleep(Duration::from_millis(5));
                }
                done => return done,
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Self::Unix(path) = self {
            let _ = fs::remove_file(path);
        }
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[derive(Clone, Default)]
struct Service {
    map: Arc<Mutex<HashMap<String, u64>>>,
    count: Arc<Mutex<u64>>,
}

impl Service {
    fn serve_client<T>(&self, client: io::Result<T>) -> impl Future<Output = ()> + use<T>
    where
        T: tarpc::Transport<tarpc::Response<MapResponse>, tarpc::ClientMessage<MapRequest>> + Send + 'static,
        T::Error: Send + Sync,
    {
        if let Ok(client) = client {
            let requests = BaseChannel::with_defaults(client).execute(self.clone().serve());
            tokio::spawn(requests.for_each(|response| async {
                tokio::spawn(response);
            }));
        }
        future::ready(())
    }
}

impl Map for Service {
    async fn get(self, _: context::Context, key: String) -> Option<u64> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied()
    }

    async fn set(self, _: context::Context, key: String, value: u64) -> Option<u64> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner).insert(key, value)
    }

    async fn increment(self, _: context::Context, by: u64) -> u64 {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        *count += by;
        *count
    }
}
