//! What is wanted, and which rows show it.
//!
//! This stands beside the rows, and is not made from them, so that a row that is lost, or asks
//! for less than is wanted, is found by a test.

use super::{Row, System};
use crate::contest::Mode::{self, Asleep, Free, Hot, OneCore};

/// A label, and what it asks for.
pub const GOALS: &[(&str, &str)] = &[
    (
        "M1",
        "8 B there and back, both awake: within 1.5 of polling, 99 of 100 within 2 µs; 70 times CPython's `Pipe` and ipc-channel, 50 times iceoryx2's events, 1.5 times its polling",
    ),
    (
        "M2",
        "the same on one processor: within 1.5 of a futex ring and 1.3 of a pipe; 4 times CPython, 1.3 times ipc-channel",
    ),
    (
        "M3",
        "the same beside two busy processes: within 2 µs, 99 of 100 within 60 µs, 3 times a bare socket; who waits uses 0.5 % of a processor at most",
    ),
    (
        "M4",
        "1 KiB, 64 KiB and 1 MiB there and back: within 1.5, 1.2 and 1.2 of the bare ring; 2.5 and 10 times CPython, 3.5 times ipc-channel, 1.2 times iceoryx2",
    ),
    (
        "M5",
        "8 B one way: 0.7 of the bare ring; 35 times CPython's `Pipe`, 15 times its `Queue`, 10 times ipc-channel, 5 times iceoryx2",
    ),
    (
        "M6",
        "64 KiB and 1 MiB one way: 0.85 and 0.9 of the bare ring; 3 times CPython's `send_bytes`, 12 times its `Queue`, 2.6 times ipc-channel, 0.8 of iceoryx2",
    ),
    (
        "M7",
        "queue: 0.6 of a lock and a ring; 15 times CPython's `Queue` and `SimpleQueue`, 10 times with 1 MiB; four and four 0.7 of one and one, 12 and 8 times CPython's",
    ),
    (
        "M8",
        "without shared memory: within 1.15 of the bare pipe or socket, 2 times CPython's `send_bytes` and 2.8 times its `send`; awake within 6 µs, 10 times CPython",
    ),
    ("M9", "8 B to one who sleeps and back: within 1.2 of a futex"),
    (
        "L1",
        "100 MB by value into memory that is there: within 1.2 of the bare ring; 18 times CPython's `send`, 7 times `send_bytes`, as fast as a copy to `shared_memory`",
    ),
    (
        "L2",
        "the same into new memory: within 1.4 of a copy to large pages; twice CPython's `shared_memory` and ipc-channel's",
    ),
    (
        "L3",
        "the same by handle: within 100 µs and 1.3 of the wake-ups; 1.5 times ipc-channel's; read in place at memory's speed, without a page fault the second time",
    ),
    ("P1", "fork: within 1.5 of a bare one, 8 times CPython"),
    (
        "P2",
        "fork server: within 1.5 of a bare one; 40 times CPython's, 5 times its fork; the same at 1 GB, 70 times CPython's fork there",
    ),
    ("P3", "spawn: within 1.25 of a bare `Command`; 30 times CPython, 1.05 times procspawn"),
    (
        "P4",
        "the end of one of a thousand, by every start method and means: known within 1 ms, the latest within 5 ms",
    ),
    (
        "R1",
        "memory of an idle worker by spawn, fork server, fork: within 500, 200 and 200 kB; 19, 40 and 8 times less than CPython's",
    ),
    (
        "K1",
        "lock and recursive lock alone: within 1.1 of a robust mutex; twice CPython's calls, 10 times its `with`",
    ),
    (
        "K2",
        "a lock that 2 to 64 want: within 1.25 of a futex mutex and 1.3 of a robust one, 1.3 times a semaphore; 5 times CPython by two, 3 times by more; the least share 0.4 of the greatest",
    ),
    ("K3", "semaphore alone and by two: within 1.1 and 0.6 of `sem_t`; 1.7 and 4 times CPython"),
    (
        "K4",
        "event: asked within 5 ns, set and cleared within 60 ns, 60 and 15 times CPython; a wake-up within 1.2 of a futex, 3 times CPython on two processors, 4 times on one",
    ),
    ("K5", "condition there and back: within 1.1 of a futex, within 5 µs if awake; 3 times CPython"),
    ("K6", "barrier of 2 to 64: within 1.15 of a futex; 6 times CPython, 17 times with 64"),
    (
        "W1",
        "a pool of two up, one task, down: by fork within 3 of two bare forks, by spawn within 1.5 of two empty programs; 8 and 14 times CPython, 1.2 times procspawn; by fork server 10 times CPython's spawn, 2.5 times its fork",
    ),
    (
        "W2",
        "the same with 64 workers by fork: within 1.3 of 64 bare forks, 3 times CPython; by spawn the time grows with the number",
    ),
    (
        "W3",
        "`apply`: within 3 µs if awake, within 1.2 of a futex if not; 60 times CPython, 30 times procspawn",
    ),
    (
        "W4",
        "`map` of a million: 0.4 of a bare pool with rings, 100 M/s; 20 times CPython, 2.5 times procspawn",
    ),
    ("W5", "chunk size 1: 5 M/s of numbers and 1 M/s of texts; 70 and 15 times CPython, 45 times procspawn"),
    (
        "W6",
        "`imap`, `imap_unordered`, `apply_async`: 0.4 of a bare pool with rings; 12 times CPython, 70 times `ProcessPoolExecutor`",
    ),
    (
        "W7",
        "1 MB in and out: 0.75 of a bare pool with rings; 12 times CPython, 4.4 times mpire, 5 times procspawn; in place at a handle's cost, whatever the size",
    ),
    ("W8", "tasks of 10 µs, 100 µs, 1 ms, 10 ms: 0.90, 0.97, 0.99, 0.99 of two bare processes"),
    ("W9", "chunk size 1 with 64 workers: 0.8 of two workers' rate"),
    ("W10", "a killed worker replaced within 5 ms"),
    (
        "G1",
        "a manager's dictionary over a plain socket: within 1.2 of a bare one, within 10 µs if awake; 2.7 and 4 times CPython, ahead of tarpc (2 times on one processor) and Redis",
    ),
    (
        "G2",
        "the same through shared memory: within 3 µs; 15 times CPython, 5 times on one processor, ahead of tarpc and Redis",
    ),
    (
        "G3",
        "the same by 4, 16, 64 clients: 0.75 of the better bare server; 8, 12, 7 times CPython; 3 and 1.1 times Redis; not falling as clients grow",
    ),
    (
        "G4",
        "connect and first call: within 200 µs and 2 of the bare server; 1.7 times CPython, over TCP 200 times; a proxy made 50 times, over TCP 200 times as fast",
    ),
    (
        "G5",
        "memory for an idle client: within 2 kB; 9 times less than CPython, 4 times less than Redis; as many threads as with one",
    ),
    ("G6", "a manager up and called: within 2 ms; 3 times CPython, over TCP 100 times"),
    ("G7", "a method: as G2"),
    ("G8", "calls sent ahead: 50 times CPython"),
    ("G9", "an object made and dropped: 50 times CPython"),
    ("G10", "a change that survives a kill: ahead of Redis' log"),
    ("A1", "the words of many files, two workers: in 0.6 of the time of one"),
];

