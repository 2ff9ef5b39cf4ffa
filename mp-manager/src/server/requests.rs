//! What a client may ask.

use std::sync::Arc;

use ipc_core::Packet;
use mp_process::Function;

use super::answer::Answer;
use super::builtin::reply;
use super::grace::Claim;
use super::object::Call;
use super::session::Session;
use super::work::Work;
use super::{Object, Server};
use crate::builtin::{self, Args};
use crate::client::lock;
use crate::error::{Fault, FaultKind};
use crate::functions;
use crate::hosted::Made;
use crate::wire::{FULL, Head, Request, VERSION};

/// What a client sent is not what a client sends: it goes.
pub(super) struct Nonsense;

/// What is left to be done of a request.
pub(super) enum Orders {
    Done,
    /// By a thread that is not at the helm.
    Work(Work),
    /// All of these requests.
    Batch(Packet),
    /// A client that was here before has come back.
    Resume(Claim),
}

/// How many proxies of one client's may be on their way.
const FLIGHTS: usize = 65_536;
/// How many names may be published.
const NAMES: usize = 65_536;

impl Server {
    /// Does what a request says, or says what is left to be done.
    pub(super) fn obey(
        self: &Arc<Self>,
        session: &Arc<Session>,
        mut packet: Packet,
    ) -> Result<Orders, Nonsense> {
        let Head { call, request } = packet.read().map_err(|_| Nonsense)?;
        let is_first = session.begin_talk();
        match request {
            Request::Resume { version, .. } if version != VERSION => {
                session.turn_away(call, FaultKind::Refused(other_version(version)));
                return Err(Nonsense);
            }
            Request::Resume { epoch, ticket, heard, .. } if is_first => {
                return Ok(Orders::Resume(Claim { call, epoch, ticket, heard }));
            }
            Request::Resume { .. } => return Err(Nonsense),
            _ if session.is_surplus() => {
                session.turn_away(call, FaultKind::Busy(FULL.to_owned()));
                return Err(Nonsense);
            }
            Request::Heard { count } => {
                return if session.was_heard(count) { Ok(Orders::Done) } else { Err(Nonsense) };
            }
            Request::Leave => {
                session.give_up_waiting();
                return Err(Nonsense);
            }
            Request::Release { object } => {
                if session.take_back(object) {
                    self.table.lower(object);
                }
                return Ok(Orders::Done);
            }
            Request::Taken { call } => {
                session.was_taken(call);
                return Ok(Orders::Done);
            }
            Request::Cancel { object, call } => {
                session.give_up(call);
                self.take_back(session, call);
                self.give_up(super::CallKey { session: session.id(), call }, object);
                return Ok(Orders::Done);
            }
            Request::Batch => return Ok(Orders::Batch(packet)),
            _ => {}
        }
        let object = if let Request::Call { object, .. } = request { object } else { 0 };
        // Our clients say so only when they give something back; nobody is there to be told.
        if call == 0 && session.quiet() >= self.limits.calls {
            return Ok(Orders::Done);
        }
        if !session.begin(call, object, self.limits.calls) {
            let why = format!(
                "{} calls of this process wait already, or many items were not fetched",
                self.limits.calls
            );
            session.turn_away(call, FaultKind::Busy(why));
            return Ok(Orders::Done);
        }
        let answer = Answer::to_client(session, call);
        Ok(self.begin(session, request, packet, answer).map_or(Orders::Done, Orders::Work))
    }

    fn begin(
        self: &Arc<Self>,
        session: &Arc<Session>,
        request: Request,
        mut packet: Packet,
        answer: Answer,
    ) -> Option<Work> {
        match request {
            Request::Call { object, method, patience } => {
                let call = Call { object, method, args: packet, patience, answer };
                return self.begin_call(session, call);
            }
            Request::Create { name, by_function } => {
                return match self.maker(session, &name, by_function, &mut packet) {
                    Ok(Maker::Hosted(make)) => Some(Work::Create { make, args: packet, answer }),
                    Ok(Maker::BuiltIn(object)) => {
                        self.install(object, answer);
                        None
                    }
                    Err(fault) => {
                        answer.fail(fault);
                        None
                    }
                };
            }
            Request::Fly { object } => {
                let ticket = if session.may_fly(FLIGHTS) {
                    self.fly(object, session.id())
                } else {
                    Err(FaultKind::Busy("too many proxies are on their way".to_owned()).into())
                };
                reply(answer, ticket);
            }
            Request::Claim { object, ticket } => {
                let claimed = self.claim(object, ticket);
                if claimed.is_ok() && !session.lend(object) {
                    self.table.lower(object);
                }
                reply(answer, claimed);
            }
            Request::Adopt { name, object } => match self.adopt(name, object) {
                Ok(object) => {
                    let answer = self.durably(answer);
                    answer.value_with(&object, vec![object]);
                }
                Err(fault) => answer.fail(fault),
            },
            Request::State => {
                let info = self.store.as_ref().map(|store| store.info());
                answer.say(&info.map(|(bytes, objects)| (bytes, objects as u64)));
            }
            Request::Publish { name, object } => reply(self.durably(answer), self.publish(name, object)),
            Request::Unpublish { name } => reply(self.durably(answer), self.unpublish(&name)),
            Request::Find { name } => {
                let object = lock(&self.names).get(&name).copied();
                match object {
                    Some(object) => drop(answer.value_with(&object, vec![object])),
                    None => answer.fail(FaultKind::NoName(name)),
                }
            }
            Request::Count => answer.say(&(self.table.len() as u64)),
            Request::Last => self.let_last(session, answer),
            Request::Ring { longest } => self.give_ring(session, longest, answer),
            Request::List => answer.say(&self.table.list()),
            Request::Describe { object } => {
                let object = self.table.get(object).ok_or(Fault(FaultKind::NoObject));
                reply(answer, object.map(|object| object.methods()));
            }
            // They have no answer and were seen to before.
            Request::Release { .. }
            | Request::Cancel { .. }
            | Request::Batch
            | Request::Resume { .. }
            | Request::Heard { .. }
            | Request::Taken { .. }
            | Request::Leave => {}
        }
        None
    }

