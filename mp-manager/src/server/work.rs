//! What threads of a server do away from the helm, and calls of this crate's objects.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use ipc_core::{Packet, outside_messages};
use mp_process::{Function, catch_panic};

use super::alarms::Alarm;
use super::answer::{Answer, CallKey};
use super::builtin::{BuiltIn, Desk, Errand, Running};
use super::object::{Call, Hosted, Parting, Queued, Shelf, Shelved};
use super::session::Session;
use super::{Object, Server, homes};
use crate::builtin::change::{Changed, Changing, Order};
use crate::client::lock;
use crate::context::{self, Arriving};
use crate::durable;
use crate::error::{Fault, FaultKind};
use crate::functions::{self, Open};
use crate::hosted::Make;
use crate::object_ref::in_micros;
use crate::wire::{Patience, Raw};

/// Something that may take long.
#[derive(Debug)]
pub(super) enum Work {
    /// A method of a user's object, whose turn it is.
    Method {
        object: Arc<Object>,
        call: Call,
        exclusive: bool,
    },
    Create {
        make: Make,
        args: Packet,
        answer: Answer,
    },
    /// Calls of one of this crate's objects, in their order: such as take long, and those that came
    /// while a thread was busy with it.
    Queue(Arc<Object>),
    /// What one of this crate's objects wants done, by its number.
    Errand(Arc<Object>, u64, Errand),
    /// Objects to be dropped, which runs users' code.
    Bury(Vec<Arc<Object>>),
}

/// So long a thread does what waits for one object while others wait for a thread.
const TURN: Duration = Duration::from_millis(10);

/// Nobody hears more often than this that a call waits.
const HEAR_AT_LEAST: Duration = Duration::from_millis(5);

impl Work {
    /// Whether it is a method that took little time lately.
    pub(super) fn is_quick(&self) -> bool {
        let Self::Method { object, call, .. } = self else { return false };
        matches!(&**object, Object::Hosted(hosted) if hosted.is_quick(call.method))
    }

    /// Waits for a thread, if there is room.
    pub(super) fn queue(self, server: &Arc<Server>) {
        let mut backlog = lock(&server.backlog);
        if backlog.len() < server.limits.backlog {
            backlog.push_back(self);
            return;
        }
        drop(backlog);
        let why = format!("all {} threads are in methods, and many calls wait", server.limits.threads);
        let busy = FaultKind::Busy(why);
        match self {
            Self::Method { object, call, exclusive } => {
                call.answer.fail(busy);
                if let Object::Hosted(hosted) = &*object {
                    server.go_on(&object, hosted, exclusive, false);
                }
            }
            Self::Create { answer, .. } => answer.fail(busy),
            Self::Queue(object) => server.empty_queue(&object, &busy),
            Self::Errand(object, number, _) => server.end_errand(object, number, Err(busy.into())),
            // They have no caller; see `Helm`.
            Self::Bury(_) => {}
        }
    }
}

impl Server {
    pub(super) fn run(self: &Arc<Self>, work: Work) {
        match work {
            Work::Method { object, call, exclusive } => self.run_method(&object, call, exclusive),
            Work::Create { make, args, answer } => self.create(make, args, answer),
            Work::Queue(object) => self.run_queue(&object),
            Work::Errand(object, number, errand) => self.run_errand(object, number, errand),
            Work::Bury(graves) => self.table.bury(graves),
        }
    }

    /// Runs a method whose turn it is, answers, and passes the turn on.
    pub(super) fn run_method(self: &Arc<Self>, object: &Arc<Object>, call: Call, exclusive: bool) {
        let Object::Hosted(hosted) = &**object else { return };
        if call.method == functions::LATER {
            return self.run_later(object, hosted, call);
        }
        if call.method == durable::KEEP {
            let (answer, kept) = self.keep(object, call);
            super::builtin::reply(answer, kept);
            return self.go_on(object, hosted, false, false);
        }
        let Call { object: number, method, mut args, mut answer, .. } = call;
        if let Some(store) = hosted.store() {
            answer.of_durable(store);
        }
        if !exclusive {
            answer = answer.of_look();
        }
        let mut value = Packet::new();
        let begun = Instant::now();
        let result = self.in_object(number, || {
            let run = || hosted.run((method, exclusive), &mut args, &mut value);
            let (result, leases) = context::collecting(self.access.epoch, run);
            result.map(|()| leases)
        });
        hosted.note_time(method, begun.elapsed());
        // References that the arguments brought are given back first.
        drop(args);
        let panicked = matches!(&result, Err(Fault(FaultKind::Panicked(_))));
        let spoilt = panicked && hosted.value().poisons();
        let kept = if exclusive && !spoilt { self.keep_change(hosted, number) } else { Ok(()) };
        match result.and_then(|leases| kept.map(|()| leases)) {
            Ok(leases) => drop(answer.packet(value, context::numbers(&leases))),
            Err(fault) => answer.fail(fault),
        }
        self.go_on(object, hosted, exclusive, panicked);
    }

