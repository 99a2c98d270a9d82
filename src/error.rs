pub use poolqueue_core::{Error, ErrorKind};

/// What a call of the queue returns.
pub type Result<T> = std::result::Result<T, Error>;
