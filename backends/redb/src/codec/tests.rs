//! The stored bytes: pinned by golden files, checked against another implementation, and wrong in many ways.

mod wincode;

use std::fmt::Debug;
use std::fs;
use std::path::PathBuf;

use bincode::{BorrowDecode, Encode};
use poolqueue_core::JobId;

use super::*;

const ID: [u8; 16] = *b"0123456789abcdef";
const LABELS: &[u8] = &[4, b'm', b'a', b'i', b'l', 1, b'k', 2, 1, b'a', 2, 0xC3, 0xBC];

fn span(seconds: u64) -> StoredSpan {
    StoredSpan { seconds, nanos: 500 }
}

fn plain_state() -> StoredState<'static> {
    StoredState {
        labels: LABELS,
        unique_key: None,
        status: 0,
        resumes_to: None,
        last_reported: None,
        attempt: 0,
        failures: 0,
        retry_count: 0,
        crashes: 0,
        max_attempts: None,
        crash_limit: 3,
        backoff: StoredBackoff::None,
        priority: 0,
        run_at: 1_700_000_000_000_000,
        due: true,
        sequence: 1,
        created_at: 1_700_000_000_000_000,
        expires_at: None,
        started_at: None,
        assigned_at: None,
        last_retry_at: None,
        finalized_at: None,
        assignee: None,
        outcome: None,
        history: StoredHistory::default(),
    }
}

fn full_state(backoff: StoredBackoff) -> StoredState<'static> {
    StoredState {
        unique_key: Some("only one"),
        status: 7,
        last_reported: Some(1),
        attempt: 300,
        failures: 2,
        retry_count: 70_000,
        crashes: 1,
        max_attempts: Some(25),
        crash_limit: u32::MAX,
        backoff,
        priority: -100,
        run_at: i64::MAX,
        due: false,
        sequence: u64::MAX,
        created_at: i64::MIN,
        expires_at: Some(1),
        started_at: Some(2),
        assigned_at: Some(-3),
        last_retry_at: Some(4),
        finalized_at: Some(5),
        assignee: Some("worker Ä"),
        outcome: Some(299),
        history: StoredHistory {
            dropped: 1 << 40,
            first_chunk: 3,
            next_chunk: 9,
            skipped: 2,
            first_entries: 17,
            chunk_entries: 99,
            tail_entries: 1,
            tail: &[1, 2, 3],
        },
        ..plain_state()
    }
}

fn labels() -> StoredLabels<'static> {
    StoredLabels { queue: "mail", kind: "k", tags: vec!["a", "ü"] }
}

fn body() -> StoredBody<'static> {
    StoredBody {
        payload: &[0, 255, 7],
        content_type: 1,
        metadata: vec![("key", "value"), ("", "")],
        timeout: Some(span(30)),
    }
}

fn outcome() -> StoredOutcome<'static> {
    StoredOutcome {
        attempt: 299,
        output: Some((b"done", 0)),
        error: Some(StoredError { message: "no luck", kind: Some(6) }),
    }
}

fn entry() -> StoredEntry<'static> {
    StoredEntry { at: -9, event: 2, from: 4, to: 1, attempt: 7, assignee: Some("w"), message: Some("m") }
}

fn chunk() -> StoredChunk<'static> {
    StoredChunk { count: 1, entries: &[1, 2] }
}

fn tally() -> StoredTally {
    StoredTally { statuses: vec![(7, 1 << 33, 2), (11, 1, 0)] }
}

