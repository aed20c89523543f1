//! Incoming connections that did not become peerings.
//!
//! The original forgets them without a word (wire 7.6); its operators then look for the reason at the
//! other end. Here each is counted, and an event names address and reason. Any stranger can cause such
//! events, so their rate is limited, and the next one tells how many were left out. See ADR 0122.

use broker_data::Timestamp;

use crate::config::{REFUSAL_EVENT_INTERVAL, REFUSAL_EVENTS_BURST};
use crate::id::EndpointId;
use crate::status::{EndpointInfo, ErrorCode, Fault, NetworkAddress, TEXT_REFUSED};

use super::{CloseCause, ConnectionId, DialFault, Endpoint};

/// Incoming connections that did not become peerings, so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RefusalCounts {
    /// Those that were refused, broke off or took too long.
    pub refused: u64,
    /// Those that ended before a byte of the protocol came, as the probes of load balancers and
    /// monitoring do. No event tells of them.
    pub silent: u64,
}

/// Counts, and what is left of the events that may come.
#[derive(Debug)]
pub(super) struct Refusals {
    pub(super) counts: RefusalCounts,
    /// Refused since the last event.
    unreported: u64,
    events_left: u32,
    /// When `events_left` was last added to.
    refilled: Timestamp,
}

impl Refusals {
    pub(super) const fn new() -> Self {
        Self {
            counts: RefusalCounts {
                refused: 0,
                silent: 0,
            },
            unreported: 0,
            events_left: REFUSAL_EVENTS_BURST,
            refilled: Timestamp::EPOCH,
        }
    }

    /// Counts a refusal. Returns how many before it had no event if it may have one itself.
    fn add(&mut self, now: Timestamp) -> Option<u64> {
        self.counts.refused = self.counts.refused.saturating_add(1);
        let passed = now.ns().saturating_sub(self.refilled.ns());
        let earned = passed / REFUSAL_EVENT_INTERVAL.ns();
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(u32::MAX);
            self.events_left = self.events_left.saturating_add(earned);
            self.events_left = self.events_left.min(REFUSAL_EVENTS_BURST);
            self.refilled = now;
        }
        match self.events_left.checked_sub(1) {
            Some(left) => {
                self.events_left = left;
                Some(std::mem::take(&mut self.unreported))
            }
            None => {
                self.unreported = self.unreported.saturating_add(1);
                None
            }
        }
    }
}

impl Endpoint {
    /// Incoming connections that did not become peerings, so far.
    pub const fn refusal_counts(&self) -> RefusalCounts {
        self.refusals.counts
    }

    /// An incoming connection was refused before [`handle_accepted`](Self::handle_accepted), in the
    /// handshake of TLS.
    pub fn handle_refused(&mut self, now: Timestamp, remote: NetworkAddress, cause: &str) {
        self.count_insecure();
        self.refuse_stranger(now, None, remote, cause);
    }

    /// An incoming connection ended before it sent anything, and before
    /// [`handle_accepted`](Self::handle_accepted).
    pub fn handle_silent(&mut self) {
        self.refusals.counts.silent = self.refusals.counts.silent.saturating_add(1);
    }

    /// Ends the handshake of a connection for a reason that the application is to know: an incoming
    /// one is reported by itself, an outgoing one as part of its attempt.
    pub(super) fn fail_handshake(
        &mut self,
        now: Timestamp,
        id: ConnectionId,
        close: Option<CloseCause>,
        cause: String,
    ) {
        if let Some(close) = close {
            self.count_refusal(close);
        }
        let me = self.config.id;
        // Where it leads back to this endpoint its other end says what there is to say.
        let stranger = self
            .connections
            .get(&id)
            .filter(|it| it.is_incoming && it.peer != Some(me));
        let stranger = stranger.map(|it| (it.peer, it.address.clone()));
        self.end_handshake(now, id, close, Some(DialFault::refused(cause.clone())));
        if let Some((peer, remote)) = stranger {
            self.refuse_stranger(now, peer, remote, &cause);
        }
    }

    fn refuse_stranger(
        &mut self,
        now: Timestamp,
        peer: Option<EndpointId>,
        remote: NetworkAddress,
        cause: &str,
    ) {
        let Some(unreported) = self.refusals.add(now) else {
            return;
        };
        let others = match unreported {
            0 => String::new(),
            count => format!(" ({count} others were refused since the last such event)"),
        };
        let stranger = EndpointInfo {
            id: peer,
            network: Some(remote),
        };
        let text = format!("{TEXT_REFUSED}: {cause}{others}");
        self.event(Fault::new(ErrorCode::PeerRefused, Some(stranger), text));
    }
}

#[cfg(test)]
mod tests {
    use broker_data::Timespan;

    use super::*;

    #[test]
    fn a_flood_makes_few_events_and_they_tell_of_the_rest() {
        let mut refusals = Refusals::new();
        let mut now = Timestamp::EPOCH;
        let mut reported = Vec::new();
        for _ in 0..10_000 {
            reported.extend(refusals.add(now));
            now = now.saturating_add(Timespan::from_millis(1));
        }
        // A burst, then one per second.
        assert_eq!(reported.len(), 10 + 9);
        assert_eq!(reported[..10], [0; 10]);
        assert_eq!(reported[10], 990);
        assert_eq!(reported[11], 999);
        assert_eq!(refusals.counts.refused, 10_000);
        // A pause saves up no more than a burst.
        now = now.saturating_add(Timespan::from_millis(3_600_000));
        let after: Vec<u64> = (0..100).filter_map(|_| refusals.add(now)).collect();
        assert_eq!(after.len(), 10);
    }
}
