//! Readers of a session: messages of durable consumers, and what is said of them.

use std::collections::BTreeMap;

use broker_data::{Timespan, Timestamp};
use serde_json::json;

use super::super::api::{self, CONSUMER_NOT_FOUND, PREFIX, STREAM_NOT_FOUND};
use super::super::cursor::{Delivery, Verdict};
use super::super::exchange::{Load, Output, ReadMessage, ReaderId, Reading};
use super::{Noted, RESEND_AFTER, RETRY_PAUSE, Session, Timer};
use crate::nats::connection::Message;

/// Verdicts that are kept while there is no connection. Those beyond are not said, and their messages are
/// delivered again.
pub const VERDICTS_KEPT_MAX: usize = 16 * 1024;

/// Bytes that a message may have beside its payload and headers: subjects.
const MESSAGE_EXTRA: usize = 8 * 1024;

/// How long a server keeps a request for messages, and how often it says that it does.
const PULL_EXPIRES: Timespan = Timespan::from_secs(30);
const PULL_HEARTBEAT: Timespan = Timespan::from_secs(5);

/// Silence after which a request for messages is taken for lost.
const PULL_SILENCE_MAX: Timespan = Timespan::from_secs(12);

/// Requests for messages that a reader has at servers: one that is served and the next.
const PULLS_MAX: usize = 2;

/// A request for messages.
#[derive(Debug)]
pub(super) struct Pull {
    pub(super) left: Load,
    pub(super) heard: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Reading,
    /// Until the next attempt.
    Pausing(Timestamp),
    /// The server is asked whether the consumer exists.
    Asking(Timestamp),
}

#[derive(Debug)]
pub(super) struct Reader {
    /// What it is to fetch, and what its owner has of it.
    pub(super) reading: Reading,
    /// Deliveries that came; of a reader that is ordered.
    pub(super) delivered: u64,
    /// Bound: `PULLS_MAX`.
    pub(super) pulls: BTreeMap<u64, Pull>,
    pub(super) step: Step,
    pub(super) due: Option<Timestamp>,
}

impl Reader {
    fn outstanding(&self) -> Load {
        let left = self.pulls.values().map(|pull| pull.left);
        left.fold(Load::default(), Load::plus)
    }

