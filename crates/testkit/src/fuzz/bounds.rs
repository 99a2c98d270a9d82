//! What an input may cost.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::Target;

/// The longest that one input may be computed on.
const COMPUTED_MAX: Duration = Duration::from_secs(1);
/// What one input may take of memory, in KiB.
const MEMORY_MAX: u64 = 100 << 10;

/// What was wrong with an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It made the target panic.
    Panicked(String),
    /// It was computed on for so long.
    Slow(Duration),
    /// So many KiB of memory were taken.
    Large(u64),
}

/// Gives `input` to the target.
///
/// # Errors
/// A panic, or more than a second of computing. The time is the processor's, so that a busy machine is no fault; where
/// the system does not tell it, there is none.
pub fn check(target: Target, input: &[u8]) -> Result<(), Fault> {
    let before = computed();
    let ran = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let took = computed().saturating_sub(before);
    match ran {
        Err(panic) => {
            let message = panic.downcast_ref::<String>().map(String::as_str);
            let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(Fault::Panicked(message.unwrap_or("no message").to_owned()))
        }
        Ok(()) if took > COMPUTED_MAX => Err(Fault::Slow(took)),
        Ok(()) => Ok(()),
    }
}

/// Says nothing of panics inside the engines: the stores catch them, and damaged files are full of them. All others are
/// told as before.
pub fn hush_engines() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let inside = |engine: &str| panic.location().is_some_and(|at| at.file().contains(engine));
        if !inside("/redb-") && !inside("/rusqlite-") {
            tell(panic);
        }
    }));
}

/// Runs `inputs`, one after the other.
///
/// # Errors
/// When all of them together took more memory at once than one of them may, above what the process had before.
pub fn check_memory(inputs: impl FnOnce()) -> Result<(), Fault> {
    // Sets the peak back to what is held now. Elsewhere than on Linux nothing is told, and nothing is asked.
    let _ = fs::write("/proc/self/clear_refs", "5");
    let before = kib("VmRSS:");
    inputs();
    match kib("VmHWM:").saturating_sub(before) {
        grown if grown > MEMORY_MAX => Err(Fault::Large(grown)),
        _ => Ok(()),
    }
}

/// How long this thread has been on a processor; nothing where the system does not tell.
pub fn computed() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().next().and_then(|number| number.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

fn kib(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
