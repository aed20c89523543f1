//! Peers that left a moment ago and may not know it yet.
//!
//! The end of a connection reaches its two sides at different times. A peer that has not noticed
//! refuses a new connection as redundant to the old one, which is gone here. Such a refusal is no
//! reason to give up: the attempt is repeated until the peer has noticed. See ADR 0120.

use std::collections::VecDeque;

use broker_data::{Timespan, Timestamp};

use crate::config::{
    DEPARTED_PEERS_MAX, UNNOTICED_END_PAUSE_MAX, UNNOTICED_END_PAUSE_MIN, UNNOTICED_END_TIMEOUT,
};
use crate::id::EndpointId;
use crate::status::ErrorCode;

use super::attempt::{AttemptId, AttemptState};
use super::connection::Connection;
use super::handshake::TEXT_REDUNDANT_RESPONDER;
use super::{CloseCause, ConnectionId, Endpoint};

/// Who left, and until when a refusal by them is not believed; in the order of their leaving.
#[derive(Debug)]
pub(super) struct Departures(VecDeque<(EndpointId, Timestamp)>);

impl Departures {
    pub(super) const fn new() -> Self {
        Self(VecDeque::new())
    }

    /// Notes that the peering with an endpoint is over.
    pub(super) fn add(&mut self, now: Timestamp, peer: EndpointId) {
        self.0.retain(|(id, until)| *id != peer && *until > now);
        if self.0.len() >= DEPARTED_PEERS_MAX {
            self.0.pop_front();
        }
        self.0
            .push_back((peer, now.saturating_add(UNNOTICED_END_TIMEOUT)));
    }

    fn contains(&self, now: Timestamp, peer: EndpointId) -> bool {
        let mut known = self.0.iter();
        known.any(|(id, until)| *id == peer && *until > now)
    }
}

/// Whether a refusal says that there is a connection already. The responder has no code for it.
/// Spec: wire 7.4.
pub(super) fn is_redundancy(code: ErrorCode, text: &str) -> bool {
    match code {
        ErrorCode::RedundantConnection => true,
        ErrorCode::LogicError => text == TEXT_REDUNDANT_RESPONDER,
        _ => false,
    }
}

impl Endpoint {
    /// Whether a peer that calls a connection redundant may refer to one that has ended here.
    pub(super) fn has_just_left(&self, now: Timestamp, peer: EndpointId) -> bool {
        self.departures.contains(now, peer)
    }

    /// Ends a connection that a peer refused for the sake of one that is over, and has what it was
    /// meant for tried again soon.
    pub(super) fn end_unnoticed(&mut self, now: Timestamp, id: ConnectionId, close: CloseCause) {
        self.close(id, close);
        let Some(Connection { attempt, peer, .. }) = self.forget(id) else {
            return;
        };
        for attempt in self.followers(id).into_iter().chain(attempt) {
            self.repeat_soon(now, attempt);
        }
        if let Some(peer) = peer {
            self.resume_paused(now, peer);
        }
        self.check_complete();
    }

    fn repeat_soon(&mut self, now: Timestamp, id: AttemptId) {
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        let factor = 1_i64.checked_shl(attempt.unnoticed).unwrap_or(i64::MAX);
        let pause = Timespan::from_ns(UNNOTICED_END_PAUSE_MIN.ns().saturating_mul(factor));
        attempt.unnoticed = attempt.unnoticed.saturating_add(1);
        attempt.state = AttemptState::Waiting {
            until: now.saturating_add(pause.min(UNNOTICED_END_PAUSE_MAX)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: usize) -> EndpointId {
        let mut bytes = [7; 16];
        bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
        EndpointId::from_random(bytes)
    }

    #[test]
    fn the_first_to_leave_are_forgotten_first() {
        let now = Timestamp::EPOCH;
        let mut departures = Departures::new();
        for number in 0..=DEPARTED_PEERS_MAX {
            departures.add(now, peer(number));
        }
        assert!(!departures.contains(now, peer(0)));
        assert!(departures.contains(now, peer(1)));
        assert!(departures.contains(now, peer(DEPARTED_PEERS_MAX)));
        let later = now.saturating_add(UNNOTICED_END_TIMEOUT);
        assert!(!departures.contains(later, peer(1)));
        departures.add(later, peer(0));
        assert_eq!(departures.0.len(), 1);
    }
}
