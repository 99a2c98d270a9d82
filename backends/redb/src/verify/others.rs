//! The tables that are not keyed by job.

use poolqueue_core::{BackendError, JobId};
use redb::{ReadTransaction, ReadableTable};

use crate::codec::{
    FINALS, Names, Owner, Part, SEQUENCE, StoredHolder, StoredRecord, StoredSequence, StoredState,
    StoredTally, unseal,
};
use crate::format;
use crate::reader::table;
use crate::site::Site;
use crate::tally::Tally;
use crate::txn::unique_row_key;

/// Every holder of a unique key is an unfinished job that has it.
pub(super) fn unique_keys(txn: &ReadTransaction, site: &Site) -> Result<(), BackendError> {
    let engine = |error| site.engine("read unique keys", error);
    let (Some(unique), live) =
        (table(txn, site.layout().unique(), site)?, table(txn, site.layout().live(), site)?)
    else {
        return Ok(());
    };
    let mut names = Names::default();
    for row in unique.iter().map_err(engine)? {
        let (key, row) = row.map_err(engine)?;
        let shown = String::from_utf8_lossy(key.value()).replace('\0', "/");
        let holder: StoredHolder = unseal(Owner::new(Part::Unique, key.value()), row.value())
            .map_err(|flaw| site.flaw(format_args!("the holder of the unique key {shown:?}"), flaw))?;
        let id = JobId::from_bytes(holder.id);
        let state = match &live {
            Some(live) => live.get(&holder.id).map_err(engine)?,
            None => None,
        };
        let Some(state) = state else {
            let what = format_args!("the unique key {shown:?} is held by job {id}, which is not unfinished");
            return Err(site.corrupted(what));
        };
        let state = unseal::<StoredState<'_>>(Owner::new(Part::State, id.as_bytes()), state.value())
            .and_then(|stored| stored.state(id, &mut names, false))
            .map_err(|flaw| site.flaw(format_args!("the state of job {id}"), flaw))?;
        let own = state.unique_key.as_ref().map(|own| unique_row_key(&state.labels.queue, own));
        if own.as_deref() != Some(key.value()) {
            let what = format_args!("the unique key {shown:?} is held by job {id}, which has another");
            return Err(site.corrupted(what));
        }
    }
    Ok(())
}

/// Every record decodes.
pub(super) fn records(txn: &ReadTransaction, site: &Site) -> Result<(), BackendError> {
    let engine = |error| site.engine("read records", error);
    let Some(records) = table(txn, site.layout().records(), site)? else { return Ok(()) };
    for row in records.iter().map_err(engine)? {
        let (key, row) = row.map_err(engine)?;
        let owner = Owner::new(Part::Record, key.value().as_bytes());
        unseal::<StoredRecord<'_>>(owner, row.value())
            .map_err(|flaw| site.flaw(format_args!("the record {:?}", key.value()), flaw))?;
    }
    Ok(())
}

/// The counters of finished jobs are `found`, and no sequence is greater than those that were reserved.
pub(super) fn meta(
    txn: &ReadTransaction,
    site: &Site,
    found: &Tally,
    sequence_max: Option<u64>,
) -> Result<(), BackendError> {
    let engine = |error| site.engine("read the counters", error);
    let Some(meta) = table(txn, site.layout().meta(), site)? else {
        return Err(site.corrupted("the table of formats is missing"));
    };
    format::read(&meta, site)?;
    let mut finals = Tally::default();
    if let Some(row) = meta.get(FINALS).map_err(engine)? {
        finals = unseal::<StoredTally>(Owner::new(Part::Meta, FINALS.as_bytes()), row.value())
            .and_then(|stored| stored.tally())
            .map_err(|flaw| site.flaw("the counters of finished jobs", flaw))?;
    }
    if finals != *found {
        let what = format_args!("the counters of finished jobs are {finals:?}, the records say {found:?}");
        return Err(site.corrupted(what));
    }
    let mut reserved = 0;
    if let Some(row) = meta.get(SEQUENCE).map_err(engine)? {
        let stored: StoredSequence = unseal(Owner::new(Part::Meta, SEQUENCE.as_bytes()), row.value())
            .map_err(|flaw| site.flaw("the sequence", flaw))?;
        reserved = stored.reserved;
    }
    if sequence_max.is_some_and(|most| most >= reserved) {
        return Err(site.corrupted("a job has a sequence that was never reserved"));
    }
    Ok(())
}