    fn begin_call(self: &Arc<Self>, session: &Arc<Session>, call: Call) -> Option<Work> {
        let Some(object) = self.table.get(call.object) else {
            call.answer.fail(FaultKind::NoObject);
            return None;
        };
        match &*object {
            Object::Hosted(_) if functions::is_function(call.method).is_some() && !session.is_trusted() => {
                call.answer.fail(FaultKind::NotTrusted);
                None
            }
            Object::Hosted(hosted) => {
                let (call, exclusive) = hosted.enter(call)?;
                Some(Work::Method { object, call, exclusive })
            }
            Object::BuiltIn(_) if super::builtin::runs_function(call.method) && !session.is_trusted() => {
                call.answer.fail(FaultKind::NotTrusted);
                None
            }
            Object::BuiltIn(_) => self.try_built_in(object, call, session),
        }
    }

    fn maker(
        &self,
        session: &Session,
        name: &str,
        by_function: bool,
        packet: &mut Packet,
    ) -> Result<Maker, Fault> {
        if by_function && session.is_trusted() {
            let make: Function<Packet, Result<Made, Fault>> = packet.read().map_err(Fault::arguments)?;
            return Ok(Maker::Hosted(*make));
        }
        if let Some(make) = self.registered.get(name) {
            return Ok(Maker::Hosted(*make));
        }
        match builtin::make(name, &mut Args::Sent(packet), &self.table)? {
            Some(object) => Ok(Maker::BuiltIn(object)),
            None => Err(FaultKind::Unregistered(name.to_owned()).into()),
        }
    }

    /// An answer that tells of what the log has.
    fn durably(&self, mut answer: Answer) -> Answer {
        if let Some(store) = &self.store {
            answer.of_durable(store);
        }
        answer
    }

    fn publish(&self, name: String, object: u64) -> Result<(), Fault> {
        if !self.table.raise(object) {
            return Err(FaultKind::NoObject.into());
        }
        let before = {
            let mut names = lock(&self.names);
            if names.len() >= NAMES && !names.contains_key(&name) {
                Err(FaultKind::Busy(format!("{NAMES} names are published, as many as there may be")).into())
            } else {
                let logged = self.store.as_ref().map_or(Ok(()), |store| store.name(&name, Some(object)));
                logged.map(|()| names.insert(name, object))
            }
        };
        if let Some(before) = before.as_ref().map_or(Some(object), |before| *before) {
            self.table.lower(before);
        }
        before.map(drop)
    }

    /// Logs the names that an object had before it was durable.
    pub(crate) fn log_names_of(&self, object: u64) -> Result<(), Fault> {
        let Some(store) = &self.store else { return Ok(()) };
        // Who publishes holds this lock too: a name is either here, or is logged there.
        let names = lock(&self.names);
        let is_new = |name: &str| !store.has_name(name, object);
        let mut its = names.iter().filter(|(name, named)| **named == object && is_new(name));
        its.try_for_each(|(name, _)| store.name(name, Some(object)))
    }

    /// Gives an object a name that is free; otherwise the object that has it.
    fn adopt(&self, name: String, object: u64) -> Result<u64, Fault> {
        if let Some(object) = lock(&self.names).get(&name) {
            return Ok(*object);
        }
        // Names are given at the helm alone, so nobody gives this one meanwhile.
        self.publish(name, object).map(|()| object)
    }

    fn unpublish(&self, name: &str) -> Result<(), Fault> {
        let mut names = lock(&self.names);
        if !names.contains_key(name) {
            return Err(FaultKind::NoName(name.to_owned()).into());
        }
        if let Some(store) = &self.store {
            store.name(name, None)?;
        }
        let object = names.remove(name).unwrap_or_default();
        drop(names);
        self.table.lower(object);
        Ok(())
    }
}

fn other_version(version: u16) -> String {
    format!(
        "the manager speaks version {VERSION} of its protocol, and the client {version}: build both with one"
    )
}

enum Maker {
    Hosted(crate::hosted::Make),
    BuiltIn(Box<dyn super::builtin::BuiltIn>),
}
