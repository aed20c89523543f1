//! A WebSocket server as a peer: subscription, acknowledgement, messages, and the renewal of the
//! connection when the subscriptions change.
//!
//! Spec: websocket 2, 3, 6. One [`ClientSession`] is one peering. It has one connection that is
//! used, and for a moment a second one, because a connection's subscriptions cannot be changed.
//! Frames, sockets and HTTP belong to the task that holds the connections. How one takes over from the
//! other is told in `renewal`.

mod overlap;
mod renewal;
mod sent;

use std::collections::VecDeque;

use broker_data::json::Form;
use broker_data::{Timespan, Timestamp};

use crate::config::REASON_MAX;
use crate::filter::Filter;
use crate::id::EndpointId;
use crate::json::message::{
    Refusal, ServerMessage, is_reserved, read_server_message, write_subscriptions,
};
use crate::json::server::close_code;
use crate::status::ErrorCode;
use crate::topic::Topic;

use overlap::{Overlap, Side};
use renewal::{Hold, Renewal};
use sent::SentTopics;

/// Shortest time between two reports of messages that cannot be read.
const REPORT_PAUSE: Timespan = milliseconds(1_000);

const fn milliseconds(number: i64) -> Timespan {
    Timespan::from_ns(number * 1_000_000)
}

/// Names a connection of a session. The session chooses the numbers and never reuses one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerConnectionId(pub u64);

/// What a session needs to know from its start on.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Random number that spreads attempts in time.
    pub seed: u64,
    /// How long the first acknowledgement may take.
    pub ack_timeout: Timespan,
    /// Silence after which the server is asked for a sign of life; after twice that it is given
    /// up. Zero: never.
    pub ping_interval: Timespan,
}

/// How a connection ended, or why it did not come about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// Nobody is there.
    Unreachable,
    /// Something is wrong; in words.
    Failed(String),
    /// The server closed it.
    Closed {
        /// The code of its close frame; 1005 if that has none.
        code: u16,
        /// The reason in it.
        reason: String,
    },
    /// The stream ended without a close frame, as some servers do it.
    Ended,
}

impl ConnectionEnd {
    fn cause(&self) -> Option<String> {
        match self {
            Self::Unreachable => None,
            Self::Failed(cause) => Some(cause.clone()),
            Self::Closed { code, reason } if reason.is_empty() => {
                Some(format!("the server closed the connection with code {code}"))
            }
            Self::Closed { code, reason } => Some(format!(
                "the server closed the connection with code {code}: {}",
                shortened(reason)
            )),
            Self::Ended => Some("the server ended the connection".to_owned()),
        }
    }

    /// Whether it is how conversations end when nothing is wrong. Spec: websocket 2.2.
    const fn is_ordinary(&self) -> bool {
        match self {
            Self::Closed { code, .. } => {
                // 1005: a close frame without a code.
                matches!(*code, close_code::NORMAL | close_code::GOING_AWAY | 1005)
            }
            // It was our side that found something wrong, and nobody else can say what.
            Self::Failed(_) => false,
            Self::Unreachable | Self::Ended => true,
        }
    }
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientOutput {
    /// Open a WebSocket; report [`ClientSession::handle_opened`] or
    /// [`ClientSession::handle_lost`].
    Open {
        /// The connection to be.
        connection: ServerConnectionId,
    },
    /// Send a text.
    Send {
        /// Where.
        connection: ServerConnectionId,
        /// What.
        text: String,
    },
    /// Send a ping.
    Ping {
        /// Where.
        connection: ServerConnectionId,
        /// What comes back with the pong.
        payload: [u8; 8],
    },
    /// Send a close frame; go on reading, and report the end.
    Close {
        /// What.
        connection: ServerConnectionId,
    },
    /// Forget the connection.
    Drop {
        /// What.
        connection: ServerConnectionId,
    },
    /// The server acknowledged the first subscription.
    Joined {
        /// Its id, derived from what it says.
        peer: EndpointId,
        /// The version it says.
        version: String,
    },
    /// Tell the application that the server, or a message of it, is not content or not fine.
    Complain {
        /// What kind of trouble it is.
        code: ErrorCode,
        /// In words.
        text: String,
    },
    /// The peering is over; all connections are forgotten.
    Ended {
        /// Why; missing when nobody was there.
        cause: Option<String>,
    },
}

/// What the next timeout is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientTimeout {
    /// The acknowledgement of the subscription.
    Ack,
    /// A sign of life.
    Liveness,
    /// A step of a renewal.
    Renewal,
}

