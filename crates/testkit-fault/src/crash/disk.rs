//! What is on the disk for certain, and what may be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Contents, Image, SECTOR, Survivors};
use crate::trace::{FileId, Op};

/// When a file's name is there for certain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// After its directory was synced: all that POSIX says.
    #[default]
    AfterTheirDirectory,
    /// Also after the file itself was synced, for names it was given before: what ext4, XFS and btrfs do. For engines
    /// that are only safe there.
    AfterTheirFile,
}

/// A disk: files and names that are there for certain, and operations that are not.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    rule: Names,
    files: BTreeMap<FileId, Image>,
    names: BTreeMap<PathBuf, FileId>,
    /// The names as the processes see them.
    seen: BTreeMap<PathBuf, FileId>,
    pending: Vec<Pending>,
    /// Whether bytes are left out, for counting.
    hollow: bool,
}

#[derive(Clone, Debug)]
enum Pending {
    /// The so-and-so-manieth operation, on the bytes of a file.
    Data { op: usize, file: FileId },
    /// A name is gone, another is there; one step.
    Name { gone: Option<PathBuf>, there: Option<(PathBuf, FileId)> },
}

impl Disk {
    /// An empty one.
    pub fn new(rule: Names) -> Self {
        Disk { rule, ..Disk::default() }
    }

    /// With a file that has been there for long.
    #[must_use]
    pub fn with_file(mut self, file: FileId, path: impl Into<PathBuf>, bytes: impl Into<Image>) -> Self {
        let path = path.into();
        self.files.insert(file, bytes.into());
        self.names.insert(path.clone(), file);
        self.seen.insert(path, file);
        self
    }

    pub(super) fn without_contents(&self) -> Self {
        Disk { hollow: true, files: BTreeMap::new(), ..self.clone() }
    }

    /// How many operations are uncertain.
    pub fn uncertain(&self) -> usize {
        self.pending.len()
    }

    /// Does the operation at `at`. To be called for one after the other.
    pub(super) fn step(&mut self, at: usize, ops: &[Op]) {
        match &ops[at] {
            Op::Write { file, .. } | Op::SetLen { file, .. } => {
                self.pending.push(Pending::Data { op: at, file: *file });
            }
            Op::Create { file, path } | Op::Link { file, path } => {
                self.name(None, Some((path.clone(), *file)));
            }
            Op::Rename { from, to } => {
                let file = self.seen.get(from).copied();
                self.name(Some(from.clone()), file.map(|file| (to.clone(), file)));
            }
            Op::Remove { path } => self.name(Some(path.clone()), None),
            Op::Sync { file } => self.sync(*file, ops),
            Op::SyncDirectory { path } => {
                self.settle_names(|gone, there| {
                    let path_of = there.map(|(path, _)| path).or(gone);
                    path_of.and_then(Path::parent) == Some(path.as_path())
                });
            }
            Op::Mark(_) => {}
        }
    }

    fn name(&mut self, gone: Option<PathBuf>, there: Option<(PathBuf, FileId)>) {
        set_name(&mut self.seen, gone.as_deref(), there.as_ref());
        self.pending.push(Pending::Name { gone, there });
    }

    fn sync(&mut self, file: FileId, ops: &[Op]) {
        let image = self.files.entry(file).or_default();
        let hollow = self.hollow;
        self.pending.retain(|pending| match pending {
            Pending::Data { op, file: of } if *of == file => {
                if !hollow {
                    apply(image, &ops[*op]);
                }
                false
            }
            _ => true,
        });
        image.settle();
        if self.rule == Names::AfterTheirFile {
            self.settle_names(|_, there| there.is_some_and(|(_, of)| *of == file));
        }
    }

    /// Makes those changes of names certain that `which` says.
    fn settle_names(&mut self, which: impl Fn(Option<&Path>, Option<(&Path, &FileId)>) -> bool) {
        let names = &mut self.names;
        self.pending.retain(|pending| {
            let Pending::Name { gone, there } = pending else { return true };
            let certain = which(gone.as_deref(), there.as_ref().map(|(path, file)| (path.as_path(), file)));
            if certain {
                set_name(names, gone.as_deref(), there.as_ref());
            }
            !certain
        });
        self.forget_nameless();
    }

