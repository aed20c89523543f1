//! Requests and readers of one client, over connections that come and go.
//!
//! A session has requests, which have an answer or fail at their time, and readers, which fetch messages
//! of durable consumers. Connections are handed in when there are any. All requests can be repeated:
//! those about streams and cursors change nothing the second time, and messages are published with an
//! id by which a stream knows them. So what has no answer is said again, over the next connection if need
//! be, until its time is over.
//!
//! The caller's duties: `handle_*` what happened, then `poll_output` until there is none, write
//! [`output`](Session::output), and come back at [`next_timeout`](Session::next_timeout).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use broker_data::{Timespan, Timestamp};
use serde_json::{Value, json};

use super::api::{self, CONSUMER_NOT_FOUND, PREFIX, STREAM_NOT_FOUND};
use super::cursor::{Delivery, Verdict};
use super::exchange::{Output, Publication, ReadMessage, ReaderId, RequestError, RequestId};
use crate::nats::connection::{Connection, Event, Message, ProtocolError, ServerInfo};

/// Requests that wait for their answers: a producer far beyond the speed of a disk is told so.
pub const REQUESTS_MAX: usize = 4096;

/// Bytes that they hold together.
pub const REQUESTS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Verdicts that are kept while there is no connection. Those beyond are not said, and their messages are
/// delivered again.
pub const VERDICTS_KEPT_MAX: usize = 16 * 1024;

/// How long an answer is waited for before the request is sent again: servers answer in
/// milliseconds, and a new leader of a stream is found within seconds.
const RESEND_AFTER: Timespan = Timespan::from_secs(2);

/// Bytes that wait to be sent, beyond which nothing is sent again: the server does not read.
const RESEND_OUTPUT_MAX: usize = 256 * 1024;

/// Pause before the next attempt where a server said that it cannot now.
const RETRY_PAUSE: Timespan = Timespan::from_millis(250);

/// How long a server keeps a request for messages, and how often it says that it does.
const PULL_EXPIRES: Timespan = Timespan::from_secs(30);
const PULL_HEARTBEAT: Timespan = Timespan::from_secs(5);

/// Silence after which a request for messages is taken for lost.
const PULL_SILENCE_MAX: Timespan = Timespan::from_secs(12);

/// Requests for messages that a reader has at servers: one that is served and the next.
const PULLS_MAX: usize = 2;

/// The subscription of answers. Each reader has one of its own, by its number.
const SID: u64 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// About streams and cursors.
    Api,
    /// A message to store.
    Publish,
}

#[derive(Debug)]
struct Request {
    kind: Kind,
    publication: Publication,
    deadline: Timestamp,
    /// When something is to be done about it; its place among the timers.
    due: Timestamp,
    /// What came of the last attempt.
    cause: String,
}

impl Request {
    fn size(&self) -> usize {
        self.publication.payload.len()
    }
}

/// A request for messages.
#[derive(Debug)]
struct Pull {
    left: usize,
    heard: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Reading,
    /// Until the next attempt.
    Pausing(Timestamp),
    /// The server is asked whether the consumer exists.
    Asking(Timestamp),
}

#[derive(Debug)]
struct Reader {
    stream: String,
    consumer: String,
    /// Messages that its owner takes at most at a time, and at present.
    window: usize,
    room: usize,
    /// Bound: `PULLS_MAX`.
    pulls: BTreeMap<u64, Pull>,
    step: Step,
    due: Option<Timestamp>,
}

impl Reader {
    fn outstanding(&self) -> usize {
        self.pulls.values().map(|pull| pull.left).sum()
    }

