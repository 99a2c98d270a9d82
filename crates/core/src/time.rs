use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};

/// A point in time as it is stored: microseconds since 1970-01-01T00:00:00 UTC, earlier times negative.
///
/// Every instant that chrono can express has a `Timestamp` (chrono's nanoseconds are cut to microseconds).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// After every other time: the due time of a job that waits for a signal, not for a clock.
    pub const NEVER: Timestamp = Timestamp(i64::MAX);

    /// The time `micros` microseconds after 1970-01-01T00:00:00 UTC.
    pub const fn from_micros(micros: i64) -> Self {
        Timestamp(micros)
    }

    /// Microseconds since 1970-01-01T00:00:00 UTC.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// This time and `span` more. A sum past the last representable time is [`Timestamp::NEVER`], and so is
    /// any sum with it.
    pub fn plus(self, span: Duration) -> Self {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Timestamp(self.0.saturating_add(micros))
    }

    /// This time less `span`, at the earliest the first representable time. `NEVER` stays `NEVER`.
    pub fn minus(self, span: Duration) -> Self {
        if self == Self::NEVER {
            return self;
        }
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Timestamp(self.0.saturating_sub(micros))
    }

    /// How long after `earlier` this time is; zero when it is not after it.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The same instant for people; `None` for [`Timestamp::NEVER`] and for times chrono cannot express.
    pub fn to_datetime(self) -> Option<DateTime<Utc>> {
        if self == Self::NEVER { None } else { DateTime::from_timestamp_micros(self.0) }
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(at: DateTime<Utc>) -> Self {
        Timestamp(at.timestamp_micros())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_datetime() {
            Some(at) => write!(f, "{}", at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)),
            None => f.write_str("never"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_and_never_absorbs() {
        let day = Duration::from_secs(86_400);
        assert_eq!(Timestamp::NEVER.plus(day), Timestamp::NEVER);
        assert_eq!(Timestamp::NEVER.minus(day), Timestamp::NEVER);
        assert_eq!(Timestamp::from_micros(0).plus(Duration::MAX), Timestamp::NEVER);
        assert_eq!(Timestamp::from_micros(5).since(Timestamp::from_micros(9)), Duration::ZERO);
        assert_eq!(Timestamp::from_micros(9).since(Timestamp::from_micros(5)), Duration::from_micros(4));
    }

    #[test]
    fn every_chrono_time_makes_the_round_trip() {
        for at in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::UNIX_EPOCH, DateTime::<Utc>::MAX_UTC] {
            let stamp = Timestamp::from(at);
            assert_eq!(stamp.to_datetime().map(|t| t.timestamp_micros()), Some(at.timestamp_micros()));
        }
    }
}