    /// Forgets what was done to files that nobody can find any more.
    fn forget_nameless(&mut self) {
        let Disk { names, seen, pending, files, .. } = self;
        let mut found: BTreeSet<FileId> = names.values().chain(seen.values()).copied().collect();
        found.extend(pending.iter().filter_map(|pending| match pending {
            Pending::Name { there: Some((_, file)), .. } => Some(*file),
            _ => None,
        }));
        pending.retain(|pending| !matches!(pending, Pending::Data { file, .. } if !found.contains(file)));
        files.retain(|file, _| found.contains(file));
    }

    /// What is left when these of the uncertain operations are there.
    pub(super) fn after(&self, ops: &[Op], survivors: Survivors) -> Contents {
        let mut dice = Dice::new(survivors);
        let mut files = self.files.clone();
        let mut names = self.names.clone();
        for (number, pending) in self.pending.iter().enumerate() {
            let fate = dice.fate(number, survivors);
            match (pending, fate) {
                (_, Fate::Gone) => {}
                (Pending::Name { gone, there }, _) => set_name(&mut names, gone.as_deref(), there.as_ref()),
                (Pending::Data { op, file }, Fate::Whole) => {
                    apply(files.entry(*file).or_default(), &ops[*op]);
                }
                (Pending::Data { op, file }, Fate::Torn) => {
                    dice.tear(files.entry(*file).or_default(), &ops[*op]);
                }
            }
        }
        let image = |file: FileId| files.get(&file).cloned().unwrap_or_default();
        names.into_iter().map(|(path, file)| (path, image(file))).collect()
    }
}

fn set_name(names: &mut BTreeMap<PathBuf, FileId>, gone: Option<&Path>, there: Option<&(PathBuf, FileId)>) {
    if let Some(gone) = gone {
        names.remove(gone);
    }
    if let Some((path, file)) = there {
        names.insert(path.clone(), *file);
    }
}

fn apply(image: &mut Image, op: &Op) {
    match op {
        Op::Write { offset, data, .. } => image.write(*offset, data),
        Op::SetLen { len, .. } => image.set_len(*len),
        _ => {}
    }
}

/// What becomes of one operation.
enum Fate {
    Gone,
    Whole,
    /// If it can be: a write of several sectors, or one that made the file longer.
    Torn,
}

struct Dice {
    random: fastrand::Rng,
    /// Of four operations so many are there.
    keep: u8,
    /// Of eight operations that are there so many are torn.
    tear: u8,
}

impl Dice {
    fn new(survivors: Survivors) -> Self {
        let seed = if let Survivors::Drawn(seed) = survivors { seed } else { 0 };
        let mut random = fastrand::Rng::with_seed(seed);
        let (keep, tear) = (random.u8(1..=4), [0, 1, 4][random.usize(..3)]);
        Dice { random, keep, tear }
    }

    fn fate(&mut self, number: usize, survivors: Survivors) -> Fate {
        match survivors {
            Survivors::All => Fate::Whole,
            Survivors::AllBut(one) if one != number => Fate::Whole,
            Survivors::None | Survivors::AllBut(_) => Fate::Gone,
            Survivors::Drawn(_) if self.random.u8(..4) >= self.keep => Fate::Gone,
            Survivors::Drawn(_) if self.random.u8(..8) < self.tear => Fate::Torn,
            Survivors::Drawn(_) => Fate::Whole,
        }
    }

    /// Does a part of the operation: the first sectors of a write, the last, any, or only the length it led to.
    fn tear(&mut self, image: &mut Image, op: &Op) {
        let Op::Write { offset, data, .. } = op else { return apply(image, op) };
        let end = offset + data.len() as u64;
        let grew = end > image.len();
        let way = self.random.u8(..if grew { 4 } else { 3 });
        if grew {
            image.set_len(end);
        }
        // Sectors lie where the disk has them, not where the write begins.
        let first = SECTOR - usize::try_from(*offset % SECTOR as u64).unwrap_or(0);
        let sectors = 1 + data.len().saturating_sub(first).div_ceil(SECTOR);
        let limit = self.random.usize(..=sectors);
        for sector in 0..sectors {
            let there = match way {
                0 => sector < limit,
                1 => sector >= limit,
                2 => self.random.bool(),
                _ => false,
            };
            let start = if sector == 0 { 0 } else { first + (sector - 1) * SECTOR };
            let end = (first + sector * SECTOR).min(data.len());
            if there && start < end {
                image.write(offset + start as u64, &data[start..end]);
            }
        }
    }
}
