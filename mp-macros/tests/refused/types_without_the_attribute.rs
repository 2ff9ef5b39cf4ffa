//! Types that are used as objects and proxies, and are none.

use mp_manager::{Builder, Manager, ManagerError};

pub struct Counter(u64);

pub fn register(builder: Builder) -> Builder {
    builder.register::<Counter>()
    //                 ^^^^^^^ `Counter` is no object of a manager
}

pub fn publish(manager: &Manager) -> Result<(), ManagerError> {
    manager.publish("count", &7)
    //                       ^^ is no proxy of an object in a manager
}
