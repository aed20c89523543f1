//! A participant's two connections to a proxy, and when they are ready. Spec: zeromq 1, 5.2, 5.3.
//!
//! What is published before the proxy has told which topics are wanted is lost, and nothing says when
//! it has told them all. So the participant subscribes to topics of its own, which nobody else has, and
//! waits until the proxy tells it of these: what was told before is complete then.
//!
//! The proxy tells a participant of its own subscriptions, too. They are left out of
//! [`ProxySession::others`], as long as the proxy tells repeated subscriptions, which is tried out on
//! the way: a topic that only this end wants is one that nobody wants. Spec: zeromq 9.
//!
//! A session ends when either connection does. Whoever wants another begins a new one, which knows
//! nothing of the old one's subscriptions.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::ops::Range;

use broker_data::{Timespan, Timestamp};

use super::message::Message;
use super::{
    Connection, ConnectionConfig, Entropy, Error, Event, Limits, Security, SendError, SocketType,
    Subscriptions,
};

/// Bytes of messages that may come before the session is ready: those of a busy cluster in the time
/// of two round trips. More is lost, as it would be a moment earlier.
const EARLY_BYTES_MAX: usize = 4 << 20;

/// One of both connections, by the proxy's socket at its other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProxySocket {
    /// Messages come from there.
    Xpub,
    /// Messages go there.
    Xsub,
}

impl ProxySocket {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Xpub, Self::Xsub];

    /// Returns the name of the socket.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xpub => "XPUB",
            Self::Xsub => "XSUB",
        }
    }
}

impl fmt::Display for ProxySocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// One of both connections failed.
    #[error("where the {socket} of the proxy should be: {error}")]
    Connection {
        /// Which.
        socket: ProxySocket,
        /// Why.
        error: Error,
    },
    /// The proxy does not tell of a subscription that was made.
    #[error(
        "connected but never ready: the proxy did not tell of a subscription that was made to try it \
         out; the ports may belong to two proxies, or a subscriber that does not read stops the proxy"
    )]
    NeverReady,
}

/// What a session needs to know.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// The id that no other participant has, without a dot.
    pub id: String,
    /// Mechanism of both connections.
    pub security: Security,
    /// What the proxy may make this end keep, for each connection. The time for the handshake is also
    /// that for getting ready.
    pub limits: Limits,
    /// As [`ConnectionConfig::ping_interval`].
    pub ping_interval: Timespan,
}

