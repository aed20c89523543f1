//! The messages that a durable subscriber, or a reader in order, has fetched and not handed out.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use broker_data::{Timespan, Timestamp};
use broker_proto::frame::{Tag, write_envelope};
use broker_proto::nats::jetstream::{Load, ReadMessage, ReaderId};
use broker_proto::nats::message::{BATCH, FORMAT, ORIGIN, SENDER, TOPIC, WITHDRAWN};
use broker_proto::nats::{Form, Headers, Subjects, read};
use broker_proto::{EndpointId, EnvelopeError, Filter};
use bytes::Bytes;

use crate::core::jet_stream::course::Course;
use crate::core::jet_stream::message::{Claim, DurableMessage, Parcel};
use crate::flow::mailbox::ready_fd::ReadyFd;
use crate::lock::{Lock, Locked, wake};
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
    /// Nothing, as everything was taken that there was to read.
    Finished,
    /// Nothing, and nothing will come; for that reason if it was not closed here.
    Closed(Option<String>),
}

/// What the task of a reader in order is to look at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CourseEvent {
    /// The consumer is to be made anew, for that reason.
    Broken(String),
    /// Nothing more is to be fetched.
    Over,
    /// The time of the next message, if that is to be waited for.
    Due(Option<Instant>),
}

/// The queue; see the module.
#[derive(Debug)]
pub(crate) struct ReadQueue {
    window: Load,
    endpoint: EndpointId,
    subjects: Subjects,
    filter: Filter,
    /// Half of the time after which a message is delivered again; of those that are acknowledged.
    working_every: Option<Timespan>,
    /// Bound: `window`, and the messages of a batch.
    queued: Lock<Queued>,
    changed: Signal,
    /// For the task that looks after a reader in order.
    course_changed: Signal,
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
    /// Who fetches the messages.
    reader: Option<ReaderId>,
    /// What of the window is taken as far as that reader knows, and what of it is free again.
    occupied: Load,
    freed: Load,
    /// Of a reader in order.
    course: Option<Course>,
    /// `Some` when nothing will come; why, if it was not closed here.
    closed: Option<Option<String>>,
    descriptor: Option<ReadyFd>,
    /// Tasks that are woken when it is ready. Bound: the watches of the application.
    watchers: Vec<Waker>,
}

impl Queued {
    /// Whether there is something to take, or the end to be told.
    fn is_ready(&self) -> bool {
        let has_some = !self.waiting.is_empty() || !self.opened.is_empty();
        has_some && !self.is_held() || self.closed.is_some() || self.is_through()
    }

    /// Whether the next message is not due yet.
    fn is_held(&self) -> bool {
        let pace = self.course.as_ref().and_then(|it| it.pace.as_ref());
        pace.is_some_and(|pace| pace.due.is_some())
    }

    /// Whether everything came that was to be read, and is taken.
    fn is_through(&self) -> bool {
        let is_finished = self.course.as_ref().is_some_and(|it| it.is_finished);
        is_finished && self.waiting.is_empty() && self.opened.is_empty()
    }

    /// Has the next message wait for its time. `true` when it does.
    fn hold_next(&mut self) -> bool {
        let Some(pace) = self.course.as_mut().and_then(|it| it.pace.as_mut()) else {
            return false;
        };
        let opened = self.opened.front().map(|it| it.delivery.time);
        let next = opened.or_else(|| self.waiting.front().map(|it| it.delivery.time));
        match next {
            Some(time) => pace.hold(Instant::now(), time),
            None => pace.due = None,
        }
        pace.due.is_some()
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
        window: Load,
        ack_wait: Timespan,
    ) -> Self {
        let working_every = Some(Timespan::from_ns(ack_wait.ns() / 2));
        let queued = Queued::default();
        Self::of(endpoint, subjects, filter, window, working_every, queued)
    }

    /// The queue of a reader in order, whose messages are not acknowledged.
    pub(crate) fn in_order(
        endpoint: EndpointId,
        subjects: Subjects,
        filter: Filter,
        window: Load,
        course: Course,
    ) -> Self {
        let queued = Queued {
            course: Some(course),
            ..Queued::default()
        };
        Self::of(endpoint, subjects, filter, window, None, queued)
    }

    fn of(
        endpoint: EndpointId,
        subjects: Subjects,
        filter: Filter,
        window: Load,
        working_every: Option<Timespan>,
        queued: Queued,
    ) -> Self {
        Self {
            window,
            endpoint,
            subjects,
            filter,
            working_every,
            queued: Lock::new(queued),
            changed: Signal::default(),
            course_changed: Signal::default(),
            next_working: AtomicU64::new(0),
        }
    }

