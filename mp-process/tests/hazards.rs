//! Values that misbehave, and children that are stuck, under each start method.

mod common;
#[path = "common/streams.rs"]
mod streams;

use std::thread;
use std::time::{Duration, Instant};

use common::{builder, spawn};
use ipc_core::raw::{Acquired, Region, RobustMutex, ThreadId};
use mp_process::{Function, ProcessError, StartMethod, current_process};
use mp_testkit::chaos;
use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};
use streams::{stream, text};

common::tests![
    a_panic_while_encoding_the_value_is_an_error,
    a_panic_while_decoding_the_argument_is_an_error,
    a_panic_while_dropping_the_value_is_an_error,
    a_payload_that_panics_when_dropped_is_an_error,
    a_payload_thrown_without_the_hook_keeps_its_own_text,
    a_panic_of_the_task_prints_nothing_and_one_of_a_thread_prints,
    a_function_of_a_shared_library_is_an_error_that_says_what_to_do,
    what_a_value_says_of_its_error_is_told,
    a_stopped_child_with_a_large_argument_holds_nobody_up,
    a_mutex_that_a_child_holds_when_it_is_killed_is_freed,
];

fn main() -> std::process::ExitCode {
    common::run(TESTS)
}

struct PanicsWhenEncoded;

impl Serialize for PanicsWhenEncoded {
    fn serialize<S: Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        panic!("no encoding")
    }
}

impl<'de> Deserialize<'de> for PanicsWhenEncoded {
    fn deserialize<D: Deserializer<'de>>(_deserializer: D) -> Result<Self, D::Error> {
        Ok(Self)
    }
}

fn a_panic_while_encoding_the_value_is_an_error(method: StartMethod) {
    let error = spawn(method, |()| PanicsWhenEncoded, ()).unwrap().join().map(drop).unwrap_err();
    assert!(error.is_codec(), "{error}");
    assert!(error.to_string().contains("no encoding"), "{error}");
}

struct PanicsWhenDecoded;

impl Serialize for PanicsWhenDecoded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for PanicsWhenDecoded {
    fn deserialize<D: Deserializer<'de>>(_deserializer: D) -> Result<Self, D::Error> {
        panic!("no decoding")
    }
}

fn a_panic_while_decoding_the_argument_is_an_error(method: StartMethod) {
    let error = spawn(method, |_: PanicsWhenDecoded| (), PanicsWhenDecoded).unwrap().join().unwrap_err();
    assert!(error.is_codec(), "{error}");
    assert!(error.to_string().contains("no decoding"), "{error}");
    let error = spawn(method, |()| PanicsWhenDecoded, ()).unwrap().join().map(drop).unwrap_err();
    assert!(error.is_codec(), "{error}");
}

#[derive(serde::Serialize, serde::Deserialize)]
struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        if current_process().is_child() {
            panic!("no dropping");
        }
    }
}

fn a_panic_while_dropping_the_value_is_an_error(method: StartMethod) {
    let error = spawn(method, |()| PanicsWhenDropped, ()).unwrap().join().map(drop).unwrap_err();
    assert_eq!(error.panic().unwrap().message(), "no dropping");
}

fn a_payload_that_panics_when_dropped_is_an_error(method: StartMethod) {
    let child = spawn::<(), ()>(method, |()| std::panic::panic_any(PanicsWhenDropped), ()).unwrap();
    assert!(child.join().unwrap_err().is_panic());
}

fn a_payload_thrown_without_the_hook_keeps_its_own_text(method: StartMethod) {
    let throw = |()| {
        let _ = std::panic::catch_unwind(|| panic!("an earlier one"));
        std::panic::resume_unwind(Box::new("a later one"));
    };
    let error = spawn::<(), ()>(method, throw, ()).unwrap().join().unwrap_err();
    assert_eq!(error.panic().unwrap().message(), "a later one");
}

fn a_panic_of_the_task_prints_nothing_and_one_of_a_thread_prints(method: StartMethod) {
    let (reader, stderr) = stream();
    let both = |()| {
        let _ = thread::spawn(|| panic!("in a thread")).join();
        panic!("in the task")
    };
    let child = builder(method).stderr(stderr).spawn::<(), ()>(both, ()).unwrap();
    assert_eq!(child.join().unwrap_err().panic().unwrap().message(), "in the task");
    let printed = text(reader);
    assert!(printed.contains("in a thread"), "{printed}");
    assert!(!printed.contains("in the task"), "{printed}");
}

