//! Publishing under one topic.

use std::sync::Arc;

use broker_data::Source;
use broker_proto::{Origin, Topic};

use crate::core::shared::Shared;
use crate::error::Error;
use crate::flow::blocked::{BlockedPublish, wait_if_blocked};
use crate::flow::publish::{self, encoding};
use crate::flow::routing::SharedMemo;

/// Publishes values under one topic. Shorter to write and, from several threads, faster than
/// [`Endpoint::publish`](crate::Endpoint::publish).
///
/// It does not keep its endpoint: once that is shut down, publishing fails.
#[derive(Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
    topic: Topic,
    memo: SharedMemo,
}

impl Publisher {
    pub(crate) fn new(shared: Arc<Shared>, topic: Topic) -> Self {
        Self {
            shared,
            topic,
            memo: SharedMemo::new(Origin::Endpoint),
        }
    }

    /// The topic.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Publishes a value; waits as [`Endpoint::publish`](crate::Endpoint::publish) does.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn publish<S: Source + ?Sized>(&self, value: &S) -> Result<(), Error> {
        self.offer(encoding(value)).map(wait_if_blocked)
    }

    /// Publishes several values in order.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish); the values before the one that failed are published.
    pub fn publish_batch<S: Source>(
        &self,
        values: impl IntoIterator<Item = S>,
    ) -> Result<(), Error> {
        values
            .into_iter()
            .try_for_each(|value| self.publish(&value))
    }

    /// Publishes without waiting; see [`Endpoint::offer`](crate::Endpoint::offer).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn offer<E: From<Error>>(
        &self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Option<BlockedPublish>, E> {
        publish::offer(
            &self.shared.data,
            &self.memo,
            None,
            self.topic.as_bytes(),
            write,
        )
    }

    /// Messages that wait for the fullest of those who get this topic.
    pub fn buffered(&self) -> usize {
        let table = self.shared.data.routes.load();
        let targets = table.targets(
            Origin::Endpoint,
            broker_proto::EndpointId::NIL,
            self.topic.as_bytes(),
            true,
        );
        targets
            .iter()
            .map(|target| target.mailbox.messages())
            .max()
            .unwrap_or(0)
    }

    /// Messages that can wait for one consumer.
    pub fn capacity(&self) -> usize {
        self.shared.data.peer_limits.messages_max
    }
}
