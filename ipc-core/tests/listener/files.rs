//! The files of local sockets: private, replaced when stale, removed when done.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ipc_core::{Address, BindError, ConnectOptions, Listener, ListenerOptions};
use mp_process::Process;
use rustix::fs::{FlockOperation, flock};

use crate::{Outcome, talks};

/// Another user.
const NOBODY: u32 = 65534;

/// A folder of a test's own, removed with all that is in it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("ipc-core-{name}-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn address(&self) -> Address {
        Address::file(self.0.join("socket"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn path_of(address: &Address) -> &Path {
    let Address::File(path) = address else { panic!("{address} is no file") };
    path
}

fn mode(path: &Path) -> std::io::Result<u32> {
    Ok(fs::symlink_metadata(path)?.permissions().mode() & 0o777)
}

fn lock(folder: &Path) -> fs::File {
    let folder = fs::File::open(folder).unwrap();
    flock(&folder, FlockOperation::LockExclusive).unwrap();
    folder
}

pub(crate) fn are_private_and_go_with_the_listener() -> Outcome {
    let address = Address::auto_file()?;
    let path = path_of(&address);
    let folder = path.parent().ok_or("no folder")?;
    let listener = Listener::bind(&address)?;
    assert_eq!((mode(path)?, mode(folder)?), (0o600, 0o700));
    drop(listener);
    assert!(!folder.exists());
    let open = Listener::bind_with(&address, ListenerOptions::new().anyone())?;
    assert_eq!(mode(path)?, 0o666);
    open.close();
    assert!(!folder.exists(), "close removes the file too");
    Ok(())
}

/// A process that listens at an automatic address for the first time removes what others left
/// that were killed: this test in a process of its own.
pub(crate) fn old_ones_of_the_dead_are_swept_away() -> Outcome {
    let child = Process::spawn(
        |()| {
            let leave = |is_old: bool, name: &str| {
                let address = Address::auto_file().unwrap();
                let folder = path_of(&address).parent().unwrap().to_owned();
                fs::create_dir(&folder).unwrap();
                // The standard library's listener leaves its file behind.
                if !name.is_empty() {
                    drop(UnixListener::bind(folder.join(name)).unwrap());
                }
                if is_old {
                    let long_ago = SystemTime::now() - Duration::from_secs(4000);
                    fs::File::open(&folder).unwrap().set_modified(long_ago).unwrap();
                }
                Folder(folder)
            };
            let gone = [leave(true, "socket"), leave(true, "")];
            let kept = [leave(false, "socket"), leave(false, ""), leave(true, "mine")];
            let alive = leave(false, "");
            let _listener = UnixListener::bind(alive.0.join("socket")).unwrap();
            let long_ago = SystemTime::now() - Duration::from_secs(4000);
            fs::File::open(&alive.0).unwrap().set_modified(long_ago).unwrap();
            // Somebody is about to listen in it.
            let locked = leave(true, "socket");
            let _lock = lock(&locked.0);
            let others = rustix::process::geteuid().is_root().then(|| {
                let others = leave(true, "socket");
                chown(&others.0, Some(NOBODY), Some(NOBODY)).unwrap();
                others
            });
            drop(Listener::bind(&Address::auto_file().unwrap()).unwrap());
            assert!(locked.0.join("socket").exists());
            assert!(others.is_none_or(|others| others.0.join("socket").exists()), "another user's");
            assert!(gone.iter().all(|folder| !folder.0.exists()));
            assert!(kept.iter().all(|folder| folder.0.exists()));
            assert!(alive.0.join("socket").exists());
        },
        (),
    )?;
    Ok(child.join()?)
}

pub(crate) fn a_stale_one_is_replaced() -> Outcome {
    let folder = Folder::new("stale")?;
    let address = folder.address();
    // The standard library's listener leaves its file behind.
    drop(UnixListener::bind(path_of(&address))?);
    assert!(path_of(&address).exists());
    talks(&Listener::bind(&address)?, ConnectOptions::new())?;
    assert!(!path_of(&address).exists());
    assert!(folder.0.exists(), "it was there before");
    // Only one of many that start at one time gets it.
    drop(UnixListener::bind(path_of(&address))?);
    let bound = std::thread::scope(|scope| {
        let starting: Vec<_> = (0..8).map(|_| scope.spawn(|| Listener::bind(&address))).collect();
        starting.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
    });
    let (ours, others): (Vec<_>, Vec<_>) = bound.into_iter().partition(Result::is_ok);
    assert_eq!(ours.len(), 1);
    assert!(others.into_iter().all(|one| matches!(one, Err(BindError::InUse(_)))));
    for listener in ours {
        talks(&listener?, ConnectOptions::new())?;
    }
    Ok(())
}

pub(crate) fn one_in_use_is_not() -> Outcome {
    for address in [Address::auto_file()?, Address::auto()?] {
        let first = Listener::bind(&address)?;
        let error = Listener::bind(&address).unwrap_err();
        assert!(matches!(error, BindError::InUse(_)), "{error}");
        let text = format!("the address {address} is in use: somebody listens there");
        assert!(error.to_string().starts_with(&text), "{error}");
        talks(&first, ConnectOptions::new())?;
    }
    let open = || ListenerOptions::new().anyone();
    let first = Listener::bind_with(&Address::tcp("127.0.0.1", 0), open())?;
    let error = Listener::bind_with(first.address(), open()).unwrap_err();
    assert!(matches!(error, BindError::InUse(_)), "{error}");
    Ok(())
}

pub(crate) fn what_is_no_socket_stays() -> Outcome {
    let folder = Folder::new("file")?;
    let address = folder.address();
    fs::write(path_of(&address), "dear")?;
    assert!(matches!(Listener::bind(&address), Err(BindError::InUse(_))));
    assert_eq!(fs::read_to_string(path_of(&address))?, "dear");
    Ok(())
}

pub(crate) fn one_of_another_listener_stays() -> Outcome {
    let folder = Folder::new("other")?;
    let address = folder.address();
    let first = Listener::bind(&address)?;
    fs::remove_file(path_of(&address))?;
    let second = Listener::bind(&address)?;
    drop(first);
    talks(&second, ConnectOptions::new())
}
