//! Where a job's history is kept: the newest entries in the state itself, so that a step writes one row; older
//! ones in chunks, written once and not touched again until they are cut.

use poolqueue_core::{BackendError, HistoryEntry};

use crate::codec::{self, Flaw, StoredChunk, StoredEntry, StoredHistory};

/// Entries kept in the state at most.
const TAIL_ENTRIES_MAX: u32 = 16;
/// Bytes of entries kept in the state at most.
const TAIL_BYTES_MAX: usize = 1024;

/// The chunks of one job, by number.
pub(crate) trait Chunks {
    fn put(&mut self, number: u32, chunk: &StoredChunk<'_>) -> Result<(), BackendError>;
    fn remove(&mut self, number: u32) -> Result<(), BackendError>;
    /// How many entries a chunk has.
    fn count(&mut self, number: u32) -> Result<u32, BackendError>;
    /// The error that says what is wrong with the job's own part of its history.
    fn flaw(&self, flaw: Flaw) -> BackendError;
}

/// Appends an entry and cuts the oldest ones until at most `max` are kept. `tail` is filled with the bytes that
/// stay in the state.
pub(crate) fn append<'t, C: Chunks>(
    old: &StoredHistory<'_>,
    entry: &HistoryEntry,
    max: usize,
    tail: &'t mut Vec<u8>,
    chunks: &mut C,
) -> Result<StoredHistory<'t>, BackendError> {
    tail.clear();
    tail.extend_from_slice(old.tail);
    codec::encode(&StoredEntry::of(entry), tail).map_err(|flaw| chunks.flaw(flaw))?;
    let mut new = StoredHistory { tail: &[], tail_entries: old.tail_entries.saturating_add(1), ..*old };
    if new.tail_entries > TAIL_ENTRIES_MAX || tail.len() > TAIL_BYTES_MAX {
        spill(&mut new, tail, chunks)?;
    }
    let kept = u64::from(new.chunk_entries.saturating_sub(new.skipped)) + u64::from(new.tail_entries);
    cut(&mut new, kept.saturating_sub(max as u64), tail, chunks)?;
    Ok(StoredHistory { tail, ..new })
}

/// A whole history at once, of which `dropped` entries are gone. `tail` is filled with the bytes that stay in the state.
pub(crate) fn write<'t, C: Chunks>(
    dropped: u64,
    entries: &[HistoryEntry],
    tail: &'t mut Vec<u8>,
    chunks: &mut C,
) -> Result<StoredHistory<'t>, BackendError> {
    let mut history = StoredHistory { dropped, ..StoredHistory::default() };
    tail.clear();
    for entry in entries {
        codec::encode(&StoredEntry::of(entry), tail).map_err(|flaw| chunks.flaw(flaw))?;
        history.tail_entries = history.tail_entries.saturating_add(1);
        if history.tail_entries > TAIL_ENTRIES_MAX || tail.len() > TAIL_BYTES_MAX {
            spill(&mut history, tail, chunks)?;
        }
    }
    Ok(StoredHistory { tail, ..history })
}

fn spill<C: Chunks>(
    history: &mut StoredHistory<'_>,
    tail: &mut Vec<u8>,
    chunks: &mut C,
) -> Result<(), BackendError> {
    let count = history.tail_entries;
    chunks.put(history.next_chunk, &StoredChunk { count, entries: tail })?;
    if history.first_chunk == history.next_chunk {
        history.first_entries = count;
        history.skipped = 0;
    }
    history.next_chunk = history.next_chunk.saturating_add(1);
    history.chunk_entries = history.chunk_entries.saturating_add(count);
    history.tail_entries = 0;
    tail.clear();
    Ok(())
}

/// Cuts the `count` oldest entries. A chunk goes when its last entry does.
fn cut<C: Chunks>(
    history: &mut StoredHistory<'_>,
    count: u64,
    tail: &mut Vec<u8>,
    chunks: &mut C,
) -> Result<(), BackendError> {
    history.dropped = history.dropped.saturating_add(count);
    let in_chunks = count.min(history.chunk_entries.saturating_sub(history.skipped).into());
    history.skipped = history.skipped.saturating_add(u32::try_from(in_chunks).unwrap_or(u32::MAX));
    while history.first_chunk < history.next_chunk && history.skipped >= history.first_entries {
        chunks.remove(history.first_chunk)?;
        history.chunk_entries = history.chunk_entries.saturating_sub(history.first_entries);
        history.skipped = history.skipped.saturating_sub(history.first_entries);
        history.first_chunk += 1;
        let left = history.first_chunk < history.next_chunk;
        history.first_entries = if left { chunks.count(history.first_chunk)? } else { 0 };
    }
    for _ in 0..count - in_chunks {
        let (_, used) = codec::decode_prefix::<StoredEntry<'_>>(tail).map_err(|flaw| chunks.flaw(flaw))?;
        tail.drain(..used.min(tail.len()));
        history.tail_entries = history.tail_entries.saturating_sub(1);
    }
    Ok(())
}
