//! A replica that leads: groups of requests, each of them one entry.

use std::collections::VecDeque;

use broker_data::Timestamp;

use crate::store::command::Command;
use crate::store::entity::EntityId;
use crate::store::master::Master;
use crate::store::memory::Memory;
use crate::store::replica::entry::{ENTRY_OVERHEAD, EntryKind, StreamEntry};
use crate::store::replica::{
    Effect, Journal, Lease, Phase, Replica, Reply, Standing, StepDown, Verdict,
};
use crate::store::{ErrorCode, StoreFailure};

/// The numbers of the masters of one replica differ above this bit. The highest byte is that of
/// marks.
const PROMOTION_SHIFT: u32 = 32;

/// Promotions until their numbers begin anew: one in every second for half a year.
const PROMOTIONS_MAX: u64 = 1 << 24;

/// Something that waits for the append before it.
#[derive(Debug)]
pub(super) enum Waiting {
    /// An encoded command with a request.
    Request { ticket: u64, payload: Box<[u8]> },
    /// A key.
    Read { ticket: u64, key: Box<[u8]> },
    /// A command of a clone.
    Command { payload: Box<[u8]> },
}

/// What only a leader has.
#[derive(Debug)]
pub(super) struct Leader {
    pub(super) master: Master<Journal>,
    /// Bound: `WAITING_MAX`; requests beyond it are refused.
    pub(super) waiting: VecDeque<Waiting>,
    /// Why it leads no longer than until its append is known to be stored or not.
    pub(super) resigning: Option<StepDown>,
}

impl Leader {
    pub(super) const fn journal(&mut self) -> &mut Journal {
        self.master.backend_mut()
    }

    /// The entries, between two groups.
    pub(super) const fn memory_mut(&mut self) -> &mut Memory {
        self.journal().memory_mut()
    }
}

impl Replica {
    /// Half of an entry may be filled by requests; one request fills the other half at most.
    fn group_bytes_max(&self) -> usize {
        self.config
            .entry_bytes_max
            .saturating_sub(ENTRY_OVERHEAD + 64)
            / 2
    }

    /// Appends the first entry of a leader, if there is none and this one may.
    pub(super) fn take_over(&mut self, now: Timestamp) {
        let valid = self.lease.until.is_some_and(|until| now < until);
        if !valid || self.pending.is_some() || !matches!(self.phase, Phase::Following(_)) {
            return;
        }
        let id = self.next_id();
        let entry = StreamEntry {
            id,
            kind: EntryKind::TakeOver,
            time: now,
            count: 0,
            mutations: &[],
        };
        self.append(id, entry.encode().into(), Vec::new());
    }

    /// The stream has the first entry: from now on no other replica's is stored unless it has
    /// applied this one.
    pub(super) fn lead(&mut self, now: Timestamp) {
        let Phase::Following(memory) = std::mem::replace(&mut self.phase, Phase::Stopped) else {
            return;
        };
        self.promotions = (self.promotions + 1) % PROMOTIONS_MAX;
        let id = EntityId {
            object: self.id.object | self.promotions << PROMOTION_SHIFT,
            ..self.id
        };
        let journal = Journal::new(memory, self.group_bytes_max());
        let master = Master::new(id, &self.store, journal, self.config.store.clone());
        let mut master = master.expect("entries in memory can be read");
        master.set_observed(self.observed);
        self.phase = Phase::Leading(Box::new(Leader {
            master,
            waiting: VecDeque::new(),
            resigning: None,
        }));
        self.effects.push_back(Effect::Became(Standing::Leader));
        self.pump(now);
    }

