use std::sync::{Arc, Weak};
use std::time::Duration;

use poolqueue_core::lifecycle::Event;
use poolqueue_core::{
    Backend, Batch, BoxFuture, Clock, EmbeddedOptions, ManualClock, Receipt, Timestamp, Wake,
};

use crate::Fixture;
use crate::suite::support::START;

/// A clock whose monotonic time is the time of day.
#[derive(Debug)]
pub(super) struct OneTime(pub(super) Arc<ManualClock>);

impl Clock for OneTime {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn monotonic(&self) -> Duration {
        self.0.now().since(START)
    }

    fn sleep_until(&self, deadline: Timestamp) -> Option<Duration> {
        self.0.sleep_until(deadline)
    }

    fn subscribe(&self, sleeper: Weak<dyn Wake>) {
        self.0.subscribe(sleeper);
    }
}

/// A store that suspends jobs for a day longer than it is asked.
pub(super) struct Late<F>(F);

impl<F: Fixture> Fixture for Late<F> {
    const DURABLE: bool = F::DURABLE;

    fn new() -> Self {
        Late(F::new())
    }

    async fn open(&self, options: EmbeddedOptions) -> Arc<dyn Backend> {
        Arc::new(SuspendsLonger { inner: self.0.open(options).await })
    }
}

#[derive(Debug)]
struct SuspendsLonger {
    inner: Arc<dyn Backend>,
}

impl Backend for SuspendsLonger {
    fn commit(&self, mut batch: Batch) -> BoxFuture<'_, Receipt> {
        for change in &mut batch.changes {
            if let Event::Suspend { until } = &mut change.event {
                *until = until.plus(Duration::from_secs(86_400));
            }
        }
        self.inner.commit(batch)
    }

    crate::pass_on!(claim get select history the_rest);
}
