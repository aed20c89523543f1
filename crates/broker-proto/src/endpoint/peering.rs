//! Peers: installation, control messages between peers, goodbyes and losses.
//!
//! Spec: wire 8.1, 8.5, 9.

use std::borrow::Cow;

use broker_data::Timestamp;

use crate::config::PING_PAYLOAD_MAX;
use crate::filter::Filter;
use crate::frame::{Envelope, Tag};
use crate::id::EndpointId;
use crate::message;
use crate::status::{
    EndpointInfo, NetworkAddress, Status, StatusCode, TEXT_ADDED, TEXT_DISCOVERED, TEXT_LOST,
    TEXT_OVERFLOW, TEXT_REMOVED, TEXT_UNREACHABLE,
};

use super::connection::{Connection, Stage, Token};
use super::{CloseCause, Closed, ConnectionId, Endpoint, Outcome, Output, Phase, Retry, Transport};
use crate::random::scramble;

/// Begins the payload of a goodbye. Spec: wire 9.1.
const BYE: &[u8; 3] = b"BYE";

impl Endpoint {
    /// The handshake is over. `sent` is the version of the filter the peer got.
    pub(super) fn install(&mut self, now: Timestamp, id: ConnectionId, sent: u64, filter: Filter) {
        let token = self.token();
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Some(peer) = connection.peer else { return };
        debug_assert_eq!(
            self.holders.get(&peer),
            Some(&id),
            "only an admitted one gets here"
        );
        connection.stage = Stage::Peered { token };
        connection.joined = Some(now);
        let attempt = connection.attempt.take();
        let network = connection.address.clone();

        self.outputs.push_back(Output::Install {
            connection: id,
            peer,
            filter,
        });
        if sent != self.filter_version {
            self.send_filter(id);
        }
        self.status(StatusCode::EndpointDiscovered, peer, None, TEXT_DISCOVERED);
        self.status(StatusCode::PeerAdded, peer, Some(network), TEXT_ADDED);
        if let Some(attempt) = attempt {
            self.settle_attempt(attempt, id);
        }
        for follower in self.followers(id) {
            self.settle_attempt(follower, id);
        }
        for waiter in self.waiters.extract_if(.., |waiter| waiter.peer == peer) {
            let outcome = Outcome::PeerAwaited(true);
            self.outputs.push_back(Output::Reply {
                request: waiter.request,
                outcome,
            });
        }
        for paused in self.paused(peer) {
            self.drop_redundant(now, paused, peer);
        }
    }

    /// A control message of a peer. What is malformed or not for us is ignored. Spec: wire 6.3.
    pub(super) fn on_envelope(&mut self, now: Timestamp, id: ConnectionId, payload: &[u8]) {
        let Ok(envelope) = Envelope::parse(payload) else {
            return;
        };
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        if connection.peer != Some(envelope.sender) {
            return;
        }
        match envelope.tag {
            Tag::RoutingUpdate => {
                if let Ok(filter) = Filter::decode_update(envelope.payload) {
                    self.handle_filter(id, envelope.sender, filter);
                }
            }
            Tag::Ping => {
                if envelope.payload.len() <= PING_PAYLOAD_MAX {
                    let pong = message::pong(self.config.id, envelope.sender, envelope.payload);
                    self.send(id, pong);
                }
            }
            Tag::Pong => match &connection.stage {
                Stage::Goodbye { token, .. } if envelope.payload == token => {
                    self.finish_goodbye(now, id, Some(CloseCause::Goodbye));
                }
                Stage::Goodbye { .. } | Stage::Peered { .. } => self.on_pong(id, envelope.payload),
                Stage::Dialing | Stage::Handshake(_) | Stage::Paused => {}
            },
            Tag::Data | Tag::Command => {}
        }
    }

