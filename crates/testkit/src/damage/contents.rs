//! Everything that is stored, as a reader sees it.

use std::collections::BTreeMap;

use poolqueue_core::{
    BackendError, Counts, Detail, Filter, HistoryEntry, Job, JobId, Lease, Phase, Query, Reader, Snapshot,
    Status, Store, Verified,
};

/// More than any sample has.
const LIMIT: usize = 10_000;

/// A job and its history.
#[derive(Clone, Debug, PartialEq)]
pub struct Whole {
    pub job: Job,
    pub history: Vec<HistoryEntry>,
    /// Entries that were cut.
    pub cut: u64,
}

/// Everything that was stored at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    pub(super) jobs: BTreeMap<JobId, Whole>,
    pub(super) records: BTreeMap<String, (u64, Vec<u8>)>,
}

/// What a store returned when everything was asked for, piece by piece.
pub(super) struct Reading {
    pub list: Result<Vec<Job>, BackendError>,
    pub jobs: Vec<(JobId, Result<Option<Job>, BackendError>)>,
    pub histories: Vec<(JobId, Result<History, BackendError>)>,
    pub records: Vec<(String, Result<Record, BackendError>)>,
    pub counts: Result<Counts, BackendError>,
    pub held: Result<Vec<Lease>, BackendError>,
    pub verified: Result<Verified, BackendError>,
}

type History = Option<(Vec<HistoryEntry>, u64)>;
type Record = Option<(u64, Vec<u8>)>;

impl Contents {
    /// Everything in a store that is whole. Of the records, those with these keys.
    ///
    /// # Panics
    /// When it is not whole.
    pub fn of(store: &impl Store, keys: &[&str]) -> Self {
        let reading = Reading::of(store, &[], keys).expect("a whole store can be read");
        let ids: Vec<JobId> =
            reading.list.expect("a whole store can be listed").iter().map(|job| job.id).collect();
        let reading = Reading::of(store, &ids, keys).expect("a whole store can be read");
        assert!(reading.verified.is_ok(), "{:?}", reading.verified);
        reading.contents().expect("a whole store can be read")
    }

    pub(super) fn keys(&self) -> Vec<&str> {
        self.records.keys().map(String::as_str).collect()
    }

    /// How many jobs there are of each status, and the sum of their retries.
    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for status in Status::ALL.iter().copied() {
            let of_status = self.jobs.values().filter(|whole| whole.job.status == status);
            counts.set(status, of_status.count() as u64);
        }
        counts.retries = self.jobs.values().map(|whole| u64::from(whole.job.retry_count)).sum();
        counts
    }

    pub(super) fn held(&self) -> Vec<Lease> {
        let held = self.jobs.values().filter(|whole| whole.job.status.phase() == Phase::Held);
        held.map(|whole| whole.job.lease()).collect()
    }
}

impl Reading {
    /// Asks for everything: the list, and each of these jobs and records.
    ///
    /// # Errors
    /// When there is no reading at all.
    pub(super) fn of(store: &impl Store, ids: &[JobId], keys: &[&str]) -> Result<Self, BackendError> {
        let snapshot = store.reader().snapshot()?;
        let everything =
            Query { filter: Filter::everything(), after: None, limit: LIMIT, detail: Detail::Full };
        let record = |key: &&str| ((*key).to_owned(), snapshot.record(key));
        let one = |id: &JobId| (*id, snapshot.get(&[*id]).map(|mut found| found.pop().flatten()));
        Ok(Reading {
            list: snapshot.select(&everything).map(|page| page.jobs),
            jobs: ids.iter().map(one).collect(),
            histories: ids.iter().map(|id| (*id, snapshot.history(*id))).collect(),
            records: keys.iter().map(record).collect(),
            counts: snapshot.count(&Filter::everything()),
            held: snapshot.held(),
            verified: snapshot.verify(),
        })
    }

    /// Every error there is.
    pub(super) fn errors(&self) -> impl Iterator<Item = &BackendError> {
        let jobs = self.jobs.iter().filter_map(|(_, found)| found.as_ref().err());
        let histories = self.histories.iter().filter_map(|(_, found)| found.as_ref().err());
        let records = self.records.iter().filter_map(|(_, found)| found.as_ref().err());
        let (list, counts) = (self.list.as_ref().err(), self.counts.as_ref().err());
        let (held, verified) = (self.held.as_ref().err(), self.verified.as_ref().err());
        jobs.chain(histories).chain(records).chain(list).chain(counts).chain(held).chain(verified)
    }

    /// All of it in one piece.
    ///
    /// # Errors
    /// What does not go together.
    pub(super) fn contents(self) -> Result<Contents, String> {
        if let Some(error) = self.errors().next() {
            return Err(format!("the full check finds nothing, but: {error}"));
        }
        let mut contents = Contents::default();
        for ((id, job), (_, history)) in self.jobs.into_iter().zip(self.histories) {
            if let (Ok(Some(job)), Ok(Some((history, cut)))) = (job, history) {
                contents.jobs.insert(id, Whole { job, history, cut });
            }
        }
        for (key, record) in self.records {
            if let Ok(Some(record)) = record {
                contents.records.insert(key, record);
            }
        }
        let listed = self.list.unwrap_or_default();
        if !listed.iter().eq(contents.jobs.values().map(|whole| &whole.job)) {
            return Err(format!("the list has {} jobs, {} can be got", listed.len(), contents.jobs.len()));
        }
        if self.counts.ok() != Some(contents.counts()) {
            return Err("the counts are not those of the jobs".to_owned());
        }
        if self.held.ok().map(sorted) != Some(contents.held()) {
            return Err("other jobs are held than say so".to_owned());
        }
        Ok(contents)
    }
}

fn sorted(mut leases: Vec<Lease>) -> Vec<Lease> {
    leases.sort_by_key(|lease| lease.id);
    leases
}
