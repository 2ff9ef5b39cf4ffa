//! An error that can be sent and not be rebuilt. In the original the pool is stuck for good;
//! here the task fails, and the pool goes on.

use multiprocess::Pool;
use serde::{Deserialize, Serialize};

/// Sends its number only, and cannot be made from that.
#[derive(Debug, Serialize)]
struct DemoError {
    errno: i32,
}

impl<'de> Deserialize<'de> for DemoError {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        i32::deserialize(deserializer)?;
        Err(serde::de::Error::custom("missing 1 required argument: 'errno'"))
    }
}

fn func(_: ()) -> Result<(), DemoError> {
    Err(DemoError { errno: 100 })
}

fn main() -> multiprocess::Result<()> {
    multiprocess::init();
    let pool = Pool::new(3)?;
    match pool.apply_async(func, ()).get() {
        Ok(value) => println!("answer: {value:?}"),
        Err(error) => println!("task failed: {error}"),
    }
    println!("the pool is not stuck: {}", pool.apply(|x: i32| x + 1, 1)?);
    Ok(())
}
