use super::*;

#[test]
fn history_keeps_the_last_entries_and_counts_those_cut() {
    let mut store = store_of([new_job(1)]);
    drive(&mut store, id(1), 10, &[claim(), fail("first"), claim(), fail("second"), Event::Cancel]);
    let (entries, cut) = store.reader().snapshot().unwrap().history(id(1)).unwrap().unwrap();
    assert_eq!(cut, 2);
    let steps: Vec<_> = entries.iter().map(|entry| (entry.at, entry.to, entry.message.as_deref())).collect();
    let expected = [
        (at(12), Status::Running, None),
        (at(13), Status::FailedRetry, Some("second")),
        (at(14), Status::Stopped, None),
    ];
    assert_eq!(steps, expected);
    assert_eq!(store.reader().snapshot().unwrap().history(id(2)).unwrap(), None);
}

#[test]
fn last_error_and_output_stay_until_there_are_new_ones() {
    let mut store = store_of([new_job(1)]);
    let job =
        |store: &MemoryStore| store.reader().snapshot().unwrap().get(&[id(1)]).unwrap().remove(0).unwrap();
    drive(&mut store, id(1), 10, &[claim(), fail("oh")]);
    drive(&mut store, id(1), 20, &[claim()]);
    assert_eq!(job(&store).last_error.unwrap().message, "oh");
    assert_eq!(job(&store).output, None);
    drive(&mut store, id(1), 30, &[complete("")]);
    let done = job(&store);
    assert_eq!((done.output, done.last_error.unwrap().message), (Some(vec![]), "oh".to_owned()));
    assert_eq!((done.payload, done.status), (vec![1, 2, 3], Status::Completed));
}

#[test]
fn cancelling_twice_leaves_one_history_entry() {
    let mut store = store_of([new_job(1)]);
    drive(&mut store, id(1), 10, &[claim(), Event::Cancel, Event::Cancel]);
    let (entries, _) = store.reader().snapshot().unwrap().history(id(1)).unwrap().unwrap();
    assert_eq!(entries.len(), 2);
}

#[test]
fn calls_that_break_the_contract_are_refused_and_change_nothing() {
    let store = store_of([new_job(1)]);
    let before = everything(&store);
    let broken = |work: &dyn Fn(&mut dyn Txn) -> Result<(), BackendError>| {
        let mut store = store.clone();
        let error = commit(&mut store, work).unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::Invalid);
        assert_eq!(everything(&store), before);
        error.to_string()
    };
    let again = broken(&|txn| enqueue(txn, new_job(1), at(5)).map(|_| ()));
    assert_eq!(again, format!("job {} exists already", id(1)));
    let stale = broken(&|txn| {
        let job = txn.load(id(1))?.unwrap();
        let transition = decide(&job, &claim(), None, at(5)).unwrap();
        txn.store(&transition, None, HISTORY_MAX)?;
        txn.store(&transition, None, HISTORY_MAX)
    });
    assert!(stale.contains("starts from a state it is not in"), "{stale}");
    let gone = broken(&|txn| {
        let job = txn.load(id(1))?.unwrap();
        txn.delete(&job)?;
        txn.job(&job).map(|_| ())
    });
    assert_eq!(gone, format!("there is no job {} in the store", id(1)));
}

#[test]
fn a_closed_handle_refuses_and_its_data_stays_for_the_others() {
    let mut store = store_of([new_job(1)]);
    let reader = store.reader();
    let mut other = store.clone();
    store.close().unwrap();
    assert_eq!(reader.snapshot().unwrap_err().kind(), BackendErrorKind::Closed);
    assert_eq!(commit(&mut store, |_| Ok(())).unwrap_err().kind(), BackendErrorKind::Closed);
    assert_eq!(reader.health().closed.as_deref(), Some("the queue is closed"));

    drive(&mut other, id(1), 10, &[claim()]);
    assert!(store.clone().reader().snapshot().is_ok());
    store.reopen().unwrap();
    assert_eq!(reader.snapshot().unwrap().held().unwrap().len(), 1);
    assert_eq!(
        reader.health(),
        Health { closed: None, durability: DURABILITY.into(), ..other.reader().health() }
    );
}

#[test]
fn pages_follow_each_other_in_the_order_of_ids() {
    let store = store_of((1..=5).rev().map(|n| new_job(n).tag(if n % 2 == 0 { "even" } else { "odd" })));
    let snapshot = store.reader().snapshot().unwrap();
    let odd = Filter { tags: Some(Tags::all(["odd"]).checked().unwrap()), ..Filter::default() };
    let ids = |ids: &[u64]| Some(ids.iter().map(|n| id(*n)).collect::<Vec<_>>());
    let named = Filter { ids: ids(&[4, 2, 4, 9, 1]), ..Filter::default() };
    let union = Filter { ids: ids(&[4]), ..odd.clone() };
    let done = Filter::with_statuses(StatusSet::of_phase(Phase::Final));
    let cases = [
        (Filter::everything(), vec![vec![1, 2], vec![3, 4], vec![5]]),
        (odd, vec![vec![1, 3], vec![5]]),
        (named, vec![vec![1, 2], vec![4]]),
        (union, vec![vec![1, 3], vec![4, 5]]),
        (done, vec![vec![]]),
    ];
    for (filter, expected) in cases {
        let mut query = Query { filter, after: None, limit: 2, detail: Detail::State };
        let mut pages = Vec::new();
        loop {
            let page = snapshot.select(&query).unwrap();
            assert!(page.jobs.iter().all(|job| job.payload.is_empty()));
            pages.push(page.jobs.iter().map(|job| job.id).collect::<Vec<_>>());
            assert!(page.next.is_none() || page.next == page.jobs.last().map(|job| Cursor(job.id)));
            let Some(next) = page.next else { break };
            query.after = Some(next);
        }
        let expected: Vec<Vec<JobId>> =
            expected.iter().map(|page| page.iter().map(|n| id(*n)).collect()).collect();
        assert_eq!(pages, expected, "{:?}", query.filter);
        let total: usize = expected.iter().map(Vec::len).sum();
        assert_eq!(snapshot.count(&query.filter).unwrap().total(), total as u64);
    }
}

