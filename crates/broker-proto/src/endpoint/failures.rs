//! Handshakes that came to nothing, counted by what ended them.

use super::{CloseCause, Closed, DialFault, Endpoint, PeerFailure};
use crate::status::ErrorCode;

/// Connections that did not become peerings, by reason: incoming ones and those of attempts.
///
/// Connections that one of both sides had no need of (the peers are peered already, or about to be)
/// are no failures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandshakeFailures {
    /// Nobody was reached at the address of an attempt, or not in time.
    pub unreachable: u64,
    /// The handshake of TLS failed, or another one before that of the protocol: certificates, ciphers,
    /// one side without TLS.
    pub security: u64,
    /// What came was not the protocol, or not allowed at that point.
    pub protocol: u64,
    /// There is no version of the protocol that both sides speak.
    pub version: u64,
    /// The other side refused.
    pub refused: u64,
    /// The connection was closed or broke.
    pub closed: u64,
    /// Nothing came in time.
    pub timed_out: u64,
}

impl HandshakeFailures {
    pub(super) const NONE: Self = Self {
        unreachable: 0,
        security: 0,
        protocol: 0,
        version: 0,
        refused: 0,
        closed: 0,
        timed_out: 0,
    };

    /// The counts with the names that metrics use for the reasons.
    pub const fn by_reason(&self) -> [(&'static str, u64); 7] {
        [
            ("unreachable", self.unreachable),
            ("security", self.security),
            ("protocol", self.protocol),
            ("version", self.version),
            ("refused", self.refused),
            ("closed", self.closed),
            ("timed-out", self.timed_out),
        ]
    }

    fn count(counter: &mut u64) {
        *counter = counter.saturating_add(1);
    }
}

impl Endpoint {
    /// Handshakes that came to nothing so far.
    pub const fn handshake_failures(&self) -> HandshakeFailures {
        self.failures
    }

    /// An incoming connection did not get as far as the protocol.
    pub(super) fn count_insecure(&mut self) {
        HandshakeFailures::count(&mut self.failures.security);
    }

    /// A dial came to nothing.
    pub(super) fn count_dial(&mut self, fault: Option<&DialFault>) {
        let failures = &mut self.failures;
        HandshakeFailures::count(match fault.map(|fault| fault.failure) {
            None | Some(PeerFailure::Unreachable) => &mut failures.unreachable,
            Some(PeerFailure::Refused) => &mut failures.security,
        });
    }

    /// One of both sides ended a handshake for a reason.
    pub(super) fn count_refusal(&mut self, close: CloseCause) {
        let failures = &mut self.failures;
        HandshakeFailures::count(match close {
            CloseCause::Refused(ErrorCode::PeerIncompatible)
            | CloseCause::Dropped(ErrorCode::PeerIncompatible) => &mut failures.version,
            CloseCause::Illegal | CloseCause::Refused(_) => &mut failures.protocol,
            CloseCause::Dropped(_) => &mut failures.refused,
            // The endpoint's own decision, which is no failure.
            CloseCause::Goodbye
            | CloseCause::GoodbyeTimeout
            | CloseCause::Cancelled
            | CloseCause::Shutdown => return,
        });
    }

    /// A connection ended by itself within the handshake.
    pub(super) fn count_end(&mut self, closed: &Closed) {
        let failures = &mut self.failures;
        HandshakeFailures::count(match closed {
            Closed::TimedOut => &mut failures.timed_out,
            Closed::Broken(_) | Closed::Overflow => &mut failures.protocol,
            Closed::NotPermitted(_) => &mut failures.security,
            Closed::Remote => &mut failures.closed,
            // A probe that never meant to peer.
            Closed::Silent => return,
        });
    }
}
