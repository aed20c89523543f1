//! Outgoing peerings on their way: dialing, retrying, giving up.
//!
//! Spec: wire 7.6. An attempt that turns out redundant while the other connection is not there yet
//! follows that connection and shares its fate. See ADR 0011.

use broker_data::{Timespan, Timestamp};

use crate::backoff;
use crate::config::{REDIAL_PAUSE, RETRY_MIN};
use crate::id::EndpointId;
use crate::status::{
    EndpointInfo, ErrorCode, Fault, NetworkAddress, TEXT_INVALID, TEXT_UNAVAILABLE,
};

use super::connection::{Connection, Stage};
use super::{
    CloseCause, ConnectionId, DialFault, Endpoint, Outcome, Output, PeerFailure, RequestId, Retry,
    Transport,
};

const NS_PER_SECOND: i64 = 1_000_000_000;

/// Names an outgoing peering that is not established yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AttemptId(pub(super) u64);

#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) address: NetworkAddress,
    pub(super) retry: Retry,
    pub(super) transport: Transport,
    /// How often it failed in a row.
    pub(super) failures: u32,
    /// How often its peer took a connection that is over for one that it has.
    pub(super) unnoticed: u32,
    pub(super) request: Option<RequestId>,
    pub(super) state: AttemptState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttemptState {
    /// It has a connection.
    Connecting(ConnectionId),
    /// The last one failed.
    Waiting { until: Timestamp },
    /// Whether it is needed depends on somebody else's connection.
    Following(ConnectionId),
}

impl Attempt {
    /// An attempt that waits for nothing but to be dialed.
    pub(super) fn new(
        host: &str,
        port: u16,
        transport: Transport,
        retry: Retry,
        request: Option<RequestId>,
    ) -> Self {
        let (retry, seconds) = match retry.pause() {
            Some(pause) if pause > Timespan::ZERO => {
                let seconds = u64::try_from(pause.ns() / NS_PER_SECOND).unwrap_or_default();
                (retry.with_pause(pause.max(RETRY_MIN)), seconds)
            }
            Some(_) | None => (Retry::Never, 0),
        };
        let address = NetworkAddress {
            host: host.to_owned(),
            port,
            retry_seconds: seconds,
        };
        let state = AttemptState::Waiting {
            until: Timestamp::MIN,
        };
        Self {
            address,
            retry,
            transport,
            failures: 0,
            unnoticed: 0,
            request,
            state,
        }
    }

    /// When it is to be dialed again.
    pub(super) const fn due(&self) -> Option<Timestamp> {
        match self.state {
            AttemptState::Waiting { until } => Some(until),
            AttemptState::Connecting(_) | AttemptState::Following(_) => None,
        }
    }
}

impl Endpoint {
    pub(super) fn attempts_where(&self, matches: impl Fn(&Attempt) -> bool) -> Vec<AttemptId> {
        self.attempts
            .iter()
            .filter(|(_, it)| matches(it))
            .map(|(id, _)| *id)
            .collect()
    }

    pub(super) fn set_attempt(&mut self, id: AttemptId, state: AttemptState) {
        if let Some(attempt) = self.attempts.get_mut(&id) {
            attempt.state = state;
        }
    }

    pub(super) fn dial(&mut self, id: AttemptId) {
        let connection = ConnectionId(self.number());
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        attempt.state = AttemptState::Connecting(connection);
        let NetworkAddress { host, port, .. } = attempt.address.clone();
        self.connections
            .insert(connection, Connection::dialing(id, attempt));
        let transport = attempt.transport.clone();
        self.outputs.push_back(match transport {
            Transport::Native => Output::Dial {
                connection,
                host,
                port,
            },
            Transport::Foreign(url) => Output::Join { connection, url },
        });
    }

    /// Dials an address again whose peering was lost: at once, unless one peering after the other
    /// ends as soon as it is there. Spec: wire 7.6, ADR 0017. With [`Retry::Around`] soon instead of at
    /// once.
    pub(super) fn redial(
        &mut self,
        now: Timestamp,
        address: NetworkAddress,
        retry: Retry,
        joined: Option<Timestamp>,
        failures: u32,
    ) {
        let Some(asked) = retry.pause() else { return };
        let pause = asked.min(REDIAL_PAUSE);
        let lasted = joined.is_some_and(|at| at.saturating_add(pause) <= now);
        let is_repeated = !lasted && failures > 0;
        let waits = is_repeated || matches!(retry, Retry::Around(_));
        let until = match retry {
            Retry::Around(_) if is_repeated => {
                now.saturating_add(backoff::around(pause, self.chance()))
            }
            Retry::Around(_) => now.saturating_add(backoff::first(asked, self.chance())),
            _ if is_repeated => now.saturating_add(pause),
            _ => now,
        };
        let failures = if lasted {
            0
        } else {
            failures.saturating_add(1)
        };
        let id = self.try_again(Transport::Native, address, retry, failures, until);
        if !waits {
            self.dial(id);
        }
    }

    /// An attempt for a peering that was lost, which nobody waits for.
    pub(super) fn try_again(
        &mut self,
        transport: Transport,
        address: NetworkAddress,
        retry: Retry,
        failures: u32,
        until: Timestamp,
    ) -> AttemptId {
        let id = AttemptId(self.number());
        let attempt = Attempt {
            address,
            retry,
            transport,
            failures,
            unnoticed: 0,
            request: None,
            state: AttemptState::Waiting { until },
        };
        self.attempts.insert(id, attempt);
        id
    }

