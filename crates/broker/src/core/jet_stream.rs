//! The client of the streams on the servers at one address: what handles ask of it, and what its task
//! tells them.
//!
//! Handles call [`JetStream`] from any thread; its task, in `transport::nats::jet_stream`, has the socket.
//! Both meet at the [`Session`] behind one lock, which is held for a change of state and never over I/O.
//!
//! | module | what it is |
//! |---|---|
//! | `entries` | entries of a stream for a replica of a store |
//! | `queue` | messages that a durable subscriber has fetched |
//! | `message` | one of them, and what was said of it |
//! | `course` | how far a reader in order came, where it ends, how fast it goes |

pub(crate) mod course;
pub(crate) mod entries;
pub(crate) mod message;
pub(crate) mod queue;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::Waker;

use broker_data::{Timespan, Timestamp};
use broker_proto::nats::Subjects;
use broker_proto::nats::connection::{Connection, Event, ProtocolError, ServerInfo, TooOld};
use broker_proto::nats::jetstream::cursor::Verdict;
use broker_proto::nats::jetstream::{
    CURSORS_FROM, Load, Output, Publication, ReaderId, Reading, RequestError, RequestId, Session,
};
use broker_proto::peer_url::PeerUrl;
use serde_json::Value;

use self::entries::{ENTRIES_AHEAD, EntryQueue};
use self::queue::ReadQueue;
use crate::config::NatsPeerOptions;
use crate::core::pending::{Pending, Resolver};
use crate::lock::{Lock, Locked, wake};
use crate::signal::Signal;

/// What is said of messages that were fetched and are not handed out: others, or the next subscriber of
/// the name, get them at once.
const GIVEN_BACK: Verdict = Verdict::Again(Timespan::from_ns(0));

/// Streams whose weakness is told; those beyond are not.
const WARNED_MAX: usize = 256;

/// What a request resolves to.
pub(crate) type Answer = Result<Value, RequestError>;

/// The client of one address.
#[derive(Debug)]
pub(crate) struct JetStream {
    pub(crate) url: PeerUrl,
    pub(crate) options: Arc<NatsPeerOptions>,
    pub(crate) subjects: Subjects,
    /// What is asked of servers, and the first version that does it.
    requires: (&'static str, [u32; 2]),
    state: Lock<State>,
    /// Tells of connections.
    connected: Signal,
}

#[derive(Debug)]
struct State {
    session: Session,
    /// Bound: the session's requests.
    answers: BTreeMap<RequestId, Resolver<Answer>>,
    /// Bound: one for each durable subscriber.
    readers: BTreeMap<ReaderId, Arc<ReadQueue>>,
    /// Bound: one for each replica of a store.
    followers: BTreeMap<ReaderId, Arc<EntryQueue>>,
    /// How many connections there have been.
    connections: u64,
    /// The largest message that the last server takes, in bytes.
    max_payload: usize,
    /// What is asked for at the end, without waiting for the answer.
    farewell: Option<(String, Value)>,
    /// The task, while it sleeps.
    task: Option<Waker>,
    too_old: Option<TooOld>,
    /// Streams that were warned of. Bound: `WARNED_MAX`.
    warned: BTreeSet<String>,
    is_over: bool,
}

impl State {
    /// Has the task look at what changed.
    fn changed(&mut self) {
        if let Some(task) = self.task.take() {
            wake(task);
        }
    }

    /// Hands on what the session has to say.
    fn hand_on(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Answered(id, answer) => {
                    if let Some(resolver) = self.answers.remove(&id) {
                        resolver.resolve(answer);
                    }
                }
                Output::Message(message) => {
                    if let Some(queue) = self.readers.get(&message.reader) {
                        queue.push(*message);
                    } else if let Some(queue) = self.followers.get(&message.reader) {
                        queue.push(*message);
                    }
                }
                Output::Gone(reader, cause) => {
                    if let Some(queue) = self.followers.remove(&reader) {
                        queue.close(cause.clone());
                    }
                    let Some(queue) = self.readers.remove(&reader) else {
                        continue;
                    };
                    if queue.is_in_order() && !self.is_over {
                        queue.interrupt(cause);
                    } else {
                        for reply in queue.close(Some(cause)) {
                            self.session.judge(&reply, &GIVEN_BACK);
                        }
                    }
                }
            }
        }
    }
}