#[test]
fn verify_names_the_first_difference() {
    let key = || (queue("default"), UniqueKey::new("k").unwrap());
    type Damage = Box<dyn Fn(&mut Data)>;
    let damage = |change: fn(&mut Data)| -> Damage { Box::new(change) };
    let give_key = |holder| -> Damage {
        Box::new(move |data| {
            data.keys.insert(key(), id(holder));
        })
    };
    let cases: Vec<(Damage, &str)> = vec![
        (damage(|data| data.indexes.ready.clear()), "the index of due jobs of queue default lacks"),
        (damage(|data| data.indexes.future.clear()), "the index of jobs not yet due lacks"),
        (damage(|data| data.indexes.deadlines.clear()), "the index of deadlines lacks"),
        (damage(|data| data.indexes.held.extend([id(1)])), "the index of held jobs has"),
        (
            damage(|data| data.indexes.held_suspects.extend([id(1)])),
            "the index of held jobs one crash below their limit has",
        ),
        (damage(|data| data.indexes.counts.retries = 7), "counts are"),
        (
            damage(|data| data.indexes.ready.extend([(queue("x"), Default::default())])),
            "a queue without due jobs",
        ),
        (give_key(9), "unique key \"k\" of queue default"),
        (give_key(1), "unique key \"k\" of queue default"),
        (damage(|data| data.keys.clear()), "job 00000000-0000-0000-0000-000000000002 does not hold"),
        (damage(|data| data.sequence = 1), "job 00000000-0000-0000-0000-000000000002 has sequence 2"),
        (
            damage(|data| {
                let row = data.rows.remove(&id(1)).unwrap();
                data.rows.insert(id(7), row);
            }),
            "the row of job 00000000-0000-0000-0000-000000000007 is of job",
        ),
    ];
    for (damage, expected) in cases {
        let store = store_of([
            new_job(1),
            new_job(2).unique("own").expires_after(MILLI),
            new_job(3).run_after(MILLI),
        ]);
        verify(&store).unwrap();
        damage(&mut store.data.lock());
        let error = verify(&store).unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::Corrupted);
        assert!(error.to_string().starts_with(expected), "{error} should start with {expected}");
    }
}

#[test]
fn records_are_read_with_the_version_they_were_stored_with() {
    let mut store = MemoryStore::new();
    let stored = |store: &mut MemoryStore| {
        let version = commit(store, |txn| txn.record_version("key")).unwrap();
        (version, store.reader().snapshot().unwrap().record("key").unwrap())
    };
    assert_eq!(stored(&mut store), (0, None));
    for (version, value) in [(1, b"one"), (2, b"two")] {
        commit(&mut store, |txn| txn.put_record("key", Some((version, value)))).unwrap();
        assert_eq!(stored(&mut store), (version, Some((version, value.to_vec()))));
    }
    commit(&mut store, |txn| txn.put_record("key", None)).unwrap();
    assert_eq!(stored(&mut store), (0, None));
}

#[test]
fn jobs_come_in_the_order_of_the_ids_asked_for_and_held_ones_by_lease() {
    let mut store = store_of([1, 2, 3].map(new_job));
    drive(&mut store, id(3), 10, &[claim(), Event::LoseWorker, claim()]);
    drive(&mut store, id(1), 20, &[claim(), Event::Cancel]);
    drive(&mut store, id(2), 30, &[claim(), complete("done")]);
    let snapshot = store.reader().snapshot().unwrap();
    let found = snapshot.get(&[id(3), id(9), id(1), id(3)]).unwrap();
    let found: Vec<_> = found.iter().map(|job| job.as_ref().map(|job| (job.id, job.status))).collect();
    let (third, first) = ((id(3), Status::Running), (id(1), Status::Cancelling));
    assert_eq!(found, [Some(third), None, Some(first), Some(third)]);
    let lease = |n, attempt| crate::Lease { id: id(n), attempt: crate::Attempt(attempt) };
    assert_eq!(snapshot.held().unwrap(), [lease(1, 1), lease(3, 2)]);
    assert_eq!(store.membership(&[id(1), id(2), id(3)]), [(false, true), (false, false), (false, true)]);
    let verified = snapshot.verify().unwrap();
    assert_eq!((verified.jobs, verified.history_entries), (3, 7));
    assert_eq!(verified.counts, snapshot.count(&Filter::everything()).unwrap());
}

#[test]
fn a_deleted_job_leaves_nothing_behind() {
    let mut store = store_of([new_job(1).unique("one")]);
    drive(&mut store, id(1), 10, &[Event::Cancel]);
    commit(&mut store, |txn| {
        let job = txn.load(id(1))?.unwrap();
        txn.delete(&job)
    })
    .unwrap();
    let data = store.data.lock();
    assert!(data.rows.is_empty() && data.keys.is_empty());
    assert_eq!(data.indexes, Default::default());
}
