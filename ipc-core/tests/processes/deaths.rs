//! Peers that are killed or stopped.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::link::{Link, PipeLink, RingLink, RingOptions, SocketLink};
use ipc_core::{Receiver, RecvError, SendError, Sender, WaitSet, pipe, wait};

use crate::child::{Job, Worker, signal_process};

/// Long enough for a death to be noticed on a busy machine, and far below for ever.
const NOTICED: Duration = Duration::from_secs(20);
const A_MOMENT: Duration = Duration::from_millis(30);

type Ends = (Sender<Vec<u8>>, Receiver<Vec<u8>>);

fn over(link: (impl Link + 'static, impl Link + 'static)) -> Ends {
    (Sender::over(link.0), Receiver::over(link.1))
}

/// The three links, each with its name.
fn each() -> Vec<(&'static str, Ends)> {
    vec![
        ("ring", over(RingLink::pipe(RingOptions::default()).unwrap())),
        ("pipe", over(PipeLink::pair().unwrap())),
        ("socket", over(SocketLink::pair().unwrap())),
    ]
}

fn recv(rx: &Receiver<Vec<u8>>) -> Result<Vec<u8>, RecvError> {
    let mut bytes = Vec::new();
    rx.recv_bytes(&mut bytes).map(|()| bytes)
}

pub(crate) fn sender() {
    for (name, (tx, rx)) in each() {
        let mut worker = Worker::start(&Job::HoldSender(tx));
        worker.kill();
        assert!(matches!(recv(&rx), Err(RecvError::Closed)), "{name}, before");
    }
    for (name, (tx, rx)) in each() {
        let mut worker = Worker::start(&Job::SendOne(tx, 64 << 20));
        assert!(rx.poll(NOTICED).unwrap());
        thread::sleep(A_MOMENT);
        worker.kill();
        assert!(matches!(recv(&rx), Err(RecvError::Cut)), "{name}, inside");
        assert!(matches!(recv(&rx), Err(RecvError::Closed)), "{name}, after the cut");
    }
    for (name, (tx, rx)) in each() {
        let mut worker = Worker::start(&Job::SendOne(tx, 20_000));
        assert!(rx.poll(NOTICED).unwrap());
        thread::sleep(A_MOMENT);
        worker.await_sleep();
        worker.kill();
        assert_eq!(recv(&rx).unwrap(), [7; 20_000], "{name}, after");
        assert!(matches!(recv(&rx), Err(RecvError::Closed)), "{name}, at the end");
    }
}

pub(crate) fn sleepers() {
    for (name, (tx, rx)) in each() {
        let mut worker = Worker::start(&Job::HoldSender(tx));
        thread::scope(|scope| {
            let receiving = scope.spawn(|| recv(&rx));
            thread::sleep(A_MOMENT);
            worker.kill();
            assert!(matches!(receiving.join().unwrap(), Err(RecvError::Closed)), "{name}");
        });
    }
    for (name, (tx, rx)) in each() {
        let mut worker = Worker::start(&Job::HoldSender(tx));
        let (_keep, other) = pipe::<u8>().unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| wait(&[&other, &rx], None).unwrap());
            thread::sleep(A_MOMENT);
            worker.kill();
            assert_eq!(waiting.join().unwrap(), [1], "{name}");
        });
        assert!(matches!(recv(&rx), Err(RecvError::Closed)), "{name}");
    }
    for (name, (tx, rx)) in each() {
        let mut worker = Worker::start(&Job::HoldSender(tx));
        let (_keep, other) = pipe::<u8>().unwrap();
        let set = WaitSet::new().unwrap();
        let rx = Arc::new(rx);
        set.add(1, Arc::new(other)).unwrap();
        set.add(2, Arc::clone(&rx)).unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| set.wait(None).unwrap());
            thread::sleep(A_MOMENT);
            worker.kill();
            assert_eq!(waiting.join().unwrap(), [2], "{name}");
        });
        assert!(matches!(recv(&rx), Err(RecvError::Closed)), "{name}");
    }
}

pub(crate) fn receiver() {
    for (name, (tx, rx)) in each() {
        let mut worker = Worker::start(&Job::HoldReceiver(rx));
        thread::scope(|scope| {
            let filling = scope.spawn(|| {
                loop {
                    if let Err(error) = tx.send_bytes(&[0; 10_000]) {
                        break error;
                    }
                }
            });
            thread::sleep(A_MOMENT);
            assert!(!filling.is_finished(), "{name} is never full");
            worker.kill();
            assert!(matches!(filling.join().unwrap(), SendError::Closed), "{name}");
        });
    }
}

