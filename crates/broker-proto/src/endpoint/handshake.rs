//! The handshake: from the first byte of a connection to the installation of a peer.
//!
//! Spec: wire 7. [`react`] is the table of wire 7.3 and decides nothing but what is legal; the
//! methods below it admit, answer and refuse. Of two connections with one endpoint the originator
//! keeps the first; the other one is paused until the first has finished, because the notice that
//! it is redundant must not overtake the handshake it refers to.

use broker_data::Timestamp;

use crate::filter::Filter;
use crate::id::EndpointId;
use crate::message::{Handshake, VERSION};
use crate::status::ErrorCode;

use super::connection::{Connection, Stage};
use super::departure::is_redundancy;
use super::{CloseCause, Closed, ConnectionId, DialFault, Endpoint, Output};

pub(super) const TEXT_SHUTTING_DOWN: &str = "shutting down";
pub(super) const TEXT_SELF: &str = "the address leads back to this endpoint";
const TEXT_REDUNDANT: &str = "redundant connection";
pub(super) const TEXT_REDUNDANT_RESPONDER: &str = "detected redundant connection at the responder";

/// The message a handshake waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The connecting side at its start.
    HelloOrVersionSelect,
    /// The accepting side at its start.
    Hello,
    VersionSelect,
    OriginatorSyn,
    ResponderSynAck {
        /// Version of the filter that was sent.
        sent: u64,
    },
    OriginatorAck {
        sent: u64,
        /// What the originator wants.
        filter: Filter,
    },
}

/// What a message means at a step.
#[derive(Debug, PartialEq, Eq)]
enum Reaction {
    Ignore,
    /// The other side has the larger id: lead the handshake.
    Lead(EndpointId),
    /// The other side has the smaller id: let it lead.
    ReturnHello(EndpointId),
    /// The other side leads.
    Follow(EndpointId),
    Dropped {
        id: EndpointId,
        code: ErrorCode,
        text: String,
    },
    /// The originator's filter: answer with ours.
    Answer(Filter),
    /// The responder's filter: acknowledge, done.
    Acknowledge {
        sent: u64,
        filter: Filter,
    },
    /// The acknowledgement: done.
    Done {
        sent: u64,
        filter: Filter,
    },
    Illegal,
}

/// The table of wire 7.3.
fn react(me: EndpointId, step: &Step, message: Handshake) -> Reaction {
    use Handshake as M;
    match (step, message) {
        (Step::HelloOrVersionSelect | Step::Hello | Step::VersionSelect, M::Probe) => {
            Reaction::Ignore
        }
        (Step::HelloOrVersionSelect | Step::Hello, M::Hello { id, .. }) => {
            if me < id {
                Reaction::Lead(id)
            } else {
                Reaction::ReturnHello(id)
            }
        }
        (Step::HelloOrVersionSelect | Step::VersionSelect, M::VersionSelect { id, .. }) => {
            Reaction::Follow(id)
        }
        (
            Step::HelloOrVersionSelect | Step::Hello | Step::VersionSelect,
            M::DropConn { id, code, text },
        ) => Reaction::Dropped { id, code, text },
        (Step::OriginatorSyn, M::OriginatorSyn(filter)) => Reaction::Answer(filter),
        (Step::ResponderSynAck { sent }, M::ResponderSynAck(filter)) => Reaction::Acknowledge {
            sent: *sent,
            filter,
        },
        (Step::OriginatorAck { sent, filter }, M::OriginatorAck) => Reaction::Done {
            sent: *sent,
            filter: filter.clone(),
        },
        (
            Step::HelloOrVersionSelect | Step::VersionSelect | Step::Hello,
            M::OriginatorSyn(_) | M::ResponderSynAck(_) | M::OriginatorAck,
        )
        | (Step::Hello, M::VersionSelect { .. })
        | (Step::VersionSelect, M::Hello { .. })
        | (
            Step::OriginatorSyn | Step::ResponderSynAck { .. } | Step::OriginatorAck { .. },
            M::Hello { .. } | M::Probe | M::VersionSelect { .. } | M::DropConn { .. },
        )
        | (Step::OriginatorSyn, M::ResponderSynAck(_) | M::OriginatorAck)
        | (Step::ResponderSynAck { .. }, M::OriginatorSyn(_) | M::OriginatorAck)
        | (Step::OriginatorAck { .. }, M::OriginatorSyn(_) | M::ResponderSynAck(_)) => {
            Reaction::Illegal
        }
    }
}

/// What a message means while the connection is paused: it has nothing to say that could matter.
fn react_paused(message: Handshake) -> Reaction {
    match message {
        Handshake::Probe => Reaction::Ignore,
        Handshake::DropConn { id, code, text } => Reaction::Dropped { id, code, text },
        Handshake::Hello { .. }
        | Handshake::VersionSelect { .. }
        | Handshake::OriginatorSyn(_)
        | Handshake::ResponderSynAck(_)
        | Handshake::OriginatorAck => Reaction::Illegal,
    }
}