    pub(crate) const fn window(&self) -> Load {
        self.window
    }

    /// What of the window is taken.
    pub(crate) fn occupied(&self) -> Load {
        self.queued.lock().occupied
    }

    /// Whether its messages come in order and are not acknowledged.
    pub(crate) const fn is_in_order(&self) -> bool {
        self.working_every.is_none()
    }

    /// Notes who fetches messages for it.
    pub(crate) fn set_reader(&self, reader: ReaderId) {
        let mut queued = self.queued.lock();
        queued.reader = Some(reader);
        if let Some(course) = &mut queued.course {
            course.came = 0;
        }
    }

    pub(crate) fn reader(&self) -> Option<ReaderId> {
        self.queued.lock().reader
    }

    /// What is free again since this was asked the last time, and whose it is.
    pub(crate) fn take_freed(&self) -> Option<(ReaderId, Load)> {
        let mut queued = self.queued.lock();
        let reader = queued.reader?;
        let freed = std::mem::take(&mut queued.freed);
        queued.occupied = queued.occupied.minus(freed);
        (freed.messages > 0).then_some((reader, freed))
    }

    // --- for the task ---------------------------------------------------------------------------

    /// Has all look again who wait for something to take, or for the end.
    fn tell(&self, mut queued: Locked<'_, Queued>) {
        queued.set_descriptor();
        let watchers = if queued.is_ready() {
            std::mem::take(&mut queued.watchers)
        } else {
            Vec::new()
        };
        drop(queued);
        self.changed.notify();
        for watcher in watchers {
            wake(watcher);
        }
    }

    pub(crate) fn push(&self, message: ReadMessage) {
        let mut queued = self.queued.lock();
        if queued.closed.is_some() {
            return;
        }
        let mut is_wanted = true;
        let mut is_news = false;
        if let Some(course) = &mut queued.course {
            // What comes behind the end, or from a reader that was given up.
            if course.is_finished || course.broken.is_some() {
                return;
            }
            is_wanted = course.advance(&message.delivery);
            is_news = course.is_finished;
        }
        if is_wanted {
            queued.occupied = queued.occupied.plus(message.load());
            queued.waiting.push_back(message);
            if queued.waiting.len() == 1 && queued.opened.is_empty() {
                is_news |= queued.hold_next();
            }
        }
        self.tell(queued);
        if is_news {
            self.course_changed.notify();
        }
    }

    // --- for the task of a reader in order ------------------------------------------------------

    /// Looks at the course, and changes it.
    pub(crate) fn with_course<R>(&self, look: impl FnOnce(&mut Course) -> R) -> Option<R> {
        let mut queued = self.queued.lock();
        let result = queued.course.as_mut().map(look);
        self.tell(queued);
        self.course_changed.notify();
        result
    }

    /// The consumer is to be made anew, for that reason.
    pub(crate) fn interrupt(&self, cause: String) {
        self.with_course(|course| course.broken = Some(cause));
    }

    /// Resolves when there is something to do beside what was known: the reader broke, everything came,
    /// the queue was closed, or the next message has another time.
    pub(crate) async fn next_event(&self, due: Option<Instant>) -> CourseEvent {
        let look = || {
            let queued = self.queued.lock();
            let course = queued.course.as_ref()?;
            if queued.closed.is_some() {
                return Some(CourseEvent::Over);
            }
            let now_due = course.pace.as_ref().and_then(|it| it.due);
            if now_due != due {
                return Some(CourseEvent::Due(now_due));
            }
            // Nothing more is to be fetched; what is there may still have to wait for its time.
            if course.is_finished {
                let is_timed = now_due.is_some() || !queued.waiting.is_empty();
                let has_pace = course.pace.is_some();
                return (!has_pace || !is_timed).then_some(CourseEvent::Over);
            }
            course.broken.clone().map(CourseEvent::Broken)
        };
        self.course_changed.until(look).await
    }

    /// The time of the next message is there.
    pub(crate) fn release(&self) {
        self.with_course(|course| {
            if let Some(pace) = &mut course.pace {
                pace.due = None;
            }
        });
    }

    /// Whether all that came is taken.
    pub(crate) fn is_empty(&self) -> bool {
        let queued = self.queued.lock();
        queued.waiting.is_empty() && queued.opened.is_empty()
    }

    // --- for the task ---------------------------------------------------------------------------

