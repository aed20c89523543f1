//! Changes of the subscriptions of a peering with a server: a second connection takes over from the
//! first.
//!
//! 1. The new connection is opened while the old one goes on.
//! 2. Nothing is sent any more (`writer` is `None`) until 6. A server passes what one client sends
//!    on to its others, and for a while we are two of them. So what is published after a subscription
//!    finds it in place, as with native peers.
//! 3. A ping on the old connection comes back when the server has read what was sent before.
//! 4. The new connection subscribes. From here on a message may come on both connections.
//! 5. At the acknowledgement the new connection is the one that counts. The old one is read until it has
//!    brought everything that the new one brought first, for a limited time, and is closed.
//! 6. When the server has ended the old connection, sending goes on.
//!
//! While the application has no room for messages the old connection is not read, and nothing is known of
//! its end. Then it stays until it is read to its end, for a limited time, and sending goes on without
//! waiting for that.
//!
//! A message that came on one connection is dropped when an equal one comes on the other and the old connection
//! was subscribed to its topic; each message excuses one. That goes on until the new connection brings
//! what the old one did not, being gone. What the limits below cut short is delivered twice rather
//! than not at all.

use broker_data::json::Form;
use broker_data::{Timespan, Timestamp};

use crate::backoff;
use crate::status::ErrorCode;
use crate::topic::Topic;

use super::overlap::{Overlap, Settlement};
use super::sent::SentTopics;
use super::{
    ClientOutput, ClientSession, ConnectionEnd, ServerConnection, ServerConnectionId, Stage,
    milliseconds, subscribe,
};

/// How long subscriptions are collected before a connection is renewed: programs subscribe to several
/// topics one after the other.
pub(super) const RENEWAL_DELAY: Timespan = milliseconds(5);

/// Pause after a renewal that failed; doubled each time.
const RENEWAL_PAUSE: Timespan = milliseconds(1_000);

/// How long the acknowledgement of a renewal may take: publishers wait for it.
const RENEWAL_ACK_TIMEOUT: Timespan = milliseconds(10_000);

/// How long the answer to the ping before a renewal may take.
const FENCE_TIMEOUT: Timespan = milliseconds(2_000);

/// How long the old connection is read at least, for what the server had for it before the renewal.
pub(super) const OVERLAP_MIN: Timespan = milliseconds(20);

/// Silence of the old connection that says that nothing is on its way any more, when nothing proves it.
const OVERLAP_QUIET: Timespan = milliseconds(100);

/// How long the old connection may owe messages that the new one brought.
const OVERLAP_MAX: Timespan = milliseconds(2_000);

/// How long the server may say nothing on the old connection before it ends it.
const RETIREMENT_TIMEOUT: Timespan = milliseconds(1_000);

/// How long the old connection is kept for messages that the application has no room for: a minute, for
/// meanwhile nothing else can be subscribed to.
pub(super) const RETIREMENT_MAX: Timespan = milliseconds(60_000);

/// How long publishers wait for a renewal when the one before it failed: enough for a server that
/// answers.
pub(super) const REPEATED_HOLD_MAX: Timespan = milliseconds(500);

/// How long publishers wait for a step of a renewal that makes them wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Hold {
    /// Until it is done.
    #[default]
    Unlimited,
    Until(Timestamp),
    /// Not any more.
    Over,
}

impl Hold {
    pub(super) const fn until(self) -> Option<Timestamp> {
        match self {
            Self::Until(at) => Some(at),
            Self::Unlimited | Self::Over => None,
        }
    }
}

/// How far a renewal is.
#[derive(Debug)]
pub(super) enum Renewal {
    /// The connection has everything that is wanted, as far as we know.
    None,
    Due {
        at: Timestamp,
        failures: u32,
    },
    Opening {
        next: ServerConnection,
        failures: u32,
    },
    Fencing {
        next: ServerConnection,
        failures: u32,
        payload: [u8; 8],
        deadline: Timestamp,
    },
    Subscribing {
        next: ServerConnection,
        failures: u32,
        overlap: Overlap,
    },
    Overlapping {
        old: ServerConnection,
        earliest: Timestamp,
        latest: Timestamp,
        overlap: Overlap,
    },
    Retiring {
        old: ServerConnection,
        deadline: Timestamp,
        latest: Timestamp,
        overlap: Overlap,
    },
}

impl Renewal {
    /// The connection beside the one that counts.
    pub(super) const fn connection(&self) -> Option<&ServerConnection> {
        match self {
            Self::None | Self::Due { .. } => None,
            Self::Opening { next, .. }
            | Self::Fencing { next, .. }
            | Self::Subscribing { next, .. } => Some(next),
            Self::Overlapping { old, .. } | Self::Retiring { old, .. } => Some(old),
        }
    }

