use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::hash::Hash;
use std::sync::Arc;

use foldhash::HashMap;
use poolqueue_core::{ClaimFilter, Kind, Labels, Tag};

use super::Entry;
use super::lane::{Lane, Left};
use super::merge::Merge;

/// The first job of a lane, and the lane.
pub(super) type Head = (Entry, u32);
/// Lanes in the order of their first jobs.
pub(super) type Heads = BTreeSet<Head>;

/// Lanes, and the ways to find those a claim asks for: all of them, those of a kind, those with a tag, each in
/// the order of their first jobs.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    lanes: Vec<Option<Lane>>,
    free: Vec<u32>,
    by_labels: HashMap<Arc<Labels>, u32>,
    heads: Heads,
    by_kind: HashMap<Kind, Heads>,
    by_tag: HashMap<Tag, Heads>,
}

impl Shelf {
    pub(super) fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    pub(super) fn lane(&self, lane: u32) -> Option<&Lane> {
        self.lanes.get(lane as usize).and_then(Option::as_ref)
    }

    #[cfg(test)]
    pub(super) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Every job of every lane.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.lanes.iter().flatten().flat_map(Lane::iter)
    }

    /// Whether the job was not there.
    pub(super) fn insert(&mut self, labels: &Arc<Labels>, entry: Entry) -> bool {
        let Some(id) = self.by_labels.get(&**labels).copied() else {
            self.add(Lane::new(Arc::clone(labels), entry));
            return true;
        };
        let Some(lane) = self.lanes.get_mut(id as usize).and_then(Option::as_mut) else { return false };
        let before = lane.head();
        let inserted = lane.insert(entry);
        if before.is_some_and(|head| entry < head) {
            self.move_head(id, before, Some(entry));
        }
        inserted
    }

    /// Whether the job was there.
    pub(super) fn remove(&mut self, labels: &Labels, entry: Entry) -> bool {
        match self.by_labels.get(labels).copied() {
            Some(id) => self.remove_from(id, entry),
            None => false,
        }
    }

    /// Whether the job was in this lane.
    pub(super) fn remove_from(&mut self, id: u32, entry: Entry) -> bool {
        let Some(lane) = self.lanes.get_mut(id as usize).and_then(Option::as_mut) else { return false };
        let before = lane.head();
        match lane.remove(entry) {
            Left::Same => false,
            Left::Fewer => {
                let after = lane.head();
                if before != after {
                    self.move_head(id, before, after);
                }
                true
            }
            Left::Nothing => {
                self.move_head(id, before, None);
                if let Some(lane) = self.lanes.get_mut(id as usize).and_then(Option::take) {
                    self.by_labels.remove(&*lane.labels);
                    self.free.push(id);
                }
                self.shrink();
                true
            }
        }
    }

    /// Adds a lane whose labels are new.
    pub(super) fn add(&mut self, lane: Lane) {
        let (labels, head) = (Arc::clone(&lane.labels), lane.head());
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                // Ids fit: a lane takes far more memory than its id has numbers.
                let id = u32::try_from(self.lanes.len()).unwrap_or(u32::MAX);
                self.lanes.push(None);
                id
            }
        };
        if let Some(slot) = self.lanes.get_mut(id as usize) {
            *slot = Some(lane);
        }
        self.by_labels.insert(labels, id);
        self.move_head(id, None, head);
    }

    /// Frees the slots of lanes that went, once they are most of them.
    fn shrink(&mut self) {
        const KEPT: usize = 1024;
        if self.by_labels.is_empty() && self.lanes.len() > KEPT {
            *self = Shelf::default();
        }
    }

    /// Tells every list of heads that the first job of a lane changed.
    fn move_head(&mut self, id: u32, before: Option<Entry>, after: Option<Entry>) {
        let Some(labels) = self.lane(id).map(|lane| Arc::clone(&lane.labels)) else { return };
        let (before, after) = (before.map(|entry| (entry, id)), after.map(|entry| (entry, id)));
        replace(&mut self.heads, before, after);
        post(&mut self.by_kind, &labels.kind, before, after);
        for tag in labels.tags.iter() {
            post(&mut self.by_tag, tag, before, after);
        }
    }

    /// The jobs that `filter` takes by kind and tags, in the order of claims.
    pub(super) fn matching<'a>(&'a self, filter: &'a ClaimFilter) -> Merge<'a> {
        Merge::new(self, filter, self.sources(filter))
    }

    /// The shortest lists of heads that together hold every lane `filter` can take.
    pub(super) fn sources(&self, filter: &ClaimFilter) -> Vec<&Heads> {
        let mut best = vec![&self.heads];
        for tag in filter.tags.all.iter() {
            best = shorter(best, postings(&self.by_tag, std::iter::once(tag.as_str())));
        }
        if !filter.tags.any.is_empty() {
            best = shorter(best, postings(&self.by_tag, filter.tags.any.iter().map(Tag::as_str)));
        }
        if let Some(kinds) = &filter.kinds {
            best = shorter(best, postings(&self.by_kind, kinds.iter().map(Kind::as_str)));
        }
        best
    }
}

fn shorter<'a>(one: Vec<&'a Heads>, other: Vec<&'a Heads>) -> Vec<&'a Heads> {
    let length = |lists: &[&Heads]| lists.iter().map(|list| list.len()).sum::<usize>();
    if length(&other) < length(&one) { other } else { one }
}

fn postings<'a, 'n, K: Borrow<str> + Hash + Eq>(
    lists: &'a HashMap<K, Heads>,
    names: impl Iterator<Item = &'n str>,
) -> Vec<&'a Heads> {
    names.filter_map(|name| lists.get(name)).collect()
}

fn post<K: Clone + Hash + Eq>(
    lists: &mut HashMap<K, Heads>,
    name: &K,
    before: Option<Head>,
    after: Option<Head>,
) {
    match lists.get_mut(name) {
        Some(list) => {
            replace(list, before, after);
            if list.is_empty() {
                lists.remove(name);
            }
        }
        None => {
            if let Some(head) = after {
                lists.insert(name.clone(), Heads::from([head]));
            }
        }
    }
}

fn replace(list: &mut Heads, before: Option<Head>, after: Option<Head>) {
    if let Some(head) = before {
        list.remove(&head);
    }
    if let Some(head) = after {
        list.insert(head);
    }
}
