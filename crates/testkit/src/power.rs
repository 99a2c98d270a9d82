//! The life of a store, and whether one that was opened again holds what it has to.
//!
//! A [`Life`] drives a store as the writer does, transaction after transaction, and the store in memory with the same
//! calls: that is the model. After each transaction that was acknowledged it keeps the [`Everything`] the model holds.
//! Of a store whose life was cut short after `k` acknowledged transactions, by a power loss or otherwise, everything must be
//! as after `k` of them, or after `k + 1`: the one in flight may have happened, but wholly.
//!
//! Everything is drawn with the seed alone, so a life can be led again.

mod draw;
mod everything;
mod step;

use std::fmt;

use poolqueue_core::memory::MemoryStore;
use poolqueue_core::{Store, Verdict};

use draw::World;
pub use everything::Everything;
use step::Group;

/// How many transactions were synced, and how many acknowledged, as one mark of a record: for stores that do not sync each.
#[must_use]
pub fn mark(synced: u64, acknowledged: u64) -> u64 {
    synced << 32 | acknowledged
}

/// What such a mark says.
#[must_use]
pub fn marked(mark: u64) -> (u64, u64) {
    (mark >> 32, mark & u64::from(u32::MAX))
}

/// The life of a store up to now. See the module.
pub struct Life {
    seed: u64,
    world: World,
    model: MemoryStore,
    /// The groups that were committed.
    groups: Vec<Group>,
    /// What there was before the first of them, and after each.
    moments: Vec<Everything>,
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Life { seed, groups, .. } = self;
        f.debug_struct("Life").field("seed", seed).field("groups", &groups.len()).finish_non_exhaustive()
    }
}

impl Life {
    /// That of a new store.
    ///
    /// # Panics
    /// When the store in memory fails.
    pub fn new(seed: u64) -> Self {
        let mut model = MemoryStore::new();
        let empty = Everything::of(&mut model, None).expect("the store in memory can be read");
        Life { seed, world: World::new(seed), model, groups: Vec::new(), moments: vec![empty] }
    }

    /// What it was drawn with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How many transactions were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.groups.len() as u64
    }

    /// Does the next transaction, on the model and on the store, which holds what the model does; now and then one
    /// before it that is rolled back. Returns how many were acknowledged with this one. Each leaves something else than
    /// there was before.
    ///
    /// # Errors
    /// What the store did otherwise than the model, in words.
    pub fn go_on(&mut self, store: &mut impl Store) -> Result<u64, String> {
        if self.world.rolls_back() {
            let group = self.world.group(&self.model);
            self.both(store, &group, Verdict::Rollback)?;
        }
        loop {
            let group = self.world.group(&self.model);
            self.both(store, &group, Verdict::Commit)?;
            let now =
                Everything::of(&mut self.model, self.moments.last()).map_err(|error| error.to_string())?;
            if self.moments.last() == Some(&now) {
                continue;
            }
            self.moments.push(now);
            self.groups.push(group);
            return Ok(self.acknowledged());
        }
    }

    /// Goes on until so many transactions were acknowledged.
    ///
    /// # Errors
    /// As [`go_on`](Self::go_on).
    pub fn go_on_until(&mut self, store: &mut impl Store, acknowledged: u64) -> Result<u64, String> {
        while self.acknowledged() < acknowledged {
            self.go_on(store)?;
        }
        Ok(self.acknowledged())
    }

    fn both(&mut self, store: &mut impl Store, group: &Group, verdict: Verdict) -> Result<(), String> {
        let expected = group.run(&mut self.model, verdict).map_err(|error| format!("the model: {error}"))?;
        let found = group.run(store, verdict).map_err(|error| format!("{error}, with {group:?}"))?;
        if found == expected {
            return Ok(());
        }
        Err(format!("the store answers {found:?}, the model {expected:?}, to {group:?}"))
    }

    /// Does on a store that holds what there was after `acknowledged` transactions the one that came then. Returns how many
    /// are acknowledged with it.
    ///
    /// # Errors
    /// What the store reported, or that there is no such transaction.
    pub fn again(&self, store: &mut impl Store, acknowledged: u64) -> Result<u64, String> {
        let at = usize::try_from(acknowledged).unwrap_or(usize::MAX);
        let group = self.groups.get(at).ok_or_else(|| format!("there is no transaction {acknowledged}"))?;
        group.run(store, Verdict::Commit).map_err(|error| error.to_string())?;
        Ok(acknowledged + 1)
    }

    /// Whether a store that was opened again after so many transactions were acknowledged holds what it has to, and is clean.
    /// Returns how many transactions it holds: as many, or one more.
    ///
    /// # Errors
    /// What differs, in words.
    pub fn check(&self, store: &mut impl Store, acknowledged: u64) -> Result<u64, String> {
        self.check_up_to(store, acknowledged, acknowledged.saturating_add(1))
    }

    /// As [`check`](Self::check), of a store in which no transaction was in flight.
    ///
    /// # Errors
    /// What differs, in words.
    pub fn check_exactly(&self, store: &mut impl Store, acknowledged: u64) -> Result<u64, String> {
        self.check_up_to(store, acknowledged, acknowledged)
    }

    /// As [`check`](Self::check), of a store that may not have synced all that it acknowledged: it holds `first` transactions at
    /// least and `last` at most.
    ///
    /// # Errors
    /// What differs, in words.
    pub fn check_up_to(&self, store: &mut impl Store, first: u64, last: u64) -> Result<u64, String> {
        let found = Everything::of(store, None).map_err(|error| format!("it cannot be read: {error}"))?;
        let mut differences = Vec::new();
        for number in first..=last {
            let moment = usize::try_from(number).ok().and_then(|number| self.moments.get(number));
            match moment.map(|moment| moment.difference(&found)) {
                Some(None) => return Ok(number),
                Some(Some(difference)) => {
                    differences.push(format!("after {number} transactions {difference}"));
                }
                None => differences.push(format!("there was no transaction {number}")),
            }
        }
        Err(differences.join("; "))
    }
}
