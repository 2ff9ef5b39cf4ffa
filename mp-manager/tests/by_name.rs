//! This crate's objects, called by the names of their methods as tools do.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use mp_manager::{
    BarrierProxy, DictProxy, EventProxy, JoinableQueueProxy, ListProxy, LockProxy, Manager, ManagerError,
    NamespaceProxy, ObjectRef, Proxy, QueueProxy, SemaphoreProxy, SetProxy, ValueProxy,
};
use mp_process::Process;
use mp_testkit::harness::Suite;

fn main() -> ExitCode {
    let trials = mp_testkit::trials![
        containers_from_a_child,
        what_is_waited_for_from_a_child,
        proxies_go_in_and_out,
        what_proxies_alone_have_says_why,
        arguments_that_do_not_fit_are_refused,
        all_methods_are_listed,
        by_name_in_the_servers_own_process,
        a_stranger_calls_by_name,
    ];
    Suite::new(trials).warm_up(warm_up).run()
}

/// The threads that start processes and watch peers keep a few handles for good.
fn warm_up() {
    let manager = Manager::start().unwrap();
    let child = Process::spawn(|list: ListProxy<u8>| list.push(&1).unwrap(), manager.list().unwrap());
    child.unwrap().join().unwrap();
}

const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(60);

type Containers = (
    ListProxy<String>,
    DictProxy<String, u32>,
    SetProxy<i16>,
    NamespaceProxy,
    ValueProxy<(u8, Option<String>)>,
    ListProxy<f64>,
);

