//! Kills at random instants: a few thousand in a test run; in a soak as many as
//! `MP_SOAK_KILLS` says, or as fit into `MP_SOAK_SECONDS` seconds. The children are forks of
//! this program, which is small and has one thread. The seed is printed; `MP_TESTKIT_SEED`
//! sets it.

#[path = "../common/mod.rs"]
mod common;
mod counts;
mod fire;
mod locks;
mod progress;
mod queues;
mod signals;

use std::time::{Duration, Instant};

use common::Random;
use fire::{Fire, Share};
use progress::Longest;

/// A name, the part of the whole, and what is done.
type Entry = (&'static str, u64, fn(&mut Fire<'_>));

/// All of them. Those that go in rounds of their own are slower, and have a smaller part.
const SCENARIOS: [Entry; 22] = [
    ("lock", 8, locks::lock),
    ("rlock", 8, locks::rlock),
    ("lock given", 8, locks::lock_given),
    ("lock timeouts", 8, locks::timeouts),
    ("deadlock watch", 1, locks::deadlocks),
    ("rwlock", 8, locks::rwlock),
    ("semaphore", 8, counts::semaphore),
    ("bounded semaphore", 8, counts::bounded_semaphore),
    ("counted semaphore", 8, counts::counted_semaphore),
    ("binary semaphore", 8, counts::binary_semaphore),
    ("event", 8, signals::event),
    ("event once", 2, signals::event_once),
    ("condition", 8, signals::condition),
    ("condition notified", 1, signals::condition_notified),
    ("barrier", 8, signals::barrier),
    ("barrier of two", 2, signals::barrier_of_two),
    ("once and latch", 1, signals::once_and_latch),
    ("queue", 8, queues::queue),
    ("bounded queue", 8, queues::bounded_queue),
    ("simple queue", 8, queues::simple_queue),
    ("queue with handles", 8, queues::queue_with_handles),
    ("joinable queue", 8, queues::joinable_queue),
];

fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        SCENARIOS.iter().for_each(|(name, ..)| println!("{name}: test"));
        return;
    }
    let set = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<f64>().ok());
    let filter = std::env::args().nth(1).filter(|argument| !argument.starts_with('-')).unwrap_or_default();
    let seed = common::seed();
    println!("MP_TESTKIT_SEED={seed}");
    let chosen: Vec<&Entry> = SCENARIOS.iter().filter(|(name, ..)| name.contains(&filter)).collect();
    let parts: u64 = chosen.iter().map(|(_, part, _)| part).sum();
    let mut random = Random::new(seed);
    let mut kills = 0;
    for (name, part, run) in chosen {
        let of = |whole: f64| whole * *part as f64 / parts as f64;
        let share = match set("MP_SOAK_KILLS") {
            Some(whole) => Share::Kills(of(whole).ceil() as u64),
            None => {
                let time = of(set("MP_SOAK_SECONDS").unwrap_or(6.0));
                Share::Until(Instant::now() + Duration::from_secs_f64(time))
            }
        };
        let mut fire = Fire { random: &mut random, share, kills: 0, steps: 0, longest: Longest::default() };
        let begun = Instant::now();
        run(&mut fire);
        let (Fire { kills: here, steps, longest, .. }, took) = (fire, begun.elapsed().as_secs_f64());
        println!("{name:>18}: {here:>7} kills, {steps:>10} steps, {longest}, {took:.1} s");
        if longest.barren.calls > 0 {
            let (time, calls) = (longest.barren.time.as_millis(), longest.barren.calls);
            println!("{:>18}  {time} ms without a step, in which {calls} calls returned", "");
        }
        kills += here;
    }
    println!("{kills} kills");
}
