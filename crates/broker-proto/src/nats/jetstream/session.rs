//! Requests and readers of one client, over connections that come and go.
//!
//! A session has requests, which have an answer or fail at their time, and readers, which fetch messages
//! of durable consumers. Connections are handed in when there are any. All requests can be repeated:
//! those about streams and cursors change nothing the second time, and messages are published with an
//! id by which a stream knows them. So what has no answer is said again, over the next connection if need
//! be, until its time is over.
//!
//! | module | what it is |
//! |---|---|
//! | `requests` | what is asked and published, until there is an answer |
//! | `readers` | messages of consumers, as many as there is room for |
//!
//! The caller's duties: `handle_*` what happened, then `poll_output` until there is none, write
//! [`output`](Session::output), and come back at [`next_timeout`](Session::next_timeout).

mod readers;
mod requests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use broker_data::{Timespan, Timestamp};

use self::readers::Reader;
pub use self::readers::VERDICTS_KEPT_MAX;
use self::requests::Request;
pub use self::requests::{REQUESTS_BYTES_MAX, REQUESTS_MAX};
use super::exchange::{Output, ReaderId, RequestError};
use crate::nats::connection::{Connection, Event, Message, ProtocolError, ServerInfo};

/// How long an answer is waited for before the request is sent again: servers answer in
/// milliseconds, and a new leader of a stream is found within seconds.
const RESEND_AFTER: Timespan = Timespan::from_secs(2);

/// Pause before the next attempt where a server said that it cannot now.
const RETRY_PAUSE: Timespan = Timespan::from_millis(250);

/// The subscription of answers. Each reader has one of its own, by its number.
const SID: u64 = 1;

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
    /// Messages to readers that had not asked for so many.
    unasked: u64,
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
            unasked: 0,
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
        self.lose_ordered(cause);
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

    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        number
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
}

#[cfg(test)]
mod tests;