    /// Runs a caller's function that keeps the right to answer: from then on the call waits in
    /// the object.
    fn run_later(self: &Arc<Self>, object: &Arc<Object>, hosted: &Hosted, call: Call) {
        let Call { object: number, args, patience, answer, .. } = call;
        let (key, session) = (answer.key(), answer.session());
        let open = Open { args, answer, epoch: self.access.epoch };
        // The caller is answered when a panic drops the right to.
        let _ = self.in_object(number, || {
            hosted.run_later(open);
            Ok(())
        });
        self.go_on(object, hosted, false, false);
        if let Some(session) = session {
            self.park(&session, key, number, patience);
        }
    }

    /// Makes an object durable, for a caller that is to be answered.
    fn keep(self: &Arc<Self>, object: &Object, call: Call) -> (Answer, Result<(), Fault>) {
        let Call { object: number, mut answer, .. } = call;
        let kept = match object {
            Object::Hosted(hosted) => self.keep_hosted(hosted, number),
            Object::BuiltIn(shelf) => self.keep_built_in(shelf, number),
        };
        if let Some(store) = self.store() {
            answer.of_durable(store);
        }
        (answer, kept)
    }

    /// Runs users' code for an object: a panic is an error, and proxies in what it
    /// reads get their references from the table.
    pub(crate) fn in_object<R>(
        self: &Arc<Self>,
        object: u64,
        run: impl FnOnce() -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let home = Arriving::Home(Arc::downgrade(self));
        let run = || homes::running(self, object, || context::arriving(home, || outside_messages(run)));
        catch_panic(run).unwrap_or_else(|panic| Err(FaultKind::Panicked(panic).into()))
    }

    /// Gives the calls that may run now to threads.
    fn go_on(self: &Arc<Self>, object: &Arc<Object>, hosted: &Hosted, exclusive: bool, panicked: bool) {
        for (call, exclusive) in hosted.leave(exclusive, panicked) {
            self.submit(Work::Method { object: Arc::clone(object), call, exclusive });
        }
    }

    fn create(self: &Arc<Self>, make: Make, args: Packet, answer: Answer) {
        match self.in_object(0, || make(args)) {
            Ok(made) => self.place(Object::Hosted(Hosted::new(made.0)), answer),
            Err(fault) => answer.fail(fault),
        }
    }

    pub(super) fn install(&self, object: Box<dyn BuiltIn>, answer: Answer) {
        self.place(Object::BuiltIn(Shelf::of(object)), answer);
    }

    /// Gives an object its place, and its first reference to the caller.
    fn place(&self, object: Object, answer: Answer) {
        match self.table.add(object) {
            Ok(number) => {
                if !answer.hand_over(&number, number) {
                    self.table.lower(number);
                }
            }
            Err(fault) => answer.fail(fault),
        }
    }

    /// Runs a method of one of this crate's objects right here, unless it takes long, or another thread
    /// is busy with the object: then it waits behind those that came before it.
    pub(super) fn try_built_in(
        self: &Arc<Self>,
        object: Arc<Object>,
        call: Call,
        session: &Arc<Session>,
    ) -> Option<Work> {
        let Object::BuiltIn(shelf) = &*object else { return None };
        let takes_long = super::builtin::runs_function(call.method) || call.method == durable::KEEP;
        if !takes_long
            && !shelf.queue.is_open()
            && let Some(built_in) = shelf.try_lock()
        {
            self.call_built_in(built_in, &object, call, Some(session));
            return None;
        }
        let is_first = shelf.queue.push(call, session, self.limits.backlog);
        is_first.then(|| Work::Queue(Arc::clone(&object)))
    }

    /// Gives back what somebody held in one of this crate's objects, or waited for. If a thread is busy with the
    /// object, as in a write to a disk, it does so then: others are not to wait because one client goes.
    pub(super) fn part_with(&self, object: Arc<Object>, parting: Parting) {
        let Object::BuiltIn(shelf) = &*object else { return };
        // When the server ends nobody is left to do it later.
        if self.is_stopping() {
            return lock(&shelf.object).part_with(&self.table, parting);
        }
        if !shelf.queue.is_open()
            && let Some(mut shelved) = shelf.try_lock()
        {
            return shelved.part_with(&self.table, parting);
        }
        if shelf.queue.push_parting(parting) {
            self.submit(Work::Queue(Arc::clone(&object)));
        }
    }

