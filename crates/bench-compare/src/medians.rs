use std::collections::BTreeMap;

use crate::{Measurement, median};

/// The figure that says how many of several rounds are void.
const VOID_ROUNDS: &str = "void_rounds";

/// The rounds of one contender in one shape as one measurement: medians of the rounds that are not void, or of all of them
/// when every one is.
#[must_use]
pub fn medians(measurements: &[Measurement]) -> Vec<Measurement> {
    let mut groups: Vec<Vec<&Measurement>> = Vec::new();
    for measurement in measurements {
        match groups.iter_mut().find(|group| same(group[0], measurement)) {
            Some(group) => group.push(measurement),
            None => groups.push(vec![measurement]),
        }
    }
    groups.iter().map(|group| of(group)).collect()
}

fn same(one: &Measurement, other: &Measurement) -> bool {
    (&one.shape, &one.contender, &one.engine) == (&other.shape, &other.contender, &other.engine)
}

fn of(rounds: &[&Measurement]) -> Measurement {
    let sound: Vec<&Measurement> = rounds.iter().copied().filter(|round| !round.void).collect();
    let counted = if sound.is_empty() { rounds.to_vec() } else { sound };
    let middle =
        |value: fn(&Measurement) -> Option<f64>| median(counted.iter().filter_map(|round| value(round)));
    let mut figures = BTreeMap::new();
    for name in counted.iter().flat_map(|round| round.figures.keys()) {
        let values = counted.iter().filter_map(|round| round.figures.get(name).copied());
        figures.extend(median(values).map(|value| (name.clone(), value)));
    }
    let void_rounds = rounds.iter().filter(|round| round.void).count();
    if void_rounds > 0 && rounds.len() > 1 {
        figures.insert(VOID_ROUNDS.to_owned(), void_rounds as f64);
    }
    Measurement {
        jobs: middle(|round| Some(round.jobs as f64)).unwrap_or_default() as u64,
        jobs_per_s: middle(|round| Some(round.jobs_per_s)).unwrap_or_default(),
        p50_us: middle(|round| round.p50_us),
        p99_us: middle(|round| round.p99_us),
        p999_us: middle(|round| round.p999_us),
        rss_bytes: middle(|round| Some(round.rss_bytes as f64)).unwrap_or_default() as u64,
        bytes_per_job: middle(|round| round.bytes_per_job),
        fsync_p50_us: middle(|round| Some(round.fsync_p50_us)).unwrap_or_default(),
        void: rounds.iter().all(|round| round.void),
        lost: rounds.iter().map(|round| round.lost).sum(),
        doubled: rounds.iter().map(|round| round.doubled).sum(),
        figures,
        ..rounds[0].clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(engine: &str, jobs_per_s: f64) -> Measurement {
        Measurement {
            shape: "drain".to_owned(),
            contender: "a".to_owned(),
            engine: engine.to_owned(),
            durability: "synced".to_owned(),
            jobs_per_s,
            ..Measurement::default()
        }
    }

    #[test]
    fn the_rounds_of_a_contender_become_their_median_and_void_ones_do_not_count() {
        let void = Measurement { void: true, ..result("redb", 1_000.0) };
        let rounds = [
            result("redb", 1.0),
            result("sqlite", 7.0),
            result("redb", 3.0),
            result("redb", 2.0),
            void.clone(),
        ];
        let medians = medians(&rounds);
        assert_eq!(medians.len(), 2);
        assert!((medians[0].jobs_per_s - 2.0).abs() < 1e-9 && !medians[0].void);
        assert_eq!(medians[0].figures.get(VOID_ROUNDS), Some(&1.0));
        let only_void = super::medians(std::slice::from_ref(&void));
        assert!(only_void[0].void && (only_void[0].jobs_per_s - 1_000.0).abs() < 1e-9);
    }
}
