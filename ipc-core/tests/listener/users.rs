//! Another user of this machine is kept out, also where no file says so.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use ipc_core::{AcceptError, Address, ConnectError, ConnectOptions, Listener, ListenerOptions, connect_link};
use mp_testkit::harness::Skip;

use crate::{LATE, SOON, talks};

/// Names the address in a program of another user.
pub(crate) const ADDRESS: &str = "LISTENER_TEST_ADDRESS";
const NOBODY: u32 = 65534;
/// What the program says by its exit code.
const LET_IN: u8 = 10;
const KEPT_OUT: u8 = 11;

pub(crate) fn call_as_another(address: &str) -> ExitCode {
    let address: Address = address.parse().unwrap();
    match connect_link(&address, ConnectOptions::new().timeout(LATE)) {
        Ok(_) => LET_IN.into(),
        Err(ConnectError::Closed | ConnectError::Io(_)) => KEPT_OUT.into(),
        Err(_) => ExitCode::FAILURE,
    }
}

pub(crate) fn another_user_stays_outside() -> Result<Option<Skip>, Box<dyn std::error::Error>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(Some(Skip("only root can be two users".to_owned())));
    }
    for address in [Address::auto()?, Address::auto_file()?] {
        let own = Listener::bind(&address)?;
        assert_eq!(call(&address)?, Some(KEPT_OUT.into()));
        assert!(matches!(own.accept_timeout::<(), ()>(SOON), Err(AcceptError::Timeout)));
        talks(&own, ConnectOptions::new())?;
    }
    let open = Listener::bind_with(&Address::auto()?, ListenerOptions::new().anyone())?;
    assert_eq!(call(open.address())?, Some(LET_IN.into()));
    open.accept_timeout::<(), ()>(LATE)?;
    Ok(None)
}

fn call(address: &Address) -> std::io::Result<Option<i32>> {
    let mut program = Command::new("/proc/self/exe");
    let program = program.env(ADDRESS, address.to_string()).uid(NOBODY).gid(NOBODY);
    program.status().map(|status| status.code())
}
