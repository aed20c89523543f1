//! Probes of others that were passed on: each goes on once.

use std::collections::{BTreeMap, VecDeque};

use crate::circle::Probe;
use crate::id::EndpointId;

/// Probes that are remembered: those of some thousand topics that are asked about at the same time.
const PASSED_MAX: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Passed {
    known: BTreeMap<(EndpointId, u64), First>,
    /// Bound: `PASSED_MAX`, then the oldest is forgotten.
    order: VecDeque<(EndpointId, u64)>,
}

/// How a probe came.
#[derive(Debug)]
struct First {
    from: EndpointId,
    /// Whether one of its copies has come through another implementation.
    is_mixed: bool,
}

/// What a probe is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It goes on. One that was seen on a way among endpoints of this implementation goes on once
    /// more when it comes on another way.
    GoesOn {
        /// Over which other link it came before.
        joined: Option<EndpointId>,
    },
    /// It was there before.
    Known {
        /// As above, if one of the two ways leads through another implementation.
        joined: Option<EndpointId>,
    },
}

impl Passed {
    /// Notes a probe.
    pub(super) fn insert(&mut self, from: EndpointId, probe: &Probe) -> News {
        let key = (probe.prober, probe.nonce);
        if let Some(first) = self.known.get_mut(&key) {
            let is_news = probe.is_mixed && !first.is_mixed;
            first.is_mixed |= probe.is_mixed;
            let joined = Some(first.from).filter(|it| *it != from && first.is_mixed);
            return if is_news {
                News::GoesOn { joined }
            } else {
                News::Known { joined }
            };
        }
        if self.order.len() >= PASSED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        let is_mixed = probe.is_mixed;
        self.known.insert(key, First { from, is_mixed });
        self.order.push_back(key);
        News::GoesOn { joined: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_goes_on_once_per_kind_of_way() {
        let mut passed = Passed::default();
        let pure = Probe {
            prober: EndpointId::from_bytes([1; 16]),
            nonce: 1,
            is_mixed: false,
            is_renewal: false,
            hops: 0,
        };
        let mixed = Probe {
            is_mixed: true,
            ..pure
        };
        let (a, b) = (
            EndpointId::from_bytes([2; 16]),
            EndpointId::from_bytes([3; 16]),
        );
        let joined = None;
        assert_eq!(passed.insert(a, &pure), News::GoesOn { joined });
        assert_eq!(passed.insert(b, &pure), News::Known { joined });
        // Two ways, and one of them is not among endpoints of this implementation.
        let joined = Some(a);
        assert_eq!(passed.insert(b, &mixed), News::GoesOn { joined });
        assert_eq!(passed.insert(b, &mixed), News::Known { joined });
        assert_eq!(passed.insert(a, &mixed), News::Known { joined: None });
        for nonce in 2..10_000 {
            let news = passed.insert(a, &Probe { nonce, ..pure });
            assert_eq!(news, News::GoesOn { joined: None });
        }
        assert_eq!(passed.known.len(), PASSED_MAX);
        assert_eq!(passed.order.len(), PASSED_MAX);
    }
}
