//! The messages that a durable subscriber has fetched and not handed out.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use broker_data::{Timespan, Timestamp};
use broker_proto::frame::{Tag, write_envelope};
use broker_proto::nats::jetstream::ReadMessage;
use broker_proto::nats::message::{BATCH, FORMAT, ORIGIN, SENDER, TOPIC};
use broker_proto::nats::{Headers, Subjects, read};
use broker_proto::{EndpointId, EnvelopeError, Filter};
use bytes::Bytes;

use crate::core::jet_stream::message::{Claim, DurableMessage, Parcel};
use crate::flow::mailbox::ready_fd::ReadyFd;
use crate::lock::Lock;
use crate::message::Message;
use crate::signal::Signal;

/// What there is to take.
pub(crate) enum Taken {
    Message(DurableMessage),
    /// A message that cannot be read: where that is said, and why.
    Bad(String, String),
    /// One under a topic that is not subscribed to; it is dealt with.
    Other(String),
    /// Nothing now.
    Empty,
    /// Nothing, and nothing will come; for that reason if it was not closed here.
    Closed(Option<String>),
}

/// The queue; see the module.
#[derive(Debug)]
pub(crate) struct ReadQueue {
    window: usize,
    endpoint: EndpointId,
    subjects: Subjects,
    filter: Filter,
    /// Half of the time after which a message is delivered again.
    working_every: Timespan,
    /// Bound: `window`, and the messages of a batch.
    queued: Lock<Queued>,
    changed: Signal,
    /// When messages here are to be reported as being worked on, in nanoseconds; 0 for never.
    next_working: AtomicU64,
}

#[derive(Debug, Default)]
struct Queued {
    /// Bound: `window`, which is what is asked for.
    waiting: VecDeque<ReadMessage>,
    /// Messages of the last one that was opened.
    /// Bound: those of a batch, and what is put back.
    opened: VecDeque<DurableMessage>,
    /// `Some` when nothing will come; why, if it was not closed here.
    closed: Option<Option<String>>,
    descriptor: Option<ReadyFd>,
}

impl Queued {
    /// Whether there is something to take, or the end to be told.
    fn is_ready(&self) -> bool {
        !self.waiting.is_empty() || !self.opened.is_empty() || self.closed.is_some()
    }

    fn set_descriptor(&mut self) {
        let is_ready = self.is_ready();
        if let Some(descriptor) = &mut self.descriptor {
            if is_ready {
                descriptor.raise();
            } else {
                descriptor.lower();
            }
        }
    }
}

impl ReadQueue {
    pub(crate) fn new(
        endpoint: EndpointId,
        subjects: Subjects,
        filter: Filter,
        window: usize,
        ack_wait: Timespan,
    ) -> Self {
        Self {
            window,
            endpoint,
            subjects,
            filter,
            working_every: Timespan::from_ns(ack_wait.ns() / 2),
            queued: Lock::default(),
            changed: Signal::default(),
            next_working: AtomicU64::new(0),
        }
    }

    pub(crate) const fn window(&self) -> usize {
        self.window
    }

    // --- for the task ---------------------------------------------------------------------------

    pub(crate) fn push(&self, message: ReadMessage) {
        let mut queued = self.queued.lock();
        if queued.closed.is_some() {
            return;
        }
        queued.waiting.push_back(message);
        queued.set_descriptor();
        drop(queued);
        self.changed.notify();
    }

    /// Ends it, for that reason if it is not the subscriber that does. Gives the subjects to which
    /// messages are given back that were not handed out.
    pub(crate) fn close(&self, cause: Option<String>) -> Vec<String> {
        let mut queued = self.queued.lock();
        if queued.closed.is_none() {
            queued.closed = Some(cause);
        }
        let opened = std::mem::take(&mut queued.opened);
        let opened = opened.iter().filter_map(|it| it.claim.judge_once());
        let mut replies: Vec<String> = opened.map(str::to_owned).collect();
        replies.dedup();
        let waiting = std::mem::take(&mut queued.waiting);
        replies.extend(waiting.into_iter().map(|it| it.reply));
        queued.set_descriptor();
        drop(queued);
        self.changed.notify();
        replies
    }

    /// When [`each_waiting`](Self::each_waiting) is to be called.
    pub(crate) fn next_working(&self) -> Option<Timestamp> {
        let at = self.next_working.load(Ordering::Relaxed);
        let at = i64::try_from(at).ok().filter(|at| *at > 0)?;
        Some(Timestamp::from_ns(at))
    }

    /// Shows the subjects to which something is said of messages that wait here, if it is time for that.
    pub(crate) fn each_waiting(&self, now: Timestamp, mut show: impl FnMut(&str)) {
        if self.next_working().is_none_or(|due| due > now) {
            return;
        }
        self.begin(now);
        let queued = self.queued.lock();
        let opened = queued.opened.iter().map(|it| it.claim.reply());
        let waiting = queued.waiting.iter().map(|it| it.reply.as_str());
        let mut last = "";
        for reply in opened.chain(waiting) {
            // Those of a batch lie together.
            if reply != last {
                show(reply);
            }
            last = reply;
        }
    }

