use std::sync::Arc;

use foldhash::HashMap;
use poolqueue_core::{AssigneeId, Kind, Labels, QueueName, Tag, TagSet};

use super::{Flaw, StoredLabels, decode};

/// Labels and assignees that were decoded before, by their bytes: jobs share them, so that a job in memory
/// costs a pointer instead of its names.
///
/// Bounded: when it is full it starts anew. What was handed out stays valid.
#[derive(Debug, Default)]
pub(crate) struct Names {
    labels: HashMap<Box<[u8]>, Arc<Labels>>,
    assignees: HashMap<Box<str>, AssigneeId>,
}

/// Entries of each sort kept at most.
const ENTRIES_MAX: usize = 4096;

impl Names {
    pub(crate) fn labels(&mut self, bytes: &[u8]) -> Result<Arc<Labels>, Flaw> {
        if let Some(known) = self.labels.get(bytes) {
            return Ok(Arc::clone(known));
        }
        let stored: StoredLabels<'_> = decode(bytes)?;
        let bad = |error: poolqueue_core::Invalid| Flaw::Damaged(error.to_string());
        let tags: TagSet = stored.tags.iter().map(Tag::new).collect::<Result<_, _>>().map_err(bad)?;
        let labels = Arc::new(Labels {
            queue: QueueName::new(stored.queue).map_err(bad)?,
            kind: Kind::new(stored.kind).map_err(bad)?,
            tags,
        });
        if self.labels.len() >= ENTRIES_MAX {
            self.labels.clear();
        }
        self.labels.insert(bytes.into(), Arc::clone(&labels));
        Ok(labels)
    }

    pub(crate) fn assignee(&mut self, text: &str) -> Result<AssigneeId, Flaw> {
        if let Some(known) = self.assignees.get(text) {
            return Ok(known.clone());
        }
        let assignee = AssigneeId::new(text).map_err(|error| Flaw::Damaged(error.to_string()))?;
        if self.assignees.len() >= ENTRIES_MAX {
            self.assignees.clear();
        }
        self.assignees.insert(text.into(), assignee.clone());
        Ok(assignee)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.labels.len() + self.assignees.len()
    }
}
