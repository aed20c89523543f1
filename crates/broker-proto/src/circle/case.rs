//! The state of one suspected topic: its tests, and the links that they joined.

use std::collections::{BTreeMap, BTreeSet};

use broker_data::Timestamp;

use crate::circle::held::Held;
use crate::circle::{
    CALM_MAX, CALM_MIN, FIRST_RENEWAL_AFTER, FORGOTTEN_AFTER, HELD_FOR, WORSE_FACTOR,
};
use crate::id::EndpointId;

/// Copies that are never worse than before, however few there were at the last test.
const WORSE_MIN: u32 = 64;

/// Links that are asked about at once. One of a group is enough, so that this is for circles that
/// have nothing but the endpoint in common; others have their turn later.
const QUESTIONS_MAX: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Case {
    /// The last one, and whether it is over.
    pub(super) test: Option<Test>,
    /// Links that others have asked about.
    pub(super) asked: BTreeSet<EndpointId>,
    /// Links that are joined: each is in one group at most.
    pub(super) groups: Vec<Group>,
    /// Links that were tested without result.
    pub(super) calm: BTreeMap<EndpointId, Calm>,
    /// Whether its repetition was reported: all peers that it comes from are one circle.
    pub(super) is_reported: bool,
    /// When it was of interest last.
    pub(super) touched: Timestamp,
    /// When it is on the agenda.
    pub(super) due: Option<Timestamp>,
}

/// A probe of a test.
#[derive(Debug)]
pub(super) struct Question {
    /// The link that it left over.
    pub(super) link: EndpointId,
    pub(super) nonce: u64,
    /// Whether it came back over another link.
    pub(super) is_proved: bool,
    /// Whether it came back over the same link.
    pub(super) came_back: bool,
}

/// Probes under way, and what is held meanwhile.
#[derive(Debug)]
pub(super) struct Test {
    /// One over each link that copies come from.
    /// Bound: `QUESTIONS_MAX`.
    pub(super) questions: Vec<Question>,
    pub(super) began: Timestamp,
    /// Most copies of one message that came; 0 when others asked for the test.
    pub(super) count: u32,
    /// Whether nothing is held any more. Probes may still come back.
    pub(super) is_over: bool,
    /// Links over which the same probe of an endpoint with a smaller id came: they are part of a
    /// circle, which it cuts.
    pub(super) joined: BTreeSet<EndpointId>,
    pub(super) held: Held,
}

impl Test {
    /// Whether copies from there have it asked about, too.
    pub(super) fn may_ask(&self, link: EndpointId) -> bool {
        self.questions.len() < QUESTIONS_MAX && self.questions.iter().all(|it| it.link != link)
    }

    pub(super) fn holds_until(&self) -> Timestamp {
        self.began.saturating_add(HELD_FOR)
    }
}

/// When a link is tested again.
#[derive(Debug, Default)]
pub(super) struct Calm {
    pub(super) until: Timestamp,
    /// When there was reason for another test last.
    pub(super) stirred: Timestamp,
    /// How often in a row nothing was found.
    rests: u32,
    /// So many copies have it tested before that time.
    pub(super) worse: u32,
    /// Until when others ask in vain.
    pub(super) asked_until: Timestamp,
    /// How often the probe came back over the link that it left over.
    pub(super) came_back: u8,
}

impl Calm {
    /// Whether a link is left alone although so many copies of one message came.
    pub(super) fn lasts(&mut self, now: Timestamp, count: u32) -> bool {
        if now.since(self.stirred) >= FORGOTTEN_AFTER {
            self.until = now;
            self.rests = 0;
        }
        self.stirred = now;
        now < self.until && count < self.worse
    }

    /// A test after so many copies found nothing.
    pub(super) fn rest(&mut self, now: Timestamp, count: u32) {
        let longer = 1_i64.checked_shl(self.rests).unwrap_or(i64::MAX);
        let pause = CALM_MIN.ns().saturating_mul(longer).min(CALM_MAX.ns());
        self.stirred = now;
        self.until = Timestamp::from_ns(now.ns().saturating_add(pause));
        self.rests = self.rests.saturating_add(1).min(30);
        self.worse = count.saturating_mul(WORSE_FACTOR).max(WORSE_MIN);
    }
}