impl JetStream {
    /// A client whose answers come under that name, which no other client has.
    pub(crate) fn new(
        name: &str,
        url: PeerUrl,
        options: Arc<NatsPeerOptions>,
        subjects: Subjects,
    ) -> Self {
        let state = State {
            session: Session::new(name),
            answers: BTreeMap::new(),
            readers: BTreeMap::new(),
            followers: BTreeMap::new(),
            connections: 0,
            max_payload: 0,
            farewell: None,
            task: None,
            too_old: None,
            warned: BTreeSet::new(),
            is_over: false,
        };
        Self {
            url,
            options,
            subjects,
            requires: ("durable topics", CURSORS_FROM),
            state: Lock::new(state),
            connected: Signal::default(),
        }
    }

    /// The same, for another purpose, named in the plural, that needs servers of that version.
    pub(crate) fn for_purpose(mut self, what: &'static str, least: [u32; 2]) -> Self {
        self.requires = (what, least);
        self
    }

    // --- for handles ----------------------------------------------------------------------------

    /// Whether a stream is warned of for the first time.
    pub(crate) fn is_first_warning(&self, stream: &str) -> bool {
        let mut state = self.state.lock();
        let has_room = state.warned.len() < WARNED_MAX;
        has_room && state.warned.insert(stream.to_owned())
    }

    /// Asks for something of `$JS.API.`.
    pub(crate) fn request(
        &self,
        now: Timestamp,
        subject: &str,
        body: &Value,
        limit: Timespan,
    ) -> Pending<Answer> {
        let deadline = now.saturating_add(limit);
        self.begin(|session| session.request(now, subject, body, deadline))
    }

    /// Publishes a message until a stream has it.
    pub(crate) fn publish(
        &self,
        now: Timestamp,
        publication: Publication,
        limit: Timespan,
    ) -> Pending<Answer> {
        let deadline = now.saturating_add(limit);
        self.begin(|session| session.publish(now, publication, deadline))
    }

    fn begin(
        &self,
        begin: impl FnOnce(&mut Session) -> Result<RequestId, RequestError>,
    ) -> Pending<Answer> {
        let (resolver, pending) = Pending::new(|| Err(RequestError::Over));
        let mut state = self.state.lock();
        let begun = match &state.too_old {
            _ if state.is_over => Err(RequestError::Over),
            Some(too_old) => Err(too_old.clone().into()),
            None => begin(&mut state.session),
        };
        match begun {
            Ok(id) => {
                state.answers.insert(id, resolver);
                state.hand_on();
                state.changed();
            }
            Err(error) => resolver.resolve(Err(error)),
        }
        pending
    }

    /// Fetches messages of a consumer into a queue.
    pub(crate) fn read(
        &self,
        now: Timestamp,
        stream: &str,
        consumer: &str,
        queue: Arc<ReadQueue>,
    ) -> Option<ReaderId> {
        let mut state = self.state.lock();
        if state.is_over {
            return None;
        }
        queue.begin(now);
        let reading = Reading {
            stream: stream.to_owned(),
            consumer: consumer.to_owned(),
            window: queue.window(),
            held: queue.occupied(),
            is_ordered: queue.is_in_order(),
        };
        let reader = state.session.read(now, reading);
        queue.set_reader(reader);
        state.readers.insert(reader, queue);
        state.changed();
        Some(reader)
    }

    /// Reads entries of a consumer into a queue; `None` when the client is over.
    pub(crate) fn follow(
        &self,
        now: Timestamp,
        stream: &str,
        consumer: &str,
    ) -> Option<(ReaderId, Arc<EntryQueue>)> {
        let mut state = self.state.lock();
        if state.is_over {
            return None;
        }
        let queue = Arc::new(EntryQueue::default());
        let reading = Reading {
            stream: stream.to_owned(),
            consumer: consumer.to_owned(),
            window: ENTRIES_AHEAD,
            held: Load::default(),
            is_ordered: true,
        };
        let reader = state.session.read(now, reading);
        state.followers.insert(reader, queue.clone());
        state.changed();
        Some((reader, queue))
    }

    /// Says what is asked for when the client ends, in place of what was said before.
    pub(crate) fn set_farewell(&self, farewell: Option<(String, Value)>) {
        self.state.lock().farewell = farewell;
    }

    /// Resolves when there has been another connection than so many; to how many there have been, and to
    /// the bytes that the server takes.
    pub(crate) async fn connected_after(&self, connections: u64) -> (u64, usize) {
        let look = || {
            let state = self.state.lock();
            (state.connections > connections).then_some((state.connections, state.max_payload))
        };
        self.connected.until(look).await
    }

    /// A replica took so many entries.
    pub(crate) fn make_room_for_entries(&self, now: Timestamp, reader: ReaderId, taken: Load) {
        let mut state = self.state.lock();
        state.session.make_room(now, reader, taken);
        state.changed();
    }

