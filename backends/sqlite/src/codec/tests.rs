use std::time::Duration;

use poolqueue_core::Backoff;

use super::span::{backoff, backoff_text, span, span_text};

#[test]
fn spans_and_backoffs_read_well_and_come_back() {
    let second = Duration::from_secs(1);
    let cases = [
        (Backoff::None, "none"),
        (Backoff::fixed(Duration::from_nanos(1_500)), "fixed 0.0000015"),
        (Backoff::linear(second, 60 * second), "linear 1 60"),
        (Backoff::exponential(second / 2, 3600 * second), "exponential 0.5 3600 jitter"),
        (
            Backoff::Fixed { delay: Duration::MAX, jitter: true },
            "fixed 18446744073709551615.999999999 jitter",
        ),
    ];
    for (value, text) in cases {
        assert_eq!(backoff_text(value).unwrap(), text);
        assert_eq!(backoff(text).unwrap(), value);
    }
    for bad in
        ["", "none jitter", "fixed", "fixed 1 2", "fixed x", "fixed 1.0000000001", "linear 1", "fixed -1"]
    {
        assert!(backoff(bad).is_err(), "{bad:?}");
    }
    assert_eq!(span(&span_text(Duration::ZERO)), Ok(Duration::ZERO));
}