pub(crate) fn broken_pipe() {
    let (tell, told) = pipe::<String>().unwrap();
    let _worker = Worker::start(&Job::BreakPipe(tell));
    assert_eq!(told.recv().unwrap(), "Err(Closed)", "and no signal");
    assert_eq!(told.recv().unwrap(), "Err(Closed)", "nor in the middle of a message");
}

/// Who never waits learns of a death too, on either side.
pub(crate) fn lookers() {
    for (name, (tx, rx)) in each() {
        let mut worker = Worker::start(&Job::HoldSender(tx));
        assert!(matches!(rx.try_recv(), Err(RecvError::Timeout)), "{name}");
        worker.kill();
        let late = Instant::now();
        while let Err(RecvError::Timeout) = rx.try_recv() {
            assert!(late.elapsed() < NOTICED, "{name}");
            thread::sleep(Duration::from_millis(1));
        }
        assert!(matches!(rx.try_recv(), Err(RecvError::Closed)), "{name}");
    }
    for (name, (tx, rx)) in each() {
        let mut worker = Worker::start(&Job::HoldReceiver(rx));
        worker.kill();
        let late = Instant::now();
        while !matches!(tx.try_send(&vec![0; 1000]), Err(SendError::Closed)) {
            assert!(late.elapsed() < NOTICED, "{name}");
        }
    }
}

pub(crate) fn stopped() {
    for (name, (tx, rx)) in each() {
        let worker = Worker::start(&Job::Count(tx));
        let mut expected = 0u64;
        let mut buffer;
        for _ in 0..5 {
            worker.signal(libc::SIGSTOP);
            // What is under way may still come; then nothing, and no longer than asked for.
            loop {
                let begun = Instant::now();
                let value = rx.poll(A_MOMENT).unwrap();
                if !value {
                    assert!(begun.elapsed() >= A_MOMENT, "{name}");
                    break;
                }
                buffer = recv(&rx).unwrap();
                assert_eq!(buffer, expected.to_le_bytes(), "{name}");
                expected += 1;
            }
            worker.signal(libc::SIGCONT);
            for _ in 0..100 {
                assert_eq!(recv(&rx).unwrap(), expected.to_le_bytes(), "{name}");
                expected += 1;
            }
        }
    }
}

/// How a death is waited for.
enum Way {
    Receive,
    Wait,
    Set,
}

pub(crate) fn sibling() {
    for waits in [Way::Receive, Way::Wait, Way::Set] {
        let (tx, rx) = pipe::<Vec<u8>>().unwrap();
        let mut worker = Worker::start(&Job::Fork(tx));
        let sibling = u32::from_le_bytes(recv(&rx).unwrap().try_into().unwrap());
        let rx = Arc::new(rx);
        thread::scope(|scope| {
            let sleeper = scope.spawn(|| {
                match waits {
                    Way::Receive => {}
                    Way::Wait => {
                        assert_eq!(wait(&[&*rx], Some(NOTICED)).unwrap(), [0], "not noticed in a wait");
                    }
                    Way::Set => {
                        let set = WaitSet::new().unwrap();
                        set.add(0, Arc::clone(&rx)).unwrap();
                        assert_eq!(set.wait(Some(NOTICED)).unwrap(), [0], "not noticed by a set");
                    }
                }
                recv(&rx)
            });
            thread::sleep(A_MOMENT);
            worker.kill();
            let late = Instant::now();
            while !sleeper.is_finished() && late.elapsed() < NOTICED {
                thread::sleep(A_MOMENT);
            }
            let noticed = sleeper.is_finished();
            signal_process(sibling, libc::SIGKILL);
            assert!(matches!(sleeper.join().unwrap(), Err(RecvError::Closed)));
            assert!(noticed, "only when the sibling died");
        });
    }
    // The process has ended before anybody looks for it.
    let (tx, rx) = pipe::<Vec<u8>>().unwrap();
    let mut worker = Worker::start(&Job::Fork(tx));
    let sibling = u32::from_le_bytes(recv(&rx).unwrap().try_into().unwrap());
    worker.kill();
    let result = rx.recv_timeout(NOTICED);
    signal_process(sibling, libc::SIGKILL);
    assert!(matches!(result, Err(RecvError::Closed)), "{result:?}");
}