/// Links that are joined behind the peers they lead to.
#[derive(Debug)]
pub(super) struct Group {
    /// The one that is used.
    pub(super) open: EndpointId,
    pub(super) closed: BTreeMap<EndpointId, Proof>,
    pub(super) renewal: Renewal,
}

/// What is known of a closed link.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Proof {
    /// Unanswered questions in a row.
    pub(super) missed: u8,
    /// Whether the last probe came back over it.
    pub(super) is_back: bool,
    pub(super) is_told: bool,
}

/// Whether a group is still joined.
#[derive(Debug, Clone, Copy)]
pub(super) enum Renewal {
    /// It is asked then.
    Due(Timestamp),
    /// It was asked with that probe.
    Asked { nonce: u64, until: Timestamp },
}

impl Renewal {
    pub(super) const fn due(self) -> Timestamp {
        match self {
            Self::Due(at) | Self::Asked { until: at, .. } => at,
        }
    }

    pub(super) const fn nonce(self) -> Option<u64> {
        match self {
            Self::Due(_) => None,
            Self::Asked { nonce, .. } => Some(nonce),
        }
    }
}

impl Group {
    pub(super) fn has(&self, link: EndpointId) -> bool {
        self.open == link || self.closed.contains_key(&link)
    }
}

/// Reported pairs that no longer exist as such: open and closed.
type Parted = Vec<(EndpointId, EndpointId)>;

impl Case {
    /// The test, while copies are held.
    pub(super) fn running_test(&mut self) -> Option<&mut Test> {
        self.test.as_mut().filter(|test| !test.is_over)
    }

    pub(super) fn is_grouped(&self, link: EndpointId) -> bool {
        self.groups.iter().any(|group| group.has(link))
    }

    pub(super) fn is_closed(&self, link: EndpointId) -> bool {
        self.groups.iter().any(|it| it.closed.contains_key(&link))
    }

    /// Notes that what is sent over one link comes back over another. `None`: that was known.
    pub(super) fn join(
        &mut self,
        now: Timestamp,
        sent: EndpointId,
        back: EndpointId,
    ) -> Option<Parted> {
        let place = |link| self.groups.iter().position(|group| group.has(link));
        let soon = now.saturating_add(FIRST_RENEWAL_AFTER);
        let proof = Proof {
            is_back: true,
            ..Proof::default()
        };
        let (at, links, parted) = match (place(sent), place(back)) {
            (Some(here), Some(there)) if here == there => {
                let group = self.groups.get_mut(here)?;
                group.closed.get_mut(&back)?.is_back = true;
                return None;
            }
            (Some(here), None) => (here, vec![back], Parted::new()),
            (None, Some(there)) => (there, vec![sent], Parted::new()),
            (Some(here), Some(there)) => {
                let other = self.groups.remove(there);
                let here = here - usize::from(there < here);
                let told = other.closed.iter().filter(|(_, proof)| proof.is_told);
                let parted = told.map(|(closed, _)| (other.open, *closed)).collect();
                let mut links = vec![other.open];
                links.extend(other.closed.into_keys());
                (here, links, parted)
            }
            (None, None) => {
                // What goes to endpoints of this implementation has marks, so that one is better.
                let (open, closed) = match (rank(sent), rank(back)) {
                    (a, b) if a < b => (sent, back),
                    _ => (back, sent),
                };
                self.groups.push(Group {
                    open,
                    closed: BTreeMap::new(),
                    renewal: Renewal::Due(soon),
                });
                (self.groups.len() - 1, vec![closed], Parted::new())
            }
        };
        let group = self.groups.get_mut(at)?;
        group.closed.extend(links.into_iter().map(|it| (it, proof)));
        if let Renewal::Due(due) = &mut group.renewal {
            *due = soon.min(*due);
        }
        Some(parted)
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let test = self.test.as_ref().filter(|test| !test.is_over);
        let groups = self.groups.iter().map(|group| group.renewal.due());
        groups.chain(test.map(Test::holds_until)).min()
    }
}

/// Which of two links stays open: the one that ranks first.
fn rank(link: EndpointId) -> (bool, EndpointId) {
    (!link.is_recognizable(), link)
}