    /// When something is to be done about it.
    fn next(&self) -> Option<Timestamp> {
        match self.step {
            Step::Pausing(until) | Step::Asking(until) => Some(until),
            Step::Reading => {
                let silent = |pull: &Pull| pull.heard.saturating_add(PULL_SILENCE_MAX);
                self.pulls.values().map(silent).min()
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Request(u64),
    Reader(u64),
}

/// The session; see the module.
#[derive(Debug)]
pub struct Session {
    /// What subjects of answers begin with, without the last dot.
    inbox: String,
    next: u64,
    connection: Option<Connection>,
    max_payload: usize,
    has_jetstream: bool,
    /// Bound: `REQUESTS_MAX`, and `REQUESTS_BYTES_MAX` of payload.
    requests: BTreeMap<u64, Request>,
    request_bytes: usize,
    /// Bound: that of the caller, one for each of its subscribers.
    readers: BTreeMap<u64, Reader>,
    timers: BTreeSet<(Timestamp, Timer)>,
    /// Bound: `VERDICTS_KEPT_MAX`.
    verdicts: VecDeque<(String, Vec<u8>)>,
    /// What is to be said when the connection is done with what came. Bound: what came with one call.
    noted: Vec<Noted>,
    /// Bound: what came with one call.
    outputs: VecDeque<Output>,
}

/// What a message that came has the session do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Noted {
    /// To ask which streams keep the subject of a request.
    AskForStreams(u64),
    /// To ask whether the consumer of a reader exists.
    AskForConsumer(u64),
    /// To have a reader go on.
    Fill(u64),
    /// To end the subscription of a reader that is gone.
    Unsubscribe(u64),
}

impl Session {
    /// A session whose answers come under `_INBOX.` and that name, which no other client has.
    pub fn new(name: &str) -> Self {
        Self {
            inbox: format!("_INBOX.{name}"),
            next: SID + 1,
            connection: None,
            max_payload: usize::MAX,
            has_jetstream: true,
            requests: BTreeMap::new(),
            request_bytes: 0,
            readers: BTreeMap::new(),
            timers: BTreeSet::new(),
            verdicts: VecDeque::new(),
            noted: Vec::new(),
            outputs: VecDeque::new(),
        }
    }

    // --- connections ----------------------------------------------------------------------------

    /// There is a connection, logged in: everything that waits is said.
    pub fn handle_connected(
        &mut self,
        now: Timestamp,
        mut connection: Connection,
        info: &ServerInfo,
    ) {
        connection.subscribe(SID, &format!("{}.a.>", self.inbox));
        self.max_payload = info.max_payload;
        self.has_jetstream = info.jetstream;
        self.connection = Some(connection);
        let requests: Vec<u64> = self.requests.keys().copied().collect();
        for id in requests {
            self.send(now, id);
        }
        for (subject, verdict) in std::mem::take(&mut self.verdicts) {
            self.say(subject, verdict);
        }
        let readers: Vec<u64> = self.readers.keys().copied().collect();
        for id in readers {
            self.subscribe(id);
            self.restart(now, id);
        }
    }

    /// The connection is over, for that reason.
    pub fn handle_lost(&mut self, cause: &str) {
        self.connection = None;
        for (id, request) in &mut self.requests {
            self.timers.remove(&(request.due, Timer::Request(*id)));
            request.due = request.deadline;
            cause.clone_into(&mut request.cause);
            self.timers.insert((request.due, Timer::Request(*id)));
        }
        for (id, reader) in &mut self.readers {
            reader.pulls.clear();
            if let Some(due) = reader.due.take() {
                self.timers.remove(&(due, Timer::Reader(*id)));
            }
        }
    }

    /// Whether there is a connection.
    pub const fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Bytes to send.
    pub fn output(&self) -> &[u8] {
        self.connection.as_ref().map_or(&[], Connection::output)
    }

    /// So many of them are sent.
    pub fn handle_written(&mut self, bytes: usize) {
        if let Some(connection) = &mut self.connection {
            connection.handle_written(bytes);
        }
    }

    /// Has the server show that it is there; the answer is [`handle_bytes`](Self::handle_bytes) being
    /// called.
    pub fn ping(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.ping();
        }
    }

    /// Takes what came; complaints of the server, and what it tells of its cluster, go to `on`.
    ///
    /// # Errors
    ///
    /// When the server leaves the protocol: the connection is useless then.
    pub fn handle_bytes(
        &mut self,
        now: Timestamp,
        bytes: &[u8],
        mut on: impl FnMut(Event<'_>),
    ) -> Result<(), ProtocolError> {
        let Some(mut connection) = self.connection.take() else {
            return Ok(());
        };
        let fed = connection.handle_bytes(bytes, |event| match event {
            Event::Message(message) => self.on_message(now, &message),
            other => on(other),
        });
        self.connection = Some(connection);
        for noted in std::mem::take(&mut self.noted) {
            match noted {
                Noted::AskForStreams(id) => self.ask_for_streams(id),
                Noted::AskForConsumer(id) => self.ask_for_consumer(now, id),
                Noted::Fill(id) => self.fill(now, id),
                Noted::Unsubscribe(id) => {
                    if let Some(connection) = &mut self.connection {
                        connection.unsubscribe(id);
                    }
                }
            }
        }
        fed
    }

    // --- requests -------------------------------------------------------------------------------

    /// Asks for something of `$JS.API.`; the answer comes at `deadline` at the latest.
    ///
    /// # Errors
    ///
    /// When too many wait.
    pub fn request(
        &mut self,
        now: Timestamp,
        subject: &str,
        body: &Value,
        deadline: Timestamp,
    ) -> Result<RequestId, RequestError> {
        let publication = Publication {
            subject: format!("{PREFIX}{subject}"),
            headers: Vec::new(),
            payload: body.to_string().into_bytes(),
        };
        self.begin(now, Kind::Api, publication, deadline)
    }

    /// Publishes a message until a stream has it.
    ///
    /// # Errors
    ///
    /// When too many wait.
    pub fn publish(
        &mut self,
        now: Timestamp,
        publication: Publication,
        deadline: Timestamp,
    ) -> Result<RequestId, RequestError> {
        self.begin(now, Kind::Publish, publication, deadline)
    }

    fn begin(
        &mut self,
        now: Timestamp,
        kind: Kind,
        publication: Publication,
        deadline: Timestamp,
    ) -> Result<RequestId, RequestError> {
        let bytes = self.request_bytes.saturating_add(publication.payload.len());
        if self.requests.len() >= REQUESTS_MAX || bytes > REQUESTS_BYTES_MAX {
            return Err(RequestError::Full);
        }
        let id = self.number();
        self.request_bytes = bytes;
        self.timers.insert((deadline, Timer::Request(id)));
        let request = Request {
            kind,
            publication,
            deadline,
            due: deadline,
            cause: "no server was reached".to_owned(),
        };
        self.requests.insert(id, request);
        self.send(now, id);
        Ok(RequestId(id))
    }

    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        number
    }

    fn send(&mut self, now: Timestamp, id: u64) {
        let (Some(connection), Some(request)) = (&mut self.connection, self.requests.get_mut(&id))
        else {
            return;
        };
        let publication = &request.publication;
        let sent = connection.request(
            &publication.subject,
            &format!("{}.a.r.{id}", self.inbox),
            publication.headers.iter().cloned(),
            &publication.payload,
            self.max_payload,
        );
        if let Err(size) = sent {
            let max = self.max_payload;
            return self.finish(id, Err(RequestError::TooLarge { size, max }));
        }
        "the server did not answer".clone_into(&mut request.cause);
        self.put_off(id, now.saturating_add(RESEND_AFTER));
    }

    /// Has a request looked at again at that time, or at its deadline.
    fn put_off(&mut self, id: u64, until: Timestamp) {
        if let Some(request) = self.requests.get_mut(&id) {
            self.timers.remove(&(request.due, Timer::Request(id)));
            request.due = until.min(request.deadline);
            self.timers.insert((request.due, Timer::Request(id)));
        }
    }

    fn finish(&mut self, id: u64, result: Result<Value, RequestError>) {
        if let Some(request) = self.requests.remove(&id) {
            self.timers.remove(&(request.due, Timer::Request(id)));
            self.request_bytes = self.request_bytes.saturating_sub(request.size());
            self.outputs
                .push_back(Output::Answered(RequestId(id), result));
        }
    }

    /// Asks which streams keep the subject of a request: that is known to the cluster, also of a stream
    /// that has no leader now.
    fn ask_for_streams(&mut self, id: u64) {
        let (Some(connection), Some(request)) = (&mut self.connection, self.requests.get(&id))
        else {
            return;
        };
        let body = json!({"subject": request.publication.subject}).to_string();
        let subject = format!("{PREFIX}STREAM.NAMES");
        let reply = format!("{}.a.n.{id}", self.inbox);
        let none = std::iter::empty();
        let _ = connection.request(&subject, &reply, none, body.as_bytes(), usize::MAX);
    }

    // --- readers --------------------------------------------------------------------------------

    /// Fetches messages of a consumer, as many as its owner has room for.
    pub fn read(&mut self, now: Timestamp, stream: &str, consumer: &str, room: usize) -> ReaderId {
        let id = self.number();
        let reader = Reader {
            stream: stream.to_owned(),
            consumer: consumer.to_owned(),
            window: room.max(1),
            room: room.max(1),
            pulls: BTreeMap::new(),
            step: Step::Reading,
            due: None,
        };
        self.readers.insert(id, reader);
        self.subscribe(id);
        self.fill(now, id);
        ReaderId(id)
    }

    /// The owner of a reader has room for so many more.
    pub fn make_room(&mut self, now: Timestamp, reader: ReaderId, messages: usize) {
        if let Some(reader) = self.readers.get_mut(&reader.0) {
            reader.room = reader.room.saturating_add(messages).min(reader.window);
        }
        self.fill(now, reader.0);
    }

    /// Ends a reader. What it was sent and did not acknowledge is delivered again.
    pub fn end(&mut self, reader: ReaderId) {
        let Some(ended) = self.readers.remove(&reader.0) else {
            return;
        };
        if let Some(due) = ended.due {
            self.timers.remove(&(due, Timer::Reader(reader.0)));
        }
        if let Some(connection) = &mut self.connection {
            connection.unsubscribe(reader.0);
        }
    }

    fn subscribe(&mut self, id: u64) {
        if let Some(connection) = &mut self.connection {
            connection.subscribe(id, &format!("{}.m.{id}.*", self.inbox));
        }
    }

    /// Says something of a message; over the next connection if there is none now.
    pub fn judge(&mut self, reply: &str, verdict: &Verdict) {
        self.say(reply.to_owned(), verdict.to_bytes());
    }

    fn say(&mut self, subject: String, verdict: Vec<u8>) {
        if let Some(connection) = &mut self.connection {
            connection.publish_plain(&subject, &verdict);
        } else if self.verdicts.len() < VERDICTS_KEPT_MAX {
            self.verdicts.push_back((subject, verdict));
        }
    }

    fn restart(&mut self, now: Timestamp, id: u64) {
        if let Some(reader) = self.readers.get_mut(&id) {
            reader.step = Step::Reading;
            reader.pulls.clear();
        }
        self.fill(now, id);
    }

    /// Asks for as many messages as there is room for, if that is worth a request.
    fn fill(&mut self, now: Timestamp, id: u64) {
        let (Some(connection), Some(reader)) = (&mut self.connection, self.readers.get_mut(&id))
        else {
            return;
        };
        let batch = reader.room.saturating_sub(reader.outstanding());
        let is_worth = batch > 0 && batch >= reader.window / 2;
        if reader.step == Step::Reading && is_worth && reader.pulls.len() < PULLS_MAX {
            let number = self.next;
            self.next = self.next.wrapping_add(1);
            let subject = format!(
                "{PREFIX}CONSUMER.MSG.NEXT.{}.{}",
                reader.stream, reader.consumer
            );
            let body = json!({
                "batch": batch,
                "expires": PULL_EXPIRES.ns(),
                "idle_heartbeat": PULL_HEARTBEAT.ns(),
            });
            let body = body.to_string();
            let reply = format!("{}.m.{id}.{number}", self.inbox);
            let none = std::iter::empty();
            // So few bytes are taken by any server.
            let _ = connection.request(&subject, &reply, none, body.as_bytes(), usize::MAX);
            let pull = Pull {
                left: batch,
                heard: now,
            };
            reader.pulls.insert(number, pull);
        }
        self.set_timer(id);
    }

    fn set_timer(&mut self, id: u64) {
        let Some(reader) = self.readers.get_mut(&id) else {
            return;
        };
        let next = reader.next().filter(|_| self.connection.is_some());
        if reader.due != next {
            if let Some(due) = reader.due {
                self.timers.remove(&(due, Timer::Reader(id)));
            }
            if let Some(due) = next {
                self.timers.insert((due, Timer::Reader(id)));
            }
            reader.due = next;
        }
    }

    /// Asks whether a consumer exists.
    fn ask_for_consumer(&mut self, now: Timestamp, id: u64) {
        let (Some(connection), Some(reader)) = (&mut self.connection, self.readers.get_mut(&id))
        else {
            return;
        };
        reader.pulls.clear();
        reader.step = Step::Asking(now.saturating_add(RESEND_AFTER));
        let subject = format!(
            "{PREFIX}CONSUMER.INFO.{}.{}",
            reader.stream, reader.consumer
        );
        let reply = format!("{}.a.c.{id}", self.inbox);
        let _ = connection.request(&subject, &reply, std::iter::empty(), b"", usize::MAX);
        self.set_timer(id);
    }

    fn give_up(&mut self, id: u64, cause: String) {
        self.end(ReaderId(id));
        self.noted.push(Noted::Unsubscribe(id));
        self.outputs.push_back(Output::Gone(ReaderId(id), cause));
    }

    /// Every request fails, and for the same reason.
    pub fn handle_refused(&mut self, error: &RequestError) {
        let requests: Vec<u64> = self.requests.keys().copied().collect();
        for id in requests {
            self.finish(id, Err(error.clone()));
        }
    }

    /// Ends the session: every request fails, every reader is gone.
    pub fn handle_over(&mut self) {
        self.handle_refused(&RequestError::Over);
        let readers: Vec<u64> = self.readers.keys().copied().collect();
        for id in readers {
            self.end(ReaderId(id));
            let cause = RequestError::Over.to_string();
            self.outputs.push_back(Output::Gone(ReaderId(id), cause));
        }
    }

    // --- time -----------------------------------------------------------------------------------

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let due = self.timers.iter().take_while(|(at, _)| *at <= now);
        let due: Vec<Timer> = due.map(|(_, timer)| *timer).collect();
        for timer in due {
            match timer {
                Timer::Request(id) => self.request_is_due(now, id),
                Timer::Reader(id) => self.reader_is_due(now, id),
            }
        }
    }

