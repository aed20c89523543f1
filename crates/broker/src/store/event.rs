//! Changes of stores, as local subscribers get them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use broker_data::{Timespan, Value, View};
use broker_proto::Topic;
use broker_proto::store::entity::EntityId;
use broker_proto::store::event::{self, STORE_EVENTS};
use futures_core::Stream;

use crate::core::shared::Shared;
use crate::error::Error;
use crate::message::Message;
use crate::subscriber::Subscriber;

/// One change of a store. Spec: stores 7.6.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreEvent {
    /// Name of the store.
    pub store: String,
    /// The key.
    pub key: Value,
    /// What happened to it.
    pub change: StoreChange,
    /// The master or clone through which it was made; nil if unknown.
    pub publisher: EntityId,
}

/// What happened to a key.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreChange {
    /// It appeared.
    Insert {
        /// Its value.
        value: Value,
        /// The time it was given.
        expiry: Option<Timespan>,
    },
    /// It got another value.
    Update {
        /// What it was.
        old: Value,
        /// What it is.
        value: Value,
        /// The time it was given.
        expiry: Option<Timespan>,
    },
    /// It was removed.
    Erase,
    /// Its time was over.
    Expire,
}

impl StoreEvent {
    /// Reads the value of a message on a topic of store events; `None` if it is something else.
    pub fn from_view(view: View<'_>) -> Option<Self> {
        let event = event::StoreEvent::from_view(view)?;
        let change = match event.change {
            event::Change::Insert { value, expiry } => StoreChange::Insert {
                value: value.to_value(),
                expiry,
            },
            event::Change::Update { old, value, expiry } => StoreChange::Update {
                old: old.to_value(),
                value: value.to_value(),
                expiry,
            },
            event::Change::Erase => StoreChange::Erase,
            event::Change::Expire => StoreChange::Expire,
        };
        Some(Self {
            store: event.store_name(),
            key: event.key.to_value(),
            change,
            publisher: event.publisher,
        })
    }
}

/// Receives the changes of one store or of all stores of an endpoint.
///
/// It has the methods of a [`Subscriber`], for [`StoreEvent`]s, and is a [`Stream`].
#[derive(Debug)]
pub struct StoreEvents {
    subscriber: Subscriber,
    store: Option<String>,
}

impl StoreEvents {
    pub(crate) fn new(shared: &Arc<Shared>, store: Option<&str>) -> Result<Self, Error> {
        let topic = match store {
            Some(store) => event::topic(store),
            None => Topic::from(STORE_EVENTS),
        };
        Ok(Self {
            subscriber: Subscriber::new(shared, vec![topic])?,
            store: store.map(str::to_owned),
        })
    }

    /// Topics are matched by prefix: the name of another store may begin with this one's.
    fn event(&self, message: &Message) -> Option<StoreEvent> {
        let event = StoreEvent::from_view(message.view())?;
        let wanted = self
            .store
            .as_ref()
            .is_none_or(|store| *store == event.store);
        wanted.then_some(event)
    }

    /// Takes the next event if there is one.
    pub fn try_recv(&self) -> Option<StoreEvent> {
        loop {
            if let Some(event) = self.event(&self.subscriber.try_recv()?) {
                return Some(event);
            }
        }
    }

    /// Takes the next event, blocking the calling thread until there is one.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] when the endpoint is shut down and everything is taken.
    pub fn recv(&self) -> Result<StoreEvent, Error> {
        loop {
            if let Some(event) = self.event(&self.subscriber.recv()?) {
                return Ok(event);
            }
        }
    }

    /// As [`recv`](Self::recv), giving up after `timeout`.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Option<StoreEvent>, Error> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let left = deadline.map_or(timeout, |at| at.saturating_duration_since(Instant::now()));
            let Some(message) = self.subscriber.recv_timeout(left)? else {
                return Ok(None);
            };
            if let Some(event) = self.event(&message) {
                return Ok(Some(event));
            }
        }
    }

    /// The subscriber behind it, for its descriptor and its counters.
    pub fn subscriber(&self) -> &Subscriber {
        &self.subscriber
    }
}

impl Stream for StoreEvents {
    type Item = StoreEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<StoreEvent>> {
        loop {
            let Some(message) = ready!(Pin::new(&mut self.subscriber).poll_next(cx)) else {
                return Poll::Ready(None);
            };
            if let Some(event) = self.event(&message) {
                return Poll::Ready(Some(event));
            }
        }
    }
}
