//! Receiving messages.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use broker_proto::{EndpointId, LocalId, LocalKind, Topic};
use futures_core::Stream;

use crate::config::{MAILBOX_MESSAGES_MAX, OnLoss, Overflow};
use crate::core::completion::{CompletionQueue, OperationId};
use crate::core::control::NotAdded;
use crate::core::shared::Shared;
use crate::error::Error;
use crate::flow::buffers;
use crate::flow::mailbox::{Chunk, Limits, Mailbox, Taken};
use crate::flow::publish;
use crate::flow::target::{Target, TargetKind};
use crate::lock::{Lock, Locked};
use crate::message::{Message, MessageRef};

/// Bytes taken from the mailbox at once. More would count as consumed long before it is.
const TAKE_BATCH: usize = 64 * 1024;

/// Characters of a name: it stands in every sample of a metric.
const NAME_CHARS_MAX: usize = 64;

/// What [`Subscriber::recv_ready`] takes at most. A reader that handles a batch at a time is back
/// within the stall limit as long as a message costs it less than a millisecond, or a mebibyte less
/// than five seconds; and more at once would be no faster.
const READY_MESSAGES_MAX: usize = 4096;
const READY_BYTES_MAX: usize = 1024 * 1024;

/// How much waits for one subscriber, and what happens beyond that; see
/// [`Endpoint::subscriber_with_room`](crate::Endpoint::subscriber_with_room).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Messages: at least one, at most [`MAILBOX_MESSAGES_MAX`](crate::MAILBOX_MESSAGES_MAX).
    pub messages_max: usize,
    /// What becomes of a message that there is no room for. Except with [`Overflow::Block`] nobody
    /// waits: the policy applies at once.
    pub overflow: Overflow,
}

/// Receives the messages of some topics.
///
/// A message is delivered when one of the topics is a prefix of its topic, once per subscriber. Up
/// to [`Capacity`](crate::Capacity) wait here; beyond that producers wait, unless the subscriber
/// takes nothing for the stall limit: then messages are dropped and an error event says so. See
/// [`Overflow`](crate::Overflow).
///
/// All methods take `&self` and may be called from several threads; each message goes to one of
/// them. It is also a [`Stream`] that ends when the endpoint is shut down and everything is taken.
/// Dropping it ends the subscription here; peers are not told, as their filters never shrink.
pub struct Subscriber {
    shared: Arc<Shared>,
    id: LocalId,
    mailbox: Arc<Mailbox>,
    held: Lock<Held>,
    /// Whether receiving fails when messages were lost.
    fails_on_loss: AtomicBool,
    /// Of the dropped messages, how many the reader was told of.
    loss_told: AtomicU64,
}

/// Chunks taken from the mailbox whose messages are handed out one by one.
#[derive(Debug, Default)]
struct Held {
    /// Bound: `TAKE_BATCH`, and what the application puts back.
    chunks: VecDeque<Chunk>,
    messages: usize,
}

impl Held {
    fn next(&mut self) -> Option<Message> {
        loop {
            let front = self.chunks.front_mut()?;
            if let Some(message) = Message::split_off(&mut front.bytes) {
                front.frames = front.frames.saturating_sub(1);
                self.messages = self.messages.saturating_sub(1);
                return Some(message);
            }
            self.chunks.pop_front();
        }
    }

    /// All messages that lie together with the next one.
    fn next_run(&mut self) -> Option<Chunk> {
        loop {
            let chunk = self.chunks.pop_front()?;
            if chunk.frames > 0 {
                self.messages = self.messages.saturating_sub(chunk.frames);
                return Some(chunk);
            }
        }
    }

    fn peek(&self) -> Option<Message> {
        self.chunks
            .iter()
            .find_map(|chunk| Message::split_off(&mut chunk.bytes.clone()))
    }
}

impl Subscriber {
    pub(crate) fn new(shared: &Arc<Shared>, topics: Vec<Topic>) -> Result<Self, Error> {
        Self::of_kind(shared, LocalKind::Subscriber, topics)
    }

