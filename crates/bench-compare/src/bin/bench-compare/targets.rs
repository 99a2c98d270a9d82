//! What poolqueue has set itself to reach, as ratios within one run.

use std::fmt::Write;

use bench_compare::Measurement;

use Bound::{AtLeast, AtMost};
use Value::{Figure, P50, Rate};
use Who::{Best, Named, OnEngine};

/// What of a result is compared.
#[derive(Clone, Copy, Debug)]
enum Value {
    /// Jobs a second.
    Rate,
    /// The time at the median, in microseconds.
    P50,
    /// One of [`Measurement::figures`].
    Figure(&'static str),
}

/// Whose result it is.
#[derive(Clone, Copy, Debug)]
enum Who {
    /// The contender of this name, on the engine that the target is of.
    OnEngine(&'static str),
    /// The contender of this name, which has an engine of its own.
    Named(&'static str),
    /// The fastest mode of the contenders whose name begins so.
    Best(&'static str),
}

/// One side of a ratio.
type Side = (Who, &'static str, Value);

#[derive(Clone, Copy, Debug)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// A ratio, or where nothing stands below it a figure, and its bound.
#[derive(Debug)]
struct Target {
    name: &'static str,
    engine: &'static str,
    above: Side,
    below: Option<Side>,
    bound: Bound,
}

const OURS: Who = OnEngine("poolqueue");
const RAW_LOG: Who = Named("raw-log");
const SINGLE: Who = OnEngine("one-commit-per-op");
const TABLE: Who = Named("hand-written-table");

const SMALL: &str = "backlog-10000";
const MILLION: &str = "backlog-1000000";

/// A target of the same name on redb and on SQLite.
type Pair = (&'static str, Side, Option<Side>, Bound, Bound);

const fn rate(who: Who, shape: &'static str) -> Side {
    (who, shape, Rate)
}

/// Ours over another's in the same shape, at least so much on redb and on SQLite.
const fn over(name: &'static str, shape: &'static str, who: Who, redb: f64, sqlite: f64) -> Pair {
    (name, rate(OURS, shape), Some(rate(who, shape)), AtLeast(redb), AtLeast(sqlite))
}

const TARGETS: &[Pair] = &[
    over("enqueue, 64 callers ÷ one commit per op", "enqueue-64", SINGLE, 25.0, 18.0),
    over("enqueue, 64 callers ÷ raw log", "enqueue-64", RAW_LOG, 0.40, 0.45),
    over("enqueue, 256 callers ÷ raw log", "enqueue-256", RAW_LOG, 0.35, 0.35),
    over("batch of 1,000 ÷ raw log", "batch-1000", RAW_LOG, 0.25, 0.20),
    over("drain ÷ raw log", "drain", RAW_LOG, 0.50, 0.30),
    (
        "drain batched ÷ drain",
        rate(OURS, "drain-batched"),
        Some(rate(OURS, "drain")),
        AtLeast(2.5),
        AtLeast(1.3),
    ),
    over("steady ÷ raw log", "steady", RAW_LOG, 0.30, 0.28),
    (
        "idle enqueue p50 ÷ raw log",
        (OURS, "idle", P50),
        Some((RAW_LOG, "idle", P50)),
        AtMost(1.5),
        AtMost(1.5),
    ),
    (
        "claim of 16 at 1 M ÷ at 10 k",
        (OURS, MILLION, P50),
        Some((OURS, SMALL, P50)),
        AtMost(2.2),
        AtMost(1.5),
    ),
    (
        "drain of a 1 % tag at 1 M ÷ without tags",
        rate(OURS, "tags-1000000"),
        Some((OURS, "tags-1000000", Figure("untagged_jobs_per_s"))),
        AtLeast(0.5),
        AtLeast(0.5),
    ),
    // On SQLite nothing is kept for a job. What is left are the engine's own pages, whatever the number of jobs.
    (
        "memory for a waiting job, B, of 1 M",
        (OURS, MILLION, Figure("memory_per_job")),
        None,
        AtMost(96.0),
        AtMost(8.0),
    ),
    (
        "reopen with 1 M waiting, ms",
        (OURS, MILLION, Figure("reopen_ms")),
        None,
        AtMost(1_000.0),
        AtMost(200.0),
    ),
    over("enqueue, 64 callers ÷ hand-written table", "enqueue-64", TABLE, 0.9, 0.8),
    over("drain ÷ hand-written table", "drain", TABLE, 1.0, 0.7),
    over("enqueue, 64 callers ÷ effectum", "enqueue-64", Best("effectum"), 3.0, 3.0),
    over("drain ÷ effectum", "drain", Best("effectum"), 4.0, 3.0),
    over("drain ÷ rustqueue", "drain", Best("rustqueue"), 15.0, 10.0),
    over("drain ÷ apalis", "drain", Best("apalis"), 15.0, 10.0),
    over("drain ÷ honker", "drain", Best("honker"), 15.0, 10.0),
    over("drain ÷ taskmill", "drain", Best("taskmill"), 15.0, 10.0),
    over("drain ÷ fang", "drain", Best("fang"), 15.0, 10.0),
];

/// What became of a target.
#[derive(Debug)]
pub struct Verdict {
    target: Target,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    /// One of its sides was not measured.
    NotRun,
    /// One of its sides is void, so that the ratio says nothing.
    Void(f64),
    Met(f64),
    Missed(f64),
}

impl Verdict {
    /// Whether the target was missed.
    pub fn failed(&self) -> bool {
        matches!(self.outcome, Outcome::Missed(_))
    }
}

/// What became of all targets, on redb and on SQLite.
pub fn verdicts(results: &[Measurement]) -> Vec<Verdict> {
    let pairs = TARGETS.iter().flat_map(|(name, above, below, redb, sqlite)| {
        [("redb", redb), ("sqlite", sqlite)].map(|(engine, bound)| Target {
            name,
            engine,
            above: *above,
            below: *below,
            bound: *bound,
        })
    });
    pairs.map(|target| Verdict { outcome: judge(&target, results), target }).collect()
}

fn judge(target: &Target, results: &[Measurement]) -> Outcome {
    let found = |side: &Side| find(side, target.engine, results);
    let Some((above, of_above)) = found(&target.above) else { return Outcome::NotRun };
    let (below, of_below) = match &target.below {
        None => (1.0, None),
        Some(side) => match found(side) {
            Some((below, result)) => (below, Some(result)),
            None => return Outcome::NotRun,
        },
    };
    let ratio = above / below;
    if of_above.void || of_below.is_some_and(|result| result.void) {
        return Outcome::Void(ratio);
    }
    let within = match target.bound {
        AtLeast(bound) => ratio >= bound,
        AtMost(bound) => ratio <= bound,
    };
    // Fast, but with jobs lost or done twice, is nothing.
    if within && of_above.lost == 0 && of_above.doubled == 0 {
        Outcome::Met(ratio)
    } else {
        Outcome::Missed(ratio)
    }
}

/// The value of a side and the result that it is of.
fn find<'a>(side: &Side, engine: &str, results: &'a [Measurement]) -> Option<(f64, &'a Measurement)> {
    let (who, shape, value) = side;
    let of_shape = results.iter().filter(|result| result.shape == *shape);
    let of_them = of_shape.filter(|result| match who {
        OnEngine(name) => result.contender == *name && result.engine == engine,
        Named(name) => result.contender == *name,
        Best(name) => result.contender.starts_with(name),
    });
    let values = of_them.filter_map(|result| {
        let value = match value {
            Rate => Some(result.jobs_per_s),
            P50 => result.p50_us,
            Figure(name) => result.figures.get(*name).copied(),
        };
        value.filter(|value| *value > 0.0).map(|value| (value, result))
    });
    values.max_by(|(one, _), (other, _)| one.total_cmp(other))
}

/// The targets and what became of them; the last line sums up.
pub fn table(verdicts: &[Verdict]) -> String {
    let mut text = String::from("targets\n");
    let width = verdicts.iter().map(|verdict| verdict.target.name.chars().count()).max().unwrap_or(0);
    let (mut met, mut missed, mut not_run, mut void) = (0, 0, 0, 0);
    for Verdict { target, outcome } in verdicts {
        let bound = match target.bound {
            AtLeast(bound) => format!("≥ {bound}"),
            AtMost(bound) => format!("≤ {bound}"),
        };
        let (reached, word) = match outcome {
            Outcome::NotRun => (&mut not_run, "not run".to_owned()),
            Outcome::Void(ratio) => (&mut void, format!("{ratio:8.2}  void")),
            Outcome::Met(ratio) => (&mut met, format!("{ratio:8.2}  pass")),
            Outcome::Missed(ratio) => (&mut missed, format!("{ratio:8.2}  FAIL")),
        };
        *reached += 1;
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {:<width$}  {:<6}  {bound:>7}  {word:>16}", target.name, target.engine);
    }
    let _ = writeln!(
        text,
        "{met} passed, {missed} failed; {not_run} not run and {void} void, which do not count as passed"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::tests::result;

    fn outcome(results: &[Measurement], name: &str, engine: &str) -> Outcome {
        let all = verdicts(results);
        let mut found = all.iter().filter(|v| v.target.name == name && v.target.engine == engine);
        found.next().unwrap_or_else(|| panic!("no target {name}")).outcome
    }

    const DRAIN: &str = "drain ÷ raw log";

    #[test]
    fn a_target_is_met_at_its_bound_and_missed_below_it() {
        let raw = result("drain", "raw-log", "file", 100.0);
        for (ours, expected) in [(50.0, Outcome::Met(0.5)), (49.0, Outcome::Missed(0.49))] {
            let results = [result("drain", "poolqueue", "redb", ours), raw.clone()];
            assert_eq!(outcome(&results, DRAIN, "redb"), expected);
            assert_eq!(outcome(&results, DRAIN, "sqlite"), Outcome::NotRun);
        }
    }

    #[test]
    fn a_ceiling_is_missed_above_it_and_figures_stand_alone() {
        let name = "reopen with 1 M waiting, ms";
        for (took, expected) in [(1_000.0, Outcome::Met(1_000.0)), (1_001.0, Outcome::Missed(1_001.0))] {
            let mut ours = result(MILLION, "poolqueue", "redb", 1.0);
            ours.figures.insert("reopen_ms".to_owned(), took);
            assert_eq!(outcome(&[ours], name, "redb"), expected);
        }
    }

    #[test]
    fn a_void_side_is_neither_met_nor_missed_and_lost_jobs_are_missed() {
        let ours = result("drain", "poolqueue", "redb", 90.0);
        let raw = result("drain", "raw-log", "file", 100.0);
        let void = Measurement { void: true, ..raw.clone() };
        assert_eq!(outcome(&[ours.clone(), void], DRAIN, "redb"), Outcome::Void(0.9));
        let lost = Measurement { lost: 1, ..ours };
        assert_eq!(outcome(&[lost, raw], DRAIN, "redb"), Outcome::Missed(0.9));
    }

    #[test]
    fn a_rival_is_taken_in_its_fastest_mode_and_without_it_nothing_passes() {
        let ours = result("drain", "poolqueue", "redb", 300.0);
        let name = "drain ÷ rustqueue";
        assert_eq!(outcome(std::slice::from_ref(&ours), name, "redb"), Outcome::NotRun);
        let slow = result("drain", "rustqueue", "redb", 1.0);
        let fast = result("drain", "rustqueue:coalesced", "redb", 10.0);
        let results = [ours, slow, fast];
        assert_eq!(outcome(&results, name, "redb"), Outcome::Met(30.0));
        let text = table(&verdicts(&results));
        let last = text.lines().last().unwrap();
        assert!(last.starts_with("1 passed, 0 failed; ") && last.contains("not run"), "{last}");
    }
}
