//! Requests of a session, from the first attempt to the answer.

use broker_data::Timestamp;
use serde_json::{Value, json};

use super::super::api::{self, PREFIX};
use super::super::exchange::{Output, Publication, RequestError, RequestId};
use super::{Noted, RESEND_AFTER, RETRY_PAUSE, Session, Timer};
use crate::nats::connection::Message;

/// Requests that wait for their answers: a producer far beyond the speed of a disk is told so.
pub const REQUESTS_MAX: usize = 4096;

/// Bytes that they hold together.
pub const REQUESTS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes that wait to be sent, beyond which nothing is sent again: the server does not read.
const RESEND_OUTPUT_MAX: usize = 256 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// About streams and cursors.
    Api,
    /// A message to store.
    Publish,
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) kind: Kind,
    pub(super) publication: Publication,
    pub(super) deadline: Timestamp,
    /// When something is to be done about it; its place among the timers.
    pub(super) due: Timestamp,
    /// What came of the last attempt.
    pub(super) cause: String,
}

impl Request {
    fn size(&self) -> usize {
        self.publication.payload.len()
    }
}

impl Session {
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

    pub(super) fn begin(
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

    pub(super) fn send(&mut self, now: Timestamp, id: u64) {
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
    pub(super) fn put_off(&mut self, id: u64, until: Timestamp) {
        if let Some(request) = self.requests.get_mut(&id) {
            self.timers.remove(&(request.due, Timer::Request(id)));
            request.due = until.min(request.deadline);
            self.timers.insert((request.due, Timer::Request(id)));
        }
    }

    pub(super) fn finish(&mut self, id: u64, result: Result<Value, RequestError>) {
        if let Some(request) = self.requests.remove(&id) {
            self.timers.remove(&(request.due, Timer::Request(id)));
            self.request_bytes = self.request_bytes.saturating_sub(request.size());
            self.outputs
                .push_back(Output::Answered(RequestId(id), result));
        }
    }

    /// Asks which streams keep the subject of a request: that is known to the cluster, also of a stream
    /// that has no leader now.
    pub(super) fn ask_for_streams(&mut self, id: u64) {
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

    /// Every request fails, and for the same reason.
    pub fn handle_refused(&mut self, error: &RequestError) {
        let requests: Vec<u64> = self.requests.keys().copied().collect();
        for id in requests {
            self.finish(id, Err(error.clone()));
        }
    }

    pub(super) fn request_is_due(&mut self, now: Timestamp, id: u64) {
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

    pub(super) fn on_answer(&mut self, now: Timestamp, id: u64, message: &Message<'_>) {
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
    pub(super) fn on_no_responders(&mut self, now: Timestamp, id: u64) {
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

    pub(super) fn on_streams(&mut self, id: u64, message: &Message<'_>) {
        let names = api::answer(message.payload);
        if names.is_ok_and(|names| api::stream_names(&names).is_empty()) {
            self.finish(id, Err(RequestError::NoStream));
        }
    }
}
