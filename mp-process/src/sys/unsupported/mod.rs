//! Platforms without an implementation: no child can be started, and every call says so.

pub(crate) mod before_main;

use std::io;

fn unsupported<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) mod boot {
    use ipc_core::link::SocketLink;

    pub(crate) struct Summons {
        pub(crate) link: SocketLink,
        pub(crate) depth: u32,
    }

    /// Nobody starts a child here, so this process is none.
    pub(crate) fn summons() -> Option<Summons> {
        None
    }

    pub(crate) fn stand_in_for_std() {}

    pub(crate) fn set_process_name(_name: &str) {}
}

pub(crate) mod end {
    use std::io;

    use ipc_core::Handle;

    use super::unsupported;
    use crate::status::ExitStatus;

    /// There is none, so its methods are never called.
    #[derive(Debug)]
    pub(crate) enum Child {}

    #[derive(Debug, Clone, Copy)]
    pub(crate) enum Request {
        Interrupt,
        Terminate,
        Kill,
    }

    impl Child {
        pub(crate) fn pid(&self) -> u32 {
            match *self {}
        }

        pub(crate) fn sentinel(&self) -> Option<&Handle> {
            match *self {}
        }

        pub(crate) fn try_status(&self) -> io::Result<Option<ExitStatus>> {
            match *self {}
        }

        pub(crate) fn signal(&self, _request: Request) -> io::Result<()> {
            match *self {}
        }
    }

    pub(crate) fn collect(_handle: &Handle) -> io::Result<Option<ExitStatus>> {
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
}

pub(crate) mod overflow {
    use ipc_core::Handle;

    pub(crate) fn report_with(_socket: &Handle, _frame: Vec<u8>) {}
}

pub(crate) mod spawn {
    use std::ffi::OsString;
    use std::io;

    use ipc_core::link::SocketLink;

    use super::end::Child;

    #[derive(Debug, Default, Clone)]
    pub(crate) struct Command {
        pub(crate) env: Vec<(OsString, OsString)>,
        pub(crate) depth: u32,
    }

    #[derive(Debug)]
    pub(crate) struct Spawned {
        pub(crate) child: Child,
        pub(crate) link: SocketLink,
    }

    pub(crate) fn spawn(_command: Command) -> io::Result<Spawned> {
        super::unsupported()
    }
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