    /// Begins to leave a peer; does nothing the second time. Spec: wire 9.1.
    pub(super) fn say_goodbye(&mut self, now: Timestamp, id: ConnectionId) {
        let deadline = now.saturating_add(self.config.bye_timeout);
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let (Stage::Peered { token }, Some(peer)) = (&connection.stage, connection.peer) else {
            return;
        };
        let token = *token;
        if connection.transport.is_foreign() {
            // Its goodbye is the end of its connection, which the runtime sees to.
            self.outputs.push_back(Output::Uninstall { peer });
            self.finish_goodbye(now, id, Some(CloseCause::Goodbye));
            return;
        }
        connection.stage = Stage::Goodbye { token, deadline };
        // In this order, so that no data gets behind the goodbye.
        self.outputs.push_back(Output::Uninstall { peer });
        self.send(id, message::ping(self.config.id, peer, &token));
    }

    /// The peer we said goodbye to has answered, has gone, or has been waited for long enough.
    pub(super) fn finish_goodbye(
        &mut self,
        now: Timestamp,
        id: ConnectionId,
        close: Option<CloseCause>,
    ) {
        if let Some(close) = close {
            self.close(id, close);
        }
        let Some(Connection {
            peer: Some(peer),
            address,
            ..
        }) = self.forget(id)
        else {
            return;
        };
        self.departures.add(now, peer);
        self.status(StatusCode::PeerRemoved, peer, Some(address), TEXT_REMOVED);
        self.status(
            StatusCode::EndpointUnreachable,
            peer,
            None,
            TEXT_UNREACHABLE,
        );
        for follower in self.followers(id) {
            self.dial(follower);
        }
        self.check_complete();
    }

    /// The connection to a peer has ended by itself. Spec: wire 9.2, 9.3.
    pub(super) fn lose_peer(&mut self, now: Timestamp, id: ConnectionId, closed: &Closed) {
        let Some(Connection {
            peer: Some(peer),
            address,
            retry,
            transport,
            joined,
            failures,
            ..
        }) = self.forget(id)
        else {
            return;
        };
        let (code, text) = match closed {
            Closed::Overflow => (StatusCode::PeerRemoved, TEXT_OVERFLOW),
            Closed::NotPermitted(cause) => (StatusCode::PeerRemoved, *cause),
            Closed::Remote | Closed::Silent | Closed::Broken(_) | Closed::TimedOut => {
                (StatusCode::PeerLost, TEXT_LOST)
            }
        };
        // Text of the original, with our reason behind it.
        let text = match closed {
            Closed::NotPermitted(_) => Cow::from(format!("{TEXT_REMOVED}: {text}")),
            _ => Cow::from(text),
        };
        self.departures.add(now, peer);
        self.outputs.push_back(Output::Uninstall { peer });
        self.status(code, peer, Some(address.clone()), &text);
        self.status(
            StatusCode::EndpointUnreachable,
            peer,
            None,
            TEXT_UNREACHABLE,
        );
        // Spec: wire 7.6. Whom we cut off ourselves we do not call again.
        let reconnects =
            self.phase == Phase::Running && code == StatusCode::PeerLost && retry != Retry::Never;
        if reconnects {
            match transport {
                Transport::Native => self.redial(now, address, retry, joined, failures),
                Transport::Foreign(url) => self.rejoin(now, url, address, retry, joined, failures),
            }
        }
        self.check_complete();
    }

    fn status(
        &mut self,
        code: StatusCode,
        peer: EndpointId,
        network: Option<NetworkAddress>,
        text: &str,
    ) {
        let context = Some(EndpointInfo {
            id: Some(peer),
            network,
        });
        self.event(Status {
            code,
            context,
            text: text.to_owned(),
        });
    }

    /// What a goodbye carries, different for every peering.
    fn token(&mut self) -> Token {
        let number = self.number();
        let mut token = [0; 11];
        let (start, rest) = token.split_at_mut(BYE.len());
        start.copy_from_slice(BYE);
        rest.copy_from_slice(&scramble(self.config.seed, number).to_le_bytes());
        token
    }
}
