//! `redis-server`, a program of its own, by the crate `redis`. Its path stands in
//! `BENCH_REDIS`, else it is looked for as others do.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{self, Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use benches::clock::{apart, rate_each, time_each};
use benches::contest::{Answer, Failure, Job, Mode};
use benches::crowd;
use redis::{Client, Commands, Connection};

const KEY: &str = "the key";

fn main() -> ExitCode {
    rivals::main(|what, job| match job.question.as_str() {
        "get" | "set" | "method" | "pipelined" | "connect" | "idle" => Some(measure(what, job)),
        // Theirs is always a plain one.
        "get-by-socket" => Some(measure(what, &Job { question: "get".to_owned(), ..job.clone() })),
        "durable-set" | "synced-set" => Some(measure(what, job)),
        _ => None,
    })
}

fn measure(what: &str, job: &Job) -> Result<Answer, Failure> {
    crowd::many_descriptors()?;
    let (server, mut first) = apart(job.mode, || {
        let server = Server::start(what == "tcp", &job.question)?;
        let mut first = server.connect()?;
        let _: () = first.set(KEY, 0)?;
        Ok((server, first))
    })?;
    let call = |client: &mut Connection, turn: u64| call(&job.question, client, turn);
    match (job.question.as_str(), job.mode) {
        ("get" | "set" | "synced-set", Mode::Free) => crowd::calls_of_forks(job, || server.connect(), call),
        ("get" | "set" | "durable-set" | "method", _) => {
            time_each(job.mode, job.budget, |turn| call(&mut first, turn))
        }
        ("pipelined", _) => rate_each(job.budget, || {
            let mut pipe = redis::pipe();
            (0..job.number).for_each(|_| _ = pipe.incr("the count", 1));
            let counts: Vec<u64> = pipe.query(&mut first)?;
            Ok(counts.len())
        }),
        ("connect", _) => time_each(job.mode, job.budget, |turn| call(&mut server.connect()?, turn)),
        _ => crowd::memory_per_client(server.child.id(), job.number, || {
            let connect = |turn| {
                let mut client = server.connect()?;
                call(&mut client, turn)?;
                Ok(client)
            };
            (0..job.number as u64).map(connect).collect::<Result<Vec<Connection>, Failure>>()
        }),
    }
}

fn call(question: &str, client: &mut Connection, turn: u64) -> Result<(), Failure> {
    let _: u64 = match question {
        "set" | "durable-set" | "synced-set" => return Ok(client.set(KEY, turn)?),
        "method" => client.incr("the count", 1)?,
        _ => client.get(KEY)?,
    };
    Ok(())
}

/// A server that keeps nothing on disk unless the question is about that.
struct Server {
    child: Child,
    folder: PathBuf,
    client: Client,
    socket: Option<PathBuf>,
}

impl Server {
    fn start(is_tcp: bool, question: &str) -> Result<Self, Failure> {
        let program = env::var("BENCH_REDIS").unwrap_or_else(|_| "redis-server".to_owned());
        let mut command = Command::new(&program);
        let folder = env::temp_dir().join(format!("bench-redis-state-{}", process::id()));
        fs::create_dir_all(&folder)?;
        let kept = match question {
            // Written before it answers, and on the disk within a second.
            "durable-set" => ["--appendonly", "yes", "--appendfsync", "everysec"],
            "synced-set" => ["--appendonly", "yes", "--appendfsync", "always"],
            _ => ["--appendonly", "no", "--appendfsync", "no"],
        };
        command.args(["--save", ""]).args(kept).arg("--dir").arg(&folder);
        command.args(["--maxclients", "4000", "--port"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let (url, socket) = if is_tcp {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            command.arg(port.to_string());
            (format!("redis://127.0.0.1:{port}"), None)
        } else {
            let path = env::temp_dir().join(format!("bench-redis-{}", process::id()));
            command.args(["0", "--unixsocket"]).arg(&path);
            (format!("redis+unix://{}", path.display()), Some(path))
        };
        let child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
        let server = Self { child, folder, client: Client::open(url)?, socket };
        let begin = Instant::now();
        while let Err(error) = server.connect() {
            if begin.elapsed() > Duration::from_secs(5) {
                return Err(error);
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    fn connect(&self) -> Result<Connection, Failure> {
        Ok(self.client.get_connection()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(path) = &self.socket {
            let _ = fs::remove_file(path);
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}
