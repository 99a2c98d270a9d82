use std::time::Duration;

/// The value in the middle, the upper of the two where there are two; none of none.
#[must_use]
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// What a set of times looks like, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentiles {
    /// Half of the times are not longer.
    pub p50_us: f64,
    /// 99 of 100 are not longer.
    pub p99_us: f64,
    /// 999 of 1,000 are not longer.
    pub p999_us: f64,
}

impl Percentiles {
    /// None of no times.
    #[must_use]
    pub fn of(mut times: Vec<Duration>) -> Option<Self> {
        times.sort_unstable();
        let last = times.len().checked_sub(1)?;
        let at = |share: f64| times[((last as f64 * share).round() as usize).min(last)].as_secs_f64() * 1e6;
        Some(Percentiles { p50_us: at(0.5), p99_us: at(0.99), p999_us: at(0.999) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_of_any_order() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(3.0));
        assert_eq!(median([7.0]), Some(7.0));
        assert_eq!(median([]), None);
    }

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let times = (0..=1_000).rev().map(Duration::from_micros).collect();
        let expected = Percentiles { p50_us: 500.0, p99_us: 990.0, p999_us: 999.0 };
        let found = Percentiles::of(times).unwrap();
        for (found, expected) in [
            (found.p50_us, expected.p50_us),
            (found.p99_us, expected.p99_us),
            (found.p999_us, expected.p999_us),
        ] {
            assert!((found - expected).abs() < 0.01, "{found} is not {expected}");
        }
        assert_eq!(Percentiles::of(Vec::new()), None);
        let one = Percentiles::of(vec![Duration::from_micros(5)]).unwrap();
        assert!((one.p999_us - 5.0).abs() < 0.01);
    }
}
