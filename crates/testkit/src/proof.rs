//! What a test has tried, in one line that `cargo xtask prove` collects into its scoreboard.
//!
//! A row of the scoreboard is one test. How much it tries is a [`figure`]: the test's own small one under `cargo test`,
//! another when the environment names it. What it tried it [`print`](Proof::print)s, and a row that tried nothing, that
//! failed, or whose check did not catch a fault planted for it, is no proof and panics.

use std::fmt;
use std::str::FromStr;

/// What one row has tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The row of the scoreboard: `R1` … `R15`.
    pub row: &'static str,
    /// What was tried, on which store: "power lost, redb".
    pub what: &'static str,
    /// How often.
    pub tried: u64,
    /// How often the promise did not hold.
    pub failed: u64,
    /// What the cases were drawn with; 0 where nothing is drawn.
    pub seed: u64,
    /// Faults planted to see that the check catches them.
    pub planted: u64,
    /// How many of those it caught.
    pub caught: u64,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Proof { row, what, tried, failed, seed, planted, caught } = self;
        write!(
            f,
            "proof {row} {what}: tried {tried}, failed {failed}, seed {seed}; control caught {caught} of {planted}"
        )
    }
}

impl Proof {
    /// Whether this is one: something was tried, nothing failed, and every planted fault was caught, at least one.
    pub fn holds(&self) -> bool {
        self.tried > 0 && self.failed == 0 && self.planted > 0 && self.caught == self.planted
    }

    /// Prints the line.
    ///
    /// # Panics
    /// When it is no proof.
    pub fn print(&self) {
        println!("{self}");
        assert!(self.holds(), "this proves nothing: {self}");
    }
}

/// How much a row tries: `POOLQUEUE_PROVE_<name>` of the environment, or else `usual`.
///
/// # Panics
/// When the variable is set to something that is no number.
pub fn figure(name: &str, usual: u64) -> u64 {
    number(&format!("POOLQUEUE_PROVE_{name}")).unwrap_or(usual)
}

/// What cases are drawn with: `POOLQUEUE_SEED` of the environment, or else something new.
///
/// # Panics
/// When the variable is set to something that is no number.
pub fn seed() -> u64 {
    number("POOLQUEUE_SEED").unwrap_or_else(|| fastrand::u64(1..1 << 32))
}

fn number<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is not a number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_tried_and_controlled_is_a_proof() {
        let proof =
            Proof { row: "R1", what: "power lost", tried: 9, failed: 0, seed: 7, planted: 2, caught: 2 };
        assert!(proof.holds());
        assert_eq!(
            proof.to_string(),
            "proof R1 power lost: tried 9, failed 0, seed 7; control caught 2 of 2"
        );
        assert!(!Proof { tried: 0, ..proof.clone() }.holds());
        assert!(!Proof { failed: 1, ..proof.clone() }.holds());
        assert!(!Proof { caught: 1, ..proof.clone() }.holds());
        assert!(!Proof { planted: 0, caught: 0, ..proof }.holds());
    }
}
