//! Messages and subscriptions of a peering, and what is reported of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use broker_data::{Timespan, Timestamp};
use broker_proto::endpoint::ConnectionId;
use broker_proto::json::message::is_reserved;
use broker_proto::mark::Mark;
use broker_proto::nats::connection::{Connection, Event, Message};
use broker_proto::nats::message::{
    BATCH, BATCH_BYTES_MAX, FORMAT, ORIGIN, SENDER, TOPIC, write_headers,
};
use broker_proto::nats::{Batch, Form, Headers, Subjects, cover, read};
use broker_proto::peer_url::PeerUrl;
use broker_proto::{EndpointId, EndpointInfo, ErrorCode, Fault, Filter, NetworkAddress, Topic};

use super::FOREIGN;
use crate::core::count::count;
use crate::core::link::Link;
use crate::core::nats_peers::Servers;
use crate::core::shared::Shared;
use crate::message::MessageRef;
use crate::transport::inbox::{ForeignInbox, Handed};

/// Shortest time between two reports of the same kind.
const REPORT_PAUSE: Timespan = Timespan::from_secs(1);

/// Bytes of headers beside a batch. Topics that would take more of it are not put into batches.
const BATCH_HEADERS_MAX: usize = 8 * 1024;

/// Bytes of a topic in a batch: as a header it can be three times as long.
const BATCH_TOPIC_MAX: usize = 1024;

/// What one peering says and hears.
pub(super) struct Conversation {
    shared: Arc<Shared>,
    connection: ConnectionId,
    link: Arc<Link>,
    url: Arc<PeerUrl>,
    subjects: Subjects,
    pub(super) counts: Arc<Servers>,
    peer: EndpointId,
    inbox: ForeignInbox,
    is_joined: bool,
    max_payload: usize,
    /// What this endpoint wants, to the byte.
    wanted: Filter,
    /// Numbers of the subscriptions, by subject.
    /// Bound: that of `cover`.
    subscriptions: BTreeMap<String, u64>,
    next_sid: u64,
    batch: Batch,
    /// The topic of the batch, and the mark of its first message.
    batch_topic: Vec<u8>,
    batch_mark: Option<Mark>,
    dropped: u64,
    bad: Report,
    refused: Report,
    complaints: Report,
}

/// Things of a kind that happened since the last report.
#[derive(Debug, Default)]
struct Report {
    unreported: u64,
    first: String,
    reported: Option<Timestamp>,
}

impl Report {
    fn note(&mut self, text: impl FnOnce() -> String) {
        self.unreported = self.unreported.saturating_add(1);
        if self.first.is_empty() {
            self.first = text();
        }
    }

    fn due(&self) -> Option<Timestamp> {
        let last = self.reported.map(|at| at.saturating_add(REPORT_PAUSE));
        (self.unreported > 0).then(|| last.unwrap_or(Timestamp::from_ns(0)))
    }

    /// How often it happened, and the first of them, if it is time to say so.
    fn poll(&mut self, now: Timestamp) -> Option<(u64, String)> {
        self.due().filter(|due| *due <= now)?;
        self.reported = Some(now);
        let count = std::mem::take(&mut self.unreported);
        Some((count, std::mem::take(&mut self.first)))
    }
}

impl Conversation {
    pub(super) fn new(
        shared: Arc<Shared>,
        connection: ConnectionId,
        link: Arc<Link>,
        url: Arc<PeerUrl>,
        subjects: Subjects,
        max_payload: usize,
    ) -> Self {
        let peer = EndpointId::named("nats", &url.host());
        Self {
            counts: shared.nats.counters.of(&url.host()),
            inbox: ForeignInbox::new(shared.clone(), link.clone(), peer, FOREIGN.when_full),
            shared,
            connection,
            link,
            url,
            subjects,
            peer,
            is_joined: false,
            max_payload,
            wanted: Filter::new(),
            subscriptions: BTreeMap::new(),
            next_sid: 1,
            batch: Batch::default(),
            batch_topic: Vec::new(),
            batch_mark: None,
            dropped: 0,
            bad: Report::default(),
            refused: Report::default(),
            complaints: Report::default(),
        }
    }

