//! Items that fail, each by itself and in its place.

mod common;

use std::process::ExitCode;

use common::{die_at_five, odd_panics, pool_of, square};
use mp_pool::{StopRule, TaskError};
use mp_process::StartMethod;
use serde::{Deserialize, Serialize};

fn main() -> ExitCode {
    const STARTED: &[common::Started] = common::started![
        a_tasks_own_error_keeps_its_type,
        errors_stand_in_their_places_whatever_travels_together,
        a_failing_item_is_one_error_and_the_rest_go_on,
        the_first_error_in_order_is_the_maps_error,
        a_map_stops_when_too_much_of_it_fails,
        a_stopped_map_has_what_had_come,
        numbers_before_and_after_failures_are_in_place,
        every_way_to_fail_is_its_own_error,
        an_argument_that_does_not_encode_is_that_items_error,
        a_decoding_that_panics_is_that_items_error,
        a_decoding_that_leaves_bytes_harms_no_other,
        whatever_is_thrown_is_that_items_error,
    ];
    common::run(STARTED, Vec::new())
}

fn errors_stand_in_their_places_whatever_travels_together(method: StartMethod) {
    let pool = pool_of(2, method);
    for size in [1, 7, 64] {
        let outcomes: Vec<Result<u32, TaskError>> = pool.imap(odd_panics, 0..100).chunk_size(size).collect();
        let errors: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()?.index()).collect();
        assert_eq!((outcomes.len(), errors), (100, (0..50).map(|i| 2 * i + 1).collect()));
        let values = outcomes.into_iter().flatten();
        assert!(values.eq((0..50).map(|i| 2 * i)), "chunks of {size}");
    }
}

fn a_failing_item_is_one_error_and_the_rest_go_on(method: StartMethod) {
    let pool = pool_of(2, method);
    let outcomes: Vec<Result<u32, TaskError>> = pool.imap(odd_panics, 0..100).collect();
    assert_eq!(outcomes.len(), 100);
    for (i, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Ok(value) => assert_eq!((*value as usize, i % 2), (i, 0)),
            Err(error) => {
                assert_eq!(error.panic().unwrap().message(), format!("{i} is odd"));
                assert_eq!(error.index(), Some(i));
            }
        }
    }
}

fn the_first_error_in_order_is_the_maps_error(method: StartMethod) {
    let pool = pool_of(2, method);
    let error = pool.map(odd_panics, 0..1000).unwrap_err();
    assert_eq!(error.index(), Some(1));
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
    assert_eq!(pool.map(square, 0..10).unwrap()[3], 9);
}

fn numbers_before_and_after_failures_are_in_place(method: StartMethod) {
    let pool = pool_of(2, method);
    // First, last, two in a row, and each one.
    for bad in [&[0][..], &[999], &[500, 501], &[0, 1, 2, 997, 998, 999]] {
        let items = (0..1000).map(|x: u64| if bad.contains(&x) { u64::MAX } else { x });
        let fail = |x: u64| if x == u64::MAX { panic!("bad") } else { x };
        let outcomes: Vec<_> = pool.imap(fail, items).chunk_size(300).collect();
        assert_eq!(outcomes.len(), 1000);
        for (x, outcome) in (0..).zip(outcomes) {
            match outcome {
                Ok(value) => assert!(value == x && !bad.contains(&x), "{x}"),
                Err(error) => assert!(error.is_panic() && bad.contains(&x), "{x}: {error}"),
            }
        }
    }
}

fn a_map_stops_when_too_much_of_it_fails(method: StartMethod) {
    let pool = pool_of(2, method);
    // Within the rule everything is done.
    let outcomes = pool.map_while(StopRule::Failures(50), odd_panics, 0..100).unwrap();
    assert_eq!(outcomes.len(), 100);
    for (x, outcome) in outcomes.into_iter().enumerate() {
        assert_eq!(outcome.ok(), (x % 2 == 0).then_some(x as u32));
    }
    assert_eq!(pool.map_while(StopRule::Failures(0), square, []).unwrap().len(), 0);
    // Beyond it an endless input ends.
    let stopped = pool.map_while(StopRule::Failures(9), odd_panics, 0..).unwrap_err();
    assert_eq!(stopped.failed(), 10, "{stopped}");
    let share = StopRule::Share { most: 0.4, after: 30 };
    let stopped = pool.map_while(share, odd_panics, 0..).unwrap_err();
    assert!(stopped.done() >= 30 && stopped.failed() * 10 > stopped.done() * 4, "{stopped}");
    // A worker's death is a failure as well.
    let stopped = pool.map_while(StopRule::Failures(0), die_at_five, 0..).unwrap_err();
    assert!(stopped.to_string().contains("SIGKILL"), "{stopped}");
    assert_eq!(pool.map(square, 0..10).unwrap()[3], 9);
}