fn a_stopped_child_with_a_large_argument_holds_nobody_up(method: StartMethod) {
    let began = Instant::now();
    let stop_self = |size: Vec<u8>| {
        // SAFETY: stops this process, which the parent kills.
        #[allow(unsafe_code)]
        unsafe {
            libc::raise(libc::SIGSTOP);
        }
        size.len()
    };
    let child = spawn(method, stop_self, vec![1; 20_000_000]).unwrap();
    assert!(child.join_timeout(Duration::from_millis(300)).unwrap_err().is_timeout());
    child.kill().unwrap();
    assert_eq!(child.join().unwrap_err().signal(), Some(9));
    assert!(began.elapsed() < Duration::from_secs(50));
}

fn mutex_of(region: &Region) -> RobustMutex<'_> {
    // SAFETY: the mutex is alone in its region, is made before a child has that, and lives as long.
    #[allow(unsafe_code)]
    unsafe {
        RobustMutex::at(region, Region::HEAD)
    }
}

/// Code of the C library.
fn foreign() -> Function<u32, u32> {
    // SAFETY: it is never called.
    #[allow(unsafe_code)]
    let function = unsafe { std::mem::transmute::<*const (), fn(u32) -> u32>(libc::getpid as *const ()) };
    Function::new(function)
}

fn a_function_of_a_shared_library_is_an_error_that_says_what_to_do(method: StartMethod) {
    let reason = "a value of type `mp_process::function::Function<u32, u32>` could not be encoded: the function's \
                  code lies in a shared library, which has another place in another process: wrap it in a function \
                  of the program itself";
    let error = spawn(method, |_: Function<u32, u32>| (), foreign()).unwrap_err();
    assert!(error.is_codec(), "{error}");
    assert_eq!(error.to_string(), format!("the argument could not be sent: {reason}"));
    let child = spawn(method, |()| foreign(), ()).unwrap();
    let told =
        format!("the function returned, but process {} could not send its value back: {reason}", child.pid());
    assert_eq!(child.join().unwrap_err().to_string(), told);
    // What is said next is not of this one.
    let error = spawn(method, |()| RefusesEncoding, ()).unwrap().join().map(drop).unwrap_err();
    assert!(error.to_string().ends_with(": not for anybody"), "{error}");
}

fn what_a_value_says_of_its_error_is_told(method: StartMethod) {
    let says = |error: ProcessError, text: &str| {
        assert!(error.is_codec() && error.to_string().ends_with(text), "{error}");
    };
    says(spawn(method, |_: RefusesEncoding| (), RefusesEncoding).unwrap_err(), ": not for anybody");
    says(spawn(method, |()| RefusesEncoding, ()).unwrap().join().map(drop).unwrap_err(), ": not for anybody");
    let arg = vec![RefusesDecoding];
    says(spawn(method, |_: Vec<RefusesDecoding>| (), arg).unwrap().join().unwrap_err(), ": not by me");
    says(spawn(method, |()| RefusesDecoding, ()).unwrap().join().map(drop).unwrap_err(), ": not by me");
}

struct RefusesDecoding;

impl Serialize for RefusesDecoding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for RefusesDecoding {
    fn deserialize<D: Deserializer<'de>>(_deserializer: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("not by me"))
    }
}

struct RefusesEncoding;

impl Serialize for RefusesEncoding {
    fn serialize<S: Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("not for anybody"))
    }
}

impl<'de> Deserialize<'de> for RefusesEncoding {
    fn deserialize<D: Deserializer<'de>>(_deserializer: D) -> Result<Self, D::Error> {
        Ok(Self)
    }
}

fn a_mutex_that_a_child_holds_when_it_is_killed_is_freed(method: StartMethod) {
    let region = Region::create(2 * Region::HEAD).unwrap();
    mutex_of(&region).init().unwrap();
    let hold = |region: Region| {
        mutex_of(&region).lock(None).unwrap();
        assert_eq!(ThreadId::current().process(), std::process::id());
        chaos::kill(std::process::id()).unwrap();
        thread::sleep(Duration::from_secs(600));
    };
    let child = spawn(method, hold, region.clone()).unwrap();
    assert_eq!(child.join().unwrap_err().signal(), Some(9));
    let limit = Instant::now() + Duration::from_secs(20);
    assert_eq!(mutex_of(&region).lock(Some(limit)).unwrap(), Acquired::OwnerDied);
    mutex_of(&region).unlock();
}
