//! The `async` forms, over every link.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use async_io::{Timer, block_on};
use futures_lite::future::{or, zip};
use ipc_core::link::{Link, PipeLink, RingLink, RingOptions, SocketLink};
use ipc_core::{
    Accepted, Address, ConnectOptions, Connection, Listener, ListenerOptions, Receiver, RecvError, SendError,
    Sender, connect_link, ready,
};
use mp_process::Process;

type Outcome = Result<(), Box<dyn std::error::Error>>;
type Ends<T> = (&'static str, Sender<T>, Receiver<T>);

/// A time that is meant to pass.
const SOON: Duration = Duration::from_millis(30);
/// Longer than anything takes that does happen.
const LONG: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let trials = mp_testkit::trials![
        messages_in_order,
        a_receiver_waits_for_a_sender,
        a_full_link_keeps_no_thread,
        a_message_larger_than_the_link,
        a_dropped_receive_loses_nothing,
        a_dropped_send_sends_all_or_nothing,
        the_end_of_the_peer,
        both_ways_at_once,
        bytes_as_they_are,
        a_listener,
        the_end_of_a_process,
        a_move_keeps_no_thread,
    ];
    mp_testkit::Suite::new(trials).warm_up(start_library_threads).run()
}

/// The threads that watch peers, and handles for futures, stay for the life of the process.
fn start_library_threads() {
    let (_tx, rx) = ipc_core::pipe::<()>().unwrap();
    let _ = rx.recv_timeout(SOON);
    block_on(Timer::after(SOON));
}

fn ends<T: ipc_core::Message>() -> Result<Vec<Ends<T>>, Box<dyn std::error::Error>> {
    fn over<T: ipc_core::Message>(
        name: &'static str,
        (tx, rx): (impl Link + 'static, impl Link + 'static),
    ) -> Ends<T> {
        (name, Sender::over(tx), Receiver::over(rx))
    }
    let listener = Listener::bind_with(&Address::tcp("127.0.0.1", 0), ListenerOptions::new().anyone())?;
    let client = connect_link(listener.address(), ConnectOptions::new())?;
    Ok(vec![
        over("ring", RingLink::pipe(RingOptions::default())?),
        over("smallest ring", RingLink::pipe(RingOptions::default().capacity(0))?),
        over("pipe", PipeLink::pair()?),
        over("socket", SocketLink::pair()?),
        over("tcp", (client, listener.accept_link(None)?.into_link())),
    ])
}

fn messages_in_order() -> Outcome {
    for (name, tx, rx) in ends::<(u32, String)>()? {
        let send = async {
            for number in 0..2000 {
                tx.send_async(&(number, "x".repeat(number as usize % 300))).await.unwrap();
            }
        };
        let receive = async {
            for number in 0..2000 {
                let (received, text) = rx.recv_async().await.unwrap();
                assert_eq!((received, text.len()), (number, number as usize % 300), "{name}");
            }
        };
        block_on(zip(send, receive));
    }
    Ok(())
}

fn a_receiver_waits_for_a_sender() -> Outcome {
    for (name, tx, rx) in ends::<u32>()? {
        let begun = Instant::now();
        let send = async {
            Timer::after(SOON).await;
            tx.send_async(&7).await
        };
        let (sent, received) = block_on(zip(send, rx.recv_async()));
        sent?;
        assert_eq!(received?, 7, "{name}");
        assert!(begun.elapsed() >= SOON);
    }
    Ok(())
}

fn a_full_link_keeps_no_thread() -> Outcome {
    for (name, tx, rx) in ends::<Vec<u8>>()? {
        let other = std::cell::Cell::new(false);
        let send = async {
            for number in 0..4000 {
                tx.send_async(&vec![number as u8; 1000]).await.unwrap();
            }
        };
        let receive = async {
            // The link is full long before, and this future still runs.
            Timer::after(SOON).await;
            other.set(true);
            for number in 0..4000 {
                assert_eq!(rx.recv_async().await.unwrap(), vec![number as u8; 1000], "{name}");
            }
        };
        block_on(zip(send, receive));
        assert!(other.get());
    }
    Ok(())
}

fn a_message_larger_than_the_link() -> Outcome {
    for (name, tx, rx) in ends::<Vec<u8>>()? {
        let large: Vec<u8> = (0..3_000_000u32).map(|byte| (byte % 251) as u8).collect();
        let (sent, received) = block_on(zip(tx.send_async(&large), rx.recv_async()));
        sent?;
        assert!(received? == large, "{name}");
    }
    Ok(())
}

fn a_dropped_receive_loses_nothing() -> Outcome {
    for (name, tx, rx) in ends::<u32>()? {
        let nothing = block_on(or(async { Some(rx.recv_async().await) }, async {
            Timer::after(SOON).await;
            None
        }));
        assert!(nothing.is_none());
        tx.send(&1)?;
        assert_eq!(block_on(rx.recv_async())?, 1, "{name}");
    }
    Ok(())
}