impl Endpoint {
    pub(super) fn on_handshake_frame(&mut self, now: Timestamp, id: ConnectionId, payload: &[u8]) {
        if payload.is_empty() {
            // Spec: wire 2. Not even worth a refusal.
            let cause = self.stranger_cause(id, "an empty frame");
            self.fail_handshake(now, id, Some(CloseCause::Illegal), cause);
            return;
        }
        let message = match Handshake::parse(payload) {
            Ok(message) => message,
            Err(refusal) => {
                let cause = match refusal.code {
                    ErrorCode::PeerIncompatible => refusal.text.clone(),
                    _ => self.stranger_cause(id, &refusal.text),
                };
                self.refuse(now, id, refusal.code, &refusal.text, cause);
                return;
            }
        };
        let me = self.config.id;
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.heard = true;
        // Told in a state where it is not expected, the reason is worth repeating all the same.
        let (reason, unnoticed) = match &message {
            Handshake::DropConn { id, code, text } => (
                text.clone(),
                is_redundancy(*code, text) && connection.peer == Some(*id),
            ),
            _ => ("unexpected handshake message".to_owned(), false),
        };
        let peer = connection.peer.filter(|_| unnoticed);
        let reaction = match &connection.stage {
            Stage::Handshake(step) => react(me, step, message),
            Stage::Paused => react_paused(message),
            Stage::Dialing | Stage::Peered { .. } | Stage::Goodbye { .. } => Reaction::Illegal,
        };
        match reaction {
            Reaction::Ignore => {}
            Reaction::Lead(peer) => self.lead(now, id, peer),
            Reaction::ReturnHello(peer) => {
                connection.peer = Some(peer);
                connection.stage = Stage::Handshake(Step::VersionSelect);
                self.send_hello(id);
            }
            Reaction::Follow(peer) => self.follow(now, id, peer),
            Reaction::Dropped {
                id: peer,
                code,
                text,
            } => {
                self.on_dropped(now, id, peer, code, &text);
            }
            Reaction::Answer(filter) => {
                let sent = self.filter_version;
                connection.stage = Stage::Handshake(Step::OriginatorAck { sent, filter });
                self.send(id, Handshake::ResponderSynAck(self.filter.clone()).encode());
            }
            Reaction::Acknowledge { sent, filter } => {
                self.send(id, Handshake::OriginatorAck.encode());
                self.install(now, id, sent, filter);
            }
            Reaction::Done { sent, filter } => self.install(now, id, sent, filter),
            Reaction::Illegal if peer.is_some_and(|peer| self.has_just_left(now, peer)) => {
                self.end_unnoticed(now, id, CloseCause::Illegal);
            }
            Reaction::Illegal => {
                self.fail_handshake(now, id, Some(CloseCause::Illegal), reason);
            }
        }
    }

    /// The admission check of the originator. Spec: wire 7.5.
    fn lead(&mut self, now: Timestamp, id: ConnectionId, peer: EndpointId) {
        let holder = self.holder(peer).map(|holder| holder.stage.is_peering());
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.peer = Some(peer);
        match holder {
            None => {
                let sent = self.filter_version;
                connection.stage = Stage::Handshake(Step::ResponderSynAck { sent });
                self.holders.insert(peer, id);
                let select = Handshake::VersionSelect {
                    id: self.config.id,
                    version: VERSION,
                };
                self.send(id, select.encode());
                self.send(id, Handshake::OriginatorSyn(self.filter.clone()).encode());
            }
            Some(false) => {
                connection.stage = Stage::Paused;
                self.outputs.push_back(Output::Pause { connection: id });
            }
            Some(true) => self.drop_redundant(now, id, peer),
        }
    }

    /// The admission check of the responder. Spec: wire 7.5.
    fn follow(&mut self, now: Timestamp, id: ConnectionId, peer: EndpointId) {
        let holder = self.holder(peer).map(|holder| holder.stage.deadline());
        let me = self.config.id;
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        // Nobody has our id, and nobody changes its own halfway.
        if peer == me || connection.peer.is_some_and(|said| said != peer) {
            let cause = "the id changed during the handshake".to_owned();
            self.fail_handshake(now, id, Some(CloseCause::Illegal), cause);
        } else if let (Some(Some(_goodbye)), Some(_)) = (holder, connection.attempt) {
            // What the attempt is for comes after the goodbye to the same peer.
            let code = ErrorCode::LogicError;
            self.send_drop(id, code, TEXT_REDUNDANT_RESPONDER);
            self.close(id, CloseCause::Refused(code));
            self.end_redundant(now, id, peer);
        } else if holder.is_some() {
            let (code, text) = (ErrorCode::LogicError, TEXT_REDUNDANT_RESPONDER);
            self.send_drop(id, code, text);
            let close = Some(CloseCause::Refused(code));
            self.end_handshake(now, id, close, Some(DialFault::refused(text)));
        } else {
            connection.peer = Some(peer);
            connection.stage = Stage::Handshake(Step::OriginatorSyn);
            self.holders.insert(peer, id);
        }
    }

