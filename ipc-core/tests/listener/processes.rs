//! Clients and listeners in processes of their own.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use ipc_core::{
    Address, ConnectOptions, Connection, Handle, Listener, ListenerOptions, RecvError, SendError, connect,
};
use mp_process::Process;
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::{LATE, Outcome, Talk, bound, bound_tcp, key, talks};

pub(crate) fn messages_cross() -> Outcome {
    for listener in [bound(secret())?, bound_tcp(secret())?] {
        let child = Process::spawn(
            |address: Address| {
                let talk: Talk = connect(&address, ConnectOptions::new().authkey(key("k"))).unwrap();
                for message in 0..1000 {
                    talk.send(&message.to_string()).unwrap();
                }
                talk.recv().unwrap()
            },
            listener.address().clone(),
        )?;
        let accepted = listener.accept_link(std::time::Instant::now().checked_add(LATE))?;
        let is_local = listener.address().is_local();
        assert_eq!(accepted.process_id(), is_local.then(|| child.pid()));
        assert_eq!(accepted.socket_addr().is_none(), is_local);
        let talk: Talk = accepted.into_connection();
        for message in 0..1000 {
            assert_eq!(talk.recv_timeout(LATE)?, message.to_string());
        }
        talk.send(&"thanks".to_owned())?;
        assert_eq!(child.join()?, "thanks");
    }
    Ok(())
}

pub(crate) fn handles_cross() -> Outcome {
    let listener = bound(ListenerOptions::new())?;
    let child = Process::spawn(
        |address: Address| {
            let files: Connection<(), Handle> = connect(&address, ConnectOptions::new()).unwrap();
            let mut text = String::new();
            File::from(OwnedFd::from(files.recv().unwrap())).read_to_string(&mut text).unwrap();
            text.len()
        },
        listener.address().clone(),
    )?;
    let files: Connection<Handle, ()> = listener.accept_timeout(LATE)?;
    let handle = || File::open("/proc/self/comm").map(|file| Handle::from(OwnedFd::from(file)));
    files.send(&handle()?)?;
    assert!(child.join()? > 0);
    let tcp = bound_tcp(ListenerOptions::new().anyone())?;
    let bytes_only: Connection<Handle, ()> = connect(tcp.address(), ConnectOptions::new())?;
    assert!(matches!(bytes_only.send(&handle()?), Err(SendError::NoHandles { count: 1 })));
    Ok(())
}

/// Both sides are bounded by what is open at one time, not by what ever was.
pub(crate) fn many_clients_one_after_another() -> Outcome {
    let child = Process::spawn(
        |()| {
            let limit = Rlimit { current: Some(64), maximum: Some(64) };
            setrlimit(Resource::Nofile, limit).unwrap();
            for listener in [bound(secret()).unwrap(), bound_tcp(secret()).unwrap()] {
                for _ in 0..200 {
                    talks(&listener, ConnectOptions::new().authkey(key("k"))).unwrap();
                }
                // More at one time than there is room for: they wait, and nothing fails.
                let mut silent = Vec::new();
                while let Ok(one) = crate::bare(listener.address()) {
                    silent.push(one);
                }
                silent.truncate(silent.len().saturating_sub(8));
                drop(silent.drain(..8));
                talks(&listener, ConnectOptions::new().authkey(key("k"))).unwrap();
            }
        },
        (),
    )?;
    Ok(child.join()?)
}

pub(crate) fn a_killed_client_is_noticed() -> Outcome {
    for listener in [bound(secret())?, bound_tcp(secret())?] {
        let child = Process::spawn(
            |address: Address| {
                let talk: Talk = connect(&address, ConnectOptions::new().authkey(key("k"))).unwrap();
                talk.recv().map(drop).map_err(|error| error.to_string())
            },
            listener.address().clone(),
        )?;
        let talk: Talk = listener.accept_timeout(LATE)?;
        child.kill()?;
        assert!(matches!(talk.recv_timeout(LATE), Err(RecvError::Closed)));
        assert!(child.join().is_err());
    }
    Ok(())
}

pub(crate) fn a_killed_listener_leaves_an_address_that_can_be_used() -> Outcome {
    for address in [Address::auto()?, Address::auto_file()?] {
        let (ready, is_ready) = ipc_core::pipe::<()>()?;
        let child = Process::spawn(
            |(address, ready): (Address, ipc_core::Sender<()>)| {
                let listener = Listener::bind(&address).unwrap();
                ready.send(&()).unwrap();
                let _ = listener.accept::<(), ()>();
            },
            (address.clone(), ready),
        )?;
        is_ready.recv_timeout(LATE)?;
        child.kill()?;
        assert!(child.join().is_err());
        talks(&Listener::bind(&address)?, ConnectOptions::new())?;
        if let Address::File(path) = &address {
            // The killed one had made the folder, and only its janitor may know that.
            let folder = path.parent().ok_or("no folder")?;
            while folder.exists() && std::fs::remove_dir(folder).is_err() {
                std::thread::sleep(crate::SOON);
            }
        }
    }
    Ok(())
}

/// What a listener accepted may be given to a worker, whose bounds and doubts stay the same.
pub(crate) fn an_accepted_link_moves_on() -> Outcome {
    for listener in [bound(secret().max_message(100))?, bound_tcp(secret().max_message(100))?] {
        let client: Talk = connect(listener.address(), ConnectOptions::new().authkey(key("k")))?;
        let server: Talk = listener.accept_timeout(LATE)?;
        let worker = Process::spawn(
            |talk: Talk| {
                let heard = talk.recv().unwrap();
                talk.send(&heard.to_uppercase()).unwrap();
                heard
            },
            server,
        )?;
        client.send(&"moved".to_owned())?;
        assert_eq!(client.recv_timeout(LATE)?, "MOVED");
        assert_eq!(worker.join()?, "moved");
    }
    Ok(())
}

fn secret() -> ListenerOptions {
    ListenerOptions::new().authkey(key("k"))
}