    pub(crate) fn of_kind(
        shared: &Arc<Shared>,
        kind: LocalKind,
        topics: Vec<Topic>,
    ) -> Result<Self, Error> {
        let limits = shared.data.local_limits.clone();
        Self::added(shared, limits, |target| {
            shared.add_consumer(kind, &topics, target, usize::MAX)
        })
    }

    /// With room of its own.
    pub(crate) fn with_room(
        shared: &Arc<Shared>,
        topics: Vec<Topic>,
        room: Room,
    ) -> Result<Self, Error> {
        let limits = Limits {
            messages_max: room.messages_max.clamp(1, MAILBOX_MESSAGES_MAX),
            overflow: room.overflow,
            // A consumer that asks for a policy is to lose messages before others wait for it.
            strict: room.overflow != Overflow::Block,
            ..shared.data.local_limits.clone()
        };
        Self::added(shared, limits, |target| {
            shared.add_consumer(LocalKind::Subscriber, &topics, target, usize::MAX)
        })
    }

    /// Of everything that comes here and is sent here; peers are not asked for more.
    pub(crate) fn of_everything(shared: &Arc<Shared>) -> Result<Self, Error> {
        let limits = shared.data.local_limits.clone();
        Self::added(shared, limits, |target| shared.add_observer(target))
    }

    fn added(
        shared: &Arc<Shared>,
        limits: Limits,
        add: impl FnOnce(Target) -> Result<LocalId, NotAdded>,
    ) -> Result<Self, Error> {
        let mailbox = Mailbox::new(limits);
        shared.data.report_bursts_of(&mailbox, TargetKind::Local);
        let mailbox = Arc::new(mailbox);
        let target = Target {
            mailbox: mailbox.clone(),
            kind: TargetKind::Local,
        };
        let id = add(target).map_err(|_| Error::ShutDown)?;
        Ok(Self {
            shared: shared.clone(),
            id,
            mailbox,
            held: Lock::default(),
            fails_on_loss: AtomicBool::new(false),
            loss_told: AtomicU64::new(0),
        })
    }

    /// Names the subscriber in statistics and metrics, where it is otherwise known by its topics.
    /// The first name counts, and of it the first 64 characters.
    pub fn set_name(&self, name: &str) {
        let name: String = name.chars().take(NAME_CHARS_MAX).collect();
        self.mailbox.set_name(&name);
    }

    /// The id of the endpoint that receives.
    pub fn endpoint_id(&self) -> EndpointId {
        self.shared.data.id
    }

    pub(crate) fn local_id(&self) -> LocalId {
        self.id
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn held(&self) -> Locked<'_, Held> {
        self.held.lock()
    }

    /// Makes sure that something is held if there is anything at all.
    fn refill(&self, held: &mut Held) -> Taken {
        if held.messages > 0 {
            return Taken::Messages(held.messages);
        }
        held.chunks.clear();
        let taken = self.mailbox.take(TAKE_BATCH, &mut held.chunks);
        if let Taken::Messages(messages) = taken {
            held.messages = messages;
        }
        taken
    }

    fn take_one(&self, held: &mut Held) -> Option<Message> {
        let Taken::Messages(_) = self.refill(held) else {
            return None;
        };
        let message = held.next();
        self.mailbox.moved();
        if held.messages == 0 {
            self.mailbox.lower_ready();
        }
        message
    }

    /// Takes the next message if there is one.
    pub fn try_recv(&self) -> Option<Message> {
        self.take_one(&mut self.held())
    }

    /// Takes the next message if there is one and it is wanted.
    pub(crate) fn try_recv_if(&self, wanted: impl FnOnce(&Message) -> bool) -> Option<Message> {
        let mut held = self.held();
        self.refill(&mut held);
        held.peek().filter(wanted)?;
        self.take_one(&mut held)
    }