    /// The other side does not want this connection. Spec: wire 7.4.
    fn on_dropped(
        &mut self,
        now: Timestamp,
        id: ConnectionId,
        peer: EndpointId,
        code: ErrorCode,
        text: &str,
    ) {
        let cause = CloseCause::Dropped(code);
        let redundant = is_redundancy(code, text);
        let holder = self.holder(peer).map(|holder| holder.stage.deadline());
        let is_leaving = redundant && matches!(holder, Some(Some(_)));
        if is_leaving || code == ErrorCode::RedundantConnection && holder.is_some() {
            self.close(id, cause);
            self.end_redundant(now, id, peer);
        } else if redundant && self.has_just_left(now, peer) {
            self.end_unnoticed(now, id, cause);
        } else if matches!(code, ErrorCode::LogicError | ErrorCode::ShuttingDown) || redundant {
            // What the other side thinks of itself is no matter of this one.
            self.end_handshake(now, id, Some(cause), Some(DialFault::refused(text)));
        } else {
            self.fail_handshake(now, id, Some(cause), text.to_owned());
        }
    }

    /// Tells the other side that its connection is one too many.
    pub(super) fn drop_redundant(&mut self, now: Timestamp, id: ConnectionId, peer: EndpointId) {
        let code = ErrorCode::RedundantConnection;
        self.send_drop(id, code, TEXT_REDUNDANT);
        self.close(id, CloseCause::Refused(code));
        self.end_redundant(now, id, peer);
    }

    fn end_redundant(&mut self, now: Timestamp, id: ConnectionId, peer: EndpointId) {
        if let Some(attempt) = self.forget(id).and_then(|connection| connection.attempt) {
            self.resolve_redundant(now, attempt, peer);
        }
    }

    /// Tells the other side what is wrong with it.
    fn refuse(
        &mut self,
        now: Timestamp,
        id: ConnectionId,
        code: ErrorCode,
        text: &str,
        cause: String,
    ) {
        self.send_drop(id, code, text);
        self.fail_handshake(now, id, Some(CloseCause::Refused(code)), cause);
    }

    /// Ends a connection that never became a peering. Without `close` it is closed already.
    pub(super) fn end_handshake(
        &mut self,
        now: Timestamp,
        id: ConnectionId,
        close: Option<CloseCause>,
        cause: Option<DialFault>,
    ) {
        if let Some(close) = close {
            self.close(id, close);
        }
        let Some(Connection { attempt, peer, .. }) = self.forget(id) else {
            return;
        };
        for follower in self.followers(id) {
            self.fail_attempt(now, follower, cause.clone());
        }
        if let Some(attempt) = attempt {
            self.fail_attempt(now, attempt, cause);
        }
        if let Some(peer) = peer {
            self.resume_paused(now, peer);
        }
        self.check_complete();
    }

    /// The connection that others were paused for came to nothing: the first of them is next.
    /// See ADR 0011.
    pub(super) fn resume_paused(&mut self, now: Timestamp, peer: EndpointId) {
        if self.holders.contains_key(&peer) {
            return;
        }
        if let Some(id) = self.paused(peer).first().copied() {
            self.outputs.push_back(Output::Resume { connection: id });
            self.lead(now, id, peer);
        }
    }

    pub(super) fn paused(&self, peer: EndpointId) -> Vec<ConnectionId> {
        self.connections_where(|it| matches!(it.stage, Stage::Paused) && it.peer == Some(peer))
    }

    pub(super) fn send_hello(&mut self, id: ConnectionId) {
        let hello = Handshake::Hello {
            id: self.config.id,
            min: VERSION,
            max: VERSION,
        };
        self.send(id, hello.encode());
    }

    pub(super) fn send_drop(&mut self, id: ConnectionId, code: ErrorCode, text: &str) {
        let drop = Handshake::DropConn {
            id: self.config.id,
            code,
            text: text.to_owned(),
        };
        self.send(id, drop.encode());
    }

    /// Why a handshake ended that the other side or the network ended.
    pub(super) fn handshake_cause(&self, id: ConnectionId, closed: Closed) -> String {
        let peer = self
            .connections
            .get(&id)
            .and_then(|connection| connection.peer);
        match closed {
            Closed::Remote if peer == Some(self.config.id) => TEXT_SELF.to_owned(),
            Closed::Remote | Closed::Silent => "connection closed during the handshake".to_owned(),
            Closed::Broken(cause) => cause,
            Closed::Overflow => "connection overflowed during the handshake".to_owned(),
            Closed::TimedOut => "no answer during the handshake".to_owned(),
            Closed::NotPermitted(cause) => cause.to_owned(),
        }
    }

    /// Who never said anything that makes sense is something else altogether.
    fn stranger_cause(&self, id: ConnectionId, otherwise: &str) -> String {
        match self.connections.get(&id) {
            Some(connection) if connection.heard => otherwise.to_owned(),
            _ => "not a Broker endpoint".to_owned(),
        }
    }
}
