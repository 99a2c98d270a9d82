use std::collections::{BTreeSet, btree_set};
use std::sync::Arc;

use poolqueue_core::Labels;

use super::Entry;

/// The due jobs that have the same kind and the same tags, in the order of claims. Never empty.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) labels: Arc<Labels>,
    entries: Entries,
}

/// Where every job has tags of its own, a lane holds one job: that one has no tree.
#[derive(Debug)]
enum Entries {
    One(Entry),
    Many(BTreeSet<Entry>),
}

/// What is left of a lane.
pub(super) enum Left {
    /// The entry was not there.
    Same,
    /// The entry was removed.
    Fewer,
    /// The entry was the last one and is still there: the lane goes.
    Nothing,
}

impl Lane {
    pub(super) fn new(labels: Arc<Labels>, entry: Entry) -> Self {
        Lane { labels, entries: Entries::One(entry) }
    }

    /// A lane of `entries`; `None` when there are none.
    pub(super) fn of(labels: Arc<Labels>, mut entries: Vec<Entry>) -> Option<Self> {
        let entries = match entries.as_slice() {
            [] => return None,
            [one] => Entries::One(*one),
            _ => {
                entries.sort_unstable();
                Entries::Many(entries.into_iter().collect())
            }
        };
        Some(Lane { labels, entries })
    }

    pub(super) fn head(&self) -> Option<Entry> {
        match &self.entries {
            Entries::One(entry) => Some(*entry),
            Entries::Many(entries) => entries.first().copied(),
        }
    }

    pub(super) fn len(&self) -> usize {
        match &self.entries {
            Entries::One(_) => 1,
            Entries::Many(entries) => entries.len(),
        }
    }

    pub(super) fn insert(&mut self, entry: Entry) -> bool {
        match &mut self.entries {
            Entries::One(own) if *own == entry => false,
            Entries::One(own) => {
                self.entries = Entries::Many(BTreeSet::from([*own, entry]));
                true
            }
            Entries::Many(entries) => entries.insert(entry),
        }
    }

    pub(super) fn remove(&mut self, entry: Entry) -> Left {
        match &mut self.entries {
            Entries::One(own) if *own == entry => Left::Nothing,
            Entries::One(_) => Left::Same,
            Entries::Many(entries) if entries.len() == 1 => {
                if entries.contains(&entry) {
                    Left::Nothing
                } else {
                    Left::Same
                }
            }
            Entries::Many(entries) => {
                if entries.remove(&entry) {
                    Left::Fewer
                } else {
                    Left::Same
                }
            }
        }
    }

    pub(super) fn iter(&self) -> LaneIter<'_> {
        match &self.entries {
            Entries::One(entry) => LaneIter::One(Some(*entry)),
            Entries::Many(entries) => LaneIter::Many(entries.iter()),
        }
    }
}

pub(super) enum LaneIter<'a> {
    One(Option<Entry>),
    Many(btree_set::Iter<'a, Entry>),
}

impl Iterator for LaneIter<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        match self {
            LaneIter::One(entry) => entry.take(),
            LaneIter::Many(entries) => entries.next().copied(),
        }
    }
}
