//! Receiving status and error events.

use std::io;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use broker_data::{Encoder, Source};
use broker_proto::frame::{Tag, write_envelope};
use broker_proto::topic::{ERRORS, STATUSES};
use broker_proto::{EndpointId, EnvelopeError, Event, StatusCode, Topic};
use bytes::Bytes;
use futures_core::Stream;

use crate::core::completion::{CompletionQueue, OperationId};
use crate::core::shared::Shared;
use crate::error::Error;
use crate::message::Message;
use crate::subscriber::Subscriber;

/// Receives the events of an endpoint: peers that come and go, and what went wrong.
///
/// It has the methods of a [`Subscriber`], for [`Event`]s. Spec: endpoint 5, wire 9.3.
#[derive(Debug)]
pub struct StatusSubscriber {
    subscriber: Subscriber,
}

fn event(message: &Message) -> Option<Event> {
    Event::from_view(message.view())
}

/// The message an event came as.
fn message(id: EndpointId, event: &Event) -> Option<Message> {
    let mut frame = Vec::new();
    let topic = event.topic();
    write_envelope(&mut frame, id, id, Tag::Data, topic.as_bytes(), |out| {
        // What was read can be written: it holds short strings only.
        let _ = event.encode(&mut Encoder::new(out));
        Ok::<(), EnvelopeError>(())
    })
    .ok()?;
    Message::split_off(&mut Bytes::from(frame))
}

impl StatusSubscriber {
    pub(crate) fn new(shared: &Arc<Shared>, statuses: bool) -> Result<Self, Error> {
        let mut topics = vec![Topic::from(ERRORS)];
        if statuses {
            topics.push(Topic::from(STATUSES));
        }
        Ok(Self {
            subscriber: Subscriber::new(shared, topics)?,
        })
    }

    /// Takes the next event if there is one.
    pub fn try_recv(&self) -> Option<Event> {
        loop {
            // What does not parse is skipped. Spec: endpoint 5.
            if let Some(event) = event(&self.subscriber.try_recv()?) {
                return Some(event);
            }
        }
    }

    /// Takes the next event if there is one. With `skip_discovery` an `endpoint_discovered` that is
    /// directly followed by the `peer_added` of the same endpoint is passed over: for programs
    /// that expect a peering to begin with the latter.
    pub fn try_next(&self, skip_discovery: bool) -> Option<Event> {
        let first = self.try_recv()?;
        if !skip_discovery {
            return Some(first);
        }
        let Event::Status(discovered) = &first else {
            return Some(first);
        };
        if discovered.code != StatusCode::EndpointDiscovered {
            return Some(first);
        }
        let id = discovered.context.as_ref().and_then(|context| context.id);
        let added = self.subscriber.try_recv_if(|message| match event(message) {
            Some(Event::Status(next)) => {
                next.code == StatusCode::PeerAdded && next.context.and_then(|c| c.id) == id
            }
            _ => false,
        });
        added.as_ref().and_then(event).or(Some(first))
    }

    /// Puts events back in front of those that wait, in the order given; see
    /// [`Subscriber::put_back`].
    pub fn put_back<I>(&self, events: I)
    where
        I: IntoIterator<Item = Event, IntoIter: DoubleEndedIterator>,
    {
        let id = self.subscriber.shared().data.id;
        let messages: Vec<Message> = events
            .into_iter()
            .filter_map(|event| message(id, &event))
            .collect();
        self.subscriber.put_back(messages);
    }

    /// Takes the next event, blocking the calling thread until there is one.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] when the endpoint is shut down and everything is taken.
    pub fn recv(&self) -> Result<Event, Error> {
        loop {
            if let Some(event) = event(&self.subscriber.recv()?) {
                return Ok(event);
            }
        }
    }

    /// As [`recv`](Self::recv), giving up after `timeout`.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Option<Event>, Error> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let left = match deadline {
                None => timeout,
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
            };
            let Some(message) = self.subscriber.recv_timeout(left)? else {
                return Ok(None);
            };
            if let Some(event) = event(&message) {
                return Ok(Some(event));
            }
        }
    }

    /// Blocks until there is something to take or nothing will come any more, at most for `timeout`;
    /// `false` says that the time is over.
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        self.subscriber.wait(timeout)
    }

    /// Number of events that can be taken now.
    pub fn available(&self) -> usize {
        self.subscriber.available()
    }

    /// Whether nothing is left and nothing will come.
    pub fn is_closed(&self) -> bool {
        self.subscriber.is_closed()
    }

    /// A descriptor that is readable exactly while there are events; see [`Subscriber::fd`].
    ///
    /// # Errors
    ///
    /// Fails when the process has no descriptor left.
    pub fn fd(&self) -> io::Result<RawFd> {
        self.subscriber.fd()
    }

    /// Has an event loop wait for it: the queue tells once there are messages, or none will come any
    /// more, and again after [`resume`](CompletionQueue::resume). End it with
    /// [`remove`](CompletionQueue::remove).
    pub fn watch<T: Send + 'static>(&self, queue: &CompletionQueue<T>) -> OperationId {
        self.subscriber.watch(queue)
    }

    /// Ends the subscription; what has arrived can still be taken.
    pub fn close(&self) {
        self.subscriber.close();
    }
}

impl Stream for StatusSubscriber {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            match ready!(Pin::new(&mut self.subscriber).poll_next(cx)) {
                None => return Poll::Ready(None),
                Some(message) => {
                    if let Some(event) = event(&message) {
                        return Poll::Ready(Some(event));
                    }
                }
            }
        }
    }
}