    /// Does no call that waits for an object, but gives back what was held.
    fn empty_queue(&self, object: &Object, why: &FaultKind) {
        let Object::BuiltIn(shelf) = object else { return };
        while let Some(queued) = shelf.queue.pop() {
            match queued {
                Queued::Call(call, _) => call.answer.fail(why.clone()),
                Queued::Parting(parting) => lock(&shelf.object).part_with(&self.table, parting),
            }
        }
    }

    /// What waits for a thread gets none any more.
    pub(super) fn clear_backlog(&self) {
        let why = FaultKind::Refused("the manager ends".to_owned());
        for work in std::mem::take(&mut *lock(&self.backlog)) {
            if let Work::Queue(object) = work {
                self.empty_queue(&object, &why);
            }
        }
    }

    /// Does what waits for one of this crate's objects, until nothing does, or others are to have the thread.
    fn run_queue(self: &Arc<Self>, object: &Arc<Object>) {
        let Object::BuiltIn(shelf) = &**object else { return };
        let mut next = shelf.queue.pop();
        let until = Instant::now() + TURN;
        while let Some(queued) = next {
            // One that panics is answered as it is dropped, and keeps nobody from the next.
            let done = catch_panic(|| match queued {
                Queued::Call(call, session) => self.begin_built_in(object, call, Some(&session)),
                Queued::Parting(parting) => {
                    lock(&shelf.object).part_with(&self.table, parting);
                    None
                }
            });
            let is_over = Instant::now() >= until;
            // What its caller asks for when it has the answer does not stand behind it any more.
            next = if is_over { None } else { shelf.queue.pop() };
            if let Ok(Some(answer)) = done {
                let _ = catch_panic(answer);
            }
            if is_over {
                // Behind all else that waits for a thread. It is still open: nobody goes past.
                self.submit(Work::Queue(Arc::clone(object)));
                if !self.is_stopping() {
                    return;
                }
                // Nobody may look at the backlog any more.
                next = shelf.queue.pop();
            }
        }
    }

    pub(super) fn run_built_in(
        self: &Arc<Self>,
        object: &Arc<Object>,
        call: Call,
        session: Option<&Arc<Session>>,
    ) {
        if let Some(answer) = self.begin_built_in(object, call, session) {
            answer();
        }
    }

    /// Does a call; what answers it, if it took long.
    fn begin_built_in(
        self: &Arc<Self>,
        object: &Arc<Object>,
        call: Call,
        session: Option<&Arc<Session>>,
    ) -> Option<Box<dyn FnOnce()>> {
        let Object::BuiltIn(shelf) = &**object else { return None };
        if super::builtin::runs_function(call.method) {
            let (answer, changed) = self.change(shelf, call);
            return Some(Box::new(move || match changed {
                Ok(Changed { value, objects, leases, .. }) => {
                    answer.packet(value, objects);
                    drop(leases);
                }
                Err(fault) => answer.fail(fault),
            }));
        }
        if call.method == durable::KEEP {
            let (answer, kept) = self.keep(object, call);
            return Some(Box::new(move || super::builtin::reply(answer, kept)));
        }
        self.call_built_in(lock(&shelf.object), object, call, session);
        None
    }

    fn call_built_in(
        &self,
        mut shelved: MutexGuard<'_, Shelved>,
        object: &Arc<Object>,
        call: Call,
        session: Option<&Arc<Session>>,
    ) {
        let is_held = matches!(&**object, Object::BuiltIn(shelf) if shelf.is_held);
        let Call { object: number, method, mut args, mut patience, mut answer } = call;
        if method != super::builtin::METHOD {
            return answer.fail(FaultKind::BuiltIn(shelved.built_in.name().to_owned()));
        }
        let key = answer.key();
        let has_ended = session.is_some_and(|session| is_held && !session.touch(number));
        let Shelved { built_in, journal } = &mut *shelved;
        if let Some(store) = journal.store() {
            answer.of_durable(store);
        }
        built_in.call(&Desk { object: number, table: &self.table, journal }, &mut args, answer);
        if has_ended {
            // It was begun late: what others of the client's held was given back before.
            built_in.leave(key.session);
        }
        let errand = if is_held { built_in.errand() } else { None };
        if is_held && patience.limit.is_none() {
            patience.limit = built_in.limit().map(in_micros);
        }
        drop(shelved);
        if let Some(errand) = errand {
            self.submit(Work::Errand(Arc::clone(object), number, errand));
        }
        if let Some(session) = session {
            self.park(session, key, number, patience);
        }
    }