    fn request_is_due(&mut self, now: Timestamp, id: u64) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        if now >= request.deadline {
            let cause = std::mem::take(&mut request.cause);
            self.finish(id, Err(RequestError::TimedOut(cause)));
        } else if self.output().len() < RESEND_OUTPUT_MAX {
            self.send(now, id);
        } else {
            self.put_off(id, now.saturating_add(RESEND_AFTER));
        }
    }

    fn reader_is_due(&mut self, now: Timestamp, id: u64) {
        let Some(reader) = self.readers.get_mut(&id) else {
            return;
        };
        match reader.step {
            Step::Pausing(_) => self.restart(now, id),
            // Nothing was heard for a while: of the pulls, or of the question about the consumer.
            Step::Reading | Step::Asking(_) => self.ask_for_consumer(now, id),
        }
    }

    // --- what comes back ------------------------------------------------------------------------

    /// What there is to tell.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn on_message(&mut self, now: Timestamp, message: &Message<'_>) {
        let subject = std::str::from_utf8(message.subject).unwrap_or_default();
        let rest = subject.strip_prefix(self.inbox.as_str());
        let tokens: Vec<&str> = rest
            .unwrap_or_default()
            .split('.')
            .skip(1)
            .take(4)
            .collect();
        let number = |at: usize| tokens.get(at).and_then(|it| it.parse::<u64>().ok());
        match (tokens.first(), tokens.get(1), number(2)) {
            (Some(&"a"), Some(&"r"), Some(id)) => self.on_answer(now, id, message),
            (Some(&"a"), Some(&"n"), Some(id)) => self.on_streams(id, message),
            (Some(&"a"), Some(&"c"), Some(id)) => self.on_consumer(now, id, message),
            (Some(&"m"), Some(_), Some(pull)) => self.on_pull(now, message.sid, pull, message),
            // A message of a stream has its own subject.
            _ => self.on_read(now, subject, message),
        }
    }

    fn on_answer(&mut self, now: Timestamp, id: u64, message: &Message<'_>) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        if message.status().is_some_and(|(status, _)| status == 503) {
            return self.on_no_responders(now, id);
        }
        match api::answer(message.payload) {
            Err(error) if error.is_passing() => {
                request.cause = error.to_string();
                self.put_off(id, now.saturating_add(RETRY_PAUSE));
            }
            Err(error) => self.finish(id, Err(RequestError::Refused(error))),
            Ok(value) => self.finish(id, Ok(value)),
        }
    }

    /// No server feels responsible: there is no such stream, it has no leader now, or there are none.
    fn on_no_responders(&mut self, now: Timestamp, id: u64) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        if !self.has_jetstream {
            return self.finish(id, Err(RequestError::NoJetStream));
        }
        "the stream, or the cluster, has no leader".clone_into(&mut request.cause);
        if request.kind == Kind::Publish {
            self.noted.push(Noted::AskForStreams(id));
        }
        self.put_off(id, now.saturating_add(RETRY_PAUSE));
    }

    fn on_streams(&mut self, id: u64, message: &Message<'_>) {
        let names = api::answer(message.payload);
        if names.is_ok_and(|names| api::stream_names(&names).is_empty()) {
            self.finish(id, Err(RequestError::NoStream));
        }
    }

    fn on_consumer(&mut self, now: Timestamp, id: u64, message: &Message<'_>) {
        let Some(reader) = self.readers.get_mut(&id) else {
            return;
        };
        if message.status().is_none()
            && let Err(error) = api::answer(message.payload)
            && matches!(error.error, CONSUMER_NOT_FOUND | STREAM_NOT_FOUND)
        {
            return self.give_up(id, error.to_string());
        }
        reader.step = Step::Pausing(now.saturating_add(RETRY_PAUSE));
        self.noted.push(Noted::Fill(id));
    }

    /// What a server says of a request for messages, other than a message.
    fn on_pull(&mut self, now: Timestamp, id: u64, number: u64, message: &Message<'_>) {
        let Some(reader) = self.readers.get_mut(&id) else {
            return;
        };
        let (status, text) = message.status().unwrap_or_default();
        match status {
            // It is alive.
            100 => {
                if let Some(pull) = reader.pulls.get_mut(&number) {
                    pull.heard = now;
                }
            }
            // Its time is over, or there is nothing for those who do not wait.
            404 | 408 => {
                reader.pulls.remove(&number);
            }
            400 => return self.give_up(id, text.to_owned()),
            409 if text.eq_ignore_ascii_case("Consumer Deleted") => {
                return self.give_up(id, "the consumer was deleted".to_owned());
            }
            // There is no leader, or no consumer.
            503 => self.noted.push(Noted::AskForConsumer(id)),
            _ => {
                reader.pulls.remove(&number);
                reader.step = Step::Pausing(now.saturating_add(RETRY_PAUSE));
            }
        }
        self.noted.push(Noted::Fill(id));
    }

    fn on_read(&mut self, now: Timestamp, subject: &str, message: &Message<'_>) {
        let reply = std::str::from_utf8(message.reply).unwrap_or_default();
        let (Some(reader), Some(delivery)) =
            (self.readers.get_mut(&message.sid), Delivery::parse(reply))
        else {
            return;
        };
        // More than was asked for: not from the stream, as others can publish to this inbox, or late. It is
        // not acknowledged, so that the stream delivers again what is its own.
        if reader.room == 0 {
            return;
        }
        // Requests are served in their order.
        if let Some(mut pull) = reader.pulls.first_entry() {
            let served = pull.get_mut();
            served.left = served.left.saturating_sub(1);
            served.heard = now;
            if served.left == 0 {
                pull.remove();
            }
        }
        reader.room = reader.room.saturating_sub(1);
        let note = Noted::Fill(message.sid);
        if self.noted.last() != Some(&note) {
            self.noted.push(note);
        }
        self.outputs
            .push_back(Output::Message(Box::new(ReadMessage {
                reader: ReaderId(message.sid),
                subject: subject.to_owned(),
                headers: message.headers.to_vec(),
                payload: message.payload.to_vec(),
                reply: reply.to_owned(),
                delivery,
            })));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_ns(1_000_000_000_000);

    fn at(seconds: i64) -> Timestamp {
        START.saturating_add(Timespan::from_secs(seconds))
    }

    /// A session, the time it is, and what a server says to it.
    struct Scene {
        session: Session,
        now: Timestamp,
    }

    impl Scene {
        fn new() -> Self {
            let session = Session::new("me");
            Self {
                session,
                now: START,
            }
        }

        fn connect(&mut self) -> String {
            let info = ServerInfo {
                max_payload: 1000,
                headers: true,
                jetstream: true,
                ..ServerInfo::default()
            };
            self.session
                .handle_connected(self.now, Connection::new(4096), &info);
            self.said()
        }

        /// What the session says to the server, since it was asked the last time.
        fn said(&mut self) -> String {
            let said = String::from_utf8(self.session.output().to_vec()).unwrap();
            self.session.handle_written(said.len());
            said
        }

        fn hear(&mut self, text: &str) -> Vec<Output> {
            self.session
                .handle_bytes(self.now, text.as_bytes(), |_| {})
                .unwrap();
            self.outputs()
        }

        /// An answer with a status.
        fn status(&mut self, subject: &str, status: &str) -> Vec<Output> {
            let head = format!("NATS/1.0 {status}\r\n\r\n");
            let sid = subject.split('.').nth(3).unwrap_or("1");
            let sid = if subject.starts_with("_INBOX.me.m.") {
                sid
            } else {
                "1"
            };
            let size = head.len();
            self.hear(&format!("HMSG {subject} {sid} {size} {size}\r\n{head}\r\n"))
        }

        fn answer(&mut self, subject: &str, body: &str) -> Vec<Output> {
            self.hear(&format!("MSG {subject} 1 {}\r\n{body}\r\n", body.len()))
        }

        fn outputs(&mut self) -> Vec<Output> {
            std::iter::from_fn(|| self.session.poll_output()).collect()
        }

        fn pass(&mut self, until: Timestamp) -> Vec<Output> {
            while let Some(next) = self.session.next_timeout().filter(|next| *next <= until) {
                self.now = next;
                self.session.handle_timeout(next);
            }
            self.now = until;
            self.outputs()
        }

        fn publish(&mut self, id: &str, seconds: i64) -> RequestId {
            let publication = Publication {
                subject: "bk.a".to_owned(),
                headers: vec![("Nats-Msg-Id", id.to_owned())],
                payload: b"x".to_vec(),
            };
            let deadline = self.now.saturating_add(Timespan::from_secs(seconds));
            self.session
                .publish(self.now, publication, deadline)
                .unwrap()
        }
    }

    const STORED: &str = r#"{"stream":"S","seq":7}"#;

    #[test]
    fn a_message_is_published_until_it_is_stored_always_with_its_id() {
        let mut scene = Scene::new();
        let id = scene.publish("one", 30);
        assert!(scene.connect().contains("Nats-Msg-Id: one"));
        // No answer for a while.
        scene.pass(at(3));
        assert!(scene.said().contains("HPUB bk.a _INBOX.me.a.r.2 "));
        scene.session.handle_lost("it hung up");
        assert_eq!(scene.pass(at(10)), []);
        assert_eq!(scene.said(), "");
        assert!(scene.connect().contains("Nats-Msg-Id: one"));
        let answered = scene.answer("_INBOX.me.a.r.2", STORED);
        let [Output::Answered(answered, Ok(value))] = answered.as_slice() else {
            panic!("{answered:?}");
        };
        assert_eq!(*answered, id);
        assert_eq!(api::Stored::parse(value).unwrap().sequence, 7);
        // A second answer, of the first attempt, is nothing.
        assert_eq!(scene.answer("_INBOX.me.a.r.2", STORED), []);
        assert_eq!(scene.session.next_timeout(), None);
    }

    #[test]
    fn a_time_that_is_over_says_what_was_in_the_way() {
        let mut scene = Scene::new();
        let id = scene.publish("one", 5);
        let failed = |cause: &str| {
            let error = RequestError::TimedOut(cause.to_owned());
            vec![Output::Answered(id, Err(error))]
        };
        assert_eq!(scene.pass(at(5)), failed("no server was reached"));
        let id = scene.publish("two", 5);
        scene.connect();
        let outputs = scene.pass(at(11));
        let error = RequestError::TimedOut("the server did not answer".to_owned());
        assert_eq!(outputs, [Output::Answered(id, Err(error))]);
    }

    #[test]
    fn without_a_stream_a_publish_fails_and_without_a_leader_it_waits() {
        let mut scene = Scene::new();
        scene.connect();
        let id = scene.publish("one", 30);
        scene.said();
        assert_eq!(scene.status("_INBOX.me.a.r.2", "503"), []);
        let asked = scene.said();
        assert!(
            asked.contains("$JS.API.STREAM.NAMES _INBOX.me.a.n.2"),
            "{asked}"
        );
        assert_eq!(scene.answer("_INBOX.me.a.n.2", r#"{"streams":["S"]}"#), []);
        scene.pass(at(1));
        assert!(scene.said().contains("HPUB bk.a"));
        scene.status("_INBOX.me.a.r.2", "503");
        let failed = scene.answer("_INBOX.me.a.n.2", r#"{"streams":null}"#);
        assert_eq!(failed, [Output::Answered(id, Err(RequestError::NoStream))]);
    }

    #[test]
    fn errors_of_servers_are_final_unless_they_pass() {
        let mut scene = Scene::new();
        scene.connect();
        let body = json!({});
        let id = scene
            .session
            .request(scene.now, "STREAM.INFO.S", &body, at(30))
            .unwrap();
        let passing = r#"{"error":{"code":503,"err_code":10008,"description":"later"}}"#;
        assert_eq!(scene.answer("_INBOX.me.a.r.2", passing), []);
        scene.said();
        scene.pass(at(1));
        assert!(scene.said().contains("HPUB $JS.API.STREAM.INFO.S"));
        let gone = r#"{"error":{"code":404,"err_code":10059,"description":"stream not found"}}"#;
        let outputs = scene.answer("_INBOX.me.a.r.2", gone);
        let [Output::Answered(answered, Err(RequestError::Refused(error)))] = outputs.as_slice()
        else {
            panic!("{outputs:?}");
        };
        assert_eq!((*answered, error.error), (id, STREAM_NOT_FOUND));
    }

    #[test]
    fn what_waits_is_bounded_and_what_is_too_large_is_told() {
        let mut scene = Scene::new();
        for _ in 0..REQUESTS_MAX {
            scene.publish("x", 30);
        }
        let more = Publication {
            subject: "a".to_owned(),
            headers: Vec::new(),
            payload: Vec::new(),
        };
        let refused = scene.session.publish(scene.now, more.clone(), at(30));
        assert_eq!(refused, Err(RequestError::Full));
        let mut scene = Scene::new();
        let large = Publication {
            payload: vec![0; REQUESTS_BYTES_MAX + 1],
            ..more.clone()
        };
        let refused = scene.session.publish(scene.now, large, at(30));
        assert_eq!(refused, Err(RequestError::Full));
        scene.connect();
        let large = Publication {
            payload: vec![0; 2000],
            ..more
        };
        scene.session.publish(scene.now, large, at(30)).unwrap();
        let outputs = scene.outputs();
        let [Output::Answered(_, Err(error))] = outputs.as_slice() else {
            panic!("{outputs:?}");
        };
        assert!(error.to_string().contains("takes 1000"), "{error}");
    }

    fn message(number: u64) -> String {
        format!("MSG bk.a 2 $JS.ACK.S.c.1.{number}.{number}.5.0 1\r\nx\r\n")
    }

    #[test]
    fn a_reader_gets_what_it_has_room_for() {
        let mut scene = Scene::new();
        let reader = scene.session.read(scene.now, "S", "c", 4);
        let said = scene.connect();
        assert!(said.contains("SUB _INBOX.me.m.2.* 2\r\n"), "{said}");
        assert!(
            said.contains("CONSUMER.MSG.NEXT.S.c _INBOX.me.m.2.3 "),
            "{said}"
        );
        assert!(said.contains(r#""batch":4"#), "{said}");
        let mut got = Vec::new();
        for number in 1..=4 {
            got.extend(scene.hear(&message(number)));
        }
        let sequences: Vec<u64> = got
            .iter()
            .map(|it| match it {
                Output::Message(message) => {
                    assert_eq!(
                        (message.reader, message.payload.as_slice()),
                        (reader, &b"x"[..])
                    );
                    message.delivery.sequence
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(sequences, [1, 2, 3, 4]);
        assert_eq!(scene.said(), "", "there is no room");
        assert_eq!(scene.hear(&message(5)), [], "nor was it asked for");
        scene.session.make_room(scene.now, reader, 1);
        assert_eq!(scene.said(), "", "one is no request worth");
        scene.session.make_room(scene.now, reader, 3);
        assert!(scene.said().contains(r#""batch":4"#));
        scene.session.judge("$JS.ACK.S.c.1.1.1.5.0", &Verdict::Ack);
        assert_eq!(scene.said(), "PUB $JS.ACK.S.c.1.1.1.5.0 4\r\n+ACK\r\n");
        scene.session.end(reader);
        assert_eq!(scene.said(), "UNSUB 2\r\n");
        assert_eq!(scene.hear(&message(5)), []);
        assert_eq!(scene.session.next_timeout(), None);
    }

    #[test]
    fn a_request_for_messages_that_is_over_is_made_again() {
        let mut scene = Scene::new();
        scene.session.read(scene.now, "S", "c", 4);
        scene.connect();
        scene.pass(at(10));
        scene.status("_INBOX.me.m.2.3", "100 Idle Heartbeat");
        assert_eq!(scene.pass(at(20)), []);
        assert_eq!(scene.said(), "", "it was alive at 10 s");
        scene.status("_INBOX.me.m.2.3", "408 Request Timeout");
        assert!(scene.said().contains("MSG.NEXT.S.c _INBOX.me.m.2.4"));
        scene.status("_INBOX.me.m.2.4", "409 Leadership Change");
        assert_eq!(scene.said(), "");
        scene.pass(at(21));
        assert!(scene.said().contains("MSG.NEXT.S.c"));
    }

    #[test]
    fn a_silent_reader_asks_for_its_consumer() {
        let mut scene = Scene::new();
        let reader = scene.session.read(scene.now, "S", "c", 4);
        scene.connect();
        scene.pass(at(13));
        let said = scene.said();
        assert!(said.contains("CONSUMER.INFO.S.c _INBOX.me.a.c.2"), "{said}");
        assert_eq!(scene.answer("_INBOX.me.a.c.2", r#"{"name":"c"}"#), []);
        scene.pass(at(14));
        assert!(scene.said().contains("MSG.NEXT.S.c"));
        scene.status("_INBOX.me.m.2.4", "503");
        assert!(scene.said().contains("CONSUMER.INFO.S.c"));
        let gone = r#"{"error":{"code":404,"err_code":10014,"description":"consumer not found"}}"#;
        let outputs = scene.answer("_INBOX.me.a.c.2", gone);
        let text = "consumer not found (code 10014)".to_owned();
        assert_eq!(outputs, [Output::Gone(reader, text)]);
        assert_eq!(scene.session.next_timeout(), None);
    }

    #[test]
    fn verdicts_wait_for_a_connection() {
        let mut scene = Scene::new();
        for _ in 0..VERDICTS_KEPT_MAX + 1 {
            scene.session.judge("$JS.ACK.x", &Verdict::Ack);
        }
        let said = scene.connect();
        assert_eq!(said.matches("+ACK").count(), VERDICTS_KEPT_MAX);
        scene.session.handle_lost("it hung up");
        assert!(!scene.connect().contains("+ACK"));
    }
}