    pub(super) const fn is_joined(&self) -> bool {
        self.is_joined
    }

    /// The server has taken the subscriptions: messages flow from now on.
    pub(super) fn join(&mut self) {
        tracing::info!(event = "nats-peer-joined", peer = %self.peer);
        self.is_joined = true;
        count(&self.counts.connects, 1);
        count(&self.counts.peered, 1);
        // Servers do not say what others want: they get everything.
        let everything = [Topic::from("")].into_iter().collect();
        self.shared.joined(self.connection, self.peer, everything);
    }

    // --- subscriptions --------------------------------------------------------------------------

    /// Subscribes to what this endpoint wants from now on. New subscriptions come before the end of old
    /// ones, so that nothing is missed; what comes on both has the same mark and is taken once.
    pub(super) fn set_wanted(&mut self, connection: &mut Connection, filter: Filter) {
        let subjects = cover(&self.subjects, &filter);
        for subject in &subjects {
            if !self.subscriptions.contains_key(subject) {
                connection.subscribe(self.next_sid, subject);
                self.subscriptions.insert(subject.clone(), self.next_sid);
                self.next_sid += 1;
            }
        }
        self.subscriptions.retain(|subject, sid| {
            let is_wanted = subjects.contains(subject);
            if !is_wanted {
                connection.unsubscribe(*sid);
            }
            is_wanted
        });
        self.wanted = filter;
    }

    // --- from the server ------------------------------------------------------------------------

    pub(super) fn on(&mut self, event: Event<'_>) {
        match event {
            Event::Message(message) => self.on_message(&message),
            Event::Error(text) => {
                count(&self.counts.errors, 1);
                self.complaints.note(|| text);
            }
            Event::Info(info) => self.shared.nats.learn(&self.url, &info.connect_urls),
            Event::Pong => {}
        }
    }

    fn on_message(&mut self, message: &Message<'_>) {
        // Whom the control plane has let go of is no peer any more.
        if self.link.is_closing() {
            return;
        }
        let [topic, format, sender, origin, batch] =
            message.headers([TOPIC, FORMAT, SENDER, ORIGIN, BATCH]);
        let headers = Headers {
            topic,
            format,
            sender,
            origin,
            batch,
        };
        let subject = String::from_utf8_lossy(message.subject);
        let incoming = match read(&self.subjects, &subject, headers, message.payload) {
            Ok(incoming) => incoming,
            Err(refusal) => {
                count(&self.counts.bad, 1);
                let shown = |text: &str| text.escape_debug().take(200).collect::<String>();
                self.bad
                    .note(|| format!("a message under `{}`: {refusal}", shown(&subject)));
                return;
            }
        };
        if incoming.sender == Some(self.shared.data.id) {
            count(&self.counts.own, incoming.messages.len() as u64);
            return;
        }
        // Subscriptions are coarser than prefixes of bytes.
        if !self.wanted.matches(incoming.topic.as_bytes()) {
            return;
        }
        for (mark, value) in incoming.messages {
            match self.inbox.deliver_marked(&incoming.topic, mark, value) {
                Ok(Handed::On) => count(&self.counts.received, 1),
                Ok(Handed::Copy) => count(&self.counts.copies, 1),
                Err(error) => {
                    count(&self.counts.bad, 1);
                    self.bad.note(|| error.to_string());
                }
            }
        }
    }

    // --- to the server --------------------------------------------------------------------------

