//! The line that a proof prints, read back.

use std::fmt;

/// What a test says it has tried. The testkit's `proof::Proof` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub row: String,
    pub what: String,
    pub tried: u64,
    pub failed: u64,
    pub seed: u64,
    pub caught: u64,
    pub planted: u64,
}

impl Line {
    /// The line, if it is one. What stands before it is passed over: a test's name may.
    pub fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once("proof R")?;
        let (row, rest) = rest.split_once(' ')?;
        let (what, rest) = rest.rsplit_once(": tried ")?;
        let (tried, rest) = rest.split_once(", failed ")?;
        let (failed, rest) = rest.split_once(", seed ")?;
        let (seed, rest) = rest.split_once("; control caught ")?;
        let (caught, planted) = rest.trim_end().split_once(" of ")?;
        Some(Line {
            row: format!("R{row}"),
            what: what.to_owned(),
            tried: tried.parse().ok()?,
            failed: failed.parse().ok()?,
            seed: seed.parse().ok()?,
            caught: caught.parse().ok()?,
            planted: planted.parse().ok()?,
        })
    }

    /// Whether something was tried, nothing failed and every planted fault was caught, at least one.
    pub fn holds(&self) -> bool {
        self.tried > 0 && self.failed == 0 && self.planted > 0 && self.caught == self.planted
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { row, what, tried, failed, seed, caught, planted } = self;
        write!(
            f,
            "{row} {what}: tried {tried}, failed {failed}, seed {seed}; control caught {caught} of {planted}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_back_as_it_was_printed() {
        let text = "proof R1 power lost, redb: tried 50000, failed 0, seed 7; control caught 4 of 4";
        let line = Line::parse(text).unwrap();
        assert_eq!(format!("proof {line}"), text);
        assert!(line.holds());
        assert_eq!(Line::parse(&format!("test name ... {text}\n")).as_ref(), Some(&line));
        assert!(!Line { tried: 0, ..line.clone() }.holds());
        assert!(!Line { planted: 0, caught: 0, ..line.clone() }.holds());
        assert!(!Line { caught: 3, ..line.clone() }.holds());
        assert!(!Line { failed: 1, ..line }.holds());
        for other in ["", "proof", "proof R1 x: tried many, failed 0, seed 1; control caught 1 of 1"] {
            assert_eq!(Line::parse(other), None, "{other}");
        }
    }
}
