use super::*;

/// Walks over `keys`, of which those that are `bad` cannot be passed.
fn found(keys: &[u128], bad: impl Fn(u128) -> bool, top: u128) -> (Vec<u128>, bool) {
    let (found, damage) = keys_around(0..=top, &mut |range, back, each| {
        let mut inside: Vec<u128> = keys.iter().copied().filter(|key| range.contains(key)).collect();
        if back {
            inside.reverse();
        }
        for key in inside {
            if bad(key) {
                return Err(BackendError::corrupted("a bad page"));
            }
            each(key);
        }
        Ok(())
    });
    (found.into_iter().collect(), damage.is_some())
}

#[test]
fn what_stands_between_damaged_places_is_found() {
    let keys: Vec<u128> = (0..1_000).collect();
    assert_eq!(found(&keys, |_| false, u128::MAX), (keys.clone(), false));
    let bad = |key: u128| [0, 100, 101, 500, 999].contains(&key);
    let good: Vec<u128> = keys.iter().copied().filter(|key| !bad(*key)).collect();
    assert_eq!(found(&keys, bad, u128::MAX), (good.clone(), true));
    assert_eq!(found(&keys, bad, 999), (good, true));
    assert_eq!(found(&keys, |_| true, u128::MAX), (Vec::new(), true));
    assert_eq!(found(&[u128::MAX], |_| false, u128::MAX), (vec![u128::MAX], false));
}

#[test]
fn keys_out_of_order_are_not_believed() {
    let mut calls = 0;
    let (found, damage) = keys_around(0..=9, &mut |_, back, each| {
        calls += 1;
        let keys = if back { [9, 8, 9, 7] } else { [1, 2, 1, 3] };
        keys.into_iter().for_each(&mut *each);
        Ok(())
    });
    assert!(damage.is_some());
    assert!(
        found.contains(&1) && found.contains(&2) && found.contains(&9) && found.contains(&8),
        "{found:?}"
    );
    assert!(calls <= 2 * PROBES);
}

/// A store that has no `restore` is told apart from one that is damaged.
#[test]
fn a_store_that_takes_nothing_says_so() {
    use crate::lifecycle::Admission;
    let mut store = crate::memory::MemoryStore::new();
    let insert =
        crate::NewJob::new("kind", b"").into_insert(&crate::Limits::default(), || JobId::from_bytes([1; 16]));
    let insert = insert.unwrap();
    let admission: &Admission = &insert.admission;
    let state = JobState::admit(admission, 1, crate::Timestamp::from_micros(0));
    let saved =
        Saved { state, body: insert.body, output: Output::none(), error: None, history: Vec::new(), cut: 0 };
    let error = refill(&mut store, &mut |rescue| rescue.job(saved.clone())).unwrap_err();
    assert_eq!(error.kind(), crate::BackendErrorKind::Invalid, "{error}");
}

#[test]
fn losses_are_counted_when_they_are_not_listed() {
    let mut store = crate::memory::MemoryStore::new();
    let salvaged = refill(&mut store, &mut |rescue| {
        for _ in 0..LOSSES + 3 {
            rescue.lost(Lost::new(LostPart::Job, Some(JobId::from_bytes([2; 16])), "why"));
        }
        Ok(())
    });
    let salvaged = salvaged.unwrap();
    assert_eq!((salvaged.lost.len(), salvaged.lost_unlisted), (LOSSES, 3));
    assert!(!salvaged.is_complete());
    assert_eq!(salvaged.lost[0].to_string(), "job 02020202-0202-0202-0202-020202020202: why");
}