    /// Publishes a message, now or with those of the same topic that follow at once.
    pub(super) fn publish(&mut self, connection: &mut Connection, message: MessageRef<'_>) {
        let topic = message.topic();
        if is_reserved(topic) {
            return;
        }
        let marking = &self.shared.data.marking;
        let mark = Mark::of_frame(message.frame()).unwrap_or_else(|| marking.next());
        if self.batch_topic != topic {
            self.flush(connection);
            self.batch_topic.clear();
            self.batch_topic.extend_from_slice(topic);
        }
        let may_batch = topic.len() <= BATCH_TOPIC_MAX
            && self.max_payload >= BATCH_BYTES_MAX + BATCH_HEADERS_MAX;
        if may_batch && self.batch.push(Some(mark), message.payload()) {
            self.batch_mark = self.batch_mark.or(Some(mark));
            return;
        }
        self.flush(connection);
        if may_batch && self.batch.push(Some(mark), message.payload()) {
            self.batch_mark = Some(mark);
            return;
        }
        self.send(connection, Form::Single, Some(mark), 1, message.payload());
    }

    /// Publishes what waits for more of its topic.
    pub(super) fn flush(&mut self, connection: &mut Connection) {
        let mark = self.batch_mark.take();
        let (payload, messages) = self.batch.take();
        match messages {
            0 => {}
            1 => {
                let value = Batch::only(&payload);
                self.send(connection, Form::Single, mark, 1, value);
            }
            _ => self.send(connection, Form::Batch, None, messages, &payload),
        }
    }

    fn send(
        &mut self,
        connection: &mut Connection,
        form: Form,
        mark: Option<Mark>,
        messages: usize,
        payload: &[u8],
    ) {
        let topic = self.batch_topic.as_slice();
        let subject = self.subjects.of_topic(form, topic);
        let batch = (form == Form::Batch).then_some(messages);
        let headers = write_headers(topic, self.shared.data.id, mark, batch);
        match connection.publish(&subject, headers, payload, self.max_payload) {
            Ok(()) => count(&self.counts.sent, messages as u64),
            Err(size) => {
                count(&self.counts.refused, messages as u64);
                let (topic, max) = (String::from_utf8_lossy(topic), self.max_payload);
                self.refused.note(|| {
                    format!(
                        "a message under `{}` has {size} bytes with its headers, and the server takes {max}",
                        topic.escape_debug().take(200).collect::<String>()
                    )
                });
            }
        }
    }

    // --- reports --------------------------------------------------------------------------------

    /// When there is something to report.
    pub(super) fn next_report(&self) -> Option<Timestamp> {
        let all = [&self.bad, &self.refused, &self.complaints];
        all.into_iter().filter_map(Report::due).min()
    }

    pub(super) fn report(&mut self, now: Timestamp) {
        let dropped = self.inbox.dropped();
        count(&self.counts.dropped, dropped.saturating_sub(self.dropped));
        self.dropped = dropped;
        if let Some((many, first)) = self.bad.poll(now) {
            let text = match many {
                1 => format!("{first}; it was dropped"),
                _ => format!("{many} messages cannot be read and were dropped, such as {first}"),
            };
            self.complain(ErrorCode::InvalidMessage, text);
        }
        if let Some((many, first)) = self.refused.poll(now) {
            let text = match many {
                1 => format!("{first}; it was not sent"),
                _ => format!("{many} messages were not sent, such as {first}"),
            };
            self.complain(ErrorCode::InvalidData, text);
        }
        if let Some((many, first)) = self.complaints.poll(now) {
            let times = match many {
                1 => String::new(),
                _ => format!(" (the first of {many} complaints)"),
            };
            let text = format!("the NATS server says: {first}{times}");
            self.complain(ErrorCode::Unspecified, text);
        }
    }

    pub(super) fn complain(&self, code: ErrorCode, text: String) {
        tracing::warn!(event = "nats-peer-complains", text);
        let network = NetworkAddress::new(self.url.host(), self.url.port);
        let context = EndpointInfo {
            id: self.is_joined.then_some(self.peer),
            network: Some(network),
        };
        self.shared
            .data
            .report(Fault::new(code, Some(context), text));
    }

    /// Ends what it counts.
    pub(super) fn end(&mut self, now: Timestamp) {
        if self.is_joined {
            self.counts
                .peered
                .fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        }
        // Whatever was said a moment ago: nothing is said later.
        for report in [&mut self.bad, &mut self.refused, &mut self.complaints] {
            report.reported = None;
        }
        self.report(now);
    }
}
