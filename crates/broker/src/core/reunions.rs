//! Peerings that were established again, counted: with the same address where this endpoint dialed
//! it, with the same id where the other side did.

use std::collections::BTreeMap;

use broker_proto::EndpointId;

/// Peers that are remembered. Strangers choose their ids, so there must be a bound; it is beyond what
/// an endpoint has peers.
const KNOWN_MAX: usize = 4096;

/// What a peer is known by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Known {
    Address(String, u16),
    Id(EndpointId),
}

#[derive(Debug)]
struct Times {
    /// Peerings so far.
    peerings: u64,
    /// When the last one was, as a number that grows.
    last: u64,
}

/// The peers that were there once.
#[derive(Debug, Default)]
pub(super) struct Reunions {
    /// Bound: `KNOWN_MAX`.
    known: BTreeMap<Known, Times>,
    peerings: u64,
}

impl Reunions {
    /// Notes a peering; how many there were with that peer before.
    pub(super) fn note(&mut self, peer: Known) -> u64 {
        self.peerings = self.peerings.saturating_add(1);
        let last = self.peerings;
        if let Some(times) = self.known.get_mut(&peer) {
            let before = times.peerings;
            times.peerings = before.saturating_add(1);
            times.last = last;
            return before;
        }
        if self.known.len() >= KNOWN_MAX {
            let oldest = self.known.iter().min_by_key(|(_, times)| times.last);
            let oldest = oldest.map(|(peer, _)| peer.clone());
            if let Some(oldest) = oldest {
                self.known.remove(&oldest);
            }
        }
        self.known.insert(peer, Times { peerings: 1, last });
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peerings_are_counted_by_peer_and_the_oldest_is_forgotten() {
        let mut reunions = Reunions::default();
        let peer = |port: u16| Known::Address("host".to_owned(), port);
        let many = u16::try_from(KNOWN_MAX).unwrap();
        for port in 0..many {
            assert_eq!(reunions.note(peer(port)), 0);
        }
        assert_eq!(reunions.note(peer(0)), 1);
        assert_eq!(reunions.note(peer(0)), 2);
        assert_eq!(reunions.note(peer(many)), 0);
        assert_eq!(reunions.known.len(), KNOWN_MAX);
        assert_eq!((reunions.note(peer(0)), reunions.note(peer(1))), (3, 0));
    }
}
