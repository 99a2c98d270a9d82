use super::*;

/// A linear congruential generator (Knuth's MMIX constants): enough to pick from small ranges.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

fn random_event(random: &mut Random, now: i64) -> Event {
    let message = String::new();
    match random.below(16) {
        0..=4 => claim(),
        5 => complete("out"),
        6 => fail("no"),
        7 => Event::StreamEnded { message: "stream ended".to_owned() },
        8 => Event::Stop { message },
        9 => Event::Cancel,
        10 => Event::LoseWorker,
        11 => Event::Suspend { until: at(now + random.below(50) as i64) },
        12 => Event::Pause,
        13 => Event::Resume,
        14 => Event::Expire,
        _ => Event::Retry,
    }
}

/// A few random calls of a transaction.
fn random_work(txn: &mut dyn Txn, random: &mut Random, now: i64) -> Result<(), BackendError> {
    for _ in 0..1 + random.below(8) {
        let job = id(random.below(24));
        match (random.below(10), txn.load(job)?) {
            (0, _) => drop(txn.promote(at(now), 3)?),
            (1, _) => {
                let value: Option<(u64, &[u8])> = Some((random.below(9), b"v"));
                txn.put_record("r", value.filter(|_| random.below(2) == 0))?;
            }
            (2, Some(state)) if state.status.is_final() => txn.delete(&state)?,
            (_, Some(_)) => drop(apply(txn, job, &random_event(random, now), at(now))?),
            (_, None) => {
                let mut new = NewJob::new("kind", b"")
                    .id(*job.as_uuid())
                    .queue(["a", "b"][random.below(2) as usize])
                    .priority(random.below(3) as i16)
                    .run_after(Duration::from_micros(random.below(40)))
                    .crash_limit(1 + random.below(3) as u32)
                    .backoff(Backoff::fixed(Duration::from_micros(random.below(30))));
                if random.below(2) == 0 {
                    new = new.expires_after(Duration::from_micros(1 + random.below(60)));
                }
                enqueue(txn, new, at(now))?;
            }
        }
    }
    Ok(())
}

/// What `ready` should answer, from the rows alone.
fn ready_by_definition(store: &MemoryStore, name: &str, limit: usize) -> Vec<JobId> {
    let data = store.data.lock();
    let states: Vec<&JobState> = data.rows.values().map(|row| &row.state).collect();
    let mut due: Vec<&&JobState> =
        states.iter().filter(|job| job.is_claimable() && job.labels.queue == *name).collect();
    due.sort_by_key(|job| (job.order_key(), job.id));
    let mut suspects = states.iter().filter(|job| job.phase() == Phase::Held && job.is_suspect()).count();
    due.retain(|job| {
        let left_out = job.is_suspect() && suspects > 0;
        suspects += usize::from(job.is_suspect());
        !left_out
    });
    due.iter().take(limit).map(|job| job.id).collect()
}

#[test]
fn random_transactions_keep_the_indexes_true_and_rollbacks_leave_no_trace() {
    let mut random = Random(2026);
    let mut store = MemoryStore::new();
    for now in 0..4_000 {
        let verdict = if random.below(4) == 0 { Verdict::Rollback } else { Verdict::Commit };
        let before = if verdict == Verdict::Rollback { everything(&store) } else { String::new() };
        store.transact(&mut |txn| random_work(txn, &mut random, now).map(|()| verdict)).unwrap();
        if verdict == Verdict::Rollback {
            assert_eq!(everything(&store), before, "step {now}");
        }
        verify(&store).unwrap_or_else(|error| panic!("step {now}: {error}"));
        for name in ["a", "b"] {
            let limit = random.below(9) as usize;
            let found = ready(&mut store, name, &ClaimFilter::default(), limit);
            assert_eq!(found, ready_by_definition(&store, name, limit), "step {now}");
        }
    }
}
