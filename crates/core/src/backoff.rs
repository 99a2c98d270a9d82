use std::time::Duration;

/// How long a failed job waits before it is due again.
///
/// Delays are counted from the time of the failure, in whole microseconds. With `jitter` the delay is drawn
/// evenly from zero to the computed one ("full jitter", Marc Brooker, *Exponential Backoff and Jitter*,
/// 2015), so that jobs that failed together do not return together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backoff {
    /// Due again at once.
    #[default]
    None,
    /// The same delay each time.
    Fixed {
        /// The delay.
        delay: Duration,
        /// Whether the delay is drawn from zero up to the computed one.
        jitter: bool,
    },
    /// `step` after the first failure, twice that after the second, and so on up to `ceiling`.
    Linear {
        /// The delay added by each failure.
        step: Duration,
        /// The longest delay.
        ceiling: Duration,
        /// Whether the delay is drawn from zero up to the computed one.
        jitter: bool,
    },
    /// `first` after the first failure, doubled by each further one up to `ceiling`.
    Exponential {
        /// The delay after the first failure.
        first: Duration,
        /// The longest delay.
        ceiling: Duration,
        /// Whether the delay is drawn from zero up to the computed one.
        jitter: bool,
    },
}

impl Backoff {
    /// The same delay each time, without jitter.
    pub const fn fixed(delay: Duration) -> Self {
        Backoff::Fixed { delay, jitter: false }
    }

    /// Growing by `step` up to `ceiling`, without jitter.
    pub const fn linear(step: Duration, ceiling: Duration) -> Self {
        Backoff::Linear { step, ceiling, jitter: false }
    }

    /// Doubling from `first` up to `ceiling`, with full jitter.
    pub const fn exponential(first: Duration, ceiling: Duration) -> Self {
        Backoff::Exponential { first, ceiling, jitter: true }
    }

    /// The longest delay it can come to.
    pub fn longest(&self) -> Duration {
        match *self {
            Backoff::None => Duration::ZERO,
            Backoff::Fixed { delay, .. } => delay,
            Backoff::Linear { ceiling, .. } | Backoff::Exponential { ceiling, .. } => ceiling,
        }
    }

    /// The delay after the `failures`-th failure in a row (the first is 1). `random` decides the jitter: the
    /// same number gives the same delay.
    pub fn delay(&self, failures: u32, random: u64) -> Duration {
        let nth = failures.max(1);
        let (full, jitter) = match *self {
            Backoff::None => (Duration::ZERO, false),
            Backoff::Fixed { delay, jitter } => (delay, jitter),
            Backoff::Linear { step, ceiling, jitter } => (step.saturating_mul(nth).min(ceiling), jitter),
            Backoff::Exponential { first, ceiling, jitter } => {
                let factor = 1u32.checked_shl(nth - 1).filter(|_| nth <= 32).unwrap_or(u32::MAX);
                (first.saturating_mul(factor).min(ceiling), jitter)
            }
        };
        if jitter { scaled(full, random) } else { full }
    }
}

/// `full` times `random / 2^64`, in whole microseconds.
fn scaled(full: Duration, random: u64) -> Duration {
    let micros = full.as_micros().min(u128::from(u64::MAX));
    Duration::from_micros(u64::try_from((micros * u128::from(random)) >> 64).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn delays_grow_as_documented_and_stop_at_the_ceiling() {
        let doubling = Backoff::Exponential { first: SECOND, ceiling: HOUR, jitter: false };
        let cases = [
            (Backoff::None, 7, Duration::ZERO),
            (Backoff::fixed(SECOND), 7, SECOND),
            (Backoff::linear(SECOND, HOUR), 3, 3 * SECOND),
            (Backoff::linear(SECOND, HOUR), u32::MAX, HOUR),
            (doubling, 0, SECOND),
            (doubling, 1, SECOND),
            (doubling, 5, 16 * SECOND),
            (doubling, 13, HOUR),
            (doubling, 33, HOUR),
            (doubling, u32::MAX, HOUR),
        ];
        for (backoff, failures, expected) in cases {
            assert_eq!(backoff.delay(failures, 0), expected, "{backoff:?} after {failures}");
        }
    }

    #[test]
    fn full_jitter_spans_zero_to_the_computed_delay() {
        let backoff = Backoff::exponential(SECOND, HOUR);
        assert_eq!(backoff.delay(3, 0), Duration::ZERO);
        assert_eq!(backoff.delay(3, u64::MAX / 2 + 1), 2 * SECOND);
        let most = backoff.delay(3, u64::MAX);
        assert!(most < 4 * SECOND && most > 3 * SECOND);
        assert!(Backoff::exponential(Duration::MAX, Duration::MAX).delay(9, u64::MAX) > HOUR);
    }
}
