//! Runs a queue under steady load, and prints what it takes. See `poolqueue_testkit::soak`.
//!
//! ```sh
//! cargo run --release -p poolqueue-testkit --all-features --bin soak -- \
//!     --backend redb --path /tmp/soak.redb --transitions 100000000
//! ```
//!
//! A store that is there already is worked on further.

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use poolqueue_testkit::soak::{Load, Place, judge, run};
use poolqueue_testkit::stress::StressError;

/// Threads of the runtime, and those it may block.
const WORKERS: usize = 2;
const BLOCKING: usize = 2;
/// Longer than any run.
const FOR_EVER: Duration = Duration::from_secs(1 << 30);

fn main() -> Result<(), StressError> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(WORKERS).max_blocking_threads(BLOCKING).thread_keep_alive(FOR_EVER).enable_all();
    let runtime = runtime.build()?;
    // The runtime's own threads are all there from the start, and stay: whatever comes later is not its own.
    let all = Arc::new(Barrier::new(BLOCKING + 1));
    for _ in 0..BLOCKING {
        let all = Arc::clone(&all);
        runtime.spawn_blocking(move || all.wait());
    }
    all.wait();
    runtime.block_on(soak())
}

async fn soak() -> Result<(), StressError> {
    let (place, load) = arguments()?;
    // The live data is what a file takes that has held as many jobs as there are at once, and never another.
    let reference = place.sibling(".live");
    reference.remove()?;
    run(&reference, load.reference(), |_| {}).await?;
    let live = reference.compact()?;
    reference.remove()?;
    println!("live {live}");
    let start = Instant::now();
    let mut samples = Vec::new();
    run(&place, load, |sample| {
        println!("{sample}");
        samples.push(sample);
    })
    .await?;
    let wrong = judge(&samples, live);
    eprintln!("{} transitions in {:.1} s", load.transitions, start.elapsed().as_secs_f64());
    for what in &wrong {
        println!("wrong {what}");
    }
    if wrong.is_empty() { Ok(()) } else { Err("it is not steady".into()) }
}

fn arguments() -> Result<(Place, Load), StressError> {
    let (mut backend, mut path) = (None, None);
    let mut load = Load { transitions: 1_000_000, window: 20_000, seed: 1, plant: None };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name} wants a value"))?;
        match name.as_str() {
            "--backend" => backend = Some(value),
            "--path" => path = Some(value),
            "--transitions" => load.transitions = value.parse()?,
            "--window" => load.window = value.parse()?,
            "--seed" => load.seed = value.parse()?,
            "--plant" => load.plant = Some(value.parse()?),
            other => return Err(format!("there is no argument {other}").into()),
        }
    }
    let backend = backend.ok_or("--backend is missing: redb or sqlite")?;
    Ok((Place::new(backend, path.ok_or("--path is missing")?), load))
}
