use std::cmp::Reverse;
use std::collections::{BinaryHeap, btree_set};

use poolqueue_core::ClaimFilter;

use super::Entry;
use super::lane::LaneIter;
use super::shelf::{Head, Heads, Shelf};

/// Walks the lanes that match a filter as if they were one, in the order of claims.
///
/// A lane is opened only when its first job's turn has come, so that the first job costs the same
/// however many lanes there are; a lane that does not match costs one step, however long it is.
pub(super) struct Merge<'a> {
    shelf: &'a Shelf,
    filter: &'a ClaimFilter,
    sources: Vec<btree_set::Iter<'a, Head>>,
    open: Vec<LaneIter<'a>>,
    next: BinaryHeap<Reverse<(Entry, u32, From)>>,
    last_opened: Option<Head>,
}

/// Where the next entry after one comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum From {
    Source(usize),
    Lane(usize),
}

impl<'a> Merge<'a> {
    pub(super) fn new(shelf: &'a Shelf, filter: &'a ClaimFilter, lists: Vec<&'a Heads>) -> Self {
        let sources = lists.into_iter().map(|list| list.iter()).collect();
        let mut merge =
            Merge { shelf, filter, sources, open: Vec::new(), next: BinaryHeap::new(), last_opened: None };
        for source in 0..merge.sources.len() {
            merge.pull_source(source);
        }
        merge
    }

    fn pull_source(&mut self, source: usize) {
        if let Some((entry, lane)) = self.sources.get_mut(source).and_then(Iterator::next) {
            self.next.push(Reverse((*entry, *lane, From::Source(source))));
        }
    }

    fn pull_lane(&mut self, lane: u32, open: usize) {
        if let Some(entry) = self.open.get_mut(open).and_then(Iterator::next) {
            self.next.push(Reverse((entry, lane, From::Lane(open))));
        }
    }

    /// Goes on with a lane whose first entry was just met in a list. Whether it matches.
    fn open(&mut self, head: Head) -> bool {
        // A lane that stands in several lists is met several times in a row.
        if self.last_opened.replace(head) == Some(head) {
            return false;
        }
        let Some(lane) = self.shelf.lane(head.1) else { return false };
        if !self.filter.matches_within_queue(&lane.labels.kind, &lane.labels.tags) {
            return false;
        }
        if lane.len() > 1 {
            let mut rest = lane.iter();
            rest.next();
            self.open.push(rest);
            self.pull_lane(head.1, self.open.len() - 1);
        }
        true
    }
}

impl Iterator for Merge<'_> {
    /// A lane and one of its jobs.
    type Item = (u32, Entry);

    fn next(&mut self) -> Option<(u32, Entry)> {
        while let Some(Reverse((entry, lane, from))) = self.next.pop() {
            match from {
                From::Source(source) => {
                    self.pull_source(source);
                    if self.open((entry, lane)) {
                        return Some((lane, entry));
                    }
                }
                From::Lane(open) => {
                    self.pull_lane(lane, open);
                    return Some((lane, entry));
                }
            }
        }
        None
    }
}
