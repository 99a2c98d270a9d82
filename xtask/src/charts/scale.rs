//! Logarithmic axes.

use std::ops::Range;

use plotters::coord::combinators::{BindKeyPoints, IntoLogRange, LogCoord, WithKeyPoints};

/// More figures than these do not stand beside each other.
const TICKS_MAX: usize = 7;
const UNITS: [(f64, &str); 3] = [(1e9, " G"), (1e6, " M"), (1e3, " k")];

/// From where to where an axis goes, and where it has a figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    range: Range<f64>,
    ticks: Vec<f64>,
}

impl Scale {
    /// Around figures that were measured: from a round figure to a round figure. There is none of no figures.
    pub fn around(values: impl Iterator<Item = f64> + Clone) -> Option<Self> {
        let (least, most) = ends(values)?;
        let decades = least.log10().floor() as i32..=most.log10().ceil() as i32 + 1;
        let round: Vec<f64> =
            decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(decade))).collect();
        let start = round.iter().copied().rfind(|figure| *figure <= least)?;
        let end = round.iter().copied().find(|figure| *figure >= most && *figure > start)?;
        let within: Vec<f64> = round.into_iter().filter(|figure| (start..=end).contains(figure)).collect();
        let whole: Vec<f64> = within.iter().copied().filter(|figure| is_whole_decade(*figure)).collect();
        let ticks = match whole.len() {
            0..=2 => within,
            many => whole.into_iter().step_by(many.div_ceil(TICKS_MAX)).collect(),
        };
        Some(Scale { range: start..end, ticks })
    }

    /// Of sizes that were chosen: each has its figure, but for those that are too near to the one before, and there is
    /// room at both ends. There is none of no sizes.
    pub fn of(sizes: impl Iterator<Item = f64> + Clone) -> Option<Self> {
        let (least, most) = ends(sizes.clone())?;
        let room = (most / least).powf(0.05).max(1.2);
        let near = (most / least).powf(0.09);
        let mut sizes: Vec<f64> = sizes.collect();
        sizes.sort_by(f64::total_cmp);
        let mut ticks: Vec<f64> = Vec::new();
        for size in sizes {
            if ticks.last().is_none_or(|last| size > last * near) {
                ticks.push(size);
            }
        }
        Some(Scale { range: least / room..most * room, ticks })
    }

    /// As plotters wants it.
    pub fn axis(&self) -> WithKeyPoints<LogCoord<f64>> {
        self.range.clone().log_scale().with_key_points(self.ticks.clone())
    }
}

fn ends(values: impl Iterator<Item = f64> + Clone) -> Option<(f64, f64)> {
    Some((values.clone().min_by(f64::total_cmp)?, values.max_by(f64::total_cmp)?))
}

fn is_whole_decade(figure: f64) -> bool {
    let exponent = figure.log10();
    (exponent - exponent.round()).abs() < 1e-9
}

/// A figure of an axis, with a thousand as `k`, a million as `M` and a milliard as `G`.
pub fn figure(value: &f64) -> String {
    let (size, letter) = UNITS.into_iter().find(|(size, _)| value >= size).unwrap_or((1.0, ""));
    let digits = format!("{:.3}", value / size);
    format!("{}{letter}", digits.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_goes_from_a_round_figure_to_a_round_figure() {
        for (values, range, ticks) in [
            (&[86.0, 352_000.0][..], 50.0..500_000.0, &[100.0, 1e3, 1e4, 1e5][..]),
            (&[159.0, 800.0], 100.0..1_000.0, &[100.0, 200.0, 500.0, 1_000.0]),
            (&[100.0], 100.0..200.0, &[100.0, 200.0]),
            (&[1.0, 1e8], 1.0..1e8, &[1.0, 100.0, 1e4, 1e6, 1e8]),
            (&[0.03], 0.02..0.05, &[0.02, 0.05]),
        ] {
            let scale = Scale::around(values.iter().copied()).unwrap();
            let near = |one: f64, other: f64| (one / other - 1.0).abs() < 1e-9;
            assert!(near(scale.range.start, range.start) && near(scale.range.end, range.end), "{scale:?}");
            assert_eq!(scale.ticks.len(), ticks.len(), "{scale:?}");
            assert!(scale.ticks.iter().zip(ticks).all(|(one, other)| near(*one, *other)), "{scale:?}");
        }
        assert_eq!(Scale::around([].into_iter()), None);
    }

    #[test]
    fn sizes_that_are_too_near_to_each_other_share_a_figure() {
        let scale = Scale::of([256.0, 1.0, 250.0, 16.0, 16.0].into_iter()).unwrap();
        assert_eq!(scale.ticks, [1.0, 16.0, 250.0]);
        assert!(scale.range.start < 1.0 && scale.range.end > 256.0);
        let one = Scale::of([10_000.0].into_iter()).unwrap();
        assert_eq!(one.ticks, [10_000.0]);
        assert!(one.range.start < 10_000.0 && one.range.end > 10_000.0);
        assert_eq!(Scale::of([].into_iter()), None);
    }

    #[test]
    fn figures_are_short() {
        for (value, text) in
            [(0.02, "0.02"), (1.0, "1"), (999.0, "999"), (1e4, "10 k"), (2.5e6, "2.5 M"), (1e12, "1000 G")]
        {
            assert_eq!(figure(&value), text);
        }
    }
}
