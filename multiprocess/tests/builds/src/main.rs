//! A program that checks itself and says so.

use multiprocess::StartMethod;

fn main() {
    multiprocess::init();
    for method in StartMethod::available() {
        builds::check(*method);
    }
    println!("all is right");
}
