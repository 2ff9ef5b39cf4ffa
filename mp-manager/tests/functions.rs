//! Callers' functions on objects where they live, iterators that stay there, and what tools ask.

use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use mp_manager::{AsyncReply, IteratorProxy, Later, ListProxy, Manager, Proxy};
use mp_process::Process;
use mp_testkit::chaos;
use mp_testkit::harness::Suite;

fn main() -> ExitCode {
    let trials = mp_testkit::trials![
        a_function_looks_and_one_changes,
        a_panic_in_a_function_is_its_calls_error,
        functions_of_strangers_are_refused,
        who_answers_later_holds_no_thread,
        a_dropped_answer_is_an_error,
        a_later_answer_for_the_dead_goes_nowhere,
        an_answer_is_waited_for_beyond_the_timeout,
        the_first_of_many,
        an_iterator_stays_in_the_manager,
        an_iterator_travels,
        an_iterator_goes_with_its_clients,
        an_iterator_that_panics_is_poisoned,
        a_block_may_have_the_names_itself,
        objects_are_listed,
        methods_are_called_by_name,
    ];
    Suite::new(trials).warm_up(warm_up).run()
}

/// The threads that start processes and watch peers keep a few handles for good.
fn warm_up() {
    let manager = Manager::start().unwrap();
    let child = Process::spawn(|list: ListProxy<u8>| list.push(&1).unwrap(), manager.list().unwrap());
    child.unwrap().join().unwrap();
}

struct Counter(u64);

#[mp_manager::object]
#[allow(unreachable_pub)]
impl Counter {
    pub fn new(start: u64) -> Self {
        Self(start)
    }

    pub fn add(&mut self, by: u64) -> u64 {
        self.0 += by;
        self.0
    }

    pub fn get(&self) -> u64 {
        self.0
    }

    /// From its count on.
    pub fn numbers(&self) -> impl Iterator<Item = u64> + Send + use<> {
        self.0..
    }

    pub fn three(&self) -> impl Iterator<Item = String> + Send + use<> {
        let mut left = 3;
        std::iter::from_fn(move || {
            left -= 1;
            if left < 0 { panic!("too far") } else { Some("x".repeat(left as usize)) }
        })
    }
}

fn a_function_looks_and_one_changes() {
    let manager = Manager::start().unwrap();
    let counter = CounterProxy::create(&manager, 40).unwrap();
    assert_eq!(counter.view(|counter, x: u64| counter.0 + x, 2).unwrap(), 42);
    let double = |counter: &mut Counter, times: u32| {
        (0..times).for_each(|_| counter.0 *= 2);
        std::process::id()
    };
    assert_eq!(counter.update(double, 3).unwrap(), manager.pid().unwrap());
    assert_eq!(counter.get().unwrap(), 320);
    // In the server too, and with proxies as arguments and values.
    let push = |counter: &Counter, list: ListProxy<u64>| {
        list.push(&counter.0).unwrap();
        list
    };
    let list = manager.list().unwrap();
    assert_eq!(counter.view(push, list.clone()).unwrap(), list);
    assert_eq!(list.to_vec().unwrap(), [320]);
    // All of many processes count.
    let increment = |counter: CounterProxy| {
        (0..100).for_each(|_| counter.update(|counter, ()| counter.0 += 1, ()).unwrap());
    };
    let children: Vec<_> = (0..4).map(|_| Process::spawn(increment, counter.clone()).unwrap()).collect();
    children.into_iter().for_each(|child| child.join().unwrap());
    assert_eq!(counter.get().unwrap(), 720);
}

fn a_panic_in_a_function_is_its_calls_error() {
    let manager = Manager::start().unwrap();
    let counter = CounterProxy::create(&manager, 1).unwrap();
    let error = counter.view(|_, ()| -> u8 { panic!("looking") }, ()).unwrap_err();
    assert_eq!(error.panic().unwrap().message(), "looking");
    assert_eq!(counter.get().unwrap(), 1);
    assert!(counter.update(|_, ()| -> u8 { panic!("changing") }, ()).unwrap_err().is_panic());
    assert!(counter.get().unwrap_err().is_poisoned());
}

fn functions_of_strangers_are_refused() {
    let manager = Manager::builder().authkey("strangers").register::<Counter>().start().unwrap();
    let counter = CounterProxy::create(&manager, 1).unwrap();
    assert!(counter.view(|counter, ()| counter.0, ()).unwrap_err().is_refused());
    assert!(counter.later(|_, (_, later): ((), Later<u8>)| later.answer(&1), ()).is_err());
    assert_eq!(counter.get().unwrap(), 1);
}

static LATER: Mutex<Vec<Later<u64>>> = Mutex::new(Vec::new());

fn keep(_: &Counter, ((), later): ((), Later<u64>)) {
    LATER.lock().unwrap().push(later);
}

