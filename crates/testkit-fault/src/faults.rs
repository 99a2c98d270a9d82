//! Operations that fail as planned.

use std::ffi::c_int;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::watch::{self, Meeting, Planned, Watch};

/// What is done to a file or to a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Bytes are read.
    Read,
    /// Bytes are written.
    Write,
    /// A file or a directory is made durable.
    Sync,
    /// A length is set.
    Truncate,
    /// A file or a directory that is there is opened.
    Open,
    /// A file is made.
    Create,
    /// A file gets a name or another one.
    Link,
    /// A name is removed.
    Remove,
}

impl Operation {
    /// All of them.
    pub const ALL: [Operation; 8] = [
        Operation::Read,
        Operation::Write,
        Operation::Sync,
        Operation::Truncate,
        Operation::Open,
        Operation::Create,
        Operation::Link,
        Operation::Remove,
    ];
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// With this error of the system, and nothing is done.
    Error(i32),
    /// Half of the bytes are written, which is what is reported: no error, but one more call to make. Writes only.
    Short,
    /// Half of the bytes are written, and the next operation fails with this error. Writes only.
    ShortThen(i32),
}

/// Which operations fail, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What is counted.
    pub operations: Vec<Operation>,
    /// How many of those go well before the first that fails.
    pub after: u64,
    /// How it fails.
    pub failure: Failure,
    /// Whether all fail from there on, or that one only.
    pub lasting: bool,
}

/// An operation that has failed as planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// What it was.
    pub operation: Operation,
    /// The name it was about, or the first name of the file.
    pub path: PathBuf,
}

/// Failures in one directory, for as long as this lives.
///
/// Operations are counted from the beginning; they fail while there is a [`Plan`].
#[must_use = "nothing fails once this is dropped"]
pub struct Faults {
    watch: Arc<Watch>,
}

impl Faults {
    /// Takes the files below `directory`, which exists, under its wing. Only of this process: what others do is not seen.
    ///
    /// # Errors
    /// What the system says of the directory.
    ///
    /// # Panics
    /// When the directory has its faults already, or one above or below it is watched.
    pub fn in_directory(directory: impl AsRef<Path>) -> io::Result<Self> {
        let watch = watch::of_directory(directory.as_ref())?;
        let former = watch.lock().faults().replace(Planned::default());
        assert!(former.is_none(), "the faults of this directory are somebody else's");
        Ok(Faults { watch })
    }

    /// Fails as planned from now on. Whatever was planned before is not any more.
    pub fn arm(&self, plan: Plan) {
        self.with(|planned| planned.plan = Some(plan));
    }

    /// Nothing fails any more.
    pub fn lift(&self) {
        self.with(|planned| planned.plan = None);
    }

    /// How many such operations there were.
    pub fn seen(&self, operations: &[Operation]) -> u64 {
        self.with(|planned| operations.iter().map(|operation| planned.seen[*operation as usize]).sum())
    }

    /// What has failed, in its order.
    pub fn hits(&self) -> Vec<Hit> {
        self.with(|planned| planned.hits.clone())
    }

    fn with<T>(&self, read: impl FnOnce(&mut Planned) -> T) -> T {
        read(self.watch.lock().faults().get_or_insert_default())
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        *self.watch.lock().faults() = None;
        self.watch.leave();
    }
}

impl Planned {
    /// Counts an operation; `None` when it goes well.
    pub(crate) fn meet(&mut self, operation: Operation) -> Option<Result<Meeting, c_int>> {
        self.seen[operation as usize] += 1;
        let plan = self.plan.as_mut().filter(|plan| plan.operations.contains(&operation))?;
        if plan.after > 0 {
            plan.after -= 1;
            return None;
        }
        match plan.failure {
            Failure::Error(error) => {
                if !plan.lasting {
                    self.plan = None;
                }
                Some(Err(error))
            }
            Failure::Short => {
                if !plan.lasting {
                    self.plan = None;
                }
                Some(Ok(Meeting::Short))
            }
            Failure::ShortThen(error) => {
                plan.failure = Failure::Error(error);
                Some(Ok(Meeting::Short))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(failure: Failure, lasting: bool) -> Planned {
        let plan = Plan { operations: vec![Operation::Write], after: 1, failure, lasting };
        Planned { plan: Some(plan), ..Planned::default() }
    }

    #[test]
    fn what_is_planned_happens_once_or_for_ever_from_the_operation_it_is_planned_for() {
        let short = Some(Ok(Meeting::Short));
        let cases = [
            (Failure::Error(5), false, [None, Some(Err(5)), None, None]),
            (Failure::Error(5), true, [None, Some(Err(5)), Some(Err(5)), Some(Err(5))]),
            (Failure::Short, false, [None, short, None, None]),
            (Failure::Short, true, [None, short, short, short]),
            (Failure::ShortThen(28), false, [None, short, Some(Err(28)), None]),
            (Failure::ShortThen(28), true, [None, short, Some(Err(28)), Some(Err(28))]),
        ];
        for (failure, lasting, expected) in cases {
            let mut planned = plan(failure, lasting);
            assert_eq!(planned.meet(Operation::Sync), None, "counts for nothing");
            let found = [(); 4].map(|()| planned.meet(Operation::Write));
            assert_eq!(found, expected, "{failure:?}, lasting: {lasting}");
            assert_eq!(planned.seen[Operation::Write as usize], 4);
        }
    }
}