    /// Ends it, for that reason if it is not the subscriber that does. Gives the subjects to which
    /// messages are given back that were not handed out.
    pub(crate) fn close(&self, cause: Option<String>) -> Vec<String> {
        let mut queued = self.queued.lock();
        if queued.closed.is_none() {
            queued.closed = Some(cause);
        }
        let is_cut = !queued.waiting.is_empty() || !queued.opened.is_empty();
        if let Some(course) = queued.course.as_mut().filter(|_| is_cut) {
            course.is_finished = false;
        }
        let opened = std::mem::take(&mut queued.opened);
        let opened = opened.iter().filter_map(|it| it.claim.judge_once());
        let mut replies: Vec<String> = opened.map(str::to_owned).collect();
        replies.dedup();
        let waiting = std::mem::take(&mut queued.waiting);
        replies.extend(waiting.into_iter().map(|it| it.reply));
        if self.is_in_order() {
            replies.clear();
        }
        self.tell(queued);
        self.course_changed.notify();
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
        let Some(every) = self.working_every else {
            return;
        };
        let next = now.saturating_add(every).ns().max(1);
        let next = u64::try_from(next).unwrap_or(0);
        self.next_working.store(next, Ordering::Relaxed);
    }

    // --- for the subscriber ---------------------------------------------------------------------

    /// Takes the next message, and tells whether so much is free again that it is worth saying.
    pub(crate) fn take(&self) -> (Taken, bool) {
        let mut queued = self.queued.lock();
        let taken = self.take_next(&mut queued);
        let is_held = queued.hold_next();
        let is_news = is_held || queued.is_through();
        let (few, freed) = (self.window, queued.freed);
        let is_much = freed.messages > few.messages / 4 || freed.bytes > few.bytes / 4;
        let is_worth = freed.messages > 0 && (is_much || queued.waiting.is_empty());
        queued.set_descriptor();
        drop(queued);
        if is_news && self.is_in_order() {
            self.course_changed.notify();
        }
        (taken, is_worth)
    }

    fn take_next(&self, queued: &mut Queued) -> Taken {
        if queued.closed.is_none() && queued.is_held() {
            return Taken::Empty;
        }
        if let Some(message) = queued.opened.pop_front() {
            return Taken::Message(message);
        }
        if let Some(message) = queued.waiting.pop_front() {
            queued.freed = queued.freed.plus(message.load());
            if let Some(course) = &mut queued.course {
                course.note_taken(&message.delivery);
            }
            return self.open(queued, message);
        }
        if queued.is_through() {
            return Taken::Finished;
        }
        match queued.closed.clone() {
            Some(cause) => Taken::Closed(cause),
            None => Taken::Empty,
        }
    }

    fn open(&self, queued: &mut Queued, message: ReadMessage) -> Taken {
        let [topic, format, sender, origin, batch, withdrawn] =
            message.headers([TOPIC, FORMAT, SENDER, ORIGIN, BATCH, WITHDRAWN]);
        let is_withdrawn = withdrawn.is_some();
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
        let state_until = queued.course.as_ref().and_then(|it| it.state_until);
        if let Some(until) = state_until {
            let form = self.subjects.split(&message.subject).map(|(form, _)| form);
            let was_withdrawn = is_withdrawn && message.delivery.sequence <= until;
            if form != Ok(Form::Retained) || was_withdrawn {
                return Taken::Other(message.reply);
            }
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
                is_withdrawn,
                claim: Claim::new((message.delivery.sequence, index), parcel.clone()),
            });
        }
        let Some(first) = opened.pop_front() else {
            return bad(&"it is empty");
        };
        queued.opened = opened;
        Taken::Message(first)
    }

    /// Whether the last values that there were at the beginning are taken.
    pub(crate) fn is_state_taken(&self) -> bool {
        let queued = self.queued.lock();
        queued.course.as_ref().is_none_or(|it| it.is_state_taken)
    }

    /// Whether it is of a reader that has an end.
    pub(crate) fn has_end(&self) -> bool {
        let queued = self.queued.lock();
        queued.course.as_ref().is_some_and(|it| it.end.is_some())
    }

    /// Whether everything was taken that was to be read.
    pub(crate) fn is_finished(&self) -> bool {
        self.queued.lock().is_through()
    }

    /// Puts messages back in front, in the order given.
    pub(crate) fn put_back(&self, messages: Vec<DurableMessage>) {
        let mut queued = self.queued.lock();
        for message in messages.into_iter().rev() {
            queued.opened.push_front(message);
        }
        self.tell(queued);
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

    /// Ready when there is something to take or nothing will come any more; the task is woken then.
    pub(crate) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut queued = self.queued.lock();
        if queued.is_ready() {
            return Poll::Ready(());
        }
        let waker = context.waker();
        if !queued.watchers.iter().any(|it| it.will_wake(waker)) {
            queued.watchers.push(waker.clone());
        }
        Poll::Pending
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
