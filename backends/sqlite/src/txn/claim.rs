//! Which jobs can be claimed, and whose time has come.

use poolqueue_core::lifecycle::JobState;
use poolqueue_core::{BackendError, ClaimFilter, QueueName, Tag, Timestamp};
use rusqlite::{Row, params};

use crate::codec::{Columns, Flaw, Names, Stored, StoredRow};

use super::SqliteTxn;

/// How far the jobs with a tag are counted to find the rarest one.
const TAG_SAMPLE: i64 = 256;
/// The place of the column `kind` in a row of jobs; the tags stand behind it.
const KIND_AND_TAGS: [usize; 3] = [2, 3, 4];

impl SqliteTxn<'_> {
    pub(super) fn find_queues(
        &mut self,
        filter: &ClaimFilter,
        after: Option<&QueueName>,
        limit: usize,
    ) -> Result<Vec<QueueName>, BackendError> {
        let Some(named) = &filter.queues else { return self.all_queues(after, limit) };
        let mut named = named.clone();
        named.sort_unstable();
        named.dedup();
        let first = after.map_or(0, |after| named.partition_point(|queue| queue <= after));
        named.rotate_left(first);
        let site = self.site();
        let mut statement = self.prepare(&self.sql().queue_is_ready)?;
        let mut found = Vec::new();
        for queue in named {
            if found.len() >= limit {
                break;
            }
            let ready = statement.exists([queue.as_str()]);
            if ready.map_err(|error| site.engine("look for due jobs", error))? {
                found.push(queue);
            }
        }
        Ok(found)
    }

    /// The queues after one, then those up to it: each is found by a step into the index.
    fn all_queues(
        &mut self,
        after: Option<&QueueName>,
        limit: usize,
    ) -> Result<Vec<QueueName>, BackendError> {
        let site = self.site();
        let mut statement = self.prepare(&self.sql().next_queue)?;
        let mut found: Vec<QueueName> = Vec::new();
        let mut at = after.map_or_else(String::new, |queue| queue.as_str().to_owned());
        let mut wrapped = after.is_none();
        while found.len() < limit {
            let mut rows = statement.query([&at]).map_err(|error| site.engine("look for due jobs", error))?;
            let row = rows.next().map_err(|error| site.engine("look for due jobs", error))?;
            let Some(row) = row else {
                if wrapped {
                    break;
                }
                (wrapped, at) = (true, String::new());
                continue;
            };
            let name = Columns::of(row).text().and_then(|text| Ok(QueueName::new(text)?));
            let name = name.map_err(|flaw| site.flaw("the name of a queue", flaw))?;
            let round = wrapped && after.is_some_and(|after| name > *after);
            if round {
                break;
            }
            at = name.as_str().to_owned();
            found.push(name);
        }
        Ok(found)
    }

    pub(super) fn find_ready(
        &mut self,
        queue: &QueueName,
        filter: &ClaimFilter,
        limit: usize,
    ) -> Result<Vec<JobState>, BackendError> {
        let (site, sql) = (self.site(), self.sql());
        let engine = |error| site.engine("look for due jobs", error);
        let tag = self.rarest(queue, &filter.tags.all)?;
        let selective = filter.kinds.is_some() || !filter.tags.is_empty();
        let mut statement = self.prepare(if tag.is_some() { &sql.ready_tagged } else { &sql.ready })?;
        let mut rows = match tag {
            Some(tag) => statement.query([queue.as_str(), tag.as_str()]),
            None => statement.query([queue.as_str()]),
        }
        .map_err(engine)?;
        let mut found: Vec<JobState> = Vec::new();
        let mut suspect_allowed = None;
        while found.len() < limit {
            let Some(row) = rows.next().map_err(engine)? else { break };
            if selective && !wanted(row, filter, &mut self.memory.names) {
                continue;
            }
            let Some(stored) = self.listed(row, |state| state.is_claimable() && state.labels.queue == *queue)
            else {
                continue;
            };
            if stored.state.is_suspect() {
                let allowed = match suspect_allowed {
                    Some(allowed) => allowed,
                    None => !self.prepare(&sql.held_suspect)?.exists([]).map_err(engine)?,
                };
                suspect_allowed = Some(false);
                if !allowed {
                    continue;
                }
            }
            found.push(stored.state.clone());
            self.memory.keep(stored);
        }
        Ok(found)
    }

    /// The tag that the fewest due jobs of the queue have, as far as a look tells.
    fn rarest<'a>(&mut self, queue: &QueueName, tags: &'a [Tag]) -> Result<Option<&'a Tag>, BackendError> {
        if let [] | [_] = tags {
            return Ok(tags.first());
        }
        let site = self.site();
        let mut statement = self.prepare(&self.sql().tag_size)?;
        let mut rarest: Option<(i64, &Tag)> = None;
        for tag in tags {
            let size: i64 = statement
                .query_row(params![queue.as_str(), tag.as_str(), TAG_SAMPLE], |row| row.get(0))
                .map_err(|error| site.engine("look for due jobs", error))?;
            if rarest.is_none_or(|(smallest, _)| size < smallest) {
                rarest = Some((size, tag));
            }
        }
        Ok(rarest.map(|(_, tag)| tag))
    }

    /// Up to `limit` rows of a statement that lists jobs by a time, the earliest first.
    pub(super) fn timed(
        &mut self,
        sql: &str,
        until: Timestamp,
        limit: usize,
        fits: fn(&JobState) -> bool,
    ) -> Result<Vec<Stored>, BackendError> {
        let site = self.site();
        let engine = |error| site.engine("look for jobs by their time", error);
        let mut found = Vec::new();
        let mut statement = self.conn.prepare_cached(sql).map_err(engine)?;
        let mut rows = statement.query([until.as_micros()]).map_err(engine)?;
        while found.len() < limit {
            let Some(row) = rows.next().map_err(engine)? else { break };
            found.extend(self.listed(row, fits));
        }
        Ok(found)
    }

    /// A job that an index lists. `None` and a note of the damage when its row is not as it was written: such a
    /// job must not stand in the way of the others.
    fn listed(&mut self, row: &Row<'_>, fits: impl FnOnce(&JobState) -> bool) -> Option<Stored> {
        let site = self.site();
        let read = StoredRow::read(row).and_then(|stored_row| {
            let stored = stored_row.stored(&mut self.memory.names);
            let stored = stored.map_err(|Flaw(reason)| match stored_row.id() {
                Ok(id) => Flaw(format!("it says it is {id}: {reason}")),
                Err(_) => Flaw(reason),
            })?;
            if fits(&stored.state) { Ok(stored) } else { Err(Flaw::new("it is not what the index says")) }
        });
        read.map_err(|flaw| self.shared.note(&site.flaw("the state of a job", flaw))).ok()
    }
}

/// Whether a row's kind and tags are wanted: looked at before the rest of the row is read.
fn wanted(row: &Row<'_>, filter: &ClaimFilter, names: &mut Names) -> bool {
    let text = |at: usize| row.get_ref(at).ok().and_then(|value| value.as_str().ok());
    let [queue, kind, tags] = KIND_AND_TAGS.map(text);
    let (Some(queue), Some(kind), Some(tags)) = (queue, kind, tags) else { return true };
    match names.labels(queue, kind, tags) {
        Ok(labels) => filter.matches_within_queue(&labels.kind, &labels.tags),
        // Read in full, it is reported.
        Err(_) => true,
    }
}
