//! The life of a store that power losses are tried on: that it is a full one, and that its check sees what is wrong.

use std::collections::BTreeSet;

use poolqueue_core::memory::MemoryStore;
use poolqueue_core::{Detail, Filter, Phase, Query, Reader, Snapshot, Status, Store, Verdict};
use poolqueue_testkit::power::Life;

const COMMITS: u64 = 400;

fn statuses(store: &MemoryStore) -> Vec<(poolqueue_core::JobId, Status)> {
    let query = Query { filter: Filter::everything(), after: None, limit: 1_000, detail: Detail::State };
    let page = store.reader().snapshot().unwrap().select(&query).unwrap();
    page.jobs.into_iter().map(|job| (job.id, job.status)).collect()
}

#[test]
fn a_life_sees_every_status_and_its_end_is_the_model_s() {
    let mut store = MemoryStore::new();
    let mut life = Life::new(11);
    let (mut seen, mut most) = (BTreeSet::new(), 0);
    for number in 1..=COMMITS {
        assert_eq!(life.go_on(&mut store), Ok(number));
        assert_eq!(life.check_exactly(&mut store, number), Ok(number));
        let statuses = statuses(&store);
        most = most.max(statuses.len());
        seen.extend(statuses.into_iter().map(|(_, status)| status));
    }
    let missing: Vec<&Status> = Status::ALL.iter().filter(|status| !seen.contains(status)).collect();
    assert!(missing.is_empty(), "{missing:?} never came");
    assert!((20..80).contains(&most), "{most} jobs at once");
}

#[test]
fn a_life_can_be_led_again_from_any_moment() {
    let (mut store, mut life) = (MemoryStore::new(), Life::new(12));
    assert_eq!(life.go_on_until(&mut store, 30), Ok(30));
    let mut again = MemoryStore::new();
    for number in 0..30 {
        assert_eq!(life.check(&mut again, number), Ok(number));
        assert_eq!(life.again(&mut again, number), Ok(number + 1));
        assert_eq!(life.check(&mut again, number), Ok(number + 1), "the one in flight may have happened");
    }
    assert!(life.again(&mut again, 30).is_err());
}

#[test]
fn what_is_lost_invented_or_half_done_is_found() {
    let (mut store, mut life) = (MemoryStore::new(), Life::new(13));
    let mut now = life.go_on_until(&mut store, 60).unwrap();
    let over = |(id, status): (_, Status)| (status.phase() == Phase::Final).then_some(id);
    let gone = loop {
        match statuses(&store).into_iter().find_map(over) {
            Some(id) => break id,
            None => now = life.go_on(&mut store).unwrap(),
        }
    };
    let lost = life.check(&mut store, now + 1).unwrap_err();
    assert!(lost.contains(&format!("there was no transaction {}", now + 1)), "{lost}");
    assert!(life.check(&mut store, now - 2).is_err(), "two more than acknowledged");

    // One job of the last moment goes.
    let delete = |store: &mut MemoryStore| {
        store.transact(&mut |txn| {
            let state = txn.load(gone)?.expect("it was listed");
            txn.delete(&state).map(|()| Verdict::Commit)
        })
    };
    delete(&mut store).unwrap();
    let lost = life.check(&mut store, now).unwrap_err();
    assert!(lost.contains(&format!("job {gone}")) && lost.contains("is lost"), "{lost}");
}