    /// The owner of a queue took messages.
    pub(crate) fn make_room(&self, now: Timestamp, queue: &ReadQueue) {
        let mut state = self.state.lock();
        if let Some((reader, taken)) = queue.take_freed() {
            state.session.make_room(now, reader, taken);
            state.changed();
        }
    }

    /// Ends a reader in order; what is in its queue stays there.
    pub(crate) fn stop_reader(&self, reader: ReaderId) {
        let mut state = self.state.lock();
        state.session.end(reader);
        state.readers.remove(&reader);
        state.changed();
    }

    /// How many messages came to readers, since this was asked the last time, that had not asked for them.
    pub(crate) fn take_unasked(&self) -> u64 {
        self.state.lock().session.take_unasked()
    }

    /// Ends a reader.
    pub(crate) fn end_reader(&self, reader: ReaderId) {
        let mut state = self.state.lock();
        state.session.end(reader);
        state.followers.remove(&reader);
        if let Some(queue) = state.readers.remove(&reader) {
            for reply in queue.close(None) {
                state.session.judge(&reply, &GIVEN_BACK);
            }
        }
        state.changed();
    }

    /// Says something of messages.
    pub(crate) fn judge<'a>(&self, replies: impl IntoIterator<Item = &'a str>, verdict: &Verdict) {
        let mut state = self.state.lock();
        for reply in replies {
            state.session.judge(reply, verdict);
        }
        state.changed();
    }

    /// Ends the client: requests fail, queues are closed, and the task ends when what was said is sent.
    pub(crate) fn end(&self) {
        let mut state = self.state.lock();
        if let Some((subject, body)) = state.farewell.take() {
            let never = Timestamp::EPOCH;
            // It is among what is sent before the task ends; where there is no connection, it is not.
            let _ = state.session.request(never, &subject, &body, never);
        }
        state.is_over = true;
        state.session.handle_over();
        state.hand_on();
        state.changed();
    }

    // --- for the task ---------------------------------------------------------------------------

    pub(crate) fn is_over(&self) -> bool {
        self.state.lock().is_over
    }

    /// Has the task woken by the next change. To be called before it looks at anything.
    pub(crate) fn register(&self, waker: &Waker) {
        let mut state = self.state.lock();
        if !state
            .task
            .as_ref()
            .is_some_and(|task| task.will_wake(waker))
        {
            state.task = Some(waker.clone());
        }
    }

    /// There is a connection, unless the server is too old.
    pub(crate) fn connected(
        &self,
        now: Timestamp,
        connection: Connection,
        info: &ServerInfo,
    ) -> Result<(), TooOld> {
        let mut state = self.state.lock();
        let fit = info.require(self.requires.0, self.requires.1);
        state.too_old = fit.clone().err();
        match &fit {
            Ok(()) => {
                state.session.handle_connected(now, connection, info);
                state.connections += 1;
                state.max_payload = info.max_payload;
            }
            Err(too_old) => state.session.handle_refused(&too_old.clone().into()),
        }
        state.hand_on();
        drop(state);
        self.connected.notify();
        fit
    }

    /// The connection is over.
    pub(crate) fn lost(&self, cause: &str) {
        let mut state = self.state.lock();
        state.session.handle_lost(cause);
        state.hand_on();
    }

    /// Takes what came.
    pub(crate) fn received(
        &self,
        now: Timestamp,
        bytes: &[u8],
        on: impl FnMut(Event<'_>),
    ) -> Result<(), ProtocolError> {
        let mut state = self.state.lock();
        let fed = state.session.handle_bytes(now, bytes, on);
        state.hand_on();
        fed
    }

    /// Moves what is to be sent behind other bytes.
    pub(crate) fn take_output(&self, into: &mut Vec<u8>) {
        let mut state = self.state.lock();
        let output = state.session.output();
        let size = output.len();
        into.extend_from_slice(output);
        state.session.handle_written(size);
    }

    pub(crate) fn ping(&self) {
        self.state.lock().session.ping();
    }

    /// When [`tick`](Self::tick) is to be called.
    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        let state = self.state.lock();
        let working = state.readers.values().filter_map(|it| it.next_working());
        working.chain(state.session.next_timeout()).min()
    }

    /// Time has passed. Messages that wait for their reader are reported as being worked on, so that
    /// they are not delivered a second time.
    pub(crate) fn tick(&self, now: Timestamp) {
        let mut state: Locked<'_, State> = self.state.lock();
        let State {
            session, readers, ..
        } = &mut *state;
        session.handle_timeout(now);
        for queue in readers.values() {
            queue.each_waiting(now, |reply| session.judge(reply, &Verdict::Working));
        }
        state.hand_on();
    }
}