    /// Whoever waits for a peering with this very endpoint is told that it failed. Where nobody waits
    /// the attempts go on: an address may lead elsewhere later.
    pub(super) fn stop_calling_myself(&mut self, connection: ConnectionId) {
        let attempt = self.connections.get(&connection).and_then(|it| it.attempt);
        if let Some(attempt) = attempt.and_then(|id| self.attempts.get_mut(&id))
            && attempt.request.is_some()
        {
            attempt.retry = Retry::Never;
        }
    }

    /// An attempt came to nothing. Without a cause there was simply nobody. See ADR 0016.
    pub(super) fn fail_attempt(&mut self, now: Timestamp, id: AttemptId, cause: Option<DialFault>) {
        let attempt = self.attempts.get(&id);
        let is_spread = attempt.is_some_and(|attempt| {
            attempt.transport.is_foreign() || matches!(attempt.retry, Retry::Around(_))
        });
        let chance = if is_spread { self.chance() } else { 0 };
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        let (failure, text) = match cause {
            Some(DialFault { failure, text }) => (failure, format!("{TEXT_UNAVAILABLE}: {text}")),
            None => (PeerFailure::Unreachable, TEXT_UNAVAILABLE.to_owned()),
        };
        let code = ErrorCode::PeerUnavailable;
        let network = Some(attempt.address.clone());
        let context = Some(EndpointInfo { id: None, network });
        let request = match attempt.retry {
            Retry::After(pause) | Retry::Around(pause) => {
                let pause = match (&attempt.transport, attempt.retry) {
                    (Transport::Foreign(_), _) => backoff::pause(pause, attempt.failures, chance),
                    (Transport::Native, Retry::Around(_)) => backoff::around(pause, chance),
                    (Transport::Native, _) => pause,
                };
                attempt.failures = attempt.failures.saturating_add(1);
                attempt.unnoticed = 0;
                attempt.state = AttemptState::Waiting {
                    until: now.saturating_add(pause),
                };
                None
            }
            Retry::Never => self
                .attempts
                .remove(&id)
                .and_then(|attempt| attempt.request),
        };
        self.event(Fault::new(code, context, text.clone()));
        if let Some(request) = request {
            let outcome = Outcome::PeerFailed {
                code,
                failure,
                text,
            };
            self.reply(request, outcome);
        }
    }

    /// An attempt met a connection that is there already, or nearly so.
    pub(super) fn resolve_redundant(&mut self, now: Timestamp, id: AttemptId, peer: EndpointId) {
        let holder = self.holders.get(&peer).copied();
        let stage = holder.and_then(|holder| Some(&self.connections.get(&holder)?.stage));
        match (holder, stage) {
            (Some(holder), Some(Stage::Peered { .. })) => self.settle_attempt(id, holder),
            (Some(holder), Some(_)) => self.set_attempt(id, AttemptState::Following(holder)),
            (_, None) | (None, _) => {
                self.fail_attempt(now, id, Some(DialFault::refused("redundant connection")));
            }
        }
    }

    /// The peering an attempt wanted is there.
    ///
    /// An address that is dialed again replaces one that is not. Spec: wire 9.3.
    pub(super) fn settle_attempt(&mut self, id: AttemptId, holder: ConnectionId) {
        let Some(attempt) = self.attempts.remove(&id) else {
            return;
        };
        if let Some(connection) = self.connections.get_mut(&holder)
            && connection.transport.is_foreign() == attempt.transport.is_foreign()
            && connection.retry == Retry::Never
            && attempt.retry != Retry::Never
        {
            connection.address = attempt.address;
            connection.transport = attempt.transport;
            connection.retry = attempt.retry;
        }
        if let Some(request) = attempt.request {
            self.reply(request, Outcome::Peered);
        }
    }

    pub(super) fn followers(&self, connection: ConnectionId) -> Vec<AttemptId> {
        self.attempts_where(|attempt| attempt.state == AttemptState::Following(connection))
    }

    /// Gives up whatever tries to reach an address. See ADR 0012.
    pub(super) fn cancel_attempts(&mut self, now: Timestamp, host: &str, port: u16) {
        for id in self.attempts_where(|attempt| attempt.address.is_same_place(host, port)) {
            let Some(attempt) = self.attempts.remove(&id) else {
                continue;
            };
            if let Some(request) = attempt.request {
                let text = format!("{TEXT_UNAVAILABLE}: the peering was cancelled");
                let code = ErrorCode::PeerUnavailable;
                let failure = PeerFailure::Unreachable;
                let outcome = Outcome::PeerFailed {
                    code,
                    failure,
                    text,
                };
                self.reply(request, outcome);
            }
            if let AttemptState::Connecting(connection) = attempt.state {
                self.end_handshake(now, connection, Some(CloseCause::Cancelled), None);
            }
        }
    }

    pub(super) fn report_unknown_peer(&mut self, host: &str, port: u16) {
        let network = Some(NetworkAddress::new(host, port));
        let context = Some(EndpointInfo { id: None, network });
        let text = TEXT_INVALID.to_owned();
        self.event(Fault::new(ErrorCode::PeerInvalid, context, text));
    }

    pub(super) fn reply_refused(&mut self, request: Option<RequestId>) {
        if let Some(request) = request {
            let text = format!("{TEXT_UNAVAILABLE}: the endpoint is shutting down");
            let code = ErrorCode::ShuttingDown;
            let failure = PeerFailure::Unreachable;
            let outcome = Outcome::PeerFailed {
                code,
                failure,
                text,
            };
            self.reply(request, outcome);
        }
    }
}
