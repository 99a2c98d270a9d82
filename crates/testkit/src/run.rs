use std::future::Future;
use std::time::Duration;

/// A behaviour that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(300);

/// Runs one behaviour on a runtime of its own.
///
/// # Panics
/// When the behaviour does, or does not end.
pub fn run(behaviour: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .expect("the runtime starts");
    let in_time = runtime.block_on(async { tokio::time::timeout(LONGEST, behaviour).await.is_ok() });
    assert!(in_time, "the behaviour did not end within {LONGEST:?}");
}
