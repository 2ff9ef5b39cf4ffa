//! What processes and pools promise, checked wherever it is called from.

#![forbid(unsafe_code)]

use multiprocess::process::StateFunction;
use multiprocess::{Event, Function, Lock, Pool, Process, Queue, StartMethod, Value, current_process, pipe};
use serde::{Deserialize, Serialize};

/// Checks everything under `method`.
pub fn check(method: StartMethod) {
    values_come_back(method);
    ends_are_told(method);
    functions_are_values(method);
    ends_and_locks_travel(method);
    a_pool_works(method);
}

fn builder(method: StartMethod) -> multiprocess::process::Builder {
    Process::builder().start_method(method)
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Shape<T> {
    name: String,
    sides: Vec<T>,
}

fn grown<T: std::ops::Add<Output = T> + Copy>(shape: Shape<T>) -> Shape<T> {
    Shape { sides: shape.sides.iter().map(|side| *side + *side).collect(), ..shape }
}

fn values_come_back(method: StartMethod) {
    let shape = |sides| Shape { name: "square".to_owned(), sides };
    let child = builder(method).spawn(grown, shape(vec![1, 2])).unwrap();
    assert_eq!(child.join().unwrap(), shape(vec![2, 4]));
    let name = builder(method).name("named").spawn(|()| current_process().name().to_owned(), ());
    assert_eq!(name.unwrap().join().unwrap(), "named");
    let nested = |method| builder(method).spawn(|x: u32| x + 1, 1).unwrap().join().unwrap();
    assert_eq!(builder(method).spawn(nested, method).unwrap().join().unwrap(), 2);
}

fn end_by(means: String) -> usize {
    match means.as_str() {
        "panic" => panic!("on purpose"),
        "exit" => std::process::exit(3),
        "abort" => std::process::abort(),
        "overflow" => dig(0),
        _ => means.len(),
    }
}

fn dig(depth: usize) -> usize {
    let room = std::hint::black_box([depth; 64]);
    if depth == usize::MAX { room[3] } else { dig(depth + 1) + std::hint::black_box(room)[5] }
}

fn ends_are_told(method: StartMethod) {
    let error = |means: &str| builder(method).spawn(end_by, means.to_owned()).unwrap().join().unwrap_err();
    let panicked = error("panic");
    let panic = panicked.panic().expect("a panic");
    assert_eq!(panic.message(), "on purpose");
    assert!(panic.location().is_some_and(|place| place.contains("lib.rs")), "{panicked}");
    assert_eq!(error("exit").exit_code(), Some(3));
    assert!(error("abort").signal().is_some() && !error("abort").is_stack_overflow());
    assert!(error("overflow").is_stack_overflow());
}

// Two that compile to the same code, which may then have one address.
fn left(pair: (u32, u32)) -> u32 {
    pair.0 + pair.1
}

fn right(pair: (u32, u32)) -> u32 {
    pair.0 + pair.1
}

fn functions_are_values(method: StartMethod) {
    let functions: Vec<Function<(u32, u32), u32>> = vec![Function::new(left), Function::new(right)];
    let apply = |functions: Vec<Function<(u32, u32), u32>>| {
        functions.iter().map(|function| function((2, 3))).sum::<u32>()
    };
    assert_eq!(builder(method).spawn(apply, functions).unwrap().join().unwrap(), 10);
    let add: StateFunction<u32, u32, ()> = StateFunction::new(|total, x| *total += x);
    let state = |add: StateFunction<u32, u32, ()>| {
        let mut total = 40;
        add(&mut total, 2);
        total
    };
    assert_eq!(builder(method).spawn(state, add).unwrap().join().unwrap(), 42);
}

fn ends_and_locks_travel(method: StartMethod) {
    let (tx, rx) = pipe::<String>().unwrap();
    let (queue, event, lock) = (Queue::new().unwrap(), Event::new().unwrap(), Lock::new().unwrap());
    let count = Value::new(1u64).unwrap();
    let work = |(tx, queue, event, lock, count): (_, Queue<u32>, Event, Lock, Value<u64>)| {
        let tx: multiprocess::Sender<String> = tx;
        event.wait();
        let _guard = lock.lock().unwrap();
        *count.lock().unwrap() += queue.get().unwrap() as u64;
        tx.send(&"done".to_owned()).unwrap();
    };
    let child = builder(method).spawn(work, (tx, queue.clone(), event.clone(), lock.clone(), count.clone()));
    queue.put(41).unwrap();
    event.set();
    assert_eq!(rx.recv().unwrap(), "done");
    child.unwrap().join().unwrap();
    assert_eq!(*count.lock().unwrap(), 42);
    drop(lock.lock().unwrap());
}

fn a_pool_works(method: StartMethod) {
    let pool = Pool::builder().processes(2).start_method(method).build().unwrap();
    let squares: Vec<u64> = pool.map(|x: u64| x * x, 0..100).unwrap();
    assert!(squares.iter().zip(0..).all(|(square, x)| *square == x * x));
    // A worker that dies costs its own task.
    let died = pool.apply(|()| std::process::abort(), ()).map(|()| ()).unwrap_err();
    assert!(died.is_worker_died(), "{died}");
    let lengths = pool.imap(|text: String| text.len(), ["a".to_owned(), "bc".to_owned()]);
    let lengths: Vec<usize> = lengths.collect::<Result<_, _>>().unwrap();
    assert_eq!(lengths, [1, 2]);
}
