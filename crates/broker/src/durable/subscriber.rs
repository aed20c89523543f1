//! Durable subscribers: messages of a stream, each until it is acknowledged.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker_data::{Encoder, Source, Timespan, Value};
use broker_proto::nats::jetstream::ReaderId;
use broker_proto::nats::jetstream::cursor::Verdict;
use broker_proto::{ErrorCode, Fault};

use super::bad_messages::BadMessages;
use super::{Acknowledge, DurableError, DurableOptions, DurableTopics, PublishOptions};
use crate::config::timespan;
use crate::core::completion::{CompletionQueue, OperationId};
use crate::core::jet_stream::message::{Claim, DurableMessage};
use crate::core::jet_stream::queue::{ReadQueue, Taken};
use crate::lock::Lock;

/// Receives the messages of a cursor on a stream, each at least once; made by
/// [`DurableTopics::subscriber`].
///
/// A message is delivered again, here or to another subscriber of the name, when it is not acknowledged
/// within [`ack_wait`](DurableOptions::ack_wait), or when its subscriber is closed before. All methods
/// take `&self`; each message goes to one of the threads that ask. Connections to the servers come and
/// go without an error.
pub struct DurableSubscriber {
    topics: DurableTopics,
    stream: String,
    options: DurableOptions,
    reader: ReaderId,
    queue: Arc<ReadQueue>,
    /// Messages that were handed out and of which nothing was said.
    /// Bound: `unacked_max` messages of NATS.
    handed: Lock<BTreeMap<(u64, u32), Arc<Claim>>>,
    bad: BadMessages,
}

impl fmt::Debug for DurableSubscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DurableSubscriber")
            .field("name", &self.options.name)
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

impl DurableSubscriber {
    pub(super) fn new(
        topics: DurableTopics,
        stream: String,
        options: DurableOptions,
        reader: ReaderId,
        queue: Arc<ReadQueue>,
    ) -> Self {
        Self {
            topics,
            stream,
            options,
            reader,
            queue,
            handed: Lock::default(),
            bad: BadMessages::default(),
        }
    }

    /// The name of the cursor.
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// The stream that the cursor is on.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    // --- receiving ------------------------------------------------------------------------------

    /// Takes the next message if there is one.
    ///
    /// # Errors
    ///
    /// [`DurableError::Gone`] when the cursor was deleted, [`DurableError::Closed`] when this was closed
    /// or the endpoint is shut down.
    pub fn try_recv(&self) -> Result<Option<DurableMessage>, DurableError> {
        self.acknowledge_handed();
        self.next()
    }

