//! What the text given to `open` names.

use std::ffi::OsStr;
use std::sync::Arc;

use poolqueue_core::memory::MemoryBackend;
use poolqueue_core::{Backend, Invalid};

use crate::Result;

/// The schemes of stores that need a feature, and the feature.
const FEATURES: [(&str, &str); 4] =
    [("redb", "redb"), ("sqlite", "sqlite"), ("postgres", "postgres"), ("postgresql", "postgres")];

/// The kind of store that a text names, and where in it.
pub(crate) fn named(location: &OsStr) -> (&str, &OsStr) {
    match location.to_str().and_then(split_scheme) {
        Some((scheme, rest)) => (scheme, OsStr::new(rest)),
        None => ("redb", location),
    }
}

pub(super) async fn open(location: &OsStr) -> Result<Arc<dyn Backend>> {
    let (scheme, rest) = named(location);
    // Without a store on disk there is nothing to do with what follows.
    let _ = rest;
    match scheme {
        "memory" => Ok(Arc::new(MemoryBackend::new()?)),
        #[cfg(feature = "redb")]
        "redb" => open_file(rest, crate::RedbBackend::open).await,
        #[cfg(feature = "sqlite")]
        "sqlite" => open_file(rest, crate::SqliteBackend::open).await,
        other => Err(unknown(other)),
    }
}

/// Opens a file on a thread that may block.
#[cfg(any(feature = "redb", feature = "sqlite"))]
async fn open_file<B: Backend>(
    path: &OsStr,
    open: impl FnOnce(std::path::PathBuf) -> std::result::Result<B, poolqueue_core::BackendError> + Send + 'static,
) -> Result<Arc<dyn Backend>> {
    use poolqueue_core::{BackendError, BackendErrorKind};
    if path.is_empty() {
        return Err(Invalid::new("url", "names no file").into());
    }
    let path = std::path::PathBuf::from(path);
    let opening = tokio::runtime::Handle::try_current()
        .map_err(|error| BackendError::from(Invalid::new("runtime", error.to_string())))?
        .spawn_blocking(move || open(path));
    let backend = opening.await.map_err(|error| {
        BackendError::new(BackendErrorKind::Closed, "opening the store did not finish").with_source(error)
    })??;
    Ok(Arc::new(backend))
}

/// The scheme of a URL and what follows it. A single letter is a drive, not a scheme.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let is_scheme =
        scheme.len() > 1 && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    is_scheme.then_some((scheme, rest))
}

/// The error of a kind that there is none of, here or at all.
pub(crate) fn unknown(scheme: &str) -> crate::Error {
    let reason = match FEATURES.iter().find(|(known, _)| *known == scheme) {
        Some((_, "postgres")) => {
            format!("{scheme:?} needs the feature \"postgres\", which this version does not have yet")
        }
        Some((_, feature)) => format!("{scheme:?} needs the feature {feature:?} of the crate poolqueue"),
        None => format!("there is no store named {scheme:?}; a path with a colon in it is written redb:PATH"),
    };
    Invalid::new("url", reason).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_are_told_from_paths() {
        let cases = [
            ("jobs.redb", None),
            ("redb:jobs.redb", Some(("redb", "jobs.redb"))),
            ("memory:", Some(("memory", ""))),
            ("postgres://host/db", Some(("postgres", "//host/db"))),
            (r"C:\jobs.redb", None),
            ("./a:b", None),
        ];
        for (text, expected) in cases {
            assert_eq!(split_scheme(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_scheme_without_a_store_names_the_feature() {
        assert!(unknown("sqlite").to_string().contains("feature \"sqlite\""));
        assert!(unknown("mongodb").to_string().contains("no store named"));
    }
}
