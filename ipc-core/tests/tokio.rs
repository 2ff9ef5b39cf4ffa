//! The `async` forms under tokio: on one thread and on many, and under its timeouts.

use std::time::Duration;

use ipc_core::link::{Link, PipeLink, RingLink, RingOptions, SocketLink};
use ipc_core::{
    Address, ConnectOptions, Connection, Listener, ListenerOptions, Receiver, RecvError, Sender, connect_link,
};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

const LATE: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_millis(30);

fn runtimes() -> [Runtime; 2] {
    let many = Builder::new_multi_thread().worker_threads(3).enable_time().build().unwrap();
    [Builder::new_current_thread().enable_time().build().unwrap(), many]
}

type Ends = (&'static str, Sender<Vec<u8>>, Receiver<Vec<u8>>);

fn ends() -> Vec<Ends> {
    fn over(name: &'static str, (tx, rx): (impl Link + 'static, impl Link + 'static)) -> Ends {
        (name, Sender::over(tx), Receiver::over(rx))
    }
    let listener =
        Listener::bind_with(&Address::tcp("127.0.0.1", 0), ListenerOptions::new().anyone()).unwrap();
    let client = connect_link(listener.address(), ConnectOptions::new()).unwrap();
    vec![
        over("ring", RingLink::pipe(RingOptions::default()).unwrap()),
        over("pipe", PipeLink::pair().unwrap()),
        over("socket", SocketLink::pair().unwrap()),
        over("tcp", (client, listener.accept_link(None).unwrap().into_link())),
    ]
}

#[test]
fn tasks_talk_over_every_link() {
    for runtime in runtimes() {
        for (name, tx, rx) in ends() {
            runtime.block_on(async {
                // Small ones, and those that a link does not hold at once.
                let sizes = (0..300).map(|n| if n % 50 == 49 { 700_000 } else { n * 7 });
                let all: Vec<usize> = sizes.collect();
                let sent = all.clone();
                let sending = tokio::spawn(async move {
                    for size in sent {
                        tx.send_async(&vec![size as u8; size]).await.unwrap();
                    }
                });
                for size in all {
                    let value = timeout(LATE, rx.recv_async()).await.expect(name).unwrap();
                    assert!(value == vec![size as u8; size], "{name}: {size}");
                }
                sending.await.unwrap();
                let end = timeout(LATE, rx.recv_async()).await.expect(name);
                assert!(matches!(end, Err(RecvError::Closed)), "{name}: {end:?}");
            });
        }
    }
}

#[test]
fn a_timeout_of_the_runtime_loses_nothing() {
    for runtime in runtimes() {
        for (name, tx, rx) in ends() {
            runtime.block_on(async {
                assert!(timeout(SOON, rx.recv_async()).await.is_err(), "{name}");
                tx.send_async(&vec![1; 10]).await.unwrap();
                assert_eq!(timeout(LATE, rx.recv_async()).await.expect(name).unwrap(), [1; 10]);
            });
        }
    }
}

#[test]
fn a_listener_serves_tasks() {
    for runtime in runtimes() {
        runtime.block_on(async {
            let listener = Listener::bind(&Address::auto().unwrap()).unwrap();
            let address = listener.address().clone();
            let clients: Vec<_> = (0..8u64)
                .map(|number| {
                    let address = address.clone();
                    tokio::spawn(async move {
                        // Connecting waits, as long as the listener takes.
                        let connected = tokio::task::spawn_blocking(move || {
                            ipc_core::connect::<u64, u64>(&address, ConnectOptions::new()).unwrap()
                        });
                        let client: Connection<u64, u64> = connected.await.unwrap();
                        client.send_async(&number).await.unwrap();
                        assert_eq!(client.recv_async().await.unwrap(), number * 2);
                    })
                })
                .collect();
            for _ in 0..8 {
                let accepted = timeout(LATE, listener.accept_async()).await.unwrap().unwrap();
                let server: Connection<u64, u64> = accepted.into_connection();
                tokio::spawn(async move {
                    let number = server.recv_async().await.unwrap();
                    server.send_async(&(number * 2)).await.unwrap();
                });
            }
            for client in clients {
                timeout(LATE, client).await.unwrap().unwrap();
            }
        });
    }
}
