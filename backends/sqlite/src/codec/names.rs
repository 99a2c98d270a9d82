use std::sync::Arc;

use foldhash::HashMap;
use poolqueue_core::{AssigneeId, Kind, Labels, QueueName, Tag, TagSet};

use super::Flaw;

/// Labels and assignees that were read before, by their text: parsing them again would cost more than the row.
/// They are values, not facts about jobs, so it does not matter who writes the file meanwhile.
///
/// Bounded: when it is full it starts anew. What was handed out stays valid.
#[derive(Debug, Default)]
pub(crate) struct Names {
    labels: HashMap<Box<str>, Arc<Labels>>,
    assignees: HashMap<Box<str>, AssigneeId>,
    key: String,
}

/// Entries of each sort kept at most.
const ENTRIES_MAX: usize = 4096;

impl Names {
    /// The labels of a row; `tags` is JSON.
    pub(crate) fn labels(&mut self, queue: &str, kind: &str, tags: &str) -> Result<Arc<Labels>, Flaw> {
        // Neither a queue's nor a kind's name can hold a line break.
        self.key.clear();
        for part in [queue, "\n", kind, "\n", tags] {
            self.key.push_str(part);
        }
        if let Some(known) = self.labels.get(self.key.as_str()) {
            return Ok(Arc::clone(known));
        }
        let list: Vec<String> =
            serde_json::from_str(tags).map_err(|error| Flaw(format!("its tags are not a list: {error}")))?;
        let tags: TagSet = list.iter().map(Tag::new).collect::<Result<_, _>>()?;
        let labels = Arc::new(Labels { queue: QueueName::new(queue)?, kind: Kind::new(kind)?, tags });
        if self.labels.len() >= ENTRIES_MAX {
            self.labels.clear();
        }
        self.labels.insert(self.key.as_str().into(), Arc::clone(&labels));
        Ok(labels)
    }

    pub(crate) fn assignee(&mut self, text: &str) -> Result<AssigneeId, Flaw> {
        if let Some(known) = self.assignees.get(text) {
            return Ok(known.clone());
        }
        let assignee = AssigneeId::new(text)?;
        if self.assignees.len() >= ENTRIES_MAX {
            self.assignees.clear();
        }
        self.assignees.insert(text.into(), assignee.clone());
        Ok(assignee)
    }
}
