//! Runs a queue under steady load, and prints what it takes. See `poolqueue_testkit::soak`.
//!
//! ```sh
//! cargo run --release -p poolqueue-testkit --all-features --bin soak -- \
//!     --backend redb --path /tmp/soak.redb --transitions 100000000
//! ```
//!
//! A store that is there already is worked on further.

use std::time::Instant;

use poolqueue_testkit::soak::{Load, Place, judge, run};
use poolqueue_testkit::stress::StressError;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), StressError> {
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
