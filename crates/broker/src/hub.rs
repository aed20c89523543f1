//! A consumer and producer in one.

use std::sync::Arc;

use broker_data::Source;
use broker_proto::{LocalKind, Origin, Topic};

use crate::core::shared::Shared;
use crate::error::Error;
use crate::flow::blocked::wait_if_blocked;
use crate::flow::publish::{self, encoding};
use crate::flow::routing::SharedMemo;
use crate::subscriber::Subscriber;

/// Receives what peers *and* this endpoint publish, and publishes to peers *and* to this endpoint's
/// subscribers, but not to itself. Spec: endpoint 3.
#[derive(Debug)]
pub struct Hub {
    subscriber: Subscriber,
    memo: SharedMemo,
}

impl Hub {
    pub(crate) fn new(shared: &Arc<Shared>, topics: Vec<Topic>) -> Result<Self, Error> {
        let subscriber = Subscriber::of_kind(shared, LocalKind::Hub, topics)?;
        let memo = SharedMemo::new(Origin::Hub(subscriber.local_id()));
        Ok(Self { subscriber, memo })
    }

    /// The receiving side.
    pub fn subscriber(&self) -> &Subscriber {
        &self.subscriber
    }

    /// Publishes a value; waits as [`Endpoint::publish`](crate::Endpoint::publish) does.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn publish<S: Source + ?Sized>(
        &self,
        topic: impl AsRef<[u8]>,
        value: &S,
    ) -> Result<(), Error> {
        publish::offer(
            &self.subscriber.shared().data,
            &self.memo,
            None,
            topic.as_ref(),
            encoding(value),
        )
        .map(wait_if_blocked)
    }
}