fn containers(manager: &Manager) -> Containers {
    let array = manager.array(&[0.5, 1.5]).unwrap();
    (
        manager.list().unwrap(),
        manager.dict().unwrap(),
        manager.set().unwrap(),
        manager.namespace().unwrap(),
        manager.value(&(1, None)).unwrap(),
        ListProxy::from_object(array.object().clone()),
    )
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn use_containers((list, dict, set, namespace, value, array): Containers) {
    let list = list.object();
    let () = list.call_by_name("push", &(text("b"),)).unwrap();
    let () = list.call_by_name("extend", &(vec![text("c"), text("a")],)).unwrap();
    let () = list.call_by_name("insert", &(0usize, text("z"))).unwrap();
    assert_eq!(list.call_by_name::<_, usize>("len", &()).unwrap(), 4);
    assert_eq!(list.call_by_name::<_, String>("get", &(1usize,)).unwrap(), "b");
    assert_eq!(list.call_by_name::<_, Option<usize>>("position", &(text("a"),)).unwrap(), Some(3));
    assert_eq!(list.call_by_name::<_, Option<usize>>("position", &(text("x"),)).unwrap(), None);
    assert!(list.call_by_name::<_, String>("get", &(9usize,)).unwrap_err().is_out_of_range());
    assert_eq!(list.call_by_name::<_, Option<String>>("pop", &()).unwrap().unwrap(), "a");
    let out: Vec<String> = list.call_by_name("splice", &(0usize, 2usize, [text("y")])).unwrap();
    assert_eq!(out, ["z", "b"]);
    assert_eq!(list.call_by_name::<_, Vec<String>>("to_vec", &()).unwrap(), ["y", "c"]);

    let dict = dict.object();
    assert_eq!(dict.call_by_name::<_, Option<u32>>("insert", &(text("one"), 1u32)).unwrap(), None);
    assert_eq!(dict.call_by_name::<_, Option<u32>>("insert", &(text("one"), 11u32)).unwrap(), Some(1));
    let () = dict.call_by_name("extend", &(vec![(text("two"), 2u32), (text("three"), 300)],)).unwrap();
    assert_eq!(dict.call_by_name::<_, u32>("get_or_insert", &(text("two"), 5u32)).unwrap(), 2);
    let all: Vec<(String, u32)> = dict.call_by_name("items", &()).unwrap();
    assert_eq!(all, [(text("one"), 11), (text("two"), 2), (text("three"), 300)]);
    let last: Option<(String, u32)> = dict.call_by_name("pop_last", &()).unwrap();
    assert_eq!(last, Some((text("three"), 300)));

    let set = set.object();
    assert!(set.call_by_name::<_, bool>("insert", &(-3i16,)).unwrap());
    assert_eq!(set.call_by_name::<_, usize>("extend", &(vec![-3i16, 4, 5],)).unwrap(), 2);
    assert!(set.call_by_name::<_, bool>("is_superset", &(vec![4i16, -3],)).unwrap());
    assert!(!set.call_by_name::<_, bool>("is_disjoint", &(vec![5i16],)).unwrap());

    let namespace = namespace.object();
    let () = namespace.call_by_name("set", &(text("x"), vec![1u8, 2])).unwrap();
    assert_eq!(namespace.call_by_name::<_, Option<Vec<u8>>>("get", &(text("x"),)).unwrap(), Some(vec![1, 2]));
    assert_eq!(namespace.call_by_name::<_, Vec<String>>("names", &()).unwrap(), ["x"]);

    let value = value.object();
    let old: (u8, Option<String>) = value.call_by_name("replace", &((2u8, Some(text("two"))),)).unwrap();
    assert_eq!(old, (1, None));
    assert_eq!(value.call_by_name::<_, (u8, Option<String>)>("get", &()).unwrap(), (2, Some(text("two"))));

    let array = array.object();
    let () = array.call_by_name("set", &(1usize, 2.5f64)).unwrap();
    assert_eq!(array.call_by_name::<_, Vec<f64>>("slice", &(0usize, 9usize)).unwrap(), [0.5, 2.5]);
}

fn containers_from_a_child() {
    let manager = Manager::start().unwrap();
    let all = containers(&manager);
    Process::spawn(use_containers, all.clone()).unwrap().join().unwrap();
    // What was done by names is what proxies see.
    let (list, dict, set, namespace, value, array) = all;
    assert_eq!(list.to_vec().unwrap(), ["y", "c"]);
    assert_eq!(dict.items().unwrap(), [(text("one"), 11), (text("two"), 2)]);
    assert_eq!(set.to_set().unwrap(), [-3, 4, 5].into());
    assert_eq!(namespace.get::<Vec<u8>>("x").unwrap(), Some(vec![1, 2]));
    assert_eq!(value.get().unwrap(), (2, Some(text("two"))));
    assert_eq!(array.to_vec().unwrap(), [0.5, 2.5]);
}

type Waited = (QueueProxy<String>, JoinableQueueProxy<u32>, EventProxy, BarrierProxy, SemaphoreProxy);

fn wait_by_name((queue, jobs, event, barrier, permits): Waited) {
    let queue = queue.object();
    let () = queue.call_by_name("put", &(text("a"),)).unwrap();
    assert!(!queue.call_by_name::<_, bool>("put_timeout", &(text("b"), SHORT)).unwrap());
    assert!(queue.call_by_name::<_, bool>("is_full", &()).unwrap());
    assert_eq!(queue.call_by_name::<_, String>("get", &()).unwrap(), "a");
    assert_eq!(queue.call_by_name::<_, Option<String>>("try_get", &()).unwrap(), None);
    assert_eq!(queue.call_by_name::<_, Option<String>>("get_timeout", &(SHORT,)).unwrap(), None);

    let jobs = jobs.object();
    let () = jobs.call_by_name("put", &(7u32,)).unwrap();
    assert!(!jobs.call_by_name::<_, bool>("join_timeout", &(SHORT,)).unwrap());
    assert_eq!(jobs.call_by_name::<_, u32>("get", &()).unwrap(), 7);
    let () = jobs.call_by_name("task_done", &()).unwrap();
    assert!(jobs.call_by_name::<_, bool>("join_timeout", &(LONG,)).unwrap());
    assert!(jobs.call_by_name::<_, ()>("task_done", &()).unwrap_err().is_refused());

    assert_eq!(permits.object().call_by_name::<_, usize>("available", &()).unwrap(), 1);
    let () = permits.object().call_by_name("release", &(2usize,)).unwrap();

    let event = event.object();
    assert!(!event.call_by_name::<_, bool>("wait_timeout", &(SHORT,)).unwrap());
    let () = event.call_by_name("set", &()).unwrap();
    assert!(event.call_by_name::<_, bool>("wait_timeout", &(LONG,)).unwrap());
    // The other one comes by its proxy.
    assert!(barrier.object().call_by_name::<_, usize>("wait", &()).unwrap() < 2);
}

fn what_is_waited_for_from_a_child() {
    let manager = Manager::start().unwrap();
    let queue = manager.bounded_queue(1).unwrap();
    let (event, barrier) = (manager.event().unwrap(), manager.barrier(2).unwrap());
    let (jobs, permits) = (manager.joinable_queue().unwrap(), manager.semaphore(1).unwrap());
    let all = (queue, jobs, event.clone(), barrier.clone(), permits.clone());
    let child = Process::spawn(wait_by_name, all).unwrap();
    event.wait().unwrap();
    barrier.wait().unwrap();
    child.join().unwrap();
    assert_eq!(permits.available().unwrap(), 3);
    // One that waits too long breaks it, as by the proxy.
    let error = barrier.object().call_by_name::<_, usize>("wait_timeout", &(SHORT,)).unwrap_err();
    assert!(error.is_broken_barrier(), "{error}");
    assert!(barrier.object().call_by_name::<_, bool>("is_broken", &()).unwrap());
}

fn proxies_go_in_and_out() {
    let manager = Manager::start().unwrap();
    let lists = manager.dict::<String, ListProxy<u8>>().unwrap();
    let list = manager.list_from(&[1u8]).unwrap();
    let work = |lists: DictProxy<String, ListProxy<u8>>| {
        let by_name = lists.object();
        let first: Option<ListProxy<u8>> = by_name.call_by_name("get", &(text("first"),)).unwrap();
        let first = first.unwrap();
        first.push(&2).unwrap();
        let () = by_name.call_by_name("extend", &(vec![(text("second"), first)],)).unwrap();
    };
    let old: Option<ListProxy<u8>> =
        lists.object().call_by_name("insert", &(text("first"), list.clone())).unwrap();
    assert!(old.is_none());
    Process::spawn(work, lists.clone()).unwrap().join().unwrap();
    let second = lists.get("second").unwrap().unwrap();
    assert!(second == list && second.to_vec().unwrap() == [1, 2]);
    // In the dictionary it counts: twice.
    drop((second, list));
    assert_eq!(manager.object_count().unwrap(), 2);
    lists.object().call_by_name::<_, ()>("clear", &()).unwrap();
    await_count(&manager, 1);
}

/// What another process let go of before its end has its own way to the server.
fn await_count(manager: &Manager, count: usize) {
    let begun = Instant::now();
    while manager.object_count().unwrap() != count {
        assert!(begun.elapsed() < LONG, "{} objects", manager.object_count().unwrap());
        thread::sleep(Duration::from_millis(1));
    }
}

fn refusal(object: &ObjectRef, name: &str) -> String {
    let error = object.call_by_name::<_, ()>(name, &()).unwrap_err();
    assert!(error.is_no_method() && !error.may_have_run(), "{error}");
    error.to_string()
}

fn what_proxies_alone_have_says_why() {
    let manager = Manager::start().unwrap();
    let lock = manager.lock().unwrap();
    assert!(refusal(lock.object(), "lock").contains("guard"));
    assert!(refusal(manager.rlock().unwrap().object(), "try_lock").contains("guard"));
    assert!(refusal(manager.semaphore(1).unwrap().object(), "acquire").contains("guard"));
    assert!(refusal(manager.condition().unwrap().object(), "lock_timeout").contains("guard"));
    let list = manager.list_from(&[2u8, 1]).unwrap();
    assert!(refusal(list.object(), "sort").contains("function"));
    assert!(refusal(list.object(), "iter").contains("caller"));
    assert!(refusal(list.object(), "append").contains("`list` has no `append`"));
    let while_held = |lock: LockProxy| lock.object().call_by_name::<_, bool>("is_locked", &()).unwrap();
    let held = lock.lock().unwrap();
    assert!(while_held(lock.clone()));
    drop(held);
    assert!(!while_held(lock));
}

fn arguments_that_do_not_fit_are_refused() {
    let manager = Manager::start().unwrap();
    let list = manager.list_from(&[1u64]).unwrap();
    let object = list.object();
    let says = |result: Result<(), ManagerError>, text: &str| {
        let error = result.unwrap_err();
        assert!(error.is_codec() && error.to_string().contains(text), "{error}");
    };
    says(object.call_by_name("push", &()), "takes 1 arguments, not 0");
    says(object.call_by_name("push", &(1u64, 2u64)), "takes 1 arguments, not 2");
    says(object.call_by_name("push", &1u64), "tuple");
    says(object.call_by_name("extend", &(1u64,)), "many values");
    says(object.call_by_name("set", &(text("one"), 1u64)), "argument");
    says(manager.dict::<u8, u8>().unwrap().object().call_by_name("extend", &(vec![1u8],)), "many values");
    // The value is of another type than what is there.
    assert!(object.call_by_name::<_, (u64, u64, u64)>("get", &(0usize,)).unwrap_err().is_codec());
    assert_eq!(list.to_vec().unwrap(), [1]);
}

fn all_methods_are_listed() {
    let manager = Manager::start().unwrap();
    let list = manager.list::<u8>().unwrap().object().methods().unwrap();
    let find = |name: &str| list.iter().find(|method| method.name == name).unwrap();
    assert_eq!(find("insert").signature, "fn insert(&mut self, index: usize, value: T)");
    assert!(find("insert").changes && find("insert").by_name);
    assert!(!find("len").changes && !find("sort").by_name);
    let objects: Vec<ObjectRef> = vec![
        manager.dict::<u8, u8>().unwrap().object().clone(),
        manager.set::<u8>().unwrap().object().clone(),
        manager.namespace().unwrap().object().clone(),
        manager.value(&1).unwrap().object().clone(),
        manager.array(&[1]).unwrap().object().clone(),
        manager.queue::<u8>().unwrap().object().clone(),
        manager.joinable_queue::<u8>().unwrap().object().clone(),
        manager.lock().unwrap().object().clone(),
        manager.rlock().unwrap().object().clone(),
        manager.semaphore(1).unwrap().object().clone(),
        manager.bounded_semaphore(1).unwrap().object().clone(),
        manager.condition().unwrap().object().clone(),
        manager.event().unwrap().object().clone(),
        manager.barrier(1).unwrap().object().clone(),
    ];
    for object in objects {
        let methods = object.methods().unwrap();
        assert!(methods.iter().any(|method| method.by_name), "{methods:?}");
        assert!(methods.iter().all(|method| method.signature.starts_with(&format!("fn {}(&", method.name))));
    }
}

struct Tool;

#[mp_manager::object]
#[allow(unreachable_pub)]
impl Tool {
    pub fn new() -> Self {
        Self
    }

    /// Calls an object of the same manager by name, where the manager is.
    pub fn use_it(&self, queue: QueueProxy<u32>) -> (usize, Option<u32>, Option<u32>, usize) {
        let queue = queue.object();
        let () = queue.call_by_name("put", &(5u32,)).unwrap();
        let len = queue.call_by_name("len", &()).unwrap();
        let first = queue.call_by_name("get_timeout", &(LONG,)).unwrap();
        let second = queue.call_by_name("get_timeout", &(SHORT,)).unwrap();
        (len, first, second, queue.methods().unwrap().len())
    }

    /// Waits by name for one that does not come; what it is told.
    pub fn give_up(&self, barrier: BarrierProxy) -> String {
        barrier.object().call_by_name::<_, usize>("wait_timeout", &(SHORT,)).unwrap_err().to_string()
    }
}

fn by_name_in_the_servers_own_process() {
    let manager = Manager::start().unwrap();
    let error = ToolProxy::create(&manager).unwrap().give_up(manager.barrier(2).unwrap()).unwrap();
    assert!(error.contains("barrier is broken"), "{error}");
    let queue = manager.queue::<u32>().unwrap();
    let count = queue.object().methods().unwrap().len();
    assert_eq!(ToolProxy::create(&manager).unwrap().use_it(queue).unwrap(), (1, Some(5), None, count));
}

fn a_stranger_calls_by_name() {
    let manager = Manager::builder().authkey("a key").start().unwrap();
    let dict = manager.dict::<String, u32>().unwrap();
    manager.publish("scores", &dict).unwrap();
    let address = manager.address().clone();
    let child = Process::spawn(
        |address: ipc_core::Address| {
            let manager = Manager::connect(&address, "a key").unwrap();
            let scores: DictProxy<String, u32> = manager.find("scores").unwrap();
            let () = scores.object().call_by_name("extend", &(vec![(text("ann"), 3u32)],)).unwrap();
        },
        address,
    );
    child.unwrap().join().unwrap();
    assert_eq!(dict.get("ann").unwrap(), Some(3));
    let waiting = thread::spawn(move || dict.object().call_by_name::<_, usize>("len", &()).unwrap());
    assert_eq!(waiting.join().unwrap(), 1);
}