/// What happened.
#[derive(Debug)]
pub enum ProxyEvent<'a> {
    /// All that is subscribed to is known, and what is wanted here is known there: messages can be sent.
    Ready,
    /// A message came. None comes before [`Ready`](Self::Ready).
    Message(Message<'a>),
    /// Another participant subscribed to a prefix that none of the others wanted before.
    Subscribed(&'a [u8]),
    /// No other participant wants this prefix any more.
    Unsubscribed(&'a [u8]),
    /// It is over.
    Failed(ProxyError),
}

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The handshakes are under way.
    Connecting,
    /// The first probe is under way. When it is back, the proxy's XSUB knows the connection, and tells
    /// of each subscription by itself from then on.
    Probing,
    /// A probe that was sent twice is under way, and the last one behind it.
    Settling {
        told: u8,
    },
    Ready,
    Over,
}

/// A message that came early.
#[derive(Debug)]
struct Early {
    bytes: Vec<u8>,
    parts: Vec<Range<usize>>,
}

/// Both connections of a participant.
///
/// Every call that changes something is followed by [`drain`](Self::drain), and by writing
/// [`output`](Self::output) of both.
#[derive(Debug)]
pub struct ProxySession {
    id: String,
    /// To the proxy's XPUB.
    subscriber: Connection,
    /// To the proxy's XSUB.
    publisher: Connection,
    phase: Phase,
    /// How long getting ready may take behind the handshakes, and until when that is.
    patience: Timespan,
    deadline: Timestamp,
    /// What this end subscribes to.
    wanted: BTreeSet<Box<[u8]>>,
    /// Own subscriptions that the proxy has not told of yet.
    untold: BTreeSet<Box<[u8]>>,
    /// Whether the proxy tells of subscriptions that another participant has already.
    tells_repeated: bool,
    others: Subscriptions,
    /// Bound: `EARLY_BYTES_MAX`.
    early: VecDeque<Early>,
    early_bytes: usize,
    lost_early: u64,
}

impl ProxySession {
    /// Begins a session on two sockets that are connected.
    #[must_use]
    pub fn new(config: ProxyConfig, entropy: [Entropy; 2], now: Timestamp) -> Self {
        let patience = config.limits.handshake_timeout;
        let connection = |socket_type, entropy| {
            let config = ConnectionConfig {
                socket_type,
                security: config.security.clone(),
                limits: config.limits.clone(),
                ping_interval: config.ping_interval,
            };
            Connection::new(config, entropy, now)
        };
        let [first, second] = entropy;
        Self {
            subscriber: connection(SocketType::Xsub, first),
            publisher: connection(SocketType::Xpub, second),
            id: config.id,
            phase: Phase::Connecting,
            patience,
            deadline: now,
            wanted: BTreeSet::new(),
            untold: BTreeSet::new(),
            tells_repeated: true,
            others: Subscriptions::new(),
            early: VecDeque::new(),
            early_bytes: 0,
            lost_early: 0,
        }
    }

    const fn connection(&mut self, socket: ProxySocket) -> &mut Connection {
        match socket {
            ProxySocket::Xpub => &mut self.subscriber,
            ProxySocket::Xsub => &mut self.publisher,
        }
    }

    /// Takes bytes from a socket.
    pub fn handle_bytes(&mut self, now: Timestamp, socket: ProxySocket, bytes: &[u8]) {
        self.connection(socket).handle_bytes(now, bytes);
    }

    /// Notes that a connection was closed, or broke.
    pub fn handle_closed(&mut self, socket: ProxySocket) {
        self.connection(socket).handle_closed();
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.subscriber.handle_timeout(now);
        self.publisher.handle_timeout(now);
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) and [`drain`](Self::drain) are to be called.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        let own = match self.phase {
            Phase::Connecting | Phase::Ready | Phase::Over => None,
            Phase::Probing | Phase::Settling { .. } => Some(self.deadline),
        };
        let connections = [&self.subscriber, &self.publisher];
        let theirs = connections.iter().filter_map(|it| it.next_timeout());
        theirs.map(|(at, _)| at).chain(own).min()
    }

    /// Returns the bytes that are to be written to a socket.
    #[must_use]
    pub fn output(&self, socket: ProxySocket) -> &[u8] {
        match socket {
            ProxySocket::Xpub => self.subscriber.output(),
            ProxySocket::Xsub => self.publisher.output(),
        }
    }

    /// Notes that the first bytes of an output were written.
    pub fn handle_written(&mut self, socket: ProxySocket, bytes: usize) {
        self.connection(socket).handle_written(bytes);
    }

    /// Sets what this end subscribes to. Nothing is missed of what is wanted before and after.
    pub fn set_wanted<T: AsRef<[u8]>>(&mut self, wanted: impl IntoIterator<Item = T>) {
        let wanted: BTreeSet<Box<[u8]>> = wanted.into_iter().map(|it| it.as_ref().into()).collect();
        let before = std::mem::replace(&mut self.wanted, wanted);
        match self.phase {
            Phase::Settling { .. } | Phase::Ready => {}
            Phase::Connecting | Phase::Probing | Phase::Over => return,
        }
        // In this order: a new prefix may take the place of several.
        for prefix in self.wanted.difference(&before) {
            self.subscriber.subscribe(prefix);
            if self.tells_repeated {
                self.untold.insert(prefix.clone());
            }
        }
        for prefix in before.difference(&self.wanted) {
            self.subscriber.unsubscribe(prefix);
        }
    }

    /// Sends a message, whether others want it or not.
    ///
    /// # Errors
    ///
    /// When the session is not ready.
    pub fn publish(&mut self, parts: &[&[u8]]) -> Result<(), SendError> {
        if self.phase != Phase::Ready {
            return Err(SendError::NotReady);
        }
        self.publisher.send(parts)
    }

    /// Returns what other participants want. Where the proxy does not tell of repeated subscriptions
    /// that includes what this end wants.
    #[must_use]
    pub const fn others(&self) -> &Subscriptions {
        &self.others
    }

    /// Tells whether messages can be sent.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Returns how many messages came so early that there was no room for them.
    #[must_use]
    pub const fn lost_early(&self) -> u64 {
        self.lost_early
    }

    /// Visits what happened since the last call.
    pub fn drain(&mut self, now: Timestamp, mut visit: impl FnMut(ProxyEvent<'_>)) {
        if self.phase == Phase::Over {
            return;
        }
        let mut failure = None;
        // Subscriptions first: an answer to a message may be wanted by its time.
        while let Some(event) = self.publisher.poll_event() {
            match event {
                // XSUB sockets may send messages; those of proxies do not.
                Event::Ready(_) | Event::Message(_) => {}
                Event::Subscribed(prefix) => {
                    let told = Told {
                        id: &self.id,
                        phase: &mut self.phase,
                        untold: &mut self.untold,
                        others: &mut self.others,
                    };
                    if told.on_subscribed(prefix) {
                        visit(ProxyEvent::Subscribed(prefix));
                    }
                }
                Event::Unsubscribed(prefix) => {
                    if self.others.remove(prefix) {
                        visit(ProxyEvent::Unsubscribed(prefix));
                    }
                }
                Event::Failed(error) => failure = Some((ProxySocket::Xsub, error)),
            }
        }
        if self.advance(now) {
            for prefix in self.own_taken_for_others() {
                visit(ProxyEvent::Subscribed(&prefix));
            }
            visit(ProxyEvent::Ready);
            for early in self.early.drain(..) {
                let (bytes, parts) = (&early.bytes, &early.parts);
                visit(ProxyEvent::Message(Message { bytes, parts }));
            }
            self.early_bytes = 0;
        }
        while let Some(event) = self.subscriber.poll_event() {
            match event {
                Event::Message(message) if self.phase == Phase::Ready => {
                    visit(ProxyEvent::Message(message));
                }
                Event::Message(message) => {
                    let size = message.parts().map(<[u8]>::len).sum::<usize>();
                    if self.early_bytes.saturating_add(size) > EARLY_BYTES_MAX {
                        self.lost_early = self.lost_early.saturating_add(1);
                    } else {
                        self.early_bytes = self.early_bytes.saturating_add(size);
                        self.early.push_back(Early::of(message));
                    }
                }
                Event::Ready(_) | Event::Subscribed(_) | Event::Unsubscribed(_) => {}
                Event::Failed(error) => {
                    failure.get_or_insert((ProxySocket::Xpub, error));
                }
            }
        }
        // The handshake of the subscriber may have been the last that was missing.
        self.begin(now);
        if let Some((socket, error)) = failure {
            self.phase = Phase::Over;
            visit(ProxyEvent::Failed(ProxyError::Connection { socket, error }));
        } else if self.is_late(now) {
            self.phase = Phase::Over;
            visit(ProxyEvent::Failed(ProxyError::NeverReady));
        }
    }

    /// Sends the first probe once both handshakes are complete.
    fn begin(&mut self, now: Timestamp) {
        let is_begun = self.phase != Phase::Connecting;
        if is_begun || !self.subscriber.is_ready() || !self.publisher.is_ready() {
            return;
        }
        self.phase = Phase::Probing;
        self.deadline = now.saturating_add(self.patience);
        self.subscriber.subscribe(&probe(&self.id, FIRST));
    }

    /// Goes on behind a probe that is back; tells whether the session became ready.
    fn advance(&mut self, now: Timestamp) -> bool {
        self.begin(now);
        if self.phase == Phase::Probing && self.others.contains(&probe(&self.id, FIRST)) {
            self.others.remove(&probe(&self.id, FIRST));
            for prefix in &self.wanted {
                self.subscriber.subscribe(prefix);
                self.untold.insert(prefix.clone());
            }
            // As messages: the connection itself subscribes to each prefix once.
            for _ in 0..2 {
                self.send_subscription(1);
            }
            self.subscriber.subscribe(&probe(&self.id, LAST));
            self.phase = Phase::Settling { told: 0 };
        }
        let Phase::Settling { told } = self.phase else {
            return false;
        };
        if !self.others.remove(&probe(&self.id, LAST)) {
            return false;
        }
        self.tells_repeated = told > 1;
        for number in [FIRST, LAST] {
            self.subscriber.unsubscribe(&probe(&self.id, number));
        }
        for _ in 0..2 {
            self.send_subscription(0);
        }
        self.phase = Phase::Ready;
        true
    }

    fn send_subscription(&mut self, kind: u8) {
        let mut message = vec![kind];
        message.extend(probe(&self.id, TWICE));
        // It is ready, which is all that is asked for.
        let _ = self.subscriber.send(&[&message]);
    }

    /// Where the proxy does not tell of repeated subscriptions: what this end wants, of which nobody
    /// can say whether others want it, too.
    fn own_taken_for_others(&mut self) -> Vec<Box<[u8]>> {
        if self.tells_repeated {
            return Vec::new();
        }
        self.untold.clear();
        let wanted = self.wanted.iter();
        wanted
            .filter(|prefix| self.others.add(prefix))
            .cloned()
            .collect()
    }

    fn is_late(&self, now: Timestamp) -> bool {
        matches!(self.phase, Phase::Probing | Phase::Settling { .. }) && now >= self.deadline
    }
}

impl Early {
    fn of(message: Message<'_>) -> Self {
        let mut bytes = Vec::new();
        let parts = message.parts().map(|part| {
            let start = bytes.len();
            bytes.extend_from_slice(part);
            start..bytes.len()
        });
        let parts = parts.collect();
        Self { bytes, parts }
    }
}

/// Numbers of the probes.
const FIRST: u8 = 1;
const TWICE: u8 = 2;
const LAST: u8 = 3;

/// A topic for trying out, as Zeek's nodes have them. Spec: zeromq 4.
fn probe(id: &str, number: u8) -> Vec<u8> {
    format!("zeek.zeromq.internal.{id}.{number}.").into_bytes()
}

/// What a notice of a subscription changes.
struct Told<'a> {
    id: &'a str,
    phase: &'a mut Phase,
    untold: &'a mut BTreeSet<Box<[u8]>>,
    others: &'a mut Subscriptions,
}

impl Told<'_> {
    /// Tells whether it is news of another participant.
    fn on_subscribed(self, prefix: &[u8]) -> bool {
        match self.phase {
            Phase::Probing if prefix == probe(self.id, FIRST) => {
                self.others.add(prefix);
                return false;
            }
            Phase::Settling { .. } if prefix == probe(self.id, LAST) => {
                self.others.add(prefix);
                return false;
            }
            Phase::Settling { told } if prefix == probe(self.id, TWICE) => {
                *told = told.saturating_add(1);
                return false;
            }
            Phase::Settling { .. } if prefix == probe(self.id, FIRST) => return false,
            Phase::Connecting
            | Phase::Probing
            | Phase::Settling { .. }
            | Phase::Ready
            | Phase::Over => {}
        }
        // Whoever subscribed, one of several equal ones is that of this end.
        !self.untold.remove(prefix) && self.others.add(prefix)
    }
}

#[cfg(test)]
mod tests;
