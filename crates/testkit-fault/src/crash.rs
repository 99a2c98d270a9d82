//! What is left of files when the power is lost.
//!
//! The rule. What was done to a file before its last sync is there. Of what was done since, any part may be: a later
//! write without an earlier one, of a write some of its sectors ([`SECTOR`] bytes, the unit a disk writes whole), or the length
//! it led to without its bytes. A name that was given, changed or removed is so for certain once its directory was
//! synced ([`Names::AfterTheirDirectory`]), and until then perhaps.
//!
//! [`Losses`] cuts a record of operations after each of them, and of each cut makes what the rule allows: nothing
//! that is uncertain is there, all of it is, one operation is missing, or some are, at random.

mod disk;
mod image;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::trace::Op;
pub use disk::{Disk, Names};
pub use image::{Image, PAGE, SECTOR};

/// What a directory holds.
pub type Contents = BTreeMap<PathBuf, Image>;

/// Draws beyond the systematic ones, for a cut with that many uncertain operations, are shared out by this much at most.
const WEIGHT_MAX: u64 = 8;

/// Which of the uncertain operations are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survivors {
    /// None.
    None,
    /// All.
    All,
    /// All but the so-and-so-manieth.
    AllBut(usize),
    /// Some, single writes of them torn, as dice with this seed say.
    Drawn(u64),
}

/// One power loss.
#[derive(Clone, Debug)]
pub struct Loss {
    /// How many operations of the record were done before it.
    pub cut: usize,
    /// The last mark among them; 0 when there was none.
    pub marks: u64,
    /// How many operations were uncertain.
    pub uncertain: usize,
    /// What became of those.
    pub survivors: Survivors,
    /// What is left.
    pub files: Contents,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Loss { cut, marks, uncertain, survivors, .. } = self;
        write!(f, "after {cut} operations and mark {marks}, of {uncertain} uncertain ones: {survivors:?}")
    }
}

/// The power losses of one record: each cut, and of each what may be left. Deterministic.
#[derive(Debug)]
pub struct Losses<'a> {
    ops: &'a [Op],
    disk: Disk,
    plan: Plan,
    cut: usize,
    marks: u64,
    due: Vec<Survivors>,
}

impl<'a> Losses<'a> {
    /// Of what was done to `disk`, about `wanted` losses, drawn with `seed`: evenly from the systematic ones when
    /// there are more of these, or else all of them and random ones. Fewer than wanted only when nothing in the
    /// record is ever uncertain.
    pub fn new(disk: Disk, ops: &'a [Op], wanted: u64, seed: u64) -> Self {
        let mut plan = Plan::new(&disk, ops, wanted, seed);
        let due = plan.next_cut(disk.uncertain());
        Losses { ops, disk, plan, cut: 0, marks: 0, due }
    }
}

/// What is left after all of `ops` when nothing is that is uncertain.
pub fn least(mut disk: Disk, ops: &[Op]) -> Loss {
    (0..ops.len()).for_each(|at| disk.step(at, ops));
    let mark = |op: &Op| if let Op::Mark(mark) = op { Some(*mark) } else { None };
    Loss {
        cut: ops.len(),
        marks: ops.iter().rev().find_map(mark).unwrap_or(0),
        uncertain: disk.uncertain(),
        survivors: Survivors::None,
        files: disk.after(ops, Survivors::None),
    }
}

impl Iterator for Losses<'_> {
    type Item = Loss;

    fn next(&mut self) -> Option<Loss> {
        loop {
            if let Some(survivors) = self.due.pop() {
                return Some(Loss {
                    cut: self.cut,
                    marks: self.marks,
                    uncertain: self.disk.uncertain(),
                    survivors,
                    files: self.disk.after(self.ops, survivors),
                });
            }
            let op = self.ops.get(self.cut)?;
            if let Op::Mark(mark) = op {
                self.marks = *mark;
            }
            self.disk.step(self.cut, self.ops);
            self.cut += 1;
            self.due = self.plan.next_cut(self.disk.uncertain());
        }
    }
}

/// How many losses each cut gets.
#[derive(Debug)]
struct Plan {
    random: fastrand::Rng,
    systematic: Share,
    drawn: Share,
}

/// Takes `take` of `of` things that come by one after another, evenly.
#[derive(Debug)]
struct Share {
    take: u64,
    of: u64,
    phase: u64,
}

impl Share {
    fn new(take: u64, of: u64, random: &mut fastrand::Rng) -> Self {
        Share { take, of, phase: random.u64(..of.max(1)) }
    }

    /// How many of the next `count` things are to be taken.
    fn pass(&mut self, count: u64) -> u64 {
        let of = u128::from(self.of.max(1));
        let phase = u128::from(self.phase) + u128::from(self.take) * u128::from(count);
        self.phase = u64::try_from(phase % of).unwrap_or(0);
        u64::try_from(phase / of).unwrap_or(u64::MAX)
    }
}

impl Plan {
    fn new(disk: &Disk, ops: &[Op], wanted: u64, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut shadow = disk.without_contents();
        let (mut systematic, mut weights) = (systematic(shadow.uncertain()), weight(shadow.uncertain()));
        for at in 0..ops.len() {
            shadow.step(at, ops);
            systematic += self::systematic(shadow.uncertain());
            weights += weight(shadow.uncertain());
        }
        let drawn = Share::new(wanted.saturating_sub(systematic), weights, &mut random);
        let systematic = Share::new(wanted.min(systematic), systematic, &mut random);
        Plan { random, systematic, drawn }
    }

    fn next_cut(&mut self, uncertain: usize) -> Vec<Survivors> {
        let mut due = Vec::new();
        for number in 0..systematic(uncertain) {
            if self.systematic.pass(1) > 0 {
                due.push(match number {
                    0 => Survivors::None,
                    1 => Survivors::All,
                    more => Survivors::AllBut(usize::try_from(more - 2).unwrap_or(0)),
                });
            }
        }
        for _ in 0..self.drawn.pass(weight(uncertain)) {
            due.push(Survivors::Drawn(self.random.u64(..)));
        }
        due
    }
}

/// None of them, all of them, all but one. Of one these are two.
fn systematic(uncertain: usize) -> u64 {
    match uncertain {
        0 => 1,
        1 => 2,
        more => more as u64 + 2,
    }
}

fn weight(uncertain: usize) -> u64 {
    (uncertain as u64).min(WEIGHT_MAX)
}

/// The same record on a disk that says it has synced and has not: a fault planted for a check to find.
pub fn without_syncs(ops: &[Op]) -> Vec<Op> {
    let synced = |op: &Op| matches!(op, Op::Sync { .. } | Op::SyncDirectory { .. });
    ops.iter().filter(|op| !synced(op)).cloned().collect()
}
