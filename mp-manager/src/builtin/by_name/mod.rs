//! Calls of this crate's objects by the names of their methods, for tools.
//!
//! The server keeps values encoded and knows no types, so it cannot tell where in a call's arguments
//! one value ends and the next begins. The caller does: it takes the tuple apart as the method's
//! parameters say, makes the call that a proxy would make, and puts the answer together as the value
//! that the signature tells. So there is a table of methods, and nothing else that a proxy has not.

use std::time::Duration;

use ipc_core::{DecodeError, Message, Packet};

use super::calls::{Writes, in_time};
use crate::context::{self, Arriving};
use crate::error::{FaultKind, Kind, ManagerError};
use crate::hosted::Method;
use crate::info::MethodInfo;
use crate::object_ref::{ObjectRef, Reply};
use crate::server::builtin::METHOD;

mod given;
mod tables;
#[cfg(test)]
mod tests;
mod value;

use given::Given;

/// A method of one of this crate's objects.
struct Known {
    method: Method,
    does: Does,
}

enum Does {
    /// It can be called by its name: the shapes of its parameters, and what makes the call of them.
    Call(&'static [given::Shape], fn(Given) -> Result<Ready, ManagerError>),
    /// Only a proxy has it, and why.
    OnlyByProxy(&'static str),
}

/// A call that is ready to be made.
struct Ready {
    write: Box<dyn Writes>,
    /// Waits in the object for so long at most, and has this value then, or none.
    limit: Option<(Duration, Option<Write>)>,
    read: fn(&mut Packet) -> Result<Packet, DecodeError>,
}

type Write = fn() -> Result<Packet, DecodeError>;

/// The methods of objects of a name.
pub(crate) fn methods(of: &str) -> Vec<MethodInfo> {
    let info = |known: &Known| MethodInfo {
        by_name: matches!(known.does, Does::Call(..)),
        ..MethodInfo::from(&known.method)
    };
    tables::of(of).iter().map(info).collect()
}

/// Calls a method of an object, which is one of this crate's of that name.
pub(crate) fn call<A: Message, R: Message>(
    object: &ObjectRef,
    of: &str,
    name: &str,
    args: &A,
) -> Result<R, ManagerError> {
    let Some(known) = tables::of(of).iter().find(|known| known.method.name == name) else {
        return Err(none(of, name));
    };
    let (shapes, make) = match known.does {
        Does::Call(shapes, make) => (shapes, make),
        Does::OnlyByProxy(why) => return Err(Kind::NotByName(format!("`{name}` of a `{of}`: {why}")).into()),
    };
    let Ready { write, limit, read } = make(Given::of(object.epoch(), shapes, args)?)?;
    let reply = object.exchange(METHOD, limit.map(|(limit, _)| limit), |packet| write(packet));
    let reply = in_time(reply.map(Some))?;
    match (reply, limit) {
        (Some(reply), _) => value(object, reply, read),
        (None, Some((_, Some(late)))) => late().and_then(whole).map_err(|error| Kind::Decode(error).into()),
        // Of those that wait, a barrier alone has no value then: who gives it up breaks it.
        (None, _) => Err(FaultKind::Broken.into()),
    }
}

/// There is no such method.
fn none(of: &str, name: &str) -> ManagerError {
    Kind::NotByName(format!("a `{of}` has no `{name}` among the methods that `methods` lists")).into()
}

/// An object of a user's type has no such method, or only its proxy has.
pub(crate) fn none_of_users(name: &str) -> ManagerError {
    let why = match name.strip_suffix("_async").unwrap_or(name) {
        "view" | "update" | "later" => "it sends a function of the caller's, which a proxy alone can do",
        _ if name.ends_with("_async") => "a call by name is waited for, and only a proxy sends one ahead",
        _ => {
            "the object has none of this name among those that `methods` lists. What its proxy has beside them \
             sends a function of the caller's or is done at the caller, which a proxy alone can do"
        }
    };
    Kind::NotByName(format!("`{name}`: {why}")).into()
}

fn value<R: Message>(
    object: &ObjectRef,
    Reply { mut packet, leases }: Reply,
    read: fn(&mut Packet) -> Result<Packet, DecodeError>,
) -> Result<R, ManagerError> {
    let value = context::arriving(Arriving::Answer(leases), || {
        let mut value = read(&mut packet)?;
        if object.is_trusted() {
            value.mark_trusted();
        }
        whole(value)
    });
    value.map_err(|error| Kind::Decode(error).into())
}

fn whole<R: Message>(mut packet: Packet) -> Result<R, DecodeError> {
    let value = packet.read()?;
    if packet.is_at_end() { Ok(value) } else { Err(DecodeError::new::<R>("it is a value of another type")) }
}