#[derive(Debug)]
struct ServerConnection {
    id: ServerConnectionId,
    stage: Stage,
    /// What it is subscribed to.
    topics: Filter,
    form: Form,
    heard: Timestamp,
    pinged: bool,
    /// Whether what it brings waits until the application has room.
    paused: bool,
    /// The last error message before the acknowledgement.
    complaint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Opening,
    Subscribing { deadline: Timestamp },
    Active,
}

impl ServerConnection {
    const fn opening(id: ServerConnectionId) -> Self {
        Self {
            id,
            stage: Stage::Opening,
            topics: Filter::new(),
            form: Form::Original,
            heard: Timestamp::MIN,
            pinged: false,
            paused: false,
            complaint: None,
        }
    }

    /// Why it ended, with what the server had to say before.
    fn cause(&self, loss: &ConnectionEnd) -> Option<String> {
        match &self.complaint {
            Some(complaint) => Some(complaint.clone()),
            None => loss.cause(),
        }
    }
}

fn report(code: &str, context: &str) -> String {
    if context.is_empty() {
        shortened(code).to_owned()
    } else {
        format!("{}: {}", shortened(code), shortened(context))
    }
}

/// As much of a text as goes into an event.
fn shortened(text: &str) -> &str {
    let mut end = text.len().min(REASON_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// The id of a peer that calls itself that.
///
/// The id of a native endpoint stays as it is: one server reached in two ways is one peer. Zeek
/// appends a number for each of its clients, which is left out so that a server stays the same peer
/// when the connection is lost or renewed. Everything else becomes an id that depends on nothing
/// but the text.
///
/// ```
/// use broker_proto::json::client::peer_id;
///
/// let native = "1492a656-091c-5d58-95f0-ffb0c9f54278";
/// assert_eq!(peer_id(native).to_string(), native);
/// let first = peer_id("zeromq_manager_host_1_x-websocket-1");
/// assert_eq!(first, peer_id("zeromq_manager_host_1_x-websocket-22"));
/// assert_ne!(first, peer_id("zeromq_worker_host_2_y-websocket-1"));
/// ```
pub fn peer_id(text: &str) -> EndpointId {
    if let Ok(id) = text.parse::<EndpointId>()
        && !id.is_nil()
    {
        return id;
    }
    let name = match text.rsplit_once("-websocket-") {
        Some((node, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => node,
        _ => text,
    };
    EndpointId::named("web-socket", name)
}

/// The client's half of the conversation with one server.
///
/// - `handle_*`: something happened on a connection. Reports about connections that are gone are ignored.
/// - [`set_interest`](Self::set_interest), [`leave`](Self::leave): the application wants something.
/// - [`poll_output`](Self::poll_output): to be called until `None` after each of the above.
/// - [`writer`](Self::writer): where data goes; to be asked again after each of the above.
///
/// ```
/// use broker_data::json::Form;
/// use broker_data::{Timespan, Timestamp};
/// use broker_proto::json::client::{ClientConfig, ClientOutput, ClientSession};
///
/// let config = ClientConfig {
///     seed: 1,
///     ack_timeout: Timespan::from_millis(30_000),
///     ping_interval: Timespan::from_millis(15_000),
/// };
/// let now = Timestamp::from_ns(0);
/// let wanted = ["/a".into()].into_iter().collect();
/// let mut session = ClientSession::new(config, &wanted);
/// let Some(ClientOutput::Open { connection }) = session.poll_output() else {
///     panic!("it begins with a connection")
/// };
/// session.handle_opened(now, connection, Form::Original);
/// let text = r#"["/a"]"#.to_owned();
/// assert_eq!(session.poll_output(), Some(ClientOutput::Send { connection, text }));
///
/// let ack = br#"{"type":"ack","endpoint":"zeek-websocket-1","version":"8.0.1"}"#;
/// let mut payload = Vec::new();
/// assert_eq!(session.handle_text(now, connection, ack, &mut payload), None);
/// assert!(matches!(session.poll_output(), Some(ClientOutput::Joined { .. })));
///
/// let data = br#"{"type":"data-message","topic":"/a/b","@data-type":"count","data":1}"#;
/// assert_eq!(session.handle_text(now, connection, data, &mut payload), Some("/a/b".into()));
/// ```
#[derive(Debug)]
pub struct ClientSession {
    config: ClientConfig,
    /// What the endpoint wants from this server.
    wanted: Filter,
    current: ServerConnection,
    joined: bool,
    ended: bool,
    renewal: Renewal,
    hold: Hold,
    /// What the previous connection brought and this one may still bring, and until when that counts.
    tail: Option<(Overlap, Timestamp)>,
    sent: SentTopics,
    /// Messages that could not be read and were not reported.
    unreadable: u64,
    report_at: Timestamp,
    /// Bound: what one call leads to; the caller drains it after each.
    outputs: VecDeque<ClientOutput>,
    numbers: u64,
}

impl ClientSession {
    /// A conversation that begins with a connection.
    pub fn new(config: ClientConfig, wanted: &Filter) -> Self {
        let first = ServerConnectionId(1);
        Self {
            config,
            wanted: permitted(wanted),
            current: ServerConnection::opening(first),
            joined: false,
            ended: false,
            renewal: Renewal::None,
            hold: Hold::default(),
            tail: None,
            sent: SentTopics::default(),
            unreadable: 0,
            report_at: Timestamp::MIN,
            outputs: [ClientOutput::Open { connection: first }].into(),
            numbers: 1,
        }
    }

    // --- getters --------------------------------------------------------------------------------

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<ClientOutput> {
        self.outputs.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), and what for.
    pub fn next_timeout(&self) -> Option<(Timestamp, ClientTimeout)> {
        if self.ended {
            return None;
        }
        let connection = match self.current.stage {
            Stage::Opening => None,
            Stage::Subscribing { deadline } => Some((deadline, ClientTimeout::Ack)),
            Stage::Active => self.liveness().map(|at| (at, ClientTimeout::Liveness)),
        };
        let renewal = self.renewal.due().into_iter().chain(self.hold.until());
        let renewal = renewal.map(|at| (at, ClientTimeout::Renewal));
        connection.into_iter().chain(renewal).min()
    }

    /// Where data messages go at the moment, and how they are spelled; `None`: they are to wait.
    pub fn writer(&self) -> Option<(ServerConnectionId, Form)> {
        let is_open = self.joined && !self.ended && !self.is_held();
        is_open.then_some((self.current.id, self.current.form))
    }

    /// Whether the server acknowledged.
    pub const fn is_joined(&self) -> bool {
        self.joined
    }

    /// Whether a connection waits for the acknowledgement of new subscriptions. It should be read even
    /// while there is no room for what others bring: nothing changes before its first message.
    pub fn awaits_ack(&self, connection: ServerConnectionId) -> bool {
        matches!(&self.renewal, Renewal::Subscribing { next, .. } if next.id == connection)
    }

    /// When the server is to be asked for a sign of life, or was asked for long enough. Nothing is
    /// heard from a connection that is not read.
    fn liveness(&self) -> Option<Timestamp> {
        if self.current.paused {
            return None;
        }
        let interval = self.config.ping_interval;
        let patience = if self.current.pinged {
            interval.saturating_add(interval)
        } else {
            interval
        };
        (interval > Timespan::ZERO).then(|| self.current.heard.saturating_add(patience))
    }

    // --- what happened --------------------------------------------------------------------------

    /// A connection is up, HTTP included. The form is that of the subprotocol that was agreed on.
    pub fn handle_opened(&mut self, now: Timestamp, connection: ServerConnectionId, form: Form) {
        if self.ended {
            return;
        }
        if connection == self.current.id && self.current.stage == Stage::Opening {
            self.current.form = form;
            let deadline = now.saturating_add(self.config.ack_timeout);
            subscribe(
                &mut self.current,
                now,
                deadline,
                &self.wanted,
                &mut self.outputs,
            );
            return;
        }
        self.begin_fence(now, connection, form);
    }

    /// Something came, whatever it was.
    pub fn handle_heard(&mut self, now: Timestamp, connection: ServerConnectionId) {
        if connection == self.current.id {
            self.current.heard = now;
            self.current.pinged = false;
        } else {
            self.renewal.heard(now, connection);
        }
    }

    /// A connection is not read for lack of room, or is read again. While it is not, its silence is not
    /// the server's: what waits for it waits longer.
    pub fn set_paused(&mut self, now: Timestamp, connection: ServerConnectionId, paused: bool) {
        if connection != self.current.id {
            self.renewal.set_paused(now, connection, paused);
        } else if self.current.paused != paused {
            self.current.paused = paused;
            self.current.heard = now;
            self.current.pinged = false;
        }
    }

    /// A pong came.
    pub fn handle_pong(&mut self, now: Timestamp, connection: ServerConnectionId, answered: &[u8]) {
        if connection != self.current.id || self.ended {
            return;
        }
        if let Renewal::Fencing { payload, .. } = &self.renewal
            && payload == answered
        {
            self.subscribe_anew(now);
        }
    }

    /// A complete message came. When it is one for the endpoint its topic is returned, and its
    /// value is appended to `payload`, which stays as it is otherwise.
    pub fn handle_text(
        &mut self,
        now: Timestamp,
        connection: ServerConnectionId,
        text: &[u8],
        payload: &mut Vec<u8>,
    ) -> Option<Topic> {
        let form = self.form_of(connection)?;
        let start = payload.len();
        let message = read_server_message(text, form, payload);
        let topic = match message {
            Ok(ServerMessage::Data { topic }) => {
                let value = payload.get(start..).unwrap_or_default();
                let is_wanted = self.is_wanted(now, connection, &topic, value);
                is_wanted.then_some(topic)
            }
            Ok(ServerMessage::Ack { endpoint, version }) => {
                self.on_ack(now, connection, &endpoint, version);
                None
            }
            Ok(ServerMessage::Error { code, context }) => {
                self.on_error(connection, &code, &context);
                None
            }
            Err(refusal) => {
                self.on_unreadable(now, connection, &refusal);
                None
            }
        };
        if topic.is_none() {
            payload.truncate(start);
        }
        topic
    }

    /// A connection ended, or did not come about.
    pub fn handle_lost(
        &mut self,
        now: Timestamp,
        connection: ServerConnectionId,
        loss: &ConnectionEnd,
    ) {
        if self.ended {
            return;
        }
        if connection == self.current.id {
            if self.joined && !loss.is_ordinary() {
                let text = self.current.cause(loss).unwrap_or_default();
                self.complain(ErrorCode::PeerUnavailable, text);
            }
            return self.end(self.current.cause(loss));
        }
        self.lose_connection_beside(now, connection, loss);
    }

    /// Time has passed. Does nothing before [`next_timeout`](Self::next_timeout).
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let is_due = |at: Timestamp| at <= now;
        if self.ended {
            return;
        }
        match self.current.stage {
            Stage::Subscribing { deadline } if is_due(deadline) => {
                let silence =
                    ConnectionEnd::Failed("the server did not acknowledge in time".to_owned());
                self.drop_connection(self.current.id);
                return self.end(self.current.cause(&silence));
            }
            Stage::Active if self.liveness().is_some_and(is_due) => {
                if self.current.pinged {
                    let silence = "the server does not answer pings".to_owned();
                    self.drop_connection(self.current.id);
                    self.complain(ErrorCode::PeerUnavailable, silence.clone());
                    return self.end(Some(silence));
                }
                self.current.pinged = true;
                self.outputs.push_back(ClientOutput::Ping {
                    connection: self.current.id,
                    payload: [0; 8],
                });
            }
            Stage::Opening | Stage::Subscribing { .. } | Stage::Active => {}
        }
        if self.hold.until().is_some_and(is_due) {
            self.hold = Hold::Over;
        }
        if self.renewal.due().is_some_and(is_due) {
            self.advance_renewal(now);
        }
    }

    // --- what the application wants -------------------------------------------------------------

    /// The endpoint wants these topics from now on.
    pub fn set_interest(&mut self, now: Timestamp, wanted: &Filter) {
        self.wanted = permitted(wanted);
        self.check_interest(now);
    }

    /// Notes that a data message was handed to the connection that [`writer`](Self::writer) names.
    pub fn note_sent(&mut self, topic: &[u8]) {
        self.sent.note(topic);
    }

    /// Ends the conversation.
    pub fn leave(&mut self) {
        if self.ended {
            return;
        }
        self.ended = true;
        if let Some(connection) = self.renewal.connection() {
            let connection = connection.id;
            self.drop_connection(connection);
        }
        let connection = self.current.id;
        match self.current.stage {
            Stage::Opening => self.drop_connection(connection),
            Stage::Subscribing { .. } | Stage::Active => {
                self.outputs.push_back(ClientOutput::Close { connection });
            }
        }
    }

    // --- messages -------------------------------------------------------------------------------

    fn form_of(&self, connection: ServerConnectionId) -> Option<Form> {
        let beside = self.renewal.connection();
        let beside = beside.filter(|beside| beside.id == connection);
        let known = if connection == self.current.id {
            Some(&self.current)
        } else {
            beside
        };
        known
            .filter(|_| !self.ended)
            .map(|connection| connection.form)
    }

    /// Whether a message is for the endpoint, and has not come before.
    fn is_wanted(
        &mut self,
        now: Timestamp,
        connection: ServerConnectionId,
        topic: &Topic,
        value: &[u8],
    ) -> bool {
        // Some servers show the events of their own endpoint to whoever subscribes to everything.
        if !self.joined || is_reserved(topic.as_bytes()) {
            return false;
        }
        let is_current = connection == self.current.id;
        if is_current && self.came_before_the_end(now, topic, value) {
            return false;
        }
        let (overlap, side) = match &mut self.renewal {
            Renewal::Subscribing { overlap, .. } => {
                let side = if is_current { Side::Old } else { Side::New };
                (overlap, side)
            }
            Renewal::Overlapping { overlap, .. } | Renewal::Retiring { overlap, .. } => {
                let side = if is_current { Side::New } else { Side::Old };
                (overlap, side)
            }
            Renewal::None
            | Renewal::Due { .. }
            | Renewal::Opening { .. }
            | Renewal::Fencing { .. } => return is_current,
        };
        !overlap.came_before(now, side, topic, value)
    }

    /// Whether a message came on the previous connection when that was not gone yet.
    fn came_before_the_end(&mut self, now: Timestamp, topic: &Topic, value: &[u8]) -> bool {
        let Some((overlap, until)) = &mut self.tail else {
            return false;
        };
        let is_comparable = overlap.topics.matches(topic.as_bytes());
        let came = now < *until && overlap.came_before(now, Side::New, topic, value);
        // The first one that the other connection did not bring is behind the end of that connection.
        if !came && (is_comparable || now >= *until) {
            self.tail = None;
        }
        came
    }

    fn on_ack(
        &mut self,
        now: Timestamp,
        connection: ServerConnectionId,
        endpoint: &str,
        version: String,
    ) {
        if connection == self.current.id {
            if let Stage::Subscribing { .. } = self.current.stage {
                self.current.stage = Stage::Active;
                self.current.complaint = None;
                self.joined = true;
                self.outputs.push_back(ClientOutput::Joined {
                    peer: peer_id(endpoint),
                    version,
                });
                self.check_interest(now);
            }
            return;
        }
        self.change_lines(now, connection);
    }

    fn on_error(&mut self, connection: ServerConnectionId, code: &str, context: &str) {
        if connection == self.current.id {
            match self.current.stage {
                Stage::Active => {
                    let text = self.sent.explain(code, context);
                    self.complain(ErrorCode::InvalidData, text);
                }
                Stage::Opening | Stage::Subscribing { .. } => {
                    let text = format!("the server reports: {}", report(code, context));
                    self.current.complaint = Some(text);
                }
            }
            return;
        }
        match &mut self.renewal {
            Renewal::Subscribing { next, .. } => {
                next.complaint = Some(format!("the server reports: {}", report(code, context)));
            }
            Renewal::Overlapping { .. } | Renewal::Retiring { .. } => {
                let text = format!("the server reports: {}", report(code, context));
                self.complain(ErrorCode::InvalidData, text);
            }
            Renewal::None
            | Renewal::Due { .. }
            | Renewal::Opening { .. }
            | Renewal::Fencing { .. } => {}
        }
    }

    fn on_unreadable(&mut self, now: Timestamp, connection: ServerConnectionId, refusal: &Refusal) {
        let cause = format!("the server sent what cannot be read: {refusal}");
        let cause = shortened(&cause).to_owned();
        if !self.joined && connection == self.current.id {
            self.drop_connection(connection);
            return self.end(Some(cause));
        }
        if let Renewal::Subscribing { next, .. } = &self.renewal
            && next.id == connection
        {
            self.drop_connection(connection);
            return self.handle_lost(now, connection, &ConnectionEnd::Failed(cause));
        }
        self.unreadable = self.unreadable.saturating_add(1);
        if now < self.report_at {
            return;
        }
        self.report_at = now.saturating_add(REPORT_PAUSE);
        let text = match std::mem::take(&mut self.unreadable) {
            0 | 1 => cause,
            many => format!("{cause} ({many} messages)"),
        };
        self.complain(ErrorCode::InvalidData, text);
    }

    // --- the end --------------------------------------------------------------------------------

    /// The connection that counts is gone already.
    fn end(&mut self, cause: Option<String>) {
        self.ended = true;
        if let Some(connection) = self.renewal.connection() {
            let connection = connection.id;
            self.drop_connection(connection);
        }
        self.outputs.push_back(ClientOutput::Ended { cause });
    }

    fn complain(&mut self, code: ErrorCode, text: String) {
        self.outputs
            .push_back(ClientOutput::Complain { code, text });
    }

    fn drop_connection(&mut self, connection: ServerConnectionId) {
        self.outputs.push_back(ClientOutput::Drop { connection });
    }

    fn number(&mut self) -> u64 {
        self.numbers = self.numbers.wrapping_add(1);
        self.numbers
    }
}

/// Sends the first message of a connection.
fn subscribe(
    connection: &mut ServerConnection,
    now: Timestamp,
    deadline: Timestamp,
    wanted: &Filter,
    outputs: &mut VecDeque<ClientOutput>,
) {
    let mut text = String::new();
    write_subscriptions(&mut text, wanted.entries());
    connection.topics = wanted.clone();
    connection.heard = now;
    connection.stage = Stage::Subscribing { deadline };
    outputs.push_back(ClientOutput::Send {
        connection: connection.id,
        text,
    });
}

/// What a server can be asked for: neither its own events nor the topics of data stores.
fn permitted(wanted: &Filter) -> Filter {
    let entries = wanted.entries();
    entries
        .filter(|topic| !is_reserved(topic.as_bytes()))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests;
