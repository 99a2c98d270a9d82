//! What happens to files.

use fastrand::Rng;

use super::{Files, Sample};

/// The unit in which both engines write.
const PAGE: usize = 4096;

/// Damage to one file of a store.
#[derive(Clone, Debug)]
pub struct Mutation {
    /// Which of [`Subject::FILES`](super::Subject::FILES).
    pub file: usize,
    /// What happens to it.
    pub harm: Harm,
}

/// What happens to a file.
#[derive(Clone, Debug)]
pub enum Harm {
    /// Bits are flipped.
    Flip(Vec<(usize, u8)>),
    /// A range is zero.
    Zero(usize, usize),
    /// A range is garbage, drawn with a seed.
    Garbage(usize, usize, u64),
    /// The end is gone.
    Cut(usize),
    /// So many bytes follow: zeroes, or garbage drawn with a seed.
    Extend(usize, Option<u64>),
    /// Two pages have changed places.
    Swap(usize, usize),
    /// A page stands in place of another, too.
    Duplicate(usize, usize),
    /// A page is as it once was.
    Old(usize),
    /// Nothing is left.
    Empty,
}

impl Mutation {
    /// Draws one that changes something.
    pub(super) fn draw(random: &mut Rng, sample: &Sample) -> Self {
        loop {
            let present: Vec<usize> =
                (0..sample.files.0.len()).filter(|at| !sample.files.0[*at].is_empty()).collect();
            let file = present[random.usize(..present.len())];
            let mutation = Mutation { file, harm: Harm::draw(random, sample, file) };
            if mutation.apply(sample) != sample.files {
                return mutation;
            }
        }
    }

    /// The files after it.
    pub(super) fn apply(&self, sample: &Sample) -> Files {
        let mut files = sample.files.clone();
        self.harm.apply(&mut files.0[self.file], &sample.older.0[self.file]);
        files
    }

    /// Whether a page may be as it once was: what is on it was stored, but not last. Pages that are free now still hold such.
    pub(super) fn may_be_old(&self) -> bool {
        matches!(self.harm, Harm::Old(_) | Harm::Swap(..) | Harm::Duplicate(..))
    }
}

impl Harm {
    fn draw(random: &mut Rng, sample: &Sample, file: usize) -> Self {
        let len = sample.files.0[file].len();
        let used = &sample.used[file];
        let mut page = || used[random.usize(..used.len())] * PAGE;
        let (one, other) = (page(), page());
        let in_page = |random: &mut Rng, page: usize| (page + random.usize(..PAGE)).min(len - 1);
        let at = in_page(random, one);
        match random.u8(..100) {
            0..20 => {
                let bits = random.usize(1..=8);
                Harm::Flip((0..bits).map(|_| (in_page(random, one), 1 << random.u8(..8))).collect())
            }
            20..30 => Harm::Zero(at, random.usize(1..=2 * PAGE)),
            30..36 => Harm::Zero(one, PAGE),
            36..46 => Harm::Garbage(at, random.usize(1..=2 * PAGE), random.u64(..)),
            46..52 => Harm::Garbage(one, PAGE, random.u64(..)),
            52..58 => Harm::Cut(random.usize(1..len)),
            58..62 => Harm::Cut((random.usize(1..=len.div_ceil(PAGE)) * PAGE).min(len)),
            62..66 => Harm::Extend(random.usize(1..=3 * PAGE), random.bool().then(|| random.u64(..))),
            66..76 => Harm::Swap(one, other),
            76..86 => Harm::Duplicate(one, other),
            86..98 => Harm::Old(one),
            98 => Harm::Empty,
            // The first page says where everything else is.
            _ => Harm::Flip(vec![(random.usize(..len.min(512)), 1 << random.u8(..8))]),
        }
    }

    fn apply(&self, bytes: &mut Vec<u8>, older: &[u8]) {
        let len = bytes.len();
        match *self {
            Harm::Flip(ref flips) => flips.iter().for_each(|(at, bits)| bytes[*at] ^= bits),
            Harm::Zero(at, count) => bytes[at..len.min(at + count)].fill(0),
            Harm::Garbage(at, count, seed) => Rng::with_seed(seed).fill(&mut bytes[at..len.min(at + count)]),
            Harm::Cut(to) => bytes.truncate(to),
            Harm::Extend(by, seed) => {
                bytes.resize(len + by, 0);
                if let Some(seed) = seed {
                    Rng::with_seed(seed).fill(&mut bytes[len..]);
                }
            }
            Harm::Swap(one, other) => {
                let (low, high) = (one.min(other), one.max(other));
                if low + PAGE <= high && high + PAGE <= len {
                    let (start, end) = bytes.split_at_mut(high);
                    start[low..low + PAGE].swap_with_slice(&mut end[..PAGE]);
                }
            }
            Harm::Duplicate(from, to) => {
                if from.max(to) + PAGE <= len {
                    bytes.copy_within(from..from + PAGE, to);
                }
            }
            Harm::Old(at) => {
                let end = (at + PAGE).min(len).min(older.len());
                if at < end {
                    bytes[at..end].copy_from_slice(&older[at..end]);
                }
            }
            Harm::Empty => bytes.clear(),
        }
    }
}
