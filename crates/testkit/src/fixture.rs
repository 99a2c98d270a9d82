use std::future::Future;
use std::sync::Arc;

use poolqueue::backend::{Backend, EmbeddedOptions};
use poolqueue_core::memory::{MemoryBackend, MemoryStore};

/// A place where one store lives, and how to open it.
pub trait Fixture: Send + Sync + 'static {
    /// Whether the store, closed and opened again, holds what it held. The theme `restart` asks for it.
    const DURABLE: bool;

    /// Whether a claim over several queues goes on at the same queue as in memory. A store that lists queues in which
    /// there is nothing for the claim goes on behind those, which is as fair.
    const TURNS: bool = true;

    /// An empty store of its own.
    fn new() -> Self;

    /// Opens the store. Called again only after the former backend was closed or dropped.
    fn open(&self, options: EmbeddedOptions) -> impl Future<Output = Arc<dyn Backend>> + Send;
}

/// The store in memory: opened again, it is a queue over the same data.
#[derive(Debug)]
pub struct MemoryFixture {
    store: MemoryStore,
}

impl Fixture for MemoryFixture {
    const DURABLE: bool = true;

    fn new() -> Self {
        MemoryFixture { store: MemoryStore::new() }
    }

    async fn open(&self, options: EmbeddedOptions) -> Arc<dyn Backend> {
        Arc::new(MemoryBackend::open(self.store.clone(), options).expect("the writer thread starts"))
    }
}

/// The same store behind one more `Arc<dyn Backend>`: every call goes through two virtual ones.
#[derive(Debug)]
pub struct Behind<F>(F);

impl<F: Fixture> Fixture for Behind<F> {
    const DURABLE: bool = F::DURABLE;
    const TURNS: bool = F::TURNS;

    fn new() -> Self {
        Behind(F::new())
    }

    async fn open(&self, options: EmbeddedOptions) -> Arc<dyn Backend> {
        let backend: Arc<dyn Backend> = self.0.open(options).await;
        Arc::new(backend)
    }
}
