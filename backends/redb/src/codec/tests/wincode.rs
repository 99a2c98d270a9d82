//! The way out of bincode: wincode reads and writes the same bytes, so leaving needs no migration.
//!
//! wincode's derive macros write `unsafe` code, which this workspace forbids; a struct is stored as its fields one
//! after the other, and so is a tuple, which needs no macro.

use std::fmt::Debug;

use bincode::Encode;
use wincode::config::{Configuration, DefaultConfig};
use wincode::int_encoding::{LittleEndian, VarInt};
use wincode::len::UseIntLen;
use wincode::{SchemaRead, SchemaWrite};

use super::super::*;
use super::{body, chunk, entry, full_state, labels, outcome, plain_state, span, tally};

type Varint = Configuration<true, { 4 << 20 }, UseIntLen<u64>, LittleEndian, VarInt, u32>;

const VARINT: Varint = DefaultConfig::new().with_varint_encoding().with_length_encoding::<UseIntLen<u64>>();

/// bincode and wincode agree on the bytes of `value`, which has the fields of `mirror`.
#[track_caller]
fn check<'a, M>(value: &impl Encode, mirror: &M, bytes: &'a mut Vec<u8>)
where
    M: SchemaWrite<Varint, Src = M> + SchemaRead<'a, Varint, Dst = M> + PartialEq + Debug,
{
    bytes.clear();
    encode(value, bytes).unwrap();
    assert_eq!(wincode::config::serialize(mirror, VARINT).unwrap(), *bytes);
    assert_eq!(wincode::config::deserialize_exact::<M, _>(bytes, VARINT).unwrap(), *mirror);
}

type Span = (u64, u32);

fn mirror_span(span: StoredSpan) -> Span {
    (span.seconds, span.nanos)
}

type Counters = (u32, u32, u32, u32, Option<u32>, u32);
type Front<'a> = (&'a [u8], Option<&'a str>, u8, Option<u8>, Option<u8>, Counters);
type Times = (Option<i64>, Option<i64>, Option<i64>, Option<i64>, Option<i64>);
type History<'a> = (u64, u32, u32, u32, u32, u32, u32, &'a [u8]);
type Back<'a> = (i16, i64, bool, u64, i64, Times, Option<&'a str>, Option<u32>, History<'a>);

fn front<'a>(state: &StoredState<'a>) -> Front<'a> {
    let counters = (
        state.attempt,
        state.failures,
        state.retry_count,
        state.crashes,
        state.max_attempts,
        state.crash_limit,
    );
    (state.labels, state.unique_key, state.status, state.resumes_to, state.last_reported, counters)
}

fn back<'a>(state: &StoredState<'a>) -> Back<'a> {
    let times =
        (state.expires_at, state.started_at, state.assigned_at, state.last_retry_at, state.finalized_at);
    let h = state.history;
    let history = (
        h.dropped,
        h.first_chunk,
        h.next_chunk,
        h.skipped,
        h.first_entries,
        h.chunk_entries,
        h.tail_entries,
        h.tail,
    );
    (
        state.priority,
        state.run_at,
        state.due,
        state.sequence,
        state.created_at,
        times,
        state.assignee,
        state.outcome,
        history,
    )
}

#[test]
fn wincode_reads_and_writes_the_bytes_of_states() {
    let (delay, ceiling) = (span(1), span(1 << 40));
    let mut rows = vec![Vec::new(); 4];
    let [none, fixed, linear, exponential] = rows.as_mut_slice() else { unreachable!() };
    // A variant is its number, then its fields.
    let state = plain_state();
    check(&state, &(front(&state), 0u32, back(&state)), none);
    let state = full_state(StoredBackoff::Fixed { delay, jitter: true });
    check(&state, &(front(&state), (1u32, mirror_span(delay), true), back(&state)), fixed);
    let state = full_state(StoredBackoff::Linear { step: delay, ceiling, jitter: false });
    let backoff = (2u32, mirror_span(delay), mirror_span(ceiling), false);
    check(&state, &(front(&state), backoff, back(&state)), linear);
    let state = full_state(StoredBackoff::Exponential { first: delay, ceiling, jitter: true });
    let backoff = (3u32, mirror_span(delay), mirror_span(ceiling), true);
    check(&state, &(front(&state), backoff, back(&state)), exponential);
}

#[test]
fn wincode_reads_and_writes_the_bytes_of_everything_else() {
    let mut rows = vec![Vec::new(); 10];
    let mut row = rows.iter_mut();
    let mut next = || row.next().unwrap();
    let value = labels();
    check(&value, &(value.queue, value.kind, value.tags.clone()), next());
    let value = body();
    let timeout = value.timeout.map(mirror_span);
    check(&value, &(value.payload, value.content_type, value.metadata.clone(), timeout), next());
    let value = outcome();
    let error = value.error.map(|error| (error.message, error.kind));
    check(&value, &(value.attempt, value.output, error), next());
    let value = chunk();
    check(&value, &(value.count, value.entries), next());
    let value = entry();
    let mirror = (value.at, value.event, value.from, value.to, value.attempt, value.assignee, value.message);
    check(&value, &mirror, next());
    check(&tally(), &tally().statuses, next());
    check(&StoredFormat { version: 7 }, &7u32, next());
    check(&StoredSequence { reserved: 1 << 60 }, &(1u64 << 60), next());
    check(&StoredRecord { version: 251, value: b"value" }, &(251u64, b"value".as_slice()), next());
    check(&StoredHolder { id: [9; 16] }, &[9u8; 16], next());
}
