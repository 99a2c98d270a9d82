use std::path::Path;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::measure::{self, Outcome, Reopened};
use crate::{Contender, Measurement, Order, Percentiles, Res, Shape, machine};

type Answer<T> = Pin<Box<dyn Future<Output = Res<T>>>>;

/// Measures a shape that only some contenders can do.
pub type More<C> = fn(Arc<C>, Order) -> Pin<Box<dyn Future<Output = Res<Outcome>> + Send>>;

/// What a program says of a contender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Its name.
    pub contender: String,
    /// The store beneath.
    pub engine: String,
    /// Its modes, the usual first.
    pub modes: Vec<String>,
    /// Those that are measured only when they are asked for.
    #[serde(default)]
    pub named_modes: Vec<String>,
    /// The families of the shapes that it can do.
    pub shapes: Vec<String>,
}

impl Listing {
    fn is(&self, order: &Order) -> bool {
        self.contender == order.contender && self.engine == order.engine
    }
}

struct Entry {
    listing: Listing,
    measure: Box<dyn Fn(Order) -> Answer<Measurement>>,
    reopen: Box<dyn Fn(Order) -> Answer<Reopened>>,
}

/// A program that holds contenders.
#[derive(Default)]
pub struct Program {
    entries: Vec<Entry>,
}

/// The whole main of a program with one contender.
pub fn run<C: Contender>() -> ExitCode {
    Program::default().with::<C>().main()
}

impl Program {
    /// Adds a contender.
    #[must_use]
    pub fn with<C: Contender>(self) -> Self {
        self.add::<C>(&[], None)
    }

    /// Adds a contender that can also do the shapes of the families `names`, by `more`.
    #[must_use]
    pub fn with_more<C: Contender>(self, names: &[&str], more: More<C>) -> Self {
        self.add::<C>(names, Some(more))
    }

    fn add<C: Contender>(mut self, names: &[&str], more: Option<More<C>>) -> Self {
        let mut shapes = vec!["enqueue", "drain", "steady", "idle", "loaded", "backlog"];
        if C::BATCH {
            shapes.push("batch");
        }
        if C::BATCHED_ACK {
            shapes.push("drain-batched");
        }
        shapes.extend(names);
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let listing = Listing {
            contender: C::NAME.to_owned(),
            engine: C::ENGINE.to_owned(),
            modes: owned(C::MODES),
            named_modes: owned(C::NAMED_MODES),
            shapes: owned(&shapes),
        };
        let extra: Vec<String> = owned(names);
        self.entries.push(Entry {
            listing,
            measure: Box::new(move |order| {
                let more = more.filter(|_| extra.iter().any(|name| name == order.shape.family()));
                Box::pin(measured::<C>(order, more))
            }),
            reopen: Box::new(|order| Box::pin(async move { measure::reopen::<C>(&order).await })),
        });
        self
    }

    /// What the program can measure.
    #[must_use]
    pub fn listings(&self) -> Vec<Listing> {
        self.entries.iter().map(|entry| entry.listing.clone()).collect()
    }

    /// Does what the arguments of the process say. Exits with 1 when a measurement failed and with 2 when the arguments are
    /// wrong.
    #[must_use]
    pub fn main(self) -> ExitCode {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        self.answer(&arguments).unwrap_or_else(|| {
            eprintln!("usage: list | measure --contender NAME --engine ENGINE --mode MODE --shape SHAPE --dir DIR [--seconds S] [--jobs N]");
            ExitCode::from(2)
        })
    }

    /// Does what `arguments` say, if they are of the protocol between a measuring process and the one that started it.
    #[must_use]
    pub fn answer(&self, arguments: &[String]) -> Option<ExitCode> {
        let (command, rest) = arguments.split_first()?;
        match command.as_str() {
            "list" => {
                self.entries.iter().for_each(|entry| print_line(&entry.listing));
                Some(ExitCode::SUCCESS)
            }
            "measure" => Some(self.order(rest, |entry| &entry.measure)),
            "reopen" => Some(self.order(rest, |entry| &entry.reopen)),
            _ => None,
        }
    }

    fn order<T: Serialize>(
        &self,
        arguments: &[String],
        act: impl Fn(&Entry) -> &Box<dyn Fn(Order) -> Answer<T>>,
    ) -> ExitCode {
        let order = match Order::parse(arguments) {
            Ok(order) => order,
            Err(message) => {
                eprintln!("{message}");
                return ExitCode::from(2);
            }
        };
        let Some(entry) = self.entries.iter().find(|entry| entry.listing.is(&order)) else {
            eprintln!("there is no contender {:?} on {:?}", order.contender, order.engine);
            return ExitCode::from(2);
        };
        let done = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(Into::into)
            .and_then(|runtime| {
                let limit = order.limit();
                let done = runtime.block_on(async { tokio::time::timeout(limit, act(entry)(order)).await });
                // Some contenders never end the threads that they have started.
                runtime.shutdown_background();
                done.unwrap_or_else(|_| Err(format!("it was not done in {limit:?}").into()))
            });
        match done {
            Ok(value) => {
                print_line(&value);
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        }
    }
}

fn print_line(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(line) => println!("{line}"),
        Err(error) => eprintln!("{error}"),
    }
}

/// One measurement, with the disk looked at before and after it.
async fn measured<C: Contender>(order: Order, more: Option<More<C>>) -> Res<Measurement> {
    let before = probe(&order.dir)?;
    let contender = Arc::new(C::open(&order.dir, &order.mode).await?);
    let durability = contender.durability().await?;
    let mut outcome = match more {
        Some(more) => more(Arc::clone(&contender), order.clone()).await?,
        None => measure::measure(&contender, &order).await?,
    };
    let rss_bytes = machine::peak_memory();
    Arc::into_inner(contender).ok_or("a task still uses the store")?.close().await?;
    if let Shape::Backlog(jobs) = order.shape {
        measure::reopened::<C>(&mut outcome, &order, jobs)?;
    }
    let fsync_p50_us = before.max(probe(&order.dir)?);
    let times = Percentiles::of(outcome.times);
    let usual = C::MODES.first().is_none_or(|first| *first == order.mode);
    Ok(Measurement {
        shape: order.shape.to_string(),
        contender: if usual { order.contender } else { format!("{}:{}", order.contender, order.mode) },
        engine: C::ENGINE.to_owned(),
        durability,
        callers: order.shape.callers(),
        batch: order.shape.batch(),
        jobs: outcome.jobs,
        jobs_per_s: outcome.jobs as f64 / outcome.span.as_secs_f64().max(f64::EPSILON),
        p50_us: times.map(|times| times.p50_us),
        p99_us: times.map(|times| times.p99_us),
        p999_us: times.map(|times| times.p999_us),
        rss_bytes,
        bytes_per_job: outcome.bytes_per_job,
        fsync_p50_us,
        void: fsync_p50_us > machine::VOID_ABOVE.as_secs_f64() * 1e6,
        lost: outcome.lost,
        doubled: outcome.doubled,
        figures: outcome.figures,
    })
}

/// Microseconds of a sync in `dir`.
fn probe(dir: &Path) -> Res<f64> {
    Ok(machine::fsync_probe(dir)?.as_secs_f64() * 1e6)
}
