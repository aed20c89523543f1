//! Round trips that the application asks for. Spec: wire 8.5.
//!
//! The original never pings a peer but to say goodbye; all its releases answer any ping, and do so
//! after everything that came before it.

use crate::config::PINGS_MAX;
use crate::id::EndpointId;
use crate::message;

use super::connection::Stage;
use super::{ConnectionId, Endpoint, Outcome, RequestId};
use crate::random::scramble;

/// Begins the payload, which therefore is never that of a goodbye, nor empty: peers up to 7.0 close
/// the connection then. Spec: wire 12.
const PING: &[u8; 4] = b"PING";

/// A ping under way.
#[derive(Debug)]
pub(super) struct Ping {
    pub(super) payload: [u8; 12],
    pub(super) request: RequestId,
}

impl Endpoint {
    /// Whether a ping went out.
    pub(super) fn send_ping(&mut self, peer: EndpointId, request: RequestId) -> bool {
        let Some(id) = self.holders.get(&peer).copied() else {
            return false;
        };
        let number = self.number();
        let token = scramble(self.config.seed, number).to_le_bytes();
        let mut payload = [0; 12];
        let (start, rest) = payload.split_at_mut(PING.len());
        start.copy_from_slice(PING);
        rest.copy_from_slice(&token);
        let Some(connection) = self.connections.get_mut(&id) else {
            return false;
        };
        let is_peer = matches!(connection.stage, Stage::Peered { .. });
        if !is_peer || connection.transport.is_foreign() || connection.pings.len() >= PINGS_MAX {
            return false;
        }
        connection.pings.push(Ping { payload, request });
        self.send(id, message::ping(self.config.id, peer, &payload));
        true
    }

    /// A pong that is not the answer to a goodbye. What was not asked for is ignored.
    pub(super) fn on_pong(&mut self, id: ConnectionId, payload: &[u8]) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let asked = connection
            .pings
            .iter()
            .position(|ping| ping.payload == payload);
        if let Some(index) = asked {
            let ping = connection.pings.remove(index);
            self.reply(ping.request, Outcome::Pinged(true));
        }
    }
}