fn a_stopped_map_has_what_had_come(method: StartMethod) {
    let pool = pool_of(2, method);
    let stopped = pool.map_while(StopRule::Failures(3), odd_panics, 0..).unwrap_err();
    let (failed, done) = (stopped.failed(), stopped.done());
    let outcomes = stopped.into_outcomes();
    assert_eq!(outcomes.iter().flatten().filter(|outcome| outcome.is_err()).count(), failed);
    assert_eq!(outcomes.iter().flatten().count(), done);
    for (x, outcome) in outcomes.into_iter().enumerate() {
        if let Some(outcome) = outcome {
            assert_eq!(outcome.ok(), (x % 2 == 0).then_some(x as u32));
        }
    }
    // A pool that is closed says so, once.
    pool.close();
    let stopped = pool.map_while(StopRule::Failures(3), square, 0..100).unwrap_err();
    assert_eq!(stopped.done(), 1);
    assert!(stopped.to_string().contains("closed"), "{stopped}");
}

fn dig(depth: u32) -> u32 {
    let room = std::hint::black_box([depth; 64]);
    if depth == u32::MAX { room[3] } else { dig(depth + 1) + std::hint::black_box(room)[5] }
}

#[derive(Debug)]
struct Lopsided;

impl Serialize for Lopsided {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(1)
    }
}

impl<'de> Deserialize<'de> for Lopsided {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u8::deserialize(deserializer)?;
        Err(serde::de::Error::custom("never"))
    }
}

#[derive(Debug, Deserialize)]
struct Stubborn(bool);

impl Serialize for Stubborn {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 { Err(serde::ser::Error::custom("too stubborn")) } else { serializer.serialize_bool(false) }
    }
}

fn every_way_to_fail_is_its_own_error(method: StartMethod) {
    let pool = pool_of(2, method);
    let fails = |function: fn(u32) -> u32| {
        let error = pool.apply(function, 0).unwrap_err();
        assert_eq!(pool.map(square, 0..50).unwrap()[7], 49, "after {error}");
        error
    };
    let panic = fails(|_| panic!("out of luck"));
    assert!(panic.is_panic() && panic.panic().unwrap().backtrace().is_some(), "{panic}");
    let exit = fails(|_| std::process::exit(3));
    assert_eq!(exit.exit_code(), Some(3), "{exit}");
    let abort = fails(|_| std::process::abort());
    assert_eq!(abort.signal(), Some(6), "{abort}");
    let overflow = fails(dig);
    assert!(overflow.is_stack_overflow(), "{overflow}");
    let says = |error: &TaskError, text: &str| assert!(error.to_string().contains(text), "{error}");
    let undecodable = pool.apply(|()| Lopsided, ()).unwrap_err();
    assert!(undecodable.is_undecodable(), "{undecodable}");
    says(&undecodable, "never");
    let bad_argument = pool.apply(|_: Lopsided| (), Lopsided).unwrap_err();
    assert!(bad_argument.is_undecodable(), "{bad_argument}");
    says(&bad_argument, "never");
    let bad_result = pool.apply(|()| Stubborn(true), ()).unwrap_err();
    assert!(bad_result.is_codec() && !bad_result.is_undecodable(), "{bad_result}");
    says(&bad_result, "too stubborn");
    says(&pool.apply(|_: Stubborn| (), Stubborn(true)).unwrap_err(), "too stubborn");
    assert_eq!(pool.map(square, 0..50).unwrap()[7], 49);
}

fn an_argument_that_does_not_encode_is_that_items_error(method: StartMethod) {
    let pool = pool_of(2, method);
    let items = (0..10).map(|i| Stubborn(i == 4));
    let outcomes: Vec<_> = pool.imap(|_: Stubborn| (), items).collect();
    let failed: Vec<usize> = (0..10).filter(|i| outcomes[*i].is_err()).collect();
    assert_eq!(failed, [4]);
    let error = pool.map(|_: Stubborn| (), (0..10).map(|i| Stubborn(i > 6))).unwrap_err();
    assert_eq!(error.index(), Some(7));
}

#[derive(Debug)]
struct Trap(u8);

impl Serialize for Trap {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.0)
    }
}

impl<'de> Deserialize<'de> for Trap {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u8::deserialize(deserializer)?;
        assert_ne!(number, 3, "sprung");
        Ok(Self(number))
    }
}

