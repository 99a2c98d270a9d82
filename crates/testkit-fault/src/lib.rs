//! Files under suspicion: what a store does to them is recorded, power losses are replayed from the record, and
//! single operations are made to fail.

pub mod trace;