    /// Whether nothing may be sent. When a renewal has failed publishers are not made to wait for
    /// the beginning of the next, and for its answer only for a moment.
    pub(super) const fn holds(&self) -> bool {
        match self {
            Self::None => false,
            Self::Due { failures, .. } | Self::Opening { failures, .. } => *failures == 0,
            Self::Fencing { .. }
            | Self::Subscribing { .. }
            | Self::Overlapping { .. }
            | Self::Retiring { .. } => true,
        }
    }

    pub(super) fn due(&self) -> Option<Timestamp> {
        match self {
            Self::None | Self::Opening { .. } => None,
            Self::Due { at, .. } => Some(*at),
            Self::Fencing { deadline, .. } => Some(*deadline),
            Self::Retiring {
                deadline, latest, ..
            } => Some(*deadline.min(latest)),
            Self::Subscribing { next, .. } => match next.stage {
                Stage::Subscribing { deadline } => Some(deadline),
                Stage::Opening | Stage::Active => None,
            },
            Self::Overlapping {
                old,
                earliest,
                latest,
                overlap,
            } => Some(match overlap.state() {
                Settlement::Proven => *earliest,
                Settlement::Likely if old.paused => *latest,
                Settlement::Likely => {
                    let quiet = overlap.old_heard.saturating_add(OVERLAP_QUIET);
                    (*earliest).max(quiet).min(*latest)
                }
                Settlement::Open => *latest,
            }),
        }
    }

    /// Something came on the old connection: the server is still at what it had for it.
    pub(super) fn heard(&mut self, now: Timestamp, connection: ServerConnectionId) {
        if let Self::Retiring { old, deadline, .. } = self
            && old.id == connection
        {
            *deadline = now.saturating_add(RETIREMENT_TIMEOUT);
        }
    }

    /// As [`ClientSession::set_paused`] for the connection beside the one that counts.
    pub(super) fn set_paused(
        &mut self,
        now: Timestamp,
        connection: ServerConnectionId,
        paused: bool,
    ) {
        let beside = match self {
            Self::None | Self::Due { .. } => return,
            Self::Opening { next, .. }
            | Self::Fencing { next, .. }
            | Self::Subscribing { next, .. } => next,
            Self::Overlapping { old, .. } | Self::Retiring { old, .. } => old,
        };
        if beside.id != connection || beside.paused == paused {
            return;
        }
        beside.paused = paused;
        match self {
            Self::Overlapping { overlap, .. } => overlap.old_heard = now,
            Self::Retiring { deadline, .. } => *deadline = now.saturating_add(RETIREMENT_TIMEOUT),
            Self::None
            | Self::Due { .. }
            | Self::Opening { .. }
            | Self::Fencing { .. }
            | Self::Subscribing { .. } => {}
        }
    }
}

impl ClientSession {
    /// Whether publishers wait for a renewal.
    pub(super) fn is_held(&self) -> bool {
        self.renewal.holds() && self.hold != Hold::Over
    }

    /// Begins a renewal if the connection lacks something and none is under way.
    pub(super) fn check_interest(&mut self, now: Timestamp) {
        let has = |topic: &Topic| self.current.topics.matches(topic.as_bytes());
        let lacks = !self.wanted.entries().all(has);
        if self.joined && !self.ended && lacks && matches!(self.renewal, Renewal::None) {
            self.renewal = Renewal::Due {
                at: now.saturating_add(RENEWAL_DELAY),
                failures: 0,
            };
        }
    }

    pub(super) fn advance_renewal(&mut self, now: Timestamp) {
        match std::mem::replace(&mut self.renewal, Renewal::None) {
            Renewal::Due { failures, .. } => {
                let connection = ServerConnectionId(self.number());
                let next = ServerConnection::opening(connection);
                self.outputs.push_back(ClientOutput::Open { connection });
                self.renewal = Renewal::Opening { next, failures };
            }
            fencing @ Renewal::Fencing { .. } => {
                self.renewal = fencing;
                self.subscribe_anew(now);
            }
            Renewal::Subscribing { next, failures, .. } => {
                let silence =
                    ConnectionEnd::Failed("the server did not acknowledge in time".to_owned());
                self.drop_connection(next.id);
                self.fail_renewal(now, failures, next.cause(&silence));
            }
            Renewal::Overlapping {
                old,
                earliest,
                latest,
                mut overlap,
            } if overlap.bill.is_none() && overlap.paid < overlap.owed => {
                overlap.bill = Some(overlap.owed);
                self.renewal = Renewal::Overlapping {
                    old,
                    earliest,
                    latest,
                    overlap,
                };
            }
            Renewal::Overlapping { old, overlap, .. } => {
                self.outputs
                    .push_back(ClientOutput::Close { connection: old.id });
                // A server that has read the close frame sends nothing back on the old connection.
                let deadline = now.saturating_add(RETIREMENT_TIMEOUT);
                self.hold = Hold::Until(deadline);
                self.renewal = Renewal::Retiring {
                    old,
                    deadline,
                    latest: now.saturating_add(RETIREMENT_MAX),
                    overlap,
                };
            }
            Renewal::Retiring {
                old,
                latest,
                overlap,
                ..
            } if old.paused && now < latest => {
                self.renewal = Renewal::Retiring {
                    old,
                    deadline: latest,
                    latest,
                    overlap,
                };
            }
            Renewal::Retiring {
                old,
                latest,
                overlap,
                ..
            } => {
                self.drop_connection(old.id);
                if old.paused || now >= latest {
                    let text = "messages of the server were lost: they came before the \
                                subscriptions were renewed and were not taken within a minute";
                    self.complain(ErrorCode::Unspecified, text.to_owned());
                }
                self.catch_up(now, overlap);
            }
            other @ (Renewal::None | Renewal::Opening { .. }) => self.renewal = other,
        }
    }