    /// Has the time run from now on after which messages are reported as being worked on.
    pub(crate) fn begin(&self, now: Timestamp) {
        let next = now.saturating_add(self.working_every).ns().max(1);
        let next = u64::try_from(next).unwrap_or(0);
        self.next_working.store(next, Ordering::Relaxed);
    }

    // --- for the subscriber ---------------------------------------------------------------------

    /// Takes the next message, and tells how many messages of NATS there is room for again.
    pub(crate) fn take(&self) -> (Taken, usize) {
        let mut queued = self.queued.lock();
        let taken = match queued.opened.pop_front() {
            Some(message) => (Taken::Message(message), 0),
            None => match queued.waiting.pop_front() {
                Some(message) => (self.open(&mut queued, message), 1),
                None => match queued.closed.clone() {
                    Some(cause) => (Taken::Closed(cause), 0),
                    None => (Taken::Empty, 0),
                },
            },
        };
        queued.set_descriptor();
        taken
    }

    fn open(&self, queued: &mut Queued, message: ReadMessage) -> Taken {
        let [topic, format, sender, origin, batch] =
            message.headers([TOPIC, FORMAT, SENDER, ORIGIN, BATCH]);
        let headers = Headers {
            topic,
            format,
            sender,
            origin,
            batch,
        };
        let bad = |cause: &dyn std::fmt::Display| {
            let subject: String = message.subject.escape_debug().take(200).collect();
            let sequence = message.delivery.sequence;
            let text = format!("message {sequence} of a stream, under `{subject}`: {cause}");
            Taken::Bad(message.reply.clone(), text)
        };
        let incoming = match read(&self.subjects, &message.subject, headers, &message.payload) {
            Ok(incoming) => incoming,
            Err(refusal) => return bad(&refusal),
        };
        if !self.filter.matches(incoming.topic.as_bytes()) {
            return Taken::Other(message.reply);
        }
        let sender = incoming.sender.unwrap_or(EndpointId::NIL);
        let parcel = Parcel::new(message.reply.clone(), incoming.messages.len());
        let mut opened = VecDeque::with_capacity(incoming.messages.len());
        for (index, (_, value)) in (0_u32..).zip(incoming.messages) {
            let mut frame = Vec::new();
            let topic = incoming.topic.as_bytes();
            let written =
                write_envelope(&mut frame, sender, self.endpoint, Tag::Data, topic, |out| {
                    out.extend_from_slice(value);
                    Ok::<(), EnvelopeError>(())
                });
            if let Err(error) = written {
                return bad(&error);
            }
            let Some(frame) = Message::split_off(&mut Bytes::from(frame)) else {
                return bad(&"it is no frame");
            };
            opened.push_back(DurableMessage {
                message: frame,
                delivery: message.delivery,
                claim: Claim::new((message.delivery.sequence, index), parcel.clone()),
            });
        }
        let Some(first) = opened.pop_front() else {
            return bad(&"it is empty");
        };
        queued.opened = opened;
        Taken::Message(first)
    }

    /// Puts messages back in front, in the order given.
    pub(crate) fn put_back(&self, messages: Vec<DurableMessage>) {
        let mut queued = self.queued.lock();
        for message in messages.into_iter().rev() {
            queued.opened.push_front(message);
        }
        queued.set_descriptor();
        drop(queued);
        self.changed.notify();
    }

    /// Blocks until there is something to take or nothing will come any more; `false` when the time is
    /// over.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let ready = |queued: &mut Queued| queued.is_ready().then_some(());
        self.changed
            .wait(self.queued.lock(), timeout, ready)
            .is_some()
    }

    /// Resolves when there is something to take or nothing will come any more.
    pub(crate) async fn ready(&self) {
        self.changed
            .until(|| self.queued.lock().is_ready().then_some(()))
            .await;
    }

    /// Messages that can be taken, those in batches counted as one.
    pub(crate) fn available(&self) -> usize {
        let queued = self.queued.lock();
        queued.waiting.len().saturating_add(queued.opened.len())
    }

    /// Whether it is closed, and nothing is left.
    pub(crate) fn is_closed(&self) -> bool {
        let queued = self.queued.lock();
        queued.closed.is_some() && queued.waiting.is_empty() && queued.opened.is_empty()
    }

    /// A descriptor that is readable exactly while there is something to take, or the end is to be told.
    pub(crate) fn fd(&self) -> io::Result<RawFd> {
        let mut queued = self.queued.lock();
        if queued.descriptor.is_none() {
            queued.descriptor = Some(ReadyFd::new()?);
            queued.set_descriptor();
        }
        let descriptor = queued.descriptor.as_ref().map(AsRawFd::as_raw_fd);
        descriptor.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