/// Calls that look run side by side, in no order.
fn await_kept(counter: &CounterProxy, count: usize) {
    while counter.view(|_, ()| LATER.lock().unwrap().len(), ()).unwrap() < count {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Answers all that wait, with their places.
fn answer(_: &Counter, (): ()) -> u64 {
    let all = std::mem::take(&mut *LATER.lock().unwrap());
    let count = all.len() as u64;
    thread::spawn(move || all.into_iter().zip(0..).for_each(|(later, place)| later.answer(&place)));
    count
}

fn who_answers_later_holds_no_thread() {
    let manager = Manager::builder().max_threads(2).start().unwrap();
    let counter = CounterProxy::create(&manager, 1).unwrap();
    let begun: Vec<_> = (0..100).map(|_| counter.later(keep, ()).unwrap()).collect();
    await_kept(&counter, 100);
    assert_eq!(counter.view(answer, ()).unwrap(), 100);
    let sum: u64 = begun.into_iter().map(|reply| reply.get().unwrap()).sum();
    assert_eq!(sum, (0..100).sum());
}

fn a_dropped_answer_is_an_error() {
    let manager = Manager::start().unwrap();
    let counter = CounterProxy::create(&manager, 1).unwrap();
    let drop_it = |_: &Counter, ((), later): ((), Later<u64>)| drop(later);
    assert!(counter.later(drop_it, ()).unwrap().get().unwrap_err().is_refused());
    let panic = |_: &Counter, ((), _later): ((), Later<u64>)| panic!("before it answered");
    assert!(counter.later(panic, ()).unwrap().get().is_err());
    assert_eq!(counter.get().unwrap(), 1);
}

fn a_later_answer_for_the_dead_goes_nowhere() {
    let manager = Manager::start().unwrap();
    let counter = CounterProxy::create(&manager, 1).unwrap();
    let wait = |counter: CounterProxy| drop(counter.later(keep, ()).unwrap().get());
    let child = Process::spawn(wait, counter.clone()).unwrap();
    await_kept(&counter, 1);
    chaos::kill(child.pid()).unwrap();
    assert!(child.join().is_err());
    let mine = counter.later(keep, ()).unwrap();
    await_kept(&counter, 2);
    assert_eq!(counter.view(answer, ()).unwrap(), 2);
    assert_eq!(mine.get().unwrap(), 1);
}

fn an_answer_is_waited_for_beyond_the_timeout() {
    let manager = Manager::start().unwrap();
    let counter = CounterProxy::create(&manager, 1).unwrap();
    let hasty = counter.with_timeout(Duration::from_secs(1));
    let slowly = |_: &Counter, (time, later): (Duration, Later<u64>)| {
        thread::spawn(move || {
            thread::sleep(time);
            later.answer(&7);
        });
    };
    assert_eq!(hasty.later(slowly, Duration::from_millis(2500)).unwrap().get().unwrap(), 7);
    // A server that is stuck is not.
    let begun = hasty.later(keep, ()).unwrap();
    chaos::stop(manager.pid().unwrap()).unwrap();
    assert!(begun.get().unwrap_err().is_timeout());
}

fn the_first_of_many() {
    let manager = Manager::start().unwrap();
    let counter = CounterProxy::create(&manager, 1).unwrap();
    static NAMED: Mutex<Vec<(u64, Later<u64>)>> = Mutex::new(Vec::new());
    let keep_named = |_: &Counter, named: (u64, Later<u64>)| NAMED.lock().unwrap().push(named);
    let answer_named = |_: &Counter, name: u64| {
        let mut all = NAMED.lock().unwrap();
        let Some(place) = all.iter().position(|(known, _)| *known == name) else { return false };
        all.swap_remove(place).1.answer(&name);
        true
    };
    let mut begun: Vec<_> = [3, 1, 2].map(|name| counter.later(keep_named, name).unwrap()).into();
    for name in 1..4 {
        while !counter.view(answer_named, name).unwrap() {
            thread::sleep(Duration::from_millis(1));
        }
        let place = AsyncReply::wait_any(&begun).unwrap();
        assert_eq!(begun.remove(place).get().unwrap(), name);
    }
    assert_eq!(AsyncReply::wait_any(&begun), None);
    // The end of the server ends the wait.
    let waiting = [counter.later(keep, ()).unwrap(), counter.later(keep, ()).unwrap()];
    chaos::kill(manager.pid().unwrap()).unwrap();
    assert!(AsyncReply::wait_any(&waiting).is_some());
    waiting.into_iter().for_each(|reply| assert!(reply.get().unwrap_err().is_gone()));
}

fn an_iterator_stays_in_the_manager() {
    let manager = Manager::start().unwrap();
    let counter = CounterProxy::create(&manager, 5).unwrap();
    let numbers: IteratorProxy<u64> = counter.numbers().unwrap();
    assert_eq!(numbers.next().unwrap(), Some(5));
    assert_eq!(numbers.next_chunk(3).unwrap(), [6, 7, 8]);
    // It does not look at the object any more.
    counter.add(100).unwrap();
    assert_eq!(numbers.items(2).map(Result::unwrap).take(3).collect::<Vec<_>>(), [9, 10, 11]);
    numbers.close().unwrap();
    assert_eq!(numbers.next().unwrap(), None);
    assert_eq!(numbers.items(7).count(), 0);
    drop(numbers);
    assert_eq!(manager.object_count().unwrap(), 1);
}

fn an_iterator_travels() {
    let manager = Manager::start().unwrap();
    let numbers = CounterProxy::create(&manager, 0).unwrap().numbers().unwrap();
    let take =
        |numbers: IteratorProxy<u64>| -> Vec<u64> { numbers.items(1).map(Result::unwrap).take(50).collect() };
    let children: Vec<_> = (0..3).map(|_| Process::spawn(take, numbers.clone()).unwrap()).collect();
    let mut all: Vec<u64> = children.into_iter().flat_map(|child| child.join().unwrap()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..150).collect::<Vec<_>>());
}

fn an_iterator_goes_with_its_clients() {
    let manager = Manager::start().unwrap();
    let counter = CounterProxy::create(&manager, 0).unwrap();
    let hold = |counter: CounterProxy| {
        let numbers = counter.numbers().unwrap();
        counter.add(1).unwrap();
        thread::sleep(Duration::from_secs(100));
        drop(numbers);
    };
    let child = Process::spawn(hold, counter.clone()).unwrap();
    while counter.get().unwrap() == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(manager.object_count().unwrap(), 2);
    child.kill().unwrap();
    assert!(child.join().is_err());
    while manager.object_count().unwrap() > 1 {
        thread::sleep(Duration::from_millis(1));
    }
}

fn an_iterator_that_panics_is_poisoned() {
    let manager = Manager::start().unwrap();
    let three = CounterProxy::create(&manager, 0).unwrap().three().unwrap();
    let mut items = three.items(1);
    assert_eq!(items.by_ref().take(3).map(Result::unwrap).collect::<Vec<_>>(), ["xx", "x", ""]);
    assert_eq!(items.next().unwrap().unwrap_err().panic().unwrap().message(), "too far");
    assert!(items.next().is_none());
    assert!(three.next().unwrap_err().is_poisoned());
}

/// Has methods by the names of those that the attribute writes.
struct Busy;

#[mp_manager::object]
#[allow(unreachable_pub)]
impl Busy {
    pub fn new() -> Self {
        Self
    }

    pub fn view(&self, x: u8) -> u8 {
        x
    }

    pub fn update(&mut self) {}
}

fn a_block_may_have_the_names_itself() {
    let manager = Manager::start().unwrap();
    let busy = BusyProxy::create(&manager).unwrap();
    assert_eq!(busy.view(3).unwrap(), 3);
    busy.update().unwrap();
}

fn objects_are_listed() {
    let manager = Manager::start().unwrap();
    assert_eq!(manager.objects().unwrap(), []);
    let list = manager.list::<CounterProxy>().unwrap();
    let counter = CounterProxy::create(&manager, 0).unwrap();
    list.push(&counter).unwrap();
    manager.publish("counter", &counter).unwrap();
    let info = manager.objects().unwrap();
    let told: Vec<_> = info.iter().map(|info| (info.type_name.as_str(), info.references)).collect();
    assert_eq!(told, [("list", 1), ("Counter", 3)]);
}

fn methods_are_called_by_name() {
    let manager = Manager::start().unwrap();
    let counter = CounterProxy::create(&manager, 1).unwrap();
    let object = counter.object();
    let methods = object.methods().unwrap();
    let names: Vec<_> = methods.iter().map(|method| (method.name.as_str(), method.changes)).collect();
    assert_eq!(names, [("add", true), ("get", false), ("numbers", false), ("three", false)]);
    assert_eq!(methods[0].signature, "fn add(&mut self, by: u64) -> u64");
    assert_eq!(object.call_by_name::<_, u64>("add", &(2u64,)).unwrap(), 3);
    assert!(object.call_by_name::<_, u64>("add", &("two".to_owned(),)).unwrap_err().is_codec());
    let error = object.call_by_name::<_, u64>("sub", &(2u64,)).unwrap_err();
    assert!(error.is_no_method() && error.to_string().contains("`sub`"), "{error}");
    for (name, why) in
        [("update", "a function"), ("later", "a function"), ("add_async", "ahead"), ("map", "proxy alone")]
    {
        let error = object.call_by_name::<_, u64>(name, &(2u64,)).unwrap_err();
        assert!(error.is_no_method() && !error.may_have_run(), "{error}");
        assert!(
            error.to_string().contains(&format!("`{name}`")) && error.to_string().contains(why),
            "{error}"
        );
    }
}