    /// The next connection is up, HTTP included.
    pub(super) fn begin_fence(
        &mut self,
        now: Timestamp,
        connection: ServerConnectionId,
        form: Form,
    ) {
        match std::mem::replace(&mut self.renewal, Renewal::None) {
            Renewal::Opening { mut next, failures } if next.id == connection => {
                next.form = form;
                if failures > 0 {
                    self.hold = Hold::Until(now.saturating_add(REPEATED_HOLD_MAX));
                }
                let payload = self.number().to_be_bytes();
                self.outputs.push_back(ClientOutput::Ping {
                    connection: self.current.id,
                    payload,
                });
                self.renewal = Renewal::Fencing {
                    next,
                    failures,
                    payload,
                    deadline: now.saturating_add(FENCE_TIMEOUT),
                };
            }
            other => self.renewal = other,
        }
    }

    pub(super) fn subscribe_anew(&mut self, now: Timestamp) {
        match std::mem::replace(&mut self.renewal, Renewal::None) {
            Renewal::Fencing {
                mut next, failures, ..
            } => {
                let deadline = now.saturating_add(RENEWAL_ACK_TIMEOUT);
                subscribe(&mut next, now, deadline, &self.wanted, &mut self.outputs);
                self.renewal = Renewal::Subscribing {
                    next,
                    failures,
                    overlap: Overlap::new(self.current.topics.clone()),
                };
            }
            other => self.renewal = other,
        }
    }

    /// The next connection was acknowledged: it is the one that counts from now on.
    pub(super) fn change_lines(&mut self, now: Timestamp, connection: ServerConnectionId) {
        match std::mem::replace(&mut self.renewal, Renewal::None) {
            Renewal::Subscribing {
                mut next, overlap, ..
            } if next.id == connection => {
                next.stage = Stage::Active;
                next.heard = now;
                next.complaint = None;
                self.hold = Hold::Unlimited;
                let mut overlap = overlap;
                overlap.old_heard = overlap.old_heard.max(now);
                let old = std::mem::replace(&mut self.current, next);
                self.sent = SentTopics::default();
                self.renewal = Renewal::Overlapping {
                    old,
                    earliest: now.saturating_add(OVERLAP_MIN),
                    latest: now.saturating_add(OVERLAP_MAX),
                    overlap,
                };
            }
            other => self.renewal = other,
        }
    }

    /// The connection beside the one that counts ended, or did not come about.
    pub(super) fn lose_connection_beside(
        &mut self,
        now: Timestamp,
        connection: ServerConnectionId,
        loss: &ConnectionEnd,
    ) {
        match std::mem::replace(&mut self.renewal, Renewal::None) {
            Renewal::Opening { next, failures }
            | Renewal::Fencing { next, failures, .. }
            | Renewal::Subscribing { next, failures, .. }
                if next.id == connection =>
            {
                self.fail_renewal(now, failures, next.cause(loss));
            }
            Renewal::Overlapping { old, overlap, .. } | Renewal::Retiring { old, overlap, .. }
                if old.id == connection =>
            {
                self.catch_up(now, overlap);
            }
            other => self.renewal = other,
        }
    }

    /// The next connection came to nothing; the one there is goes on.
    fn fail_renewal(&mut self, now: Timestamp, failures: u32, cause: Option<String>) {
        let cause = cause.unwrap_or_else(|| "nobody is there".to_owned());
        let text = format!("the subscriptions could not be renewed: {cause}");
        self.complain(ErrorCode::PeerUnavailable, text);
        let random = self.config.seed.rotate_left(failures % 64);
        self.hold = Hold::Unlimited;
        self.renewal = Renewal::Due {
            at: now.saturating_add(backoff::pause(RENEWAL_PAUSE, failures, random)),
            failures: failures.saturating_add(1),
        };
    }

    /// The old connection is gone; something may have been subscribed to meanwhile.
    fn catch_up(&mut self, now: Timestamp, overlap: Overlap) {
        self.renewal = Renewal::None;
        self.hold = Hold::Unlimited;
        self.tail = Some((overlap, now.saturating_add(OVERLAP_MAX)));
        self.check_interest(now);
    }
}