    /// Applies what waits, until an entry is full or nothing is left, and appends what came of it.
    pub(super) fn pump(&mut self, now: Timestamp) {
        let group_bytes_max = self.group_bytes_max();
        let Phase::Leading(leader) = &mut self.phase else {
            return;
        };
        if self.pending.is_some() || leader.waiting.is_empty() {
            return;
        }
        let mut decisions = Vec::new();
        while leader.journal().mutations().0.len() < group_bytes_max
            && let Some(waiting) = leader.waiting.pop_front()
        {
            match waiting {
                Waiting::Request { ticket, payload } => {
                    // It was encoded here.
                    if let Ok(command) = Command::parse(&payload) {
                        let result = leader.master.request(now, &command.content);
                        decisions.push((ticket, result.map(Reply::Applied)));
                    }
                }
                Waiting::Read { ticket, key } => {
                    let value = match leader.master.get(now, &key) {
                        Ok(value) => Ok(Some(value)),
                        Err(failure) if failure.code == ErrorCode::NoSuchKey => Ok(None),
                        Err(failure) => Err(failure),
                    };
                    decisions.push((ticket, value.map(Reply::Value)));
                }
                Waiting::Command { payload } => {
                    if let Ok(command) = Command::parse(&payload) {
                        leader.master.handle_command(now, &command, &payload);
                    }
                }
            }
        }
        self.seal(now, decisions);
        // A group without an append may have left something.
        self.pump(now);
    }

    /// Ends the group: it is appended, unless it has changed and decided nothing.
    fn seal(&mut self, now: Timestamp, decisions: Vec<(u64, Result<Reply, StoreFailure>)>) {
        let Phase::Leading(leader) = &mut self.phase else {
            return;
        };
        let (mutations, count) = leader.master.backend_mut().mutations();
        let mutations = mutations.to_vec();
        if count == 0 && decisions.is_empty() && !leader.master.has_decided() {
            return self.commit_group();
        }
        let id = self.next_id();
        let entry = StreamEntry {
            id,
            kind: EntryKind::Group,
            time: now,
            count,
            mutations: &mutations,
        };
        self.append(id, entry.encode().into(), decisions);
    }

    /// Hands out what the group has led to.
    fn commit_group(&mut self) {
        let Phase::Leading(leader) = &mut self.phase else {
            return;
        };
        // The journal does not fail.
        let _ = leader.master.commit();
        while let Some(output) = leader.master.poll_output() {
            self.effects.push_back(Effect::Store(output));
        }
    }

    /// The stream has the group.
    pub(super) fn committed(
        &mut self,
        now: Timestamp,
        decisions: Vec<(u64, Result<Reply, StoreFailure>)>,
    ) {
        self.commit_group();
        for (ticket, result) in decisions {
            let verdict = Verdict::Decided(result);
            self.effects.push_back(Effect::Done { ticket, verdict });
        }
        let Phase::Leading(leader) = &mut self.phase else {
            return;
        };
        match leader.resigning.take() {
            Some(reason) => self.step_down(reason),
            None => self.pump(now),
        }
    }

    pub(super) fn tick_leader(&mut self, now: Timestamp) {
        let Phase::Leading(leader) = &mut self.phase else {
            return;
        };
        // With the group under way would come what is not known to be true. Clones take a leader
        // that does not get on for one that is away, and so it is.
        if self.pending.is_none() {
            leader.master.handle_tick(now);
            self.seal(now, Vec::new());
        }
    }

    /// Follows from now on, if it leads: nothing of what waits was decided.
    pub(super) fn step_down(&mut self, reason: StepDown) {
        debug_assert!(self.pending.is_none(), "what is under way is known first");
        let phase = std::mem::replace(&mut self.phase, Phase::Stopped);
        let Phase::Leading(leader) = phase else {
            self.phase = phase;
            return;
        };
        for waiting in leader.waiting {
            if let Waiting::Request { ticket, .. } | Waiting::Read { ticket, .. } = waiting {
                let verdict = Verdict::NotApplied(reason.clone());
                self.effects.push_back(Effect::Done { ticket, verdict });
            }
        }
        self.phase = Phase::Following(leader.master.into_backend().into_committed());
        let next = self.lease.next.take();
        self.lease = Lease {
            next,
            ..Lease::default()
        };
        self.effects.push_back(Effect::ReleaseLease);
        let text = format!("this replica leads no longer: {reason}");
        self.fault(&StoreFailure::new(ErrorCode::NoSuchMaster, text));
        let standing = Standing::Standby(Some(reason));
        self.effects.push_back(Effect::Became(standing));
        self.follow();
    }
}
