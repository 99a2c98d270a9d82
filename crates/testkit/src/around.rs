//! Backends around another one, for faults and for notes of what was called.

/// Writes the named calls of `impl Backend` by passing them on to `self.inner`.
#[doc(hidden)]
#[macro_export]
macro_rules! pass_on {
    (commit) => {
        fn commit(
            &self,
            batch: ::poolqueue_core::Batch,
        ) -> ::poolqueue_core::BoxFuture<'_, ::poolqueue_core::Receipt> {
            self.inner.commit(batch)
        }
    };
    (claim) => {
        fn claim(
            &self,
            claims: Vec<::poolqueue_core::Claim>,
        ) -> ::poolqueue_core::BoxFuture<'_, Vec<Vec<::poolqueue_core::Job>>> {
            self.inner.claim(claims)
        }
    };
    (get) => {
        fn get(
            &self,
            ids: Vec<::poolqueue_core::JobId>,
        ) -> ::poolqueue_core::BoxFuture<'_, Vec<Option<::poolqueue_core::Job>>> {
            self.inner.get(ids)
        }
    };
    (select) => {
        fn select(
            &self,
            query: ::poolqueue_core::Query,
        ) -> ::poolqueue_core::BoxFuture<'_, ::poolqueue_core::Page> {
            self.inner.select(query)
        }
    };
    (history) => {
        fn history(
            &self,
            id: ::poolqueue_core::JobId,
        ) -> ::poolqueue_core::BoxFuture<'_, Option<(Vec<::poolqueue_core::HistoryEntry>, u64)>> {
            self.inner.history(id)
        }
    };
    // What none of them does otherwise.
    (the_rest) => {
        fn count(
            &self,
            filter: ::poolqueue_core::Filter,
        ) -> ::poolqueue_core::BoxFuture<'_, ::poolqueue_core::Counts> {
            self.inner.count(filter)
        }

        fn held(&self) -> ::poolqueue_core::BoxFuture<'_, Vec<::poolqueue_core::Lease>> {
            self.inner.held()
        }

        fn record(&self, key: String) -> ::poolqueue_core::BoxFuture<'_, Option<(u64, Vec<u8>)>> {
            self.inner.record(key)
        }

        fn verify(&self) -> ::poolqueue_core::BoxFuture<'_, ::poolqueue_core::Verified> {
            self.inner.verify()
        }

        fn observe(&self, observer: ::std::sync::Arc<dyn ::poolqueue_core::Observer>) {
            self.inner.observe(observer);
        }

        fn capabilities(&self) -> &::poolqueue_core::Capabilities {
            self.inner.capabilities()
        }

        fn health(&self) -> ::poolqueue_core::Health {
            self.inner.health()
        }

        fn reopen(&self) -> ::poolqueue_core::BoxFuture<'_, ()> {
            self.inner.reopen()
        }

        fn close(&self) -> ::poolqueue_core::BoxFuture<'_, ()> {
            self.inner.close()
        }
    };
    ($($call:ident)+) => {
        $($crate::pass_on!($call);)+
    };
}