    /// What its owner takes at a time, with servers that take messages of that size.
    fn window(&self, max_payload: usize) -> Load {
        let two = max_payload.saturating_add(MESSAGE_EXTRA).saturating_mul(2);
        Load {
            messages: self.reading.window.messages.max(1),
            bytes: self.reading.window.bytes.max(two),
        }
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

impl Session {
    /// Fetches messages of a consumer, as many as its owner has room for.
    pub fn read(&mut self, now: Timestamp, reading: Reading) -> ReaderId {
        let id = self.number();
        let reader = Reader {
            reading,
            delivered: 0,
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
    pub fn make_room(&mut self, now: Timestamp, reader: ReaderId, taken: Load) {
        if let Some(reader) = self.readers.get_mut(&reader.0) {
            reader.reading.held = reader.reading.held.minus(taken);
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

    pub(super) fn subscribe(&mut self, id: u64) {
        if let Some(connection) = &mut self.connection {
            connection.subscribe(id, &format!("{}.m.{id}.*", self.inbox));
        }
    }

    /// Says something of a message; over the next connection if there is none now.
    pub fn judge(&mut self, reply: &str, verdict: &Verdict) {
        self.say(reply.to_owned(), verdict.to_bytes());
    }

    pub(super) fn say(&mut self, subject: String, verdict: Vec<u8>) {
        if let Some(connection) = &mut self.connection {
            connection.publish_plain(&subject, &verdict);
        } else if self.verdicts.len() < VERDICTS_KEPT_MAX {
            self.verdicts.push_back((subject, verdict));
        }
    }

    pub(super) fn restart(&mut self, now: Timestamp, id: u64) {
        if let Some(reader) = self.readers.get_mut(&id) {
            reader.step = Step::Reading;
            reader.pulls.clear();
        }
        self.fill(now, id);
    }

    /// Asks for as many messages as there is room for, if that is worth a request.
    pub(super) fn fill(&mut self, now: Timestamp, id: u64) {
        let (Some(connection), Some(reader)) = (&mut self.connection, self.readers.get_mut(&id))
        else {
            return;
        };
        let window = reader.window(self.max_payload);
        let room = window
            .minus(reader.reading.held)
            .minus(reader.outstanding());
        let is_worth = room.messages > 0
            && room.messages >= window.messages / 2
            && room.bytes >= window.bytes / 2;
        if reader.step == Step::Reading && is_worth && reader.pulls.len() < PULLS_MAX {
            let number = self.next;
            self.next = self.next.wrapping_add(1);
            let subject = format!(
                "{PREFIX}CONSUMER.MSG.NEXT.{}.{}",
                reader.reading.stream, reader.reading.consumer
            );
            let body = json!({
                "batch": room.messages,
                "max_bytes": room.bytes,
                "expires": PULL_EXPIRES.ns(),
                "idle_heartbeat": PULL_HEARTBEAT.ns(),
            });
            let body = body.to_string();
            let reply = format!("{}.m.{id}.{number}", self.inbox);
            let none = std::iter::empty();
            // So few bytes are taken by any server.
            let _ = connection.request(&subject, &reply, none, body.as_bytes(), usize::MAX);
            let pull = Pull {
                left: room,
                heard: now,
            };
            reader.pulls.insert(number, pull);
        }
        self.set_timer(id);
    }

    pub(super) fn set_timer(&mut self, id: u64) {
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
    pub(super) fn ask_for_consumer(&mut self, now: Timestamp, id: u64) {
        let (Some(connection), Some(reader)) = (&mut self.connection, self.readers.get_mut(&id))
        else {
            return;
        };
        reader.pulls.clear();
        reader.step = Step::Asking(now.saturating_add(RESEND_AFTER));
        let subject = format!(
            "{PREFIX}CONSUMER.INFO.{}.{}",
            reader.reading.stream, reader.reading.consumer
        );
        let reply = format!("{}.a.c.{id}", self.inbox);
        let _ = connection.request(&subject, &reply, std::iter::empty(), b"", usize::MAX);
        self.set_timer(id);
    }

    pub(super) fn give_up(&mut self, id: u64, cause: String) {
        self.end(ReaderId(id));
        self.noted.push(Noted::Unsubscribe(id));
        self.outputs.push_back(Output::Gone(ReaderId(id), cause));
    }

    pub(super) fn reader_is_due(&mut self, now: Timestamp, id: u64) {
        let Some(reader) = self.readers.get_mut(&id) else {
            return;
        };
        match reader.step {
            Step::Pausing(_) => self.restart(now, id),
            // Nothing was heard for a while: of the pulls, or of the question about the consumer.
            Step::Reading | Step::Asking(_) => self.ask_for_consumer(now, id),
        }
    }

    pub(super) fn on_consumer(&mut self, now: Timestamp, id: u64, message: &Message<'_>) {
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
    pub(super) fn on_pull(&mut self, now: Timestamp, id: u64, number: u64, message: &Message<'_>) {
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
            // The next message is larger than what is left of it.
            409 if is_any(text, &["Message Size Exceeds MaxBytes", "Batch Completed"]) => {
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

    pub(super) fn on_read(&mut self, now: Timestamp, subject: &str, message: &Message<'_>) {
        let reply = std::str::from_utf8(message.reply).unwrap_or_default();
        let (Some(reader), Some(delivery)) =
            (self.readers.get_mut(&message.sid), Delivery::parse(reply))
        else {
            return;
        };
        // More than was asked for: not from the stream, as others can publish to this inbox, or late. It is
        // not acknowledged, so that the stream delivers again what is its own.
        let (held, window) = (reader.reading.held, reader.window(self.max_payload));
        if held.messages >= window.messages || held.bytes >= window.bytes {
            self.unasked = self.unasked.saturating_add(1);
            return;
        }
        if reader.reading.is_ordered {
            reader.delivered = reader.delivered.saturating_add(1);
            if delivery.consumer_sequence != reader.delivered {
                return self.give_up(message.sid, "messages were lost on their way".to_owned());
            }
        }
        let read = ReadMessage {
            reader: ReaderId(message.sid),
            subject: subject.to_owned(),
            headers: message.headers.to_vec(),
            payload: message.payload.to_vec(),
            reply: reply.to_owned(),
            delivery,
        };
        let load = read.load();
        // Requests are served in their order.
        if let Some(mut pull) = reader.pulls.first_entry() {
            let served = pull.get_mut();
            served.left = served.left.minus(load);
            served.heard = now;
            if served.left.messages == 0 {
                pull.remove();
            }
        }
        reader.reading.held = reader.reading.held.plus(load);
        let note = Noted::Fill(message.sid);
        if self.noted.last() != Some(&note) {
            self.noted.push(note);
        }
        self.outputs.push_back(Output::Message(Box::new(read)));
    }

    /// The connection of readers that are ordered is lost, and with it what was on its way.
    pub(super) fn lose_ordered(&mut self, cause: &str) {
        let ordered = self.readers.iter().filter(|(_, it)| it.reading.is_ordered);
        let ordered: Vec<u64> = ordered.map(|(id, _)| *id).collect();
        for id in ordered {
            self.end(ReaderId(id));
            let gone = Output::Gone(ReaderId(id), cause.to_owned());
            self.outputs.push_back(gone);
        }
    }

    /// How many messages came to readers, since this was asked the last time, that had not asked for them.
    pub fn take_unasked(&mut self) -> u64 {
        std::mem::take(&mut self.unasked)
    }
}

fn is_any(text: &str, others: &[&str]) -> bool {
    others.iter().any(|other| text.eq_ignore_ascii_case(other))
}
