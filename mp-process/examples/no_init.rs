//! A program that forgot `init()`: it gets one error that says what to add, and no
//! child is started.

use mp_process::{Process, ProcessError};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("main runs");
    let error: ProcessError = match Process::spawn(|x: u32| x + 1, 1) {
        Ok(child) => {
            println!("a child has computed {}", child.join()?);
            return Ok(());
        }
        Err(error) => error,
    };
    assert!(error.is_not_initialised());
    Err(Box::new(error))
}