    /// Takes the next message, and waits at most for `timeout` until there is one.
    ///
    /// # Errors
    ///
    /// As [`try_recv`](Self::try_recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Option<DurableMessage>, DurableError> {
        self.acknowledge_handed();
        let deadline = Instant::now().checked_add(timeout);
        loop {
            if let Some(message) = self.next()? {
                return Ok(Some(message));
            }
            let left = deadline.map_or(timeout, |at| at.saturating_duration_since(Instant::now()));
            if !self.queue.wait(left) {
                return Ok(None);
            }
        }
    }

    /// Takes the next message, and waits until there is one.
    ///
    /// # Errors
    ///
    /// As [`try_recv`](Self::try_recv).
    pub fn recv(&self) -> Result<DurableMessage, DurableError> {
        loop {
            if let Some(message) = self.recv_timeout(Duration::from_secs(3600))? {
                return Ok(message);
            }
        }
    }

    /// As [`recv`](Self::recv), waiting as a future. One that is dropped loses nothing.
    ///
    /// # Errors
    ///
    /// As [`try_recv`](Self::try_recv).
    pub async fn recv_async(&self) -> Result<DurableMessage, DurableError> {
        self.acknowledge_handed();
        loop {
            if let Some(message) = self.next()? {
                return Ok(message);
            }
            self.queue.ready().await;
        }
    }

    /// Takes up to `max` messages that are there, without acknowledging any: for callers that gather
    /// some, and call [`acknowledge_handed`](Self::acknowledge_handed) before they begin.
    ///
    /// # Errors
    ///
    /// As [`try_recv`](Self::try_recv), unless there are messages.
    pub fn take(&self, max: usize, into: &mut Vec<DurableMessage>) -> Result<(), DurableError> {
        for taken in 0..max {
            match self.next() {
                Ok(Some(message)) => into.push(message),
                Ok(None) => return Ok(()),
                Err(_) if taken > 0 => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Puts messages back in front of those that wait, in the order given.
    pub fn put_back(&self, messages: Vec<DurableMessage>) {
        let mut handed = self.handed.lock();
        for message in &messages {
            handed.remove(&message.claim.place);
        }
        drop(handed);
        self.queue.put_back(messages);
    }

    /// Blocks until there is something to take or nothing will come any more; `false` when the time is
    /// over.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.queue.wait(timeout)
    }

    /// How many messages can be taken now; those of a batch may count as one.
    pub fn available(&self) -> usize {
        self.queue.available()
    }

    /// Whether nothing is left and nothing will come.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// A descriptor that is readable exactly while there is something to take, or the end is to be told.
    ///
    /// # Errors
    ///
    /// Fails when the process has no descriptor left.
    pub fn fd(&self) -> io::Result<RawFd> {
        self.queue.fd()
    }

    /// Has a queue tell when there is something to take, or the end to be told; see
    /// [`CompletionQueue::resume`].
    pub fn watch<T: Send + 'static>(&self, queue: &CompletionQueue<T>) -> OperationId {
        queue.watch_stream(self.queue.clone())
    }

    fn next(&self) -> Result<Option<DurableMessage>, DurableError> {
        loop {
            let (taken, is_free) = self.queue.take();
            if is_free {
                let now = self.topics.shared.now();
                self.topics.client.make_room(now, &self.queue);
            }
            match taken {
                Taken::Message(message) if self.is_dead(&message) => {
                    let times = message.deliveries().saturating_sub(1);
                    let reason = format!("not acknowledged after {times} deliveries");
                    self.bury(&message, reason);
                }
                Taken::Message(message) => {
                    let claim = message.claim.clone();
                    self.handed.lock().insert(claim.place, claim);
                    return Ok(Some(message));
                }
                Taken::Bad(reply, text) => {
                    self.judge(&reply, &Verdict::Never(text.clone()));
                    self.bad.report(&self.topics.shared.data, text);
                }
                Taken::Other(reply) => self.judge(&reply, &Verdict::Ack),
                Taken::Empty => return Ok(None),
                Taken::Closed(None) | Taken::Finished => return Err(DurableError::Closed),
                Taken::Closed(Some(_)) if self.topics.client.is_over() => {
                    return Err(DurableError::Closed);
                }
                Taken::Closed(Some(cause)) => {
                    let name = self.options.name.clone();
                    return Err(DurableError::Gone { name, cause });
                }
            }
        }
    }

    // --- acknowledging --------------------------------------------------------------------------

    /// Says that a message is dealt with. A second time it does nothing. It is sent at once and not
    /// waited for: when the connection is lost in that moment, the message is delivered again.
    pub fn ack(&self, message: &DurableMessage) {
        self.handed.lock().remove(&message.claim.place);
        if let Some(reply) = message.claim.acknowledge() {
            self.judge(reply, &Verdict::Ack);
        }
    }

    /// Says that all messages that were handed out are dealt with.
    pub fn ack_all(&self) {
        let handed = std::mem::take(&mut *self.handed.lock());
        let replies: Vec<&str> = handed
            .values()
            .filter_map(|claim| claim.acknowledge())
            .collect();
        if !replies.is_empty() {
            self.topics.client.judge(replies, &Verdict::Ack);
        }
    }

    /// With [`Acknowledge::Auto`]: says that all messages that were handed out are dealt with.
    pub fn acknowledge_handed(&self) {
        if self.options.acknowledge == Acknowledge::Auto {
            self.ack_all();
        }
    }

    /// Has a message delivered again after that time, to this subscriber or another one of the name.
    pub fn retry(&self, message: &DurableMessage, pause: Duration) {
        self.handed.lock().remove(&message.claim.place);
        if let Some(reply) = message.claim.judge_once() {
            self.judge(reply, &Verdict::Again(timespan(pause)));
        }
    }

    /// Says that a message is being worked on: the wait for its acknowledgement begins anew.
    pub fn keep(&self, message: &DurableMessage) {
        self.judge(message.claim.reply(), &Verdict::Working);
    }

    /// Says that a message cannot be dealt with, and why: it is published as a dead letter and not
    /// delivered any more. If no stream keeps dead letters it is delivered again, and an error event
    /// says so.
    pub fn reject(&self, message: &DurableMessage, reason: impl Into<String>) {
        self.handed.lock().remove(&message.claim.place);
        self.bury(message, reason.into());
    }

    fn judge(&self, reply: &str, verdict: &Verdict) {
        self.topics.client.judge([reply], verdict);
    }

    fn is_dead(&self, message: &DurableMessage) -> bool {
        let most = self.options.deliveries_max;
        most.is_some_and(|most| message.deliveries() > most)
    }

    /// Publishes a message as a dead letter; when that is stored the message is given up. A dead
    /// letter has an id, so it is one however often that is tried.
    fn bury(&self, message: &DurableMessage, reason: String) {
        let Some(reply) = message.claim.judge_once() else {
            return;
        };
        let (name, stream) = (&self.options.name, &self.stream);
        let (sequence, index) = message.claim.place;
        let topic = String::from_utf8_lossy(message.topic()).into_owned();
        let letter = Value::Vector(vec![
            Value::String(topic.as_str().into()),
            message.value(),
            Value::String(reason.as_str().into()),
            Value::Count(message.deliveries()),
            Value::String(stream.as_str().into()),
            Value::Count(sequence),
        ]);
        let mut payload = Vec::new();
        let encoded = letter.encode(&mut Encoder::new(&mut payload));
        let options = PublishOptions {
            message_id: Some(format!("dead-{stream}-{name}-{sequence}-{index}")),
            ..PublishOptions::default()
        };
        let dead = self.options.dead_letter_topic();
        let published = self
            .topics
            .publish_encoded(&dead, encoded.map(|()| payload), options);
        let (client, shared) = (self.topics.client.clone(), self.topics.shared.clone());
        let (reply, pause) = (reply.to_owned(), timespan(self.options.ack_wait));
        self.topics.shared.runtime.spawn(async move {
            match published.await {
                Ok(_) => client.judge([reply.as_str()], &Verdict::Never(reason)),
                Err(error) => {
                    client.judge([reply.as_str()], &Verdict::Again(pause));
                    let dead = String::from_utf8_lossy(&dead).into_owned();
                    let text = format!(
                        "message {sequence} under `{topic}` ({reason}) is no dead letter under `{dead}`: {error}"
                    );
                    let fault = Fault::new(ErrorCode::BackendFailure, None, text);
                    shared.data.report(fault);
                }
            }
        });
    }

    // --- the end --------------------------------------------------------------------------------

    /// Ends the subscriber; its cursor stays. With [`Acknowledge::Auto`] what was handed out is
    /// acknowledged. Everything else is given back and delivered again, at once.
    pub fn close(&self) {
        self.acknowledge_handed();
        self.give_back();
    }

    /// As [`close`](Self::close), and acknowledges nothing: for programs that failed.
    pub fn abandon(&self) {
        self.give_back();
    }

    fn give_back(&self) {
        // In this order: what is given back while there is a reader is delivered to it.
        self.topics.client.end_reader(self.reader);
        let handed = std::mem::take(&mut *self.handed.lock());
        let replies: Vec<&str> = handed.values().filter_map(|it| it.judge_once()).collect();
        let again = Verdict::Again(Timespan::from_ns(0));
        if !replies.is_empty() {
            self.topics.client.judge(replies, &again);
        }
    }
}

impl Drop for DurableSubscriber {
    fn drop(&mut self) {
        self.give_back();
    }
}
