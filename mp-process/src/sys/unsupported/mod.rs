//! Platforms without an implementation: no child can be started, and every call says so.

pub(crate) mod before_main;
pub(crate) mod setup;

use std::io;

fn unsupported<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) mod boot {
    use ipc_core::link::SocketLink;

    /// Nobody starts a child here, so this process is none.
    pub(crate) fn summons() -> Option<SocketLink> {
        None
    }

    pub(crate) fn stand_in_for_std() {}

    pub(crate) fn set_process_name(_name: &str) {}
}

pub(crate) mod start {
    use std::io;
    use std::sync::Arc;

    use ipc_core::link::SocketLink;
    use ipc_core::{Handle, Message, Packet};

    use super::unsupported;
    use crate::boot::Kit;
    use crate::function::Function;
    use crate::start::{Launch, StartMethod};

    pub(crate) const AVAILABLE: &[StartMethod] = &[];

    #[derive(Debug)]
    pub(crate) struct Born {
        pub(crate) pid: u32,
        pub(crate) end: Option<Handle>,
        pub(crate) relay: Option<Arc<Handle>>,
        pub(crate) told: Option<Told>,
    }

    #[derive(Debug)]
    pub(crate) enum Told {}

    pub(crate) fn spawn(_launch: &Launch, _link: SocketLink) -> io::Result<Born> {
        unsupported()
    }

    /// The server of forks, which there cannot be.
    #[derive(Debug)]
    pub(crate) enum Server {}

    #[derive(Debug)]
    pub(crate) struct Gone;

    impl From<Gone> for io::Error {
        fn from(Gone: Gone) -> Self {
            io::ErrorKind::Unsupported.into()
        }
    }

    impl Server {
        pub(crate) fn serve((): ()) {}

        pub(crate) fn serve_prepared<A: Message>(_: (Function<A, ()>, A)) {
            crate::boot::refuse("no process can be forked here");
        }

        pub(crate) fn launch(_launch: &Launch, _orders: Packet) -> io::Result<Self> {
            unsupported()
        }

        pub(crate) fn await_prepared(&self) -> io::Result<()> {
            match *self {}
        }

        pub(crate) fn pid(&self) -> u32 {
            match *self {}
        }

        pub(crate) fn has_relayed_children(&self) -> bool {
            match *self {}
        }

        pub(crate) fn watch(&self) {
            match *self {}
        }

        pub(crate) fn fork_ahead(&mut self) {
            match *self {}
        }

        pub(crate) fn child(&mut self) -> Result<io::Result<(Born, SocketLink)>, Gone> {
            match *self {}
        }
    }

    pub(crate) fn discard(_born: Born) {}

    pub(crate) fn tend() {}

    pub(crate) fn fork(_kit: Box<Kit>, _live: impl FnOnce(Box<Kit>)) -> io::Result<Born> {
        unsupported()
    }

    pub(crate) fn threads_of_the_program() -> io::Result<Vec<String>> {
        unsupported()
    }
}

pub(crate) mod end {
    use std::io;

    use ipc_core::Handle;

    use super::unsupported;
    use crate::status::ExitStatus;

    #[derive(Debug, Clone, Copy)]
    pub(crate) enum Request {
        Interrupt,
        Terminate,
        Kill,
    }

    pub(crate) fn of_process(_pid: u32) -> io::Result<Option<Handle>> {
        unsupported()
    }

    pub(crate) fn collect(_end: &Handle) -> io::Result<Option<(ExitStatus, Option<u64>)>> {
        unsupported()
    }

    pub(crate) fn signal(_end: &Handle, _request: Request) -> io::Result<()> {
        unsupported()
    }

    pub(crate) fn kill_tree(_pid: u32, _end: &Handle) -> io::Result<()> {
        unsupported()
    }
}

pub(crate) mod image {
    /// Knows no code, so that no function can travel.
    #[derive(Debug)]
    pub(crate) struct Image;

    impl Image {
        pub(crate) fn current() -> &'static Self {
            &Self
        }

        pub(crate) fn identity(&self) -> &[u8] {
            &[]
        }

        pub(crate) fn offset_of(&self, _address: usize) -> Option<usize> {
            None
        }

        pub(crate) fn address_of(&self, _offset: usize) -> Option<usize> {
            None
        }
    }
}

pub(crate) mod leave {
    pub(crate) fn at_exit(_task: fn()) {}

    pub(crate) fn now(code: i32) -> ! {
        std::process::exit(code)
    }
}

#[cfg(feature = "log")]
pub(crate) mod logs {
    use std::io;
    use std::time::Duration;

    use ipc_core::Handle;

    use super::unsupported;

    pub(crate) fn pair() -> io::Result<(Handle, Handle)> {
        unsupported()
    }

    pub(crate) fn send(_socket: &Handle, _bytes: &[u8], _patience: Duration) -> bool {
        false
    }

    pub(crate) fn recv(_socket: &Handle, _into: &mut [u8]) -> Option<usize> {
        None
    }

    pub(crate) fn start_thread(_name: &str, _run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        unsupported()
    }
}

pub(crate) mod memory {
    pub(crate) fn kills() -> Option<u64> {
        None
    }
}

pub(crate) mod overflow {
    use ipc_core::Handle;

    pub(crate) fn prepare() {}

    /// Nothing needs any.
    #[derive(Debug)]
    pub(crate) struct Room;

    impl Room {
        pub(crate) fn new() -> Self {
            Self
        }
    }

    pub(crate) fn report_with(_socket: &'static Handle, _frame: &'static [u8], _room: &'static mut Room) {}
}

pub(crate) mod spill {
    use std::io;

    use ipc_core::Handle;

    pub(crate) fn store(_bytes: &[u8]) -> io::Result<Handle> {
        super::unsupported()
    }

    pub(crate) fn load(_handle: Handle) -> io::Result<Vec<u8>> {
        super::unsupported()
    }
}

pub(crate) mod janitor {
    use std::io;

    use ipc_core::Handle;
    use ipc_core::raw::OwnedName;

    use super::unsupported;

    #[derive(Debug)]
    pub(crate) struct Notes;

    impl Notes {
        pub(crate) fn open() -> io::Result<(Self, Handle)> {
            unsupported()
        }

        pub(crate) fn made(&mut self, _name: &OwnedName) -> io::Result<()> {
            unsupported()
        }

        pub(crate) fn gone(&mut self, _name: &OwnedName) -> io::Result<()> {
            unsupported()
        }

        pub(crate) fn farewell(&mut self) {}
    }

    pub(crate) fn begin(_orders: (Handle, u32)) -> bool {
        false
    }
}

pub(crate) mod usage {
    pub(crate) fn resident() -> Option<u64> {
        None
    }

    pub(crate) fn resident_of(_pid: u32) -> Option<u64> {
        None
    }

    pub(crate) fn own_peak() -> u64 {
        0
    }
}
