use std::path::PathBuf;
use std::time::Duration;

use crate::Shape;

/// What one measurement is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// The contender's name.
    pub contender: String,
    /// The store beneath it.
    pub engine: String,
    /// One of its modes.
    pub mode: String,
    /// What is done.
    pub shape: Shape,
    /// An empty directory for the store.
    pub dir: PathBuf,
    /// How long is measured, in seconds: less where the jobs are done sooner.
    pub seconds: f64,
    /// Jobs at most, where the shape does not say itself how many.
    pub jobs: u64,
}

/// A fill takes at most this many times as long as the measurement; what waits then is enough.
const FILL_SPANS: u32 = 4;

/// What a measurement may take besides, and again for each million of jobs begun.
const LIMIT: Duration = Duration::from_secs(120);

impl Order {
    /// The span that is measured.
    #[must_use]
    pub fn span(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// How long filling the queue may take.
    #[must_use]
    pub fn fill_span(&self) -> Duration {
        self.span() * FILL_SPANS
    }

    /// How long the whole of it may take.
    #[must_use]
    pub fn limit(&self) -> Duration {
        let millions = u32::try_from(self.shape.size().div_ceil(1_000_000)).unwrap_or(u32::MAX);
        LIMIT.saturating_add(self.fill_span() * 2).saturating_add(LIMIT.saturating_mul(millions))
    }

    /// The arguments that [`parse`](Self::parse) reads.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let pairs = [
            ("--contender", self.contender.clone()),
            ("--engine", self.engine.clone()),
            ("--mode", self.mode.clone()),
            ("--shape", self.shape.to_string()),
            ("--dir", self.dir.to_string_lossy().into_owned()),
            ("--seconds", self.seconds.to_string()),
            ("--jobs", self.jobs.to_string()),
        ];
        pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }

    /// Reads an order from arguments.
    ///
    /// # Errors
    /// Says which argument is missing, unknown or wrong.
    pub fn parse(arguments: &[String]) -> Result<Self, String> {
        let (mut contender, mut engine, mut mode, mut shape, mut dir) = (None, None, None, None, None);
        let (mut seconds, mut jobs) = (1.0, 100_000);
        let mut rest = arguments.iter();
        while let Some(name) = rest.next() {
            let value = rest.next().ok_or_else(|| format!("{name} needs a value"))?;
            let wrong = |_| format!("{name}: {value:?} is not a number");
            match name.as_str() {
                "--contender" => contender = Some(value.clone()),
                "--engine" => engine = Some(value.clone()),
                "--mode" => mode = Some(value.clone()),
                "--shape" => shape = Some(value.parse()?),
                "--dir" => dir = Some(PathBuf::from(value)),
                "--seconds" => seconds = self::seconds(name, value)?,
                "--jobs" => jobs = value.parse().map_err(wrong)?,
                _ => return Err(format!("there is no option {name}")),
            }
        }
        let missing = |name: &str| format!("{name} is missing");
        Ok(Order {
            contender: contender.ok_or_else(|| missing("--contender"))?,
            engine: engine.ok_or_else(|| missing("--engine"))?,
            mode: mode.ok_or_else(|| missing("--mode"))?,
            shape: shape.ok_or_else(|| missing("--shape"))?,
            dir: dir.ok_or_else(|| missing("--dir"))?,
            seconds,
            jobs,
        })
    }
}

/// Reads the value of the option `name`: seconds, more than none, at most an hour.
///
/// # Errors
/// Says what is wrong with it.
pub fn seconds(name: &str, value: &str) -> Result<f64, String> {
    let number: Option<f64> = value.parse().ok();
    number
        .filter(|seconds| *seconds > 0.0 && *seconds <= 3_600.0)
        .ok_or_else(|| format!("{name}: {value:?} is not a number of seconds up to 3600"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_back_from_its_arguments() {
        let order = Order {
            contender: "raw-log".to_owned(),
            engine: "file".to_owned(),
            mode: "default".to_owned(),
            shape: Shape::Backlog(10_000),
            dir: PathBuf::from("/some/where"),
            seconds: 0.25,
            jobs: 7,
        };
        assert_eq!(Order::parse(&order.arguments()), Ok(order));
    }

    #[test]
    fn mistakes_are_named() {
        let parse = |text: &str| Order::parse(&text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        for (text, named) in [
            ("--shape drian", "drian"),
            ("--fast yes", "--fast"),
            ("--jobs", "--jobs needs"),
            ("--seconds -1", "-1"),
            ("--seconds inf", "inf"),
            ("--shape drain", "--contender is missing"),
        ] {
            let message = parse(text).unwrap_err();
            assert!(message.contains(named), "{message}");
        }
    }
}
