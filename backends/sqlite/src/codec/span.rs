//! Spans and backoffs as text: seconds with up to nine digits after the point.

use std::time::Duration;

use poolqueue_core::Backoff;

use super::Flaw;

pub(super) fn span_text(span: Duration) -> String {
    let (seconds, nanos) = (span.as_secs(), span.subsec_nanos());
    if nanos == 0 {
        return seconds.to_string();
    }
    format!("{seconds}.{nanos:09}").trim_end_matches('0').to_owned()
}

pub(super) fn span(text: &str) -> Result<Duration, Flaw> {
    let bad = || Flaw(format!("{text:?} is not a number of seconds"));
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(bad());
    }
    let seconds: u64 = seconds.parse().map_err(|_| bad())?;
    let nanos: u32 = format!("{fraction:0<9}").parse().map_err(|_| bad())?;
    Ok(Duration::new(seconds, nanos))
}

/// `none`, `fixed 5`, `linear 5 60` or `exponential 1 3600`, each but the first with ` jitter` after it or not.
pub(super) fn backoff_text(backoff: Backoff) -> Result<String, Flaw> {
    let (mut text, jitter) = match backoff {
        Backoff::None => ("none".to_owned(), false),
        Backoff::Fixed { delay, jitter } => (format!("fixed {}", span_text(delay)), jitter),
        Backoff::Linear { step, ceiling, jitter } => {
            (format!("linear {} {}", span_text(step), span_text(ceiling)), jitter)
        }
        Backoff::Exponential { first, ceiling, jitter } => {
            (format!("exponential {} {}", span_text(first), span_text(ceiling)), jitter)
        }
        other => return Err(Flaw(format!("the backoff {other:?} has no stored form"))),
    };
    if jitter {
        text.push_str(" jitter");
    }
    Ok(text)
}

pub(super) fn backoff(text: &str) -> Result<Backoff, Flaw> {
    let words: Vec<&str> = text.split(' ').collect();
    let (words, jitter) = match words.as_slice() {
        [words @ .., "jitter"] => (words, true),
        words => (words, false),
    };
    match words {
        ["none"] if !jitter => Ok(Backoff::None),
        ["fixed", delay] => Ok(Backoff::Fixed { delay: span(delay)?, jitter }),
        ["linear", step, ceiling] => {
            Ok(Backoff::Linear { step: span(step)?, ceiling: span(ceiling)?, jitter })
        }
        ["exponential", first, ceiling] => {
            Ok(Backoff::Exponential { first: span(first)?, ceiling: span(ceiling)?, jitter })
        }
        _ => Err(Flaw(format!("there is no backoff {text:?}"))),
    }
}