    /// Takes the next message, blocking the calling thread until there is one.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] when the endpoint is shut down, or the subscriber closed, and everything is
    /// taken; [`Error::Overflowed`] when the overflow policy closed it.
    pub fn recv(&self) -> Result<Message, Error> {
        loop {
            if let Some(message) = self.recv_until(None)? {
                return Ok(message);
            }
        }
    }

    /// As [`recv`](Self::recv), giving up after `timeout`.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Option<Message>, Error> {
        self.recv_until(Instant::now().checked_add(timeout))
    }

    fn recv_until(&self, deadline: Option<Instant>) -> Result<Option<Message>, Error> {
        loop {
            self.check_loss()?;
            if let Some(message) = self.try_recv() {
                return Ok(Some(message));
            }
            match self.mailbox.wait(deadline) {
                // Another thread may be faster; then we wait again.
                Taken::Messages(_) => {}
                Taken::Empty => return Ok(None),
                Taken::Closed => return Err(Error::Closed),
                Taken::Overflowed => return Err(Error::Overflowed),
            }
        }
    }

    /// Appends up to `max` messages that are there already; returns how many.
    ///
    /// Whoever takes very many at once and works on them for longer than the stall limit counts as
    /// stuck meanwhile; [`recv_ready`](Self::recv_ready) takes what is wise.
    pub fn recv_batch(&self, max: usize, out: &mut Vec<Message>) -> usize {
        self.take_batch(max, usize::MAX, out)
    }

    /// Appends messages that are there already, up to a few thousand or about a mebibyte; returns how
    /// many. For readers that handle a batch at a time.
    pub fn recv_ready(&self, out: &mut Vec<Message>) -> usize {
        self.take_batch(READY_MESSAGES_MAX, READY_BYTES_MAX, out)
    }

    /// Shows all messages of one run that are there already, without taking them apart: the cheapest way
    /// to read many small ones. Returns how many it were; a run holds about 64 KiB, or one message
    /// that is larger.
    ///
    /// A message that was shown is taken. When `look` panics, those behind it are there again.
    pub fn for_each_ready(&self, mut look: impl FnMut(MessageRef<'_>)) -> usize {
        let chunk = {
            let mut held = self.held();
            let Taken::Messages(_) = self.refill(&mut held) else {
                return 0;
            };
            let chunk = held.next_run();
            self.mailbox.moved();
            if held.messages == 0 {
                self.mailbox.lower_ready();
            }
            chunk
        };
        let Some(chunk) = chunk else { return 0 };
        let mut run = OpenRun {
            subscriber: self,
            chunk,
            start: 0,
            shown: 0,
        };
        while let Some(message) = MessageRef::at(&run.chunk.bytes, run.start) {
            run.start += message.frame_len();
            run.shown += 1;
            look(message);
            self.mailbox.moved();
        }
        run.shown
    }

    /// Takes messages until there are `messages_max` of them, or `bytes_max` bytes or more.
    fn take_batch(&self, messages_max: usize, bytes_max: usize, out: &mut Vec<Message>) -> usize {
        let mut held = self.held();
        let (mut count, mut bytes) = (0, 0usize);
        while count < messages_max && bytes < bytes_max {
            let Taken::Messages(_) = self.refill(&mut held) else {
                break;
            };
            while count < messages_max && bytes < bytes_max {
                let Some(message) = held.next() else { break };
                bytes = bytes.saturating_add(message.frame_len());
                out.push(message);
                count += 1;
            }
        }
        if count > 0 {
            self.mailbox.moved();
            if held.messages == 0 {
                self.mailbox.lower_ready();
            }
        }
        count
    }

    /// Puts messages back in front of those that wait, in the order given: for callers who took
    /// several and could not use all of them. The descriptor is readable again.
    pub fn put_back<I>(&self, messages: I)
    where
        I: IntoIterator<Item = Message, IntoIter: DoubleEndedIterator>,
    {
        let mut held = self.held();
        for message in messages.into_iter().rev() {
            held.chunks
                .push_front(Chunk::of_frame(message.into_frame()));
            held.messages += 1;
        }
        if held.messages > 0 {
            self.mailbox.raise_ready();
        }
    }

    /// Blocks until there is something to take or nothing will come any more, at most for `timeout`;
    /// `false` says that the time is over.
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        if self.held().messages > 0 {
            return true;
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.mailbox.wait(deadline) != Taken::Empty
    }

    /// Number of messages that can be taken now.
    pub fn available(&self) -> usize {
        let held = self.held().messages;
        held + self.mailbox.messages()
    }

    /// Number of messages that were dropped because this subscriber did not take them.
    pub fn dropped(&self) -> u64 {
        self.mailbox.dropped()
    }

    /// Number of messages that were dropped since the last call of this or since the last
    /// [`Error::MessagesLost`].
    pub fn take_loss(&self) -> u64 {
        let dropped = self.dropped();
        dropped.saturating_sub(self.loss_told.swap(dropped, Ordering::AcqRel))
    }

    /// Whether messages that are lost make the next [`recv`](Self::recv) or
    /// [`recv_timeout`](Self::recv_timeout) fail. As a stream it cannot fail; there, and with the
    /// other methods, [`check_loss`](Self::check_loss) and [`take_loss`](Self::take_loss) tell.
    pub fn set_on_loss(&self, on_loss: OnLoss) {
        self.fails_on_loss
            .store(on_loss == OnLoss::Fail, Ordering::Release);
    }

    /// Fails if messages were lost and the subscriber is to fail on that; then it does so once.
    ///
    /// # Errors
    ///
    /// [`Error::MessagesLost`].
    pub fn check_loss(&self) -> Result<(), Error> {
        if !self.fails_on_loss.load(Ordering::Acquire) {
            return Ok(());
        }
        match self.take_loss() {
            0 => Ok(()),
            count => Err(Error::MessagesLost { count }),
        }
    }

    /// Whether nothing is left and nothing will come.
    pub fn is_closed(&self) -> bool {
        let empty = self.held().messages == 0;
        empty && matches!(self.mailbox.peek(), Taken::Closed | Taken::Overflowed)
    }

    /// A descriptor that is readable exactly while there are messages, for `poll` and event loops.
    /// It belongs to the subscriber: neither read nor close it.
    ///
    /// # Errors
    ///
    /// Fails when the process has no descriptor left.
    pub fn fd(&self) -> io::Result<RawFd> {
        let held = self.held();
        self.mailbox.ready_fd(held.messages > 0)
    }

    /// Has an event loop wait for it: the queue tells once there are messages, or none will come any
    /// more, and again after [`resume`](CompletionQueue::resume). End it with
    /// [`remove`](CompletionQueue::remove).
    pub fn watch<T: Send + 'static>(&self, queue: &CompletionQueue<T>) -> OperationId {
        queue.watch(self.mailbox.clone())
    }

    /// Subscribes to one more topic. The peers know when the call returns.
    pub fn add_topic(&self, topic: impl Into<Topic>) {
        let topic = topic.into();
        let mut is_new = false;
        self.shared
            .data
            .routes
            .update(|table| is_new = table.add_local_topics(self.id, [topic.clone()]));
        if is_new {
            self.shared.subscribe(&[topic]);
        }
    }

    /// Ends the subscription to a topic; an unknown one is ignored. Peers go on sending it, as their
    /// filters never shrink; it is not delivered here any more.
    pub fn remove_topic(&self, topic: impl AsRef<[u8]>) {
        let topic = Topic::from(topic.as_ref());
        self.shared
            .data
            .routes
            .update(|table| table.remove_local_topic(self.id, &topic));
    }

    /// Ends the subscription; what has arrived can still be taken.
    pub fn close(&self) {
        self.shared
            .data
            .routes
            .update(|table| table.remove_local(self.id));
        self.mailbox.finish();
    }
}

