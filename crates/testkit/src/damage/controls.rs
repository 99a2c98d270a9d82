//! Faults planted for the check to catch: without them, a check that finds nothing says nothing.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use poolqueue_core::salvage::Salvaged;
use poolqueue_core::{BackendError, BackendErrorKind, JobId, Store};

use super::mutation::Harm;
use super::sample::{RECORDS, run};
use super::{CASE, Contents, Fate, Mutation, Sample, Subject, case};

/// What is stored is not what is expected: as when a reader that compares no checksums returned it.
type Alteration = fn(&mut Contents);

const ALTERATIONS: [(&str, Alteration); 7] = [
    ("a payload", |all| first(all, |whole| whole.job.payload.push(1))),
    ("an attempt", |all| first(all, |whole| whole.job.attempt.0 += 1)),
    ("a tag", |all| first(all, |whole| whole.job.tags = Default::default())),
    ("a history", |all| first(all, |whole| whole.history.truncate(0))),
    ("a record", |all| drop(all.records.insert(RECORDS[0].to_owned(), (9, Vec::new())))),
    ("a job that is gone", |all| {
        let extra = all.jobs.values().next().cloned();
        all.jobs.extend(extra.map(|whole| (JobId::from_bytes([7; 16]), whole)));
    }),
    ("a job that nobody enqueued", |all| {
        let key = all.jobs.keys().next().copied();
        key.and_then(|key| all.jobs.remove(&key));
    }),
];

/// Changes a job that has a history.
fn first(all: &mut Contents, change: impl Fn(&mut super::contents::Whole)) {
    all.jobs.values_mut().filter(|whole| !whole.history.is_empty()).take(1).for_each(change);
}

/// What a store does wrong with a damaged file.
#[derive(Clone, Copy, Debug)]
enum Fault {
    RefusesAndWrites,
    RefusesAndLeavesFiles,
    RefusesOtherwise,
    RefusesWithoutAName,
    Panics,
    SalvageWrites,
    SalvageMiscounts,
    SalvageHidesALoss,
    SalvageLeavesFiles,
}

impl Fault {
    const ALL: [Fault; 9] = [
        Fault::RefusesAndWrites,
        Fault::RefusesAndLeavesFiles,
        Fault::RefusesOtherwise,
        Fault::RefusesWithoutAName,
        Fault::Panics,
        Fault::SalvageWrites,
        Fault::SalvageMiscounts,
        Fault::SalvageHidesALoss,
        Fault::SalvageLeavesFiles,
    ];
}

struct Faulty<'a, S> {
    inner: &'a S,
    fault: Fault,
}

impl<S: Subject> Subject for Faulty<'_, S> {
    type Store = S::Store;
    const FILES: &'static [&'static str] = S::FILES;

    fn open(&self, path: &Path) -> Result<S::Store, BackendError> {
        if path.ends_with("rescued") {
            return self.inner.open(path);
        }
        let corrupted = BackendError::corrupted(format!("{}: planted", path.display()));
        match self.fault {
            Fault::RefusesAndWrites => meddle(path),
            Fault::RefusesAndLeavesFiles => fs::write(path.with_extension("left"), "").expect("room"),
            Fault::RefusesOtherwise => {
                return Err(BackendError::new(BackendErrorKind::Io, format!("{}: planted", path.display())));
            }
            Fault::RefusesWithoutAName => return Err(BackendError::corrupted("planted")),
            Fault::Panics => panic!("planted"),
            _ => {}
        }
        Err(corrupted)
    }

    fn salvage(&self, from: &Path, to: &Path) -> Result<Salvaged, BackendError> {
        let mut salvaged = self.inner.salvage(from, to)?;
        match self.fault {
            Fault::SalvageWrites => meddle(from),
            Fault::SalvageMiscounts => salvaged.jobs += 1,
            Fault::SalvageHidesALoss => {
                let mut store = self.inner.open(to)?;
                salvaged.jobs -= u64::from(delete_one(&mut store));
                store.close()?;
            }
            Fault::SalvageLeavesFiles => fs::write(to.with_extension("left"), "").expect("room"),
            _ => {}
        }
        Ok(salvaged)
    }
}

fn meddle(path: &Path) {
    let mut file = OpenOptions::new().append(true).open(path).expect("the copy can be opened");
    file.write_all(b"!").expect("the copy can be written to");
}

/// Deletes a job that is over, if there is one.
fn delete_one(store: &mut impl Store) -> bool {
    let found = Contents::of(store, &[]);
    let over = found.jobs.iter().find(|(_, whole)| whole.job.status.is_final()).map(|(id, _)| *id);
    if let Some(id) = over {
        run(store, |txn| match txn.load(id)? {
            Some(state) => txn.delete(&state),
            None => Ok(()),
        });
    }
    over.is_some()
}

/// Plants every fault. How many there are, and how many were caught.
///
/// # Panics
/// When the check finds something where nothing is wrong.
pub(super) fn run_all<S: Subject>(subject: &S, samples: &[Sample], scratch: &Path) -> (u64, u64) {
    let directory = scratch.join("control");
    let nothing = Mutation { file: 0, harm: Harm::Flip(Vec::new()) };
    let (mut planted, mut caught) = (0, 0);
    let mut count = |what: &str, found: Result<Fate, String>| {
        planted += 1;
        caught += u64::from(found.is_err());
        if found.is_ok() {
            eprintln!("not caught: {what}");
        }
    };
    for sample in samples {
        let fate = case::run(subject, sample, &nothing, &directory, CASE);
        assert_eq!(fate, Ok(Fate::Whole), "the {} file, not damaged", sample.name);
        for (what, alter) in ALTERATIONS {
            let altered = sample.altered(alter);
            count(what, case::run(subject, &altered, &nothing, &directory, CASE));
        }
        for fault in Fault::ALL {
            let faulty = Faulty { inner: subject, fault };
            count(&format!("{fault:?}"), case::run(&faulty, sample, &nothing, &directory, CASE));
        }
        count("a case that takes too long", case::run(subject, sample, &nothing, &directory, Duration::ZERO));
    }
    (planted, caught)
}