fn a_dropped_send_sends_all_or_nothing() -> Outcome {
    for (name, tx, rx) in ends::<Vec<u8>>()? {
        let large = vec![7; 3_000_000];
        block_on(or(async { drop(tx.send_async(&large).await) }, async {
            Timer::after(SOON).await;
        }));
        let (sent, received) = block_on(zip(tx.send_async(&vec![8]), async {
            loop {
                let received = rx.recv_async().await.unwrap();
                if received == [8] {
                    return;
                }
                assert!(received == large, "{name}: a part of a message");
            }
        }));
        sent?;
        let () = received;
    }
    Ok(())
}

fn the_end_of_the_peer() -> Outcome {
    for (name, tx, rx) in ends::<u32>()? {
        let end = async {
            Timer::after(SOON).await;
            tx.send_async(&1).await.unwrap();
            drop(tx);
        };
        let receive = async {
            assert_eq!(rx.recv_async().await.unwrap(), 1);
            assert!(matches!(rx.recv_async().await, Err(RecvError::Closed)), "{name}");
        };
        block_on(zip(end, receive));
    }
    for (name, tx, rx) in ends::<Vec<u8>>()? {
        let fill = async {
            loop {
                if let Err(error) = tx.send_async(&vec![0; 100_000]).await {
                    assert!(matches!(error, SendError::Closed | SendError::Io(_)), "{name}: {error}");
                    return;
                }
            }
        };
        let end = async {
            Timer::after(SOON).await;
            drop(rx);
        };
        block_on(zip(fill, end));
    }
    Ok(())
}

fn both_ways_at_once() -> Outcome {
    let (a, b) = ipc_core::duplex::<u32, u32>()?;
    let echo = async {
        for _ in 0..500 {
            b.send_async(&(b.recv_async().await? + 1)).await?;
        }
        Ok::<(), Box<dyn std::error::Error>>(())
    };
    let ask = async {
        for number in 0..500 {
            a.send_async(&number).await?;
            assert_eq!(a.recv_async().await?, number + 1);
        }
        Ok::<(), Box<dyn std::error::Error>>(())
    };
    let (echo, ask) = block_on(zip(echo, ask));
    echo.and(ask)
}

fn a_listener() -> Outcome {
    let listener = Listener::bind(&Address::auto()?)?;
    let address = listener.address().clone();
    let client = std::thread::spawn(move || {
        std::thread::sleep(SOON);
        let client: Connection<u32, u32> = ipc_core::connect(&address, ConnectOptions::new()).unwrap();
        client.send(&7).unwrap();
        client.recv().unwrap()
    });
    block_on(async {
        let server: Connection<u32, u32> = Accepted::into_connection(listener.accept_async().await?);
        server.send_async(&(server.recv_async().await? * 6)).await?;
        Ok::<(), Box<dyn std::error::Error>>(())
    })?;
    assert_eq!(client.join().unwrap(), 42);
    Ok(())
}

fn the_end_of_a_process() -> Outcome {
    let child = Process::spawn(|()| std::thread::sleep(SOON), ())?;
    let sentinel = child.sentinel();
    block_on(ready(&sentinel))?;
    assert!(!child.is_alive());
    Ok(())
}

fn bytes_as_they_are() -> Outcome {
    for (name, tx, rx) in ends::<()>()? {
        let sending = async {
            for bytes in [&b""[..], b"as they are", &[7; 300_000]] {
                tx.send_bytes_async(bytes).await?;
            }
            Outcome::Ok(())
        };
        let receiving = async {
            let mut bytes = vec![1];
            rx.recv_bytes_async(&mut bytes).await?;
            assert!(bytes.is_empty(), "{name}");
            let mut buffer = [0; 16];
            let result = rx.recv_bytes_into_async(&mut buffer[..3]).await;
            assert!(matches!(result, Err(RecvError::BufferTooShort { needed: 11 })), "{name}: {result:?}");
            assert_eq!(rx.recv_bytes_into_async(&mut buffer).await?, 11, "{name}");
            assert_eq!(&buffer[..11], b"as they are", "{name}");
            rx.recv_bytes_async(&mut bytes).await?;
            assert_eq!(bytes, [7; 300_000], "{name}");
            Outcome::Ok(())
        };
        let (sent, received) = block_on(zip(sending, receiving));
        sent.and(received)?;
    }
    Ok(())
}

/// A thread is in the middle of a message, which is received by what runs beside the move.
fn a_move_keeps_no_thread() -> Outcome {
    for (name, tx, rx) in ends::<Vec<u8>>()?.into_iter().filter(|(name, ..)| *name != "tcp") {
        let (mover, moved) = ipc_core::pipe::<Sender<Vec<u8>>>()?;
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| tx.send(&vec![7; 2_500_000]).unwrap());
            assert!(rx.poll(LONG).unwrap());
            let leave = async {
                // It is refused where the rest takes longer than the second that it waits.
                while let Err(error) = mover.send_async(&tx).await {
                    assert!(matches!(error, SendError::Encode(_)), "{name}: {error}");
                }
            };
            let receive = async {
                Timer::after(SOON).await;
                assert_eq!(rx.recv_async().await.unwrap().len(), 2_500_000, "{name}");
            };
            block_on(zip(leave, receive));
            sending.join().unwrap();
        });
        moved.recv_timeout(LONG)?.send(&vec![1])?;
        assert_eq!(rx.recv_timeout(LONG)?, [1], "{name}");
    }
    Ok(())
}