/// A run whose messages are being shown.
struct OpenRun<'a> {
    subscriber: &'a Subscriber,
    chunk: Chunk,
    start: usize,
    shown: usize,
}

impl Drop for OpenRun<'_> {
    fn drop(&mut self) {
        let frames = self.chunk.frames.saturating_sub(self.shown);
        if frames > 0 {
            let mut held = self.subscriber.held();
            held.messages += frames;
            held.chunks.push_front(Chunk {
                bytes: self.chunk.bytes.slice(self.start..),
                frames,
                control: false,
                translation: None,
            });
            self.subscriber.mailbox.raise_ready();
        } else {
            buffers::give(std::mem::take(&mut self.chunk.bytes));
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.shared
            .data
            .routes
            .update(|table| table.remove_local(self.id));
        self.mailbox.close();
        publish::forget_audience();
    }
}

impl Stream for Subscriber {
    type Item = Message;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let mut held = self.held();
        if let Some(message) = self.take_one(&mut held) {
            return Poll::Ready(Some(message));
        }
        match self.mailbox.poll_take(cx, TAKE_BATCH, &mut held.chunks) {
            Taken::Messages(messages) => {
                held.messages = messages;
                Poll::Ready(self.take_one(&mut held))
            }
            Taken::Empty => Poll::Pending,
            Taken::Closed | Taken::Overflowed => Poll::Ready(None),
        }
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.shared.data.routes.load();
        let topics: Vec<&Topic> = table.local_topics(self.id).collect();
        f.debug_struct("Subscriber")
            .field("topics", &topics)
            .field("available", &self.available())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Wake as TaskWake, Waker};

    use super::*;
    use crate::endpoint::Endpoint;

    /// Notes whether the endpoint can be asked something when the task is woken, as a waker of an
    /// application may do.
    struct Asking {
        shared: Arc<Shared>,
        subscriber: Subscriber,
        asked: AtomicBool,
    }

    impl TaskWake for Asking {
        fn wake(self: Arc<Self>) {
            let is_free = self.shared.control.try_lock().is_some()
                && self.subscriber.held.try_lock().is_some();
            self.asked.store(is_free, Ordering::SeqCst);
        }
    }

    #[test]
    fn readers_of_events_are_woken_without_a_lock() {
        let endpoint = Endpoint::builder().disable_ssl(true).build().unwrap();
        let errors = endpoint.subscriber([broker_proto::topic::ERRORS]).unwrap();
        let asking = Arc::new(Asking {
            shared: errors.shared.clone(),
            subscriber: errors,
            asked: AtomicBool::new(false),
        });
        let waker = Waker::from(asking.clone());
        let mailbox = &asking.subscriber.mailbox;
        mailbox.register(&mut Context::from_waker(&waker));
        endpoint.unpeer("127.0.0.1", 1).wait();
        assert_eq!(asking.subscriber.available(), 1);
        assert!(asking.asked.load(Ordering::SeqCst));
    }

    #[test]
    fn a_dropped_subscriber_is_gone_although_its_thread_published_to_it() {
        let endpoint = Endpoint::builder().disable_ssl(true).build().unwrap();
        let hub = endpoint.hub(["/other"]).unwrap();
        let subscriber = endpoint.subscriber(["/t"]).unwrap();
        let mailbox = Arc::downgrade(&subscriber.mailbox);
        hub.publish("/t", &1u64).unwrap();
        assert_eq!(subscriber.available(), 1);
        drop(subscriber);
        // The hub remembers whom its topics went to until it publishes again.
        hub.publish("/t", &2u64).unwrap();
        assert!(mailbox.upgrade().is_none());
        let subscriber = endpoint.subscriber(["/t"]).unwrap();
        let mailbox = Arc::downgrade(&subscriber.mailbox);
        hub.publish("/t", &3u64).unwrap();
        drop((hub, subscriber));
        assert!(mailbox.upgrade().is_none());
    }
}
