//! Parts of the way by themselves. They need no files.

use std::hint::black_box;
use std::path::Path;

use bench_compare::Res;
use poolqueue_core::lifecycle::{Event, decide};
use poolqueue_core::{JobId, Limits};
use poolqueue_redb::bench::{Codec, ReadyIndex, seal_body, unseal_body};

use crate::jobs;

/// Jobs in the index.
const DUE: u64 = 10_000;
/// Prime to it, so that jobs are visited in no order.
const STRIDE: u64 = 7_919;

pub fn check(_: &Path, repetitions: u64) -> Res<()> {
    let limits = Limits::default();
    let job = jobs::new_job(7);
    for _ in 0..repetitions {
        black_box(black_box(&job).clone().into_insert(&limits, || JobId::from_bytes([7; 16])))?;
    }
    Ok(())
}

pub fn decide_steps(_: &Path, repetitions: u64) -> Res<()> {
    let waiting = jobs::waiting(7)?;
    let claim = Event::Claim { assignee: jobs::worker()? };
    let complete = Event::Complete { output: ().into() };
    for _ in 0..repetitions {
        let running = decide(black_box(&waiting), &claim, None, jobs::NOW)?.after;
        black_box(decide(&running, &complete, Some(running.attempt), jobs::NOW)?);
    }
    Ok(())
}

pub fn codec(_: &Path, repetitions: u64) -> Res<()> {
    let state = jobs::waiting(7)?;
    let body = jobs::insert(7)?.body;
    let mut codec = Codec::default();
    let mut row = Vec::new();
    for _ in 0..repetitions {
        codec.seal_state(black_box(&state), &mut row)?;
        black_box(codec.unseal_state(state.id, black_box(&row))?);
        seal_body(state.id, black_box(&body), &mut row)?;
        black_box(unseal_body(state.id, black_box(&row))?);
    }
    Ok(())
}

pub fn index(_: &Path, repetitions: u64) -> Res<()> {
    let due = (0..DUE).map(jobs::waiting).collect::<Res<Vec<_>>>()?;
    let mut index = ReadyIndex::of(due.iter().cloned());
    let visited = (1..).map(|visit: u64| visit * STRIDE % DUE);
    for (_, at) in (0..repetitions).zip(visited) {
        let job = usize::try_from(at).ok().and_then(|at| due.get(at)).ok_or("no such job")?;
        index.leave(job);
        index.take(job);
        index.commit();
    }
    black_box(&index);
    Ok(())
}