/// The label, the row, its mode, the system that it is compared with, and the least ratio.
type Want = (&'static str, &'static str, Mode, &'static str, f64);

#[rustfmt::skip]
const WANTS: &[Want] = &[
    ("M1", "ipc/roundtrip-8B", Hot, "bound", 1.0 / 1.5),
    ("M1", "ipc/roundtrip-8B", Hot, "cpython", 70.0),
    ("M1", "ipc/roundtrip-8B", Hot, "ipc-channel", 70.0),
    ("M1", "ipc/roundtrip-8B", Hot, "iceoryx2-event", 50.0),
    ("M1", "ipc/roundtrip-8B", Hot, "iceoryx2", 1.5),
    ("M1", "ipc/roundtrip-8B-p99", Hot, "limit", 1.0),
    ("M2", "ipc/roundtrip-8B", OneCore, "bound", 1.0 / 1.5),
    ("M2", "ipc/roundtrip-8B", OneCore, "raw-pipe", 1.0 / 1.3),
    ("M2", "ipc/roundtrip-8B", OneCore, "cpython", 4.0),
    ("M2", "ipc/roundtrip-8B", OneCore, "ipc-channel", 1.3),
    ("M3", "ipc/roundtrip-8B-beside-busy", Hot, "limit", 1.0),
    ("M3", "ipc/roundtrip-8B-beside-busy", Hot, "raw-socket", 3.0),
    ("M3", "ipc/roundtrip-8B-beside-busy-p99", Hot, "limit", 1.0),
    ("M3", "ipc/idle-wait", Free, "limit", 1.0),
    ("M4", "ipc/roundtrip-1KiB", Hot, "bound", 1.0 / 1.5),
    ("M4", "ipc/roundtrip-1KiB", Hot, "ipc-channel", 3.5),
    ("M4", "ipc/roundtrip-1KiB", Hot, "iceoryx2", 1.2),
    ("M4", "ipc/roundtrip-64KiB", Hot, "bound", 1.0 / 1.2),
    ("M4", "ipc/roundtrip-64KiB", Hot, "cpython", 2.5),
    ("M4", "ipc/roundtrip-64KiB", Hot, "ipc-channel", 3.5),
    ("M4", "ipc/roundtrip-64KiB", Hot, "iceoryx2", 1.2),
    ("M4", "ipc/roundtrip-1MiB", Hot, "bound", 1.0 / 1.2),
    ("M4", "ipc/roundtrip-1MiB", Hot, "cpython", 10.0),
    ("M4", "ipc/roundtrip-1MiB", Hot, "ipc-channel", 3.5),
    ("M4", "ipc/roundtrip-1MiB", Hot, "iceoryx2", 1.2),
    ("M5", "ipc/stream-8B", Hot, "bound", 0.7),
    ("M5", "ipc/stream-8B", Hot, "cpython", 35.0),
    ("M5", "ipc/stream-8B", Hot, "cpython-queue", 15.0),
    ("M5", "ipc/stream-8B", Hot, "ipc-channel", 10.0),
    ("M5", "ipc/stream-8B", Hot, "iceoryx2", 5.0),
    ("M6", "ipc/stream-64KiB", Hot, "bound", 0.85),
    ("M6", "ipc/stream-64KiB", Hot, "cpython-bytes", 3.0),
    ("M6", "ipc/stream-64KiB", Hot, "cpython-queue", 12.0),
    ("M6", "ipc/stream-64KiB", Hot, "ipc-channel", 2.6),
    ("M6", "ipc/stream-64KiB", Hot, "iceoryx2", 0.8),
    ("M6", "ipc/stream-1MiB", Hot, "bound", 0.9),
    ("M6", "ipc/stream-1MiB", Hot, "cpython-bytes", 3.0),
    ("M6", "ipc/stream-1MiB", Hot, "cpython-queue", 12.0),
    ("M6", "ipc/stream-1MiB", Hot, "ipc-channel", 2.6),
    ("M6", "ipc/stream-1MiB", Hot, "iceoryx2", 0.8),
    ("M7", "sync/queue-8B", Free, "bound", 0.6),
    ("M7", "sync/queue-8B", Free, "cpython", 15.0),
    ("M7", "sync/queue-8B", Free, "cpython-simple", 15.0),
    ("M7", "sync/queue-1MiB", Free, "cpython", 10.0),
    ("M7", "sync/queue-1MiB", Free, "cpython-simple", 10.0),
    ("M7", "sync/queue-8B-by-4-and-4", Free, "ours-1-and-1", 0.7),
    ("M7", "sync/queue-8B-by-4-and-4", Free, "bound", 0.6),
    ("M7", "sync/queue-8B-by-4-and-4", Free, "cpython", 12.0),
    ("M7", "sync/queue-8B-by-4-and-4", Free, "cpython-simple", 8.0),
    ("M8", "ipc/roundtrip-by-pipe", OneCore, "raw", 1.0 / 1.15),
    ("M8", "ipc/roundtrip-by-pipe", OneCore, "cpython", 2.8),
    ("M8", "ipc/roundtrip-by-pipe", OneCore, "cpython-bytes", 2.0),
    ("M8", "ipc/roundtrip-by-pipe", Hot, "limit", 1.0),
    ("M8", "ipc/roundtrip-by-pipe", Hot, "cpython", 10.0),
    ("M8", "ipc/roundtrip-by-pipe", Hot, "cpython-bytes", 10.0),
    ("M8", "ipc/roundtrip-by-socket", OneCore, "raw", 1.0 / 1.15),
    ("M8", "ipc/roundtrip-by-socket", OneCore, "cpython", 2.8),
    ("M8", "ipc/roundtrip-by-socket", OneCore, "cpython-bytes", 2.0),
    ("M8", "ipc/roundtrip-by-socket", Hot, "limit", 1.0),
    ("M8", "ipc/roundtrip-by-socket", Hot, "cpython", 10.0),
    ("M8", "ipc/roundtrip-by-socket", Hot, "cpython-bytes", 10.0),
    ("M9", "ipc/roundtrip-8B", Asleep, "bound", 1.0 / 1.2),
    ("L1", "ipc/array-100MB-recycled", Hot, "bound", 1.0 / 1.2),
    ("L1", "ipc/array-100MB-recycled", Hot, "cpython", 18.0),
    ("L1", "ipc/array-100MB-recycled", Hot, "cpython-bytes", 7.0),
    ("L1", "ipc/array-100MB-recycled", Hot, "cpython-shared", 1.0),
    ("L2", "ipc/array-100MB-fresh", Hot, "bound", 1.0 / 1.4),
    ("L2", "ipc/array-100MB-fresh", Hot, "cpython-shared", 2.0),
    ("L2", "ipc/array-100MB-fresh", Hot, "ipc-channel", 2.0),
    ("L3", "ipc/array-100MB-handle", Asleep, "limit", 1.0),
    ("L3", "ipc/array-100MB-handle", Asleep, "bound", 1.0 / 1.3),
    ("L3", "ipc/array-100MB-handle", Asleep, "ipc-channel", 1.5),
    ("L3", "ipc/array-100MB-read-in-place", OneCore, "own-memory", 0.9),
    ("L3", "ipc/array-100MB-faults", Hot, "limit", 1.0),
    ("P1", "process/fork", Free, "bound", 1.0 / 1.5),
    ("P1", "process/fork", Free, "cpython", 8.0),
    ("P2", "process/forkserver", Free, "bound", 1.0 / 1.5),
    ("P2", "process/forkserver", Free, "cpython", 40.0),
    ("P2", "process/forkserver", Free, "cpython-fork", 5.0),
    ("P2", "process/forkserver-1GB", Free, "ours-small", 0.9),
    ("P2", "process/forkserver-1GB", Free, "cpython-fork", 70.0),
    ("P3", "process/spawn", Free, "bound", 1.0 / 1.25),
    ("P3", "process/spawn", Free, "cpython", 30.0),
    ("P3", "process/spawn", Free, "procspawn", 1.05),
    ("P4", "process/end-noticed-of-1000", Free, "limit", 1.0),
    ("P4", "process/end-noticed-of-1000-latest", Free, "limit", 1.0),
    ("R1", "pool/idle-worker-spawn", Free, "limit", 1.0),
    ("R1", "pool/idle-worker-spawn", Free, "cpython", 19.0),
    ("R1", "pool/idle-worker-fork", Free, "limit", 1.0),
    ("R1", "pool/idle-worker-fork", Free, "cpython", 8.0),
    ("R1", "pool/idle-worker-forkserver", Free, "limit", 1.0),
    ("R1", "pool/idle-worker-forkserver", Free, "cpython", 40.0),
    ("K1", "sync/lock", OneCore, "bound", 1.0 / 1.1),
    ("K1", "sync/lock", OneCore, "cpython", 2.0),
    ("K1", "sync/lock", OneCore, "cpython-with", 10.0),
    ("K1", "sync/rlock", OneCore, "bound", 1.0 / 1.1),
    ("K1", "sync/rlock", OneCore, "cpython", 2.0),
    ("K1", "sync/rlock", OneCore, "cpython-with", 10.0),
    ("K2", "sync/lock-by-2", Free, "bound", 1.0 / 1.3),
    ("K2", "sync/lock-by-2", Free, "futex-mutex", 1.0 / 1.25),
    ("K2", "sync/lock-by-2", Free, "cpython", 5.0),
    ("K2", "sync/lock-by-2", Free, "sem", 1.3),
    ("K2", "sync/lock-share-by-2", Free, "limit", 1.0),
    ("K2", "sync/lock-by-4", Free, "bound", 1.0 / 1.3),
    ("K2", "sync/lock-by-4", Free, "futex-mutex", 1.0 / 1.25),
    ("K2", "sync/lock-by-4", Free, "cpython", 3.0),
    ("K2", "sync/lock-by-4", Free, "sem", 1.3),
    ("K2", "sync/lock-share-by-4", Free, "limit", 1.0),
    ("K2", "sync/lock-by-8", Free, "futex-mutex", 1.0 / 1.25),
    ("K2", "sync/lock-by-8", Free, "cpython", 3.0),
    ("K2", "sync/lock-by-8", Free, "sem", 1.3),
    ("K2", "sync/lock-share-by-8", Free, "limit", 1.0),
    ("K2", "sync/lock-by-16", Free, "futex-mutex", 1.0 / 1.25),
    ("K2", "sync/lock-by-16", Free, "cpython", 3.0),
    ("K2", "sync/lock-by-16", Free, "sem", 1.3),
    ("K2", "sync/lock-share-by-16", Free, "limit", 1.0),
    ("K2", "sync/lock-by-64", Free, "futex-mutex", 1.0 / 1.25),
    ("K2", "sync/lock-by-64", Free, "cpython", 3.0),
    ("K2", "sync/lock-by-64", Free, "sem", 1.3),
    ("K2", "sync/lock-share-by-64", Free, "limit", 1.0),
    ("K3", "sync/semaphore", OneCore, "bound", 1.0 / 1.1),
    ("K3", "sync/semaphore", OneCore, "cpython", 1.7),
    ("K3", "sync/semaphore-by-2", Free, "bound", 1.0 / 0.6),
    ("K3", "sync/semaphore-by-2", Free, "cpython", 4.0),
    ("K4", "sync/event-is-set", OneCore, "limit", 1.0),
    ("K4", "sync/event-is-set", OneCore, "cpython", 60.0),
    ("K4", "sync/event-set-clear", OneCore, "limit", 1.0),
    ("K4", "sync/event-set-clear", OneCore, "cpython", 15.0),
    ("K4", "sync/event", Asleep, "bound", 1.0 / 1.2),
    ("K4", "sync/event", Asleep, "cpython", 3.0),
    ("K4", "sync/event", OneCore, "bound", 1.0 / 1.2),
    ("K4", "sync/event", OneCore, "cpython", 4.0),
    ("K5", "sync/condition", Asleep, "bound", 1.0 / 1.1),
    ("K5", "sync/condition", Asleep, "cpython", 3.0),
    ("K5", "sync/condition", Hot, "limit", 1.0),
    ("K5", "sync/condition", Hot, "cpython", 3.0),
    ("K6", "sync/barrier-of-2", Free, "bound", 1.0 / 1.15),
    ("K6", "sync/barrier-of-2", Free, "cpython", 6.0),
    ("K6", "sync/barrier-of-4", Free, "bound", 1.0 / 1.15),
    ("K6", "sync/barrier-of-4", Free, "cpython", 6.0),
    ("K6", "sync/barrier-of-8", Free, "bound", 1.0 / 1.15),
    ("K6", "sync/barrier-of-8", Free, "cpython", 6.0),
    ("K6", "sync/barrier-of-16", Free, "bound", 1.0 / 1.15),
    ("K6", "sync/barrier-of-16", Free, "cpython", 6.0),
    ("K6", "sync/barrier-of-64", Free, "bound", 1.0 / 1.15),
    ("K6", "sync/barrier-of-64", Free, "cpython", 17.0),
    ("W1", "pool/up-task-down", Free, "bound", 1.0 / 1.5),
    ("W1", "pool/up-task-down", Free, "cpython-spawn", 14.0),
    ("W1", "pool/up-task-down", Free, "procspawn", 1.2),
    ("W1", "pool/up-task-down-forkserver", Free, "cpython-fork", 2.5),
    ("W1", "pool/up-task-down-forkserver", Free, "cpython-spawn", 10.0),
    ("W1", "pool/up-task-down-fork", Free, "bound", 1.0 / 3.0),
    ("W1", "pool/up-task-down-fork", Free, "cpython-fork", 8.0),
    ("W2", "pool/up-64-fork", Free, "bound", 1.0 / 1.3),
    ("W2", "pool/up-64-fork", Free, "cpython-fork", 3.0),
    ("W2", "pool/up-64", Free, "ours-of-16", 0.25 / 1.25),
    ("W3", "pool/apply", Hot, "limit", 1.0),
    ("W3", "pool/apply", Hot, "cpython", 60.0),
    ("W3", "pool/apply", Hot, "procspawn", 30.0),
    ("W3", "pool/apply", Asleep, "bound", 1.0 / 1.2),
    ("W4", "pool/map-1e6", Free, "limit", 1.0),
    ("W4", "pool/map-1e6", Free, "bound", 0.4),
    ("W4", "pool/map-1e6", Free, "cpython", 20.0),
    ("W4", "pool/map-1e6", Free, "procspawn", 2.5),
    ("W5", "pool/chunk1", Free, "limit", 1.0),
    ("W5", "pool/chunk1", Free, "cpython", 70.0),
    ("W5", "pool/chunk1", Free, "procspawn", 45.0),
    ("W5", "pool/chunk1-text", Free, "limit", 1.0),
    ("W5", "pool/chunk1-text", Free, "cpython", 15.0),
    ("W5", "pool/chunk1-text", Free, "procspawn", 45.0),
    ("W6", "pool/imap", Free, "bound", 0.4),
    ("W6", "pool/imap", Free, "cpython", 12.0),
    ("W6", "pool/imap", Free, "executor", 70.0),
    ("W6", "pool/imap-unordered", Free, "bound", 0.4),
    ("W6", "pool/imap-unordered", Free, "cpython", 12.0),
    ("W6", "pool/imap-unordered", Free, "executor", 70.0),
    ("W6", "pool/apply-async", Free, "bound", 0.4),
    ("W6", "pool/apply-async", Free, "cpython", 12.0),
    ("W6", "pool/apply-async", Free, "executor", 70.0),
    ("W7", "pool/1MB", Free, "bound", 0.75),
    ("W7", "pool/1MB", Free, "cpython", 12.0),
    ("W7", "pool/1MB", Free, "mpire", 4.4),
    ("W7", "pool/1MB", Free, "procspawn", 5.0),
    ("W7", "pool/1MB-in-place", Free, "ours-of-64kB", 0.8),
    ("W8", "pool/tasks-10us", Free, "bound", 0.90),
    ("W8", "pool/tasks-100us", Free, "bound", 0.97),
    ("W8", "pool/tasks-1ms", Free, "bound", 0.99),
    ("W8", "pool/tasks-10ms", Free, "bound", 0.99),
    ("W9", "pool/chunk1-by-64", Free, "ours-by-2", 0.8),
    ("W10", "pool/replaced", Free, "limit", 1.0),
    ("G1", "manager/get-over-unix", OneCore, "bound", 1.0 / 1.2),
    ("G1", "manager/get-over-unix", OneCore, "cpython", 2.7),
    ("G1", "manager/get-over-unix", OneCore, "tarpc", 2.0),
    ("G1", "manager/get-over-unix", OneCore, "redis", 1.0),
    ("G1", "manager/get-over-unix", Hot, "limit", 1.0),
    ("G1", "manager/get-over-unix", Hot, "bound", 1.0 / 1.2),
    ("G1", "manager/get-over-unix", Hot, "cpython", 4.0),
    ("G1", "manager/get-over-unix", Hot, "tarpc", 1.0),
    ("G1", "manager/get-over-unix", Hot, "redis", 1.0),
    ("G1", "manager/get-over-tcp", OneCore, "bound", 1.0 / 1.2),
    ("G1", "manager/get-over-tcp", OneCore, "cpython", 2.7),
    ("G1", "manager/get-over-tcp", OneCore, "tarpc", 2.0),
    ("G1", "manager/get-over-tcp", OneCore, "redis", 1.0),
    ("G1", "manager/get-over-tcp", Hot, "limit", 1.0),
    ("G1", "manager/get-over-tcp", Hot, "bound", 1.0 / 1.2),
    ("G1", "manager/get-over-tcp", Hot, "cpython", 4.0),
    ("G1", "manager/get-over-tcp", Hot, "tarpc", 1.0),
    ("G1", "manager/get-over-tcp", Hot, "redis", 1.0),
    ("G2", "manager/get", Hot, "limit", 1.0),
    ("G2", "manager/get", Hot, "cpython", 15.0),
    ("G2", "manager/get", Hot, "tarpc", 1.0),
    ("G2", "manager/get", Hot, "redis", 1.0),
    ("G2", "manager/get", OneCore, "cpython", 5.0),
    ("G2", "manager/get", OneCore, "tarpc", 2.0),
    ("G2", "manager/get", OneCore, "redis", 1.0),
    ("G2", "manager/set", Hot, "limit", 1.0),
    ("G2", "manager/set", Hot, "cpython", 15.0),
    ("G2", "manager/set", Hot, "tarpc", 1.0),
    ("G2", "manager/set", Hot, "redis", 1.0),
    ("G2", "manager/set", OneCore, "cpython", 5.0),
    ("G2", "manager/set", OneCore, "tarpc", 2.0),
    ("G2", "manager/set", OneCore, "redis", 1.0),
    ("G7", "manager/method", Hot, "limit", 1.0),
    ("G7", "manager/method", Hot, "cpython", 15.0),
    ("G7", "manager/method", Hot, "tarpc", 1.0),
    ("G7", "manager/method", Hot, "redis", 1.0),
    ("G7", "manager/method", OneCore, "cpython", 5.0),
    ("G7", "manager/method", OneCore, "tarpc", 2.0),
    ("G7", "manager/method", OneCore, "redis", 1.0),
    ("G3", "manager/get-by-4", Free, "bound", 0.75),
    ("G3", "manager/get-by-4", Free, "bound-threads", 0.75),
    ("G3", "manager/get-by-4", Free, "cpython", 8.0),
    ("G3", "manager/get-by-4", Free, "redis", 3.0),
    ("G3", "manager/get-by-16", Free, "bound", 0.75),
    ("G3", "manager/get-by-16", Free, "bound-threads", 0.75),
    ("G3", "manager/get-by-16", Free, "cpython", 12.0),
    ("G3", "manager/get-by-16", Free, "redis", 1.1),
    ("G3", "manager/get-by-16", Free, "ours-by-4", 1.0),
    ("G3", "manager/get-by-64", Free, "bound", 0.75),
    ("G3", "manager/get-by-64", Free, "bound-threads", 0.75),
    ("G3", "manager/get-by-64", Free, "cpython", 7.0),
    ("G3", "manager/get-by-64", Free, "ours-by-4", 1.0),
    ("G3", "manager/set-by-4", Free, "bound", 0.75),
    ("G3", "manager/set-by-4", Free, "bound-threads", 0.75),
    ("G3", "manager/set-by-4", Free, "cpython", 8.0),
    ("G3", "manager/set-by-4", Free, "redis", 3.0),
    ("G3", "manager/set-by-16", Free, "bound", 0.75),
    ("G3", "manager/set-by-16", Free, "bound-threads", 0.75),
    ("G3", "manager/set-by-16", Free, "cpython", 12.0),
    ("G3", "manager/set-by-16", Free, "redis", 1.1),
    ("G3", "manager/set-by-16", Free, "ours-by-4", 1.0),
    ("G3", "manager/set-by-64", Free, "bound", 0.75),
    ("G3", "manager/set-by-64", Free, "bound-threads", 0.75),
    ("G3", "manager/set-by-64", Free, "cpython", 7.0),
    ("G3", "manager/set-by-64", Free, "ours-by-4", 1.0),
    ("G4", "manager/connect-unix", Free, "limit", 1.0),
    ("G4", "manager/connect-unix", Free, "bound", 0.5),
    ("G4", "manager/connect-unix", Free, "cpython", 1.7),
    ("G4", "manager/connect-tcp", Free, "limit", 1.0),
    ("G4", "manager/connect-tcp", Free, "bound", 0.5),
    ("G4", "manager/connect-tcp", Free, "cpython", 200.0),
    ("G4", "manager/create-drop-tcp", Free, "cpython", 200.0),
    ("G5", "manager/idle-client", Free, "limit", 1.0),
    ("G5", "manager/idle-client", Free, "cpython", 9.0),
    ("G5", "manager/idle-client", Free, "redis", 4.0),
    ("G5", "manager/threads", Free, "ours-of-1", 1.0),
    ("G6", "manager/start-call-end", Free, "limit", 1.0),
    ("G6", "manager/start-call-end", Free, "cpython", 3.0),
    ("G6", "manager/start-call-end", Free, "cpython-tcp", 100.0),
    ("G8", "manager/pipelined", Free, "cpython", 50.0),
    ("G9", "manager/create-drop", Free, "cpython", 50.0),
    ("G10", "manager/durable-set", Hot, "redis", 1.0),
    ("G10", "manager/durable-set", OneCore, "redis", 1.0),
    ("A1", "app/wordcount", Free, "serial", 1.0 / 0.6),
];

/// What a row's comparison with a system is to show.
#[must_use]
pub fn labels(row: &Row, system: &System) -> Vec<&'static str> {
    let is_it = |want: &&Want| (want.1, want.2, want.3) == (row.name.as_str(), row.mode, system.name);
    WANTS.iter().filter(is_it).map(|want| want.0).collect()
}

