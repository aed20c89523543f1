//! The lease: it keeps replicas from competing, and nothing more depends on it.

use broker_data::{Timespan, Timestamp};

use crate::store::replica::{
    Candidacy, Effect, LeaseOutcome, Phase, RETRY_TICKS, Replica, StepDown,
};

/// The lease as this replica knows it.
#[derive(Debug, Default)]
pub(super) struct Lease {
    pub(super) until: Option<Timestamp>,
    /// When it was asked for, until that is answered; and at which tick.
    pub(super) asked: Option<(Timestamp, u64)>,
    /// When it is asked for next.
    pub(super) next: Option<Timestamp>,
}

impl Replica {
    pub(super) fn tick_lease(&mut self, now: Timestamp) {
        if self.config.candidacy == Candidacy::CopyOnly {
            return;
        }
        match &self.phase {
            Phase::Following(_) => {}
            Phase::Leading(leader) if leader.resigning.is_none() => {}
            Phase::Leading(_) | Phase::Loading(_) | Phase::Stopped => return,
        }
        let waits = |(_, tick): (Timestamp, u64)| self.ticks - tick < RETRY_TICKS;
        if self.lease.asked.is_some_and(waits) || self.lease.next.is_some_and(|next| now < next) {
            return;
        }
        self.lease.asked = Some((now, self.ticks));
        self.effects.push_back(Effect::AcquireLease);
    }

    /// The lease was asked for.
    pub fn handle_lease(&mut self, now: Timestamp, outcome: LeaseOutcome) {
        let Some((asked, _)) = self.lease.asked.take() else {
            return;
        };
        let third = Timespan::from_ns(self.config.lease.ns() / 3);
        self.lease.next = Some(now.saturating_add(third));
        match outcome {
            LeaseOutcome::Granted => {
                self.lease.until = Some(asked.saturating_add(self.config.lease));
                self.take_over(now);
            }
            LeaseOutcome::Held => {
                self.lease.until = None;
                self.resign(StepDown::LeaseLost);
            }
            LeaseOutcome::Unknown => {}
        }
    }
}
