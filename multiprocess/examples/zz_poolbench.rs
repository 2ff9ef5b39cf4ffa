//! Quick look at the pool's costs.
use multiprocess::Pool;
use std::time::Instant;

fn square(x: u64) -> u64 {
    x * x
}
fn echo(b: Vec<u8>) -> Vec<u8> {
    b
}

fn main() -> multiprocess::Result<()> {
    multiprocess::init();
    let pool = Pool::new(2)?;
    for _ in 0..3 {
        let mut times: Vec<f64> = (0..20000)
            .map(|i| {
                let t = Instant::now();
                pool.apply(square, i).unwrap();
                t.elapsed().as_secs_f64() * 1e6
            })
            .collect();
        times.sort_by(f64::total_cmp);
        let t = Instant::now();
        let n = pool.map(square, 0..1_000_000)?.len();
        let map = n as f64 / t.elapsed().as_secs_f64();
        let t = Instant::now();
        let n = pool.imap(square, 0..200_000).map(Result::unwrap).count();
        let imap = n as f64 / t.elapsed().as_secs_f64();
        let t = Instant::now();
        let n = pool.imap_unordered(square, 0..200_000).map(Result::unwrap).count();
        let imapu = n as f64 / t.elapsed().as_secs_f64();
        let t = Instant::now();
        let n = pool.map(echo, (0..400).map(|_| vec![1u8; 1_000_000]))?.len();
        let mb = n as f64 / t.elapsed().as_secs_f64();
        println!(
            "apply p50 {:.2} p99 {:.2} us | map {:.2} M/s | imap {:.0} k/s | imapu {:.0} k/s | 1MB {:.0}/s",
            times[10000],
            times[19800],
            map / 1e6,
            imap / 1e3,
            imapu / 1e3,
            mb
        );
    }
    drop(pool);
    let mut times: Vec<f64> = (0..50)
        .map(|i| {
            let t = Instant::now();
            let pool = Pool::new(2).unwrap();
            pool.apply(square, i).unwrap();
            drop(pool);
            t.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("up+task+down {:.2} ms", times[25]);
    Ok(())
}