/// All goals and their rows, as a table of Markdown.
#[must_use]
pub fn table() -> String {
    let mut text = String::from("| goal | what is wanted | rows |\n|---|---|---|\n");
    for (label, words) in GOALS {
        let mut rows: Vec<String> = Vec::new();
        for (_, row, mode, ..) in WANTS.iter().filter(|want| want.0 == *label) {
            let row = format!("`{row}` {}", mode.name());
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
        text += &format!("| {label} | {words} | {} |\n", rows.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rows;

    #[test]
    fn each_goal_has_rows_and_each_row_asks_for_what_is_wanted() {
        let rows = rows::all();
        let mut wrong = Vec::new();
        for (label, name, mode, system, least) in WANTS {
            let row = rows.iter().find(|row| row.name == *name && row.mode == *mode);
            let systems = row.iter().flat_map(|row| &row.systems);
            let target = systems.filter(|one| one.name == *system).find_map(|one| one.target);
            if target.is_none_or(|target| target < least - 1e-9) {
                wrong.push(format!("{label}: {name} ({}) to {system}: {target:?} of {least}", mode.name()));
            }
            assert!(GOALS.iter().any(|goal| goal.0 == *label), "{label} says nothing");
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        for (label, _) in GOALS {
            assert!(WANTS.iter().any(|want| want.0 == *label), "nothing shows {label}");
        }
    }

    #[test]
    fn the_labels_have_no_gap() {
        let mut numbers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (label, _) in GOALS {
            let (area, number) = label.split_at(1);
            numbers.entry(area).or_default().push(number.parse().unwrap());
        }
        for (area, numbers) in &numbers {
            assert_eq!(*numbers, (1..=numbers.len()).collect::<Vec<_>>(), "{area}");
        }
        let counts: Vec<(&str, usize)> = numbers.iter().map(|(area, all)| (*area, all.len())).collect();
        let expected = [("A", 1), ("G", 10), ("K", 6), ("L", 3), ("M", 9), ("P", 4), ("R", 1), ("W", 10)];
        assert_eq!(counts, expected);
    }

    #[test]
    fn the_readme_has_the_goals_of_now() {
        let readme = include_str!("../../README.md");
        assert!(readme.contains(&table()), "run `cargo run -p benches --bin bench goals`");
    }
}