fn a_decoding_that_panics_is_that_items_error(method: StartMethod) {
    let pool = pool_of(2, method);
    let outcomes: Vec<_> = pool.imap(Trap, 0..10).chunk_size(5).collect();
    let failed: Vec<usize> = (0..10).filter(|i| outcomes[*i].is_err()).collect();
    assert_eq!(failed, [3]);
    assert!(outcomes[3].as_ref().unwrap_err().to_string().contains("sprung"));
    assert_eq!(outcomes[9].as_ref().unwrap().0, 9);
    let error = pool.map(|trap: Trap| trap.0, (0..10).map(Trap)).unwrap_err();
    assert!(error.is_undecodable() && error.index() == Some(3), "{error}");
}

/// Reads less than was written, and refuses some.
#[derive(Debug, PartialEq)]
struct Careless(u32);

impl Serialize for Careless {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.0, "what nobody reads").serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Careless {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u32::deserialize(deserializer)?;
        if number % 10 == 7 { Err(serde::de::Error::custom("a seven")) } else { Ok(Self(number)) }
    }
}

fn a_decoding_that_leaves_bytes_harms_no_other(method: StartMethod) {
    let pool = pool_of(2, method);
    let arguments = pool.imap(|it: Careless| it.0, (0..100).map(Careless)).chunk_size(9);
    let values = pool.imap(Careless, 0..100).chunk_size(9).map(|value| value.map(|it| it.0));
    for (at, outcome) in (0..).zip(arguments).chain((0..).zip(values)) {
        match outcome {
            Ok(value) => assert!(value == at && at % 10 != 7, "{value} at {at}"),
            Err(error) => assert!(error.index() == Some(at as usize), "{error} at {at}"),
        }
    }
}

/// Cannot even be dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        std::panic::panic_any(Bomb);
    }
}

fn whatever_is_thrown_is_that_items_error(method: StartMethod) {
    let pool = pool_of(2, method);
    let throw = |x: u32| if x % 5 == 1 { std::panic::panic_any(Bomb) } else { x };
    let pids = pool.pids();
    for (x, outcome) in (0..40).zip(pool.imap(throw, 0..40).chunk_size(3)) {
        assert_eq!(outcome.as_ref().is_err_and(TaskError::is_panic), x % 5 == 1, "{x}: {outcome:?}");
    }
    assert_eq!(pool.pids(), pids, "a worker fell with it");
    // Thrown by a callback it is told, and the next ones are called.
    let thrown = pool.apply_async(square, 1).on_done(|_| std::panic::panic_any(Bomb));
    assert!(thrown.join().unwrap_err().contains("not text"));
    pool.apply_async(square, 1).on_done(|_| ()).join().unwrap();
}

/// Why an order was refused.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Refused {
    Unknown { name: String },
    TooMany(u32),
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "refused: {self:?}")
    }
}

impl std::error::Error for Refused {}

fn order((name, count): (String, u32)) -> Result<u32, Refused> {
    match (name.as_str(), count) {
        ("nails", 0..100) => Ok(count),
        ("nails", _) => Err(Refused::TooMany(count)),
        _ => Err(Refused::Unknown { name }),
    }
}

/// Not a text of it: the value, by every verb.
fn a_tasks_own_error_keeps_its_type(method: StartMethod) {
    let pool = pool_of(2, method);
    let orders = || ["nails", "tar", "nails"].map(str::to_owned).into_iter().zip([7, 1, 500]);
    let expected =
        || vec![Ok(7), Err(Refused::Unknown { name: "tar".to_owned() }), Err(Refused::TooMany(500))];
    let one: Result<u32, Refused> = pool.apply(order, ("nails".to_owned(), 500)).unwrap();
    assert_eq!(one, Err(Refused::TooMany(500)));
    assert_eq!(pool.apply_async(order, ("nails".to_owned(), 500)).get().unwrap(), one);
    assert_eq!(pool.map(order, orders()).unwrap(), expected());
    assert_eq!(pool.map_async(order, orders()).get().unwrap(), expected());
    assert_eq!(pool.imap(order, orders()).map(Result::unwrap).collect::<Vec<_>>(), expected());
    // And as an error that a caller may match on or box.
    let stopped: Refused = pool.try_map(order, orders().take(2)).unwrap().unwrap_err();
    let boxed: Box<dyn std::error::Error> = stopped.into();
    assert_eq!(*boxed.downcast::<Refused>().unwrap(), Refused::Unknown { name: "tar".to_owned() });
}
