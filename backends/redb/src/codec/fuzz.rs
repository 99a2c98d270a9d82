//! The decoders without a file around them: what the fuzz targets of the test kit call. No part of the interface.

use poolqueue_core::JobId;

use super::{
    Names, Owner, Part, StoredBody, StoredChunk, StoredCommits, StoredEntry, StoredFormat, StoredHolder,
    StoredLabels, StoredOutcome, StoredOwner, StoredRecord, StoredSequence, StoredState, StoredTally,
    VERSION, decode, encode, unseal,
};

/// The id that decoded jobs get.
const ID: JobId = JobId::from_bytes([7; 16]);

/// Decodes `bytes` as every sort of value: sealed, as they are, and the value alone, as if its checksum fitted. Says how
/// many of them it can be.
///
/// # Panics
/// When what was decoded is written as something else.
pub fn decode_row(bytes: &[u8]) -> usize {
    // A seal that fits by chance is of no interest, but its parts are read all the same.
    let _ = unseal::<StoredState<'_>>(Owner::new(Part::State, ID.as_bytes()), bytes);
    let mut found = 0;
    macro_rules! plain {
        ($($value:ty),*) => {
            $(if let Ok(value) = decode::<$value>(bytes) {
                let mut written = Vec::new();
                encode(&value, &mut written).expect("what was read can be written");
                assert_eq!(decode::<$value>(&written).as_ref(), Ok(&value), "it was written as something else");
                found += 1;
            })*
        };
    }
    plain!(
        StoredState<'_>,
        StoredLabels<'_>,
        StoredBody<'_>,
        StoredOutcome<'_>,
        StoredChunk<'_>,
        StoredEntry<'_>
    );
    plain!(
        StoredFormat,
        StoredOwner,
        StoredCommits,
        StoredSequence,
        StoredTally,
        StoredRecord<'_>,
        StoredHolder
    );
    meaning(bytes);
    found
}

/// What is made of the values.
fn meaning(bytes: &[u8]) {
    let mut names = Names::default();
    let _ = names.labels(bytes);
    if let Ok(stored) = decode::<StoredState<'_>>(bytes) {
        for is_final in [false, true] {
            let Ok(state) = stored.state(ID, &mut names, is_final) else { continue };
            let written = StoredState::of(&state, stored.labels, stored.outcome, stored.history);
            assert_eq!(written.as_ref(), Ok(&stored), "the state was written as something else");
        }
        entries(stored.history.tail, stored.history.tail_entries, &mut names);
    }
    if let Ok(chunk) = decode::<StoredChunk<'_>>(bytes) {
        entries(chunk.entries, chunk.count, &mut names);
    }
    if let Ok(stored) = decode::<StoredBody<'_>>(bytes) {
        let _ = stored.body();
    }
    if let Ok(stored) = decode::<StoredOutcome<'_>>(bytes) {
        let _ = stored.parts();
    }
    if let Ok(stored) = decode::<StoredTally>(bytes) {
        let _ = stored.tally();
    }
}

fn entries(bytes: &[u8], count: u32, names: &mut Names) {
    let _ = StoredEntry::read_all(bytes, count, |entry, _| entry.entry(names).map(drop));
}

/// `bytes` sealed as the value of a part (1 … 7) that belongs to `key`: what a file holds whose checksums fit.
pub fn seal_row(part: u8, key: &[u8], number: u32, bytes: &[u8]) -> Vec<u8> {
    const PARTS: [Part; 7] =
        [Part::State, Part::Body, Part::Outcome, Part::History, Part::Meta, Part::Record, Part::Unique];
    let part = PARTS.get(usize::from(part).saturating_sub(1)).copied().unwrap_or(Part::State);
    let checksum = Owner::numbered(part, key, number).checksum(VERSION, bytes);
    [&[VERSION], &checksum[..], bytes].concat()
}