    /// Runs a caller's function that belongs to an object, which others use meanwhile.
    fn run_errand(self: &Arc<Self>, object: Arc<Object>, number: u64, Errand { run, args }: Errand) {
        let running = Running { trusted: self.access.is_tree(), args };
        let result = self.in_object(number, || run(running));
        self.end_errand(object, number, result);
    }

    fn end_errand(&self, object: Arc<Object>, number: u64, result: Result<(), Fault>) {
        let Object::BuiltIn(shelf) = &*object else { return };
        let next = {
            let mut shelved = lock(&shelf.object);
            shelved.built_in.done(result);
            shelved.built_in.errand()
        };
        if let Some(errand) = next {
            self.submit(Work::Errand(object, number, errand));
        }
    }

    /// A call that has no answer yet waits in its object.
    fn park(&self, session: &Session, key: CallKey, number: u64, patience: Patience) {
        if !session.park(key.call) {
            return;
        }
        let now = Instant::now();
        let at = |micros| now.checked_add(Duration::from_micros(micros));
        if let Some(at) = patience.limit.and_then(at) {
            self.set_alarm(at, Alarm::give_up(key, number));
        }
        let period = Duration::from_micros(patience.hear).max(HEAR_AT_LEAST);
        if let Some(at) = now.checked_add(period).filter(|_| session.start_hearing(period)) {
            self.set_alarm(at, Alarm::Hear { session: session.id(), period });
        }
    }

    /// A caller waits no more, or has waited as long as it may.
    pub(super) fn give_up(&self, key: CallKey, object: u64) {
        let Some(object) = self.table.get(object) else { return };
        match &*object {
            Object::BuiltIn(shelf) if shelf.is_held => self.part_with(object, Parting::Call(key)),
            Object::Hosted(hosted) => hosted.forget(|answer| answer.key() == key),
            Object::BuiltIn(_) => {}
        }
    }

    /// Runs a caller's function on a value.
    fn change(self: &Arc<Self>, shelf: &Shelf, call: Call) -> (Answer, Result<Changed, Fault>) {
        let Call { object: number, method, args, mut answer, .. } = call;
        if let Some(store) = lock(&shelf.object).journal.store() {
            answer.of_durable(store);
        }
        let run = || match method {
            super::builtin::CHANGE => self.changed(number, &shelf.object, args),
            _ => self.arranged(number, &shelf.object, args),
        };
        let changed = self.in_object(number, run);
        (answer, changed)
    }

    fn changed(&self, object: u64, shelved: &Mutex<Shelved>, mut args: Packet) -> Result<Changed, Fault> {
        let place: Raw = args.read().map_err(Fault::arguments)?;
        let change: Function<Changing, Result<Changed, Fault>> = args.read().map_err(Fault::arguments)?;
        let mut args = Some(args);
        let mut outcome = None;
        let mut apply = |old: Option<&super::table::Kept>| {
            let changing = Changing {
                epoch: self.access.epoch,
                trusted: self.access.is_tree(),
                old: old.map(|old| old.bytes.0.clone()),
                args: args.take().unwrap_or_default(),
            };
            let mut changed = change(changing)?;
            let new = changed.new.take().map(|raw| self.table.keep(raw)).transpose()?;
            outcome = Some(changed);
            Ok(new)
        };
        let mut shelved = lock(shelved);
        let Shelved { built_in, journal } = &mut *shelved;
        built_in.change(&Desk { object, table: &self.table, journal }, &place, &mut apply)?;
        outcome.ok_or_else(|| FaultKind::NoMethod.into())
    }

    fn arranged(&self, object: u64, shelved: &Mutex<Shelved>, mut args: Packet) -> Result<Changed, Fault> {
        let arrange: Order = args.read().map_err(Fault::arguments)?;
        let mut args = Some(args);
        let mut shelved = lock(shelved);
        let Shelved { built_in, journal } = &mut *shelved;
        let desk = Desk { object, table: &self.table, journal };
        built_in.arrange(&desk, &mut |values| arrange(values, args.take().unwrap_or_default()))?;
        let mut value = Packet::new();
        value.append_item(&()).map_err(Fault::reply)?;
        Ok(Changed { new: None, value, objects: Vec::new(), leases: Vec::new() })
    }
}