/// The bytes of `value` are those of the golden file, and lead back to it.
#[track_caller]
fn check<'a, T>(name: &str, owner: Owner<'_>, value: &T, row: &'a mut Vec<u8>)
where
    T: Encode + BorrowDecode<'a, ()> + PartialEq + Debug,
{
    seal(owner, value, row).unwrap();
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.hex"));
    let hex: String = row.chunks(32).map(|line| hex_of(line) + "\n").collect();
    if std::env::var_os("POOLQUEUE_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &hex).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(hex, golden, "the bytes of {name} changed: stored files would not be read any more");
    assert_eq!(unseal::<T>(owner, row).as_ref(), Ok(value));
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_stored_bytes_are_those_of_the_golden_files() {
    let job = |part| Owner::new(part, &ID);
    let meta = |key: &'static str| Owner::new(Part::Meta, key.as_bytes());
    let mut rows = vec![Vec::new(); 16];
    let mut row = rows.iter_mut();
    let mut next = || row.next().unwrap();
    check("state-plain", job(Part::State), &plain_state(), next());
    let fixed = StoredBackoff::Fixed { delay: span(1), jitter: true };
    check("state-fixed", job(Part::State), &full_state(fixed), next());
    let linear = StoredBackoff::Linear { step: span(1), ceiling: span(2), jitter: false };
    check("state-linear", job(Part::State), &full_state(linear), next());
    let exponential = StoredBackoff::Exponential { first: span(1), ceiling: span(2), jitter: true };
    check("state-exponential", job(Part::State), &full_state(exponential), next());
    check("labels", job(Part::State), &labels(), next());
    check("body", job(Part::Body), &body(), next());
    check("outcome", Owner::numbered(Part::Outcome, &ID, 299), &outcome(), next());
    check("history", Owner::numbered(Part::History, &ID, 3), &chunk(), next());
    check("history-entry", job(Part::History), &entry(), next());
    check("format", meta(FORMAT), &StoredFormat { version: 1 }, next());
    check("sequence", meta(SEQUENCE), &StoredSequence { reserved: 65_537 }, next());
    check("finals", meta(FINALS), &tally(), next());
    check("owner", meta(OWNER), &StoredOwner { id: ID }, next());
    check("commits", meta(COMMITS), &StoredCommits { count: 65_537 }, next());
    let record = StoredRecord { version: 9, value: b"cursor" };
    check("record", Owner::new(Part::Record, b"schedule/a"), &record, next());
    check("unique", Owner::new(Part::Unique, b"mail\0only one"), &StoredHolder { id: ID }, next());
}

#[test]
fn labels_are_the_bytes_a_state_holds_of_them() {
    let mut bytes = Vec::new();
    encode(&labels(), &mut bytes).unwrap();
    assert_eq!(bytes, LABELS);
}

#[test]
fn a_changed_byte_anywhere_is_damage() {
    let owner = Owner::new(Part::State, &ID);
    let mut row = Vec::new();
    seal(owner, &full_state(StoredBackoff::None), &mut row).unwrap();
    for at in 0..row.len() {
        for bit in 0..8 {
            row[at] ^= 1 << bit;
            assert!(matches!(unseal::<StoredState<'_>>(owner, &row), Err(Flaw::Damaged(_))), "byte {at}");
            row[at] ^= 1 << bit;
        }
    }
    for len in 0..row.len() {
        assert!(unseal::<StoredState<'_>>(owner, &row[..len]).is_err(), "cut to {len}");
    }
    row.push(0);
    assert!(unseal::<StoredState<'_>>(owner, &row).is_err());
}

#[test]
fn a_value_in_the_place_of_another_is_damage() {
    let own = Owner::numbered(Part::Outcome, &ID, 299);
    let mut row = Vec::new();
    seal(own, &outcome(), &mut row).unwrap();
    let mut other_id = ID;
    other_id[15] ^= 1;
    let others = [
        Owner::numbered(Part::Outcome, &other_id, 299),
        Owner::numbered(Part::Outcome, &ID, 298),
        Owner::numbered(Part::History, &ID, 299),
        Owner::numbered(Part::Outcome, &ID[..15], 299),
    ];
    assert!(unseal::<StoredOutcome<'_>>(own, &row).is_ok());
    for other in others {
        assert!(unseal::<StoredOutcome<'_>>(other, &row).is_err(), "{other:?}");
    }
}

/// `bytes` sealed as version `version`, as a newer or a wrong writer would.
fn sealed(owner: Owner<'_>, version: u8, bytes: &[u8]) -> Vec<u8> {
    [&[version][..], &owner.checksum(version, bytes), bytes].concat()
}

#[test]
fn a_newer_version_is_told_from_damage() {
    let owner = Owner::new(Part::Record, b"key");
    let newer = sealed(owner, VERSION + 1, b"whatever comes");
    assert_eq!(unseal::<StoredRecord<'_>>(owner, &newer), Err(Flaw::Newer { found: 2, known: 1 }));
    assert!(matches!(unseal::<StoredRecord<'_>>(owner, &sealed(owner, 0, b"")), Err(Flaw::Damaged(_))));
}

#[test]
fn bytes_that_follow_a_value_are_damage() {
    let owner = Owner::new(Part::Record, b"key");
    let mut bytes = Vec::new();
    encode(&StoredRecord { version: 1, value: b"v" }, &mut bytes).unwrap();
    assert!(unseal::<StoredRecord<'_>>(owner, &sealed(owner, VERSION, &bytes)).is_ok());
    bytes.push(0);
    assert!(matches!(
        unseal::<StoredRecord<'_>>(owner, &sealed(owner, VERSION, &bytes)),
        Err(Flaw::Damaged(_))
    ));
}

#[test]
fn codes_that_do_not_exist_are_damage() {
    let names = &mut Names::default();
    let id = JobId::from_bytes(ID);
    let state = full_state(StoredBackoff::None);
    assert!(state.state(id, names, true).is_ok());
    assert!(state.state(id, names, false).is_err(), "a finished job among the others");
    let too_long = StoredSpan { seconds: 1, nanos: 1_000_000_000 };
    let wrong = [
        StoredState { status: 12, ..state.clone() },
        StoredState { last_reported: Some(99), ..state.clone() },
        StoredState { resumes_to: Some(0), ..state.clone() },
        StoredState { status: 6, resumes_to: None, ..state.clone() },
        StoredState { unique_key: Some(""), ..state.clone() },
        StoredState { assignee: Some("a\nb"), ..state.clone() },
        StoredState { labels: b"", ..state.clone() },
        StoredState { labels: &[1, b' ', 1, b'k', 0], ..state.clone() },
        StoredState { backoff: StoredBackoff::Fixed { delay: too_long, jitter: false }, ..state.clone() },
    ];
    for wrong in wrong {
        let is_final = wrong.status != 6;
        assert!(matches!(wrong.state(id, names, is_final), Err(Flaw::Damaged(_))), "{wrong:?}");
    }
    assert!(StoredBody { content_type: 3, ..body() }.body().is_err());
    let wrong_kind = StoredError { message: "m", kind: Some(7) };
    assert!(StoredOutcome { error: Some(wrong_kind), ..outcome() }.parts().is_err());
    assert!(StoredOutcome { output: Some((b"", 9)), ..outcome() }.parts().is_err());
    assert!(StoredEntry { from: 12, ..entry() }.entry(names).is_err());
    assert!(StoredEntry { event: 99, ..entry() }.entry(names).is_err());
    assert!(StoredTally { statuses: vec![(12, 1, 1)] }.tally().is_err());
}

/// Whatever the bytes are, decoding ends, without a panic and without asking for more memory than the limit.
#[test]
fn random_bytes_are_refused_quietly() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut sample = Vec::new();
    encode(&full_state(StoredBackoff::None), &mut sample).unwrap();
    for _ in 0..50_000 {
        let mut bytes: Vec<u8> = (0..random.usize(..80)).map(|_| random.u8(..)).collect();
        if random.bool() {
            bytes.clone_from(&sample);
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        if let Ok(state) = decode::<StoredState<'_>>(&bytes) {
            let _ = state.state(JobId::from_bytes(ID), &mut Names::default(), random.bool());
        }
        let _ = decode::<StoredBody<'_>>(&bytes).map(|body| body.body());
        let _ = decode::<StoredOutcome<'_>>(&bytes).map(|outcome| outcome.parts());
        let _ = decode::<StoredTally>(&bytes).map(|tally| tally.tally());
        let _ = StoredEntry::read_all(&bytes, 1, |entry, _| entry.entry(&mut Names::default()).map(|_| ()));
    }
}

#[test]
fn names_are_shared_and_do_not_pile_up() {
    let mut names = Names::default();
    let first = names.labels(LABELS).unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &names.labels(LABELS).unwrap()));
    for number in 0..20_000 {
        let tag = number.to_string();
        let mut bytes = Vec::new();
        encode(&StoredLabels { queue: "q", kind: "k", tags: vec![&tag] }, &mut bytes).unwrap();
        assert_eq!(names.labels(&bytes).unwrap().tags[0], tag.as_str());
        assert_eq!(names.assignee(&tag).unwrap(), tag.as_str());
    }
    assert!(names.len() < 10_000);
}
