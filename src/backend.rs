//! For those who write a store: the seams and their vocabulary. See `docs/backends.md`.

pub use poolqueue_core::{
    Backend, Batch, Body, BoxFuture, Capabilities, Change, Claim, ClaimFilter, Clock, Committed, Counts,
    Delete, Detail, Embedded, EmbeddedOptions, Filter, Health, Insert, JobIds, Labels, ManualClock, Observer,
    Page, Profile, Query, Reader, Receipt, RecordConflict, RecordPut, Refused, Slots, Snapshot, Start, Store,
    SyncTimer, SystemClock, TagFilter, Txn, Verdict, Verification, Verified, Wake, WriterOptions,
    delegate_backend,
};
pub use poolqueue_core::{lifecycle, salvage};
