//! Failed attempts to become a principal: counted, and limited by address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use broker_data::Timestamp;

/// Failures of one address within [`PERIOD_NS`] after which its tokens are not looked at: more than people
/// mistype, and less than a record wants to hear of.
pub const FAILURES_MAX: u32 = 10;

/// How long failures of an address count, in nanoseconds.
pub const PERIOD_NS: i64 = 60_000_000_000;

/// Addresses that are counted at a time. When there are more, those that are over are forgotten, and then
/// the least in order: what is limited is work and records, secrets cannot be guessed.
pub const ADDRESSES_MAX: usize = 4096;

/// Whether an attempt is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It is.
    Fine,
    /// There were too many from that address.
    TooMany,
}

/// Failures by address.
#[derive(Clone, Debug, Default)]
pub struct Failures {
    /// Bound: [`ADDRESSES_MAX`].
    addresses: BTreeMap<IpAddr, (Timestamp, u32)>,
    total: u64,
}

impl Failures {
    /// Whether an attempt from an address is looked at now.
    pub fn attempt(&self, address: IpAddr, now: Timestamp) -> Attempt {
        match self.addresses.get(&network(address)) {
            Some((since, count)) if *count >= FAILURES_MAX && !is_over(*since, now) => {
                Attempt::TooMany
            }
            _ => Attempt::Fine,
        }
    }

    /// Notes a failure.
    pub fn fail(&mut self, address: IpAddr, now: Timestamp) {
        let address = network(address);
        if self.addresses.len() >= ADDRESSES_MAX && !self.addresses.contains_key(&address) {
            self.addresses.retain(|_, (since, _)| !is_over(*since, now));
            if self.addresses.len() >= ADDRESSES_MAX {
                self.addresses.pop_first();
            }
        }
        let entry = self.addresses.entry(address).or_insert((now, 0));
        if is_over(entry.0, now) {
            *entry = (now, 0);
        }
        entry.1 = entry.1.saturating_add(1);
    }

    /// Counts a failure of any kind.
    pub fn count(&mut self) {
        self.total = self.total.saturating_add(1);
    }

    /// All of them.
    pub const fn total(&self) -> u64 {
        self.total
    }
}

fn is_over(since: Timestamp, now: Timestamp) -> bool {
    now.ns().saturating_sub(since.ns()) >= PERIOD_NS
}

/// A host has as many addresses of version 6 as it likes, and one network.
fn network(address: IpAddr) -> IpAddr {
    const HOST_BITS: u32 = 64;
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(
            address.to_bits() >> HOST_BITS << HOST_BITS,
        )),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_that_fails_too_often_has_to_wait() {
        let mut failures = Failures::default();
        let now = Timestamp::from_ns(5);
        let end = Timestamp::from_ns(5 + PERIOD_NS);
        for _ in 0..FAILURES_MAX {
            assert_eq!(failures.attempt(address("2001:db8::1"), now), Attempt::Fine);
            failures.fail(address("2001:db8::2"), now);
        }
        assert_eq!(
            failures.attempt(address("2001:db8::3"), now),
            Attempt::TooMany
        );
        assert_eq!(
            failures.attempt(address("2001:db8:0:1::3"), now),
            Attempt::Fine
        );
        assert_eq!(failures.attempt(address("2001:db8::1"), end), Attempt::Fine);
        failures.fail(address("2001:db8::1"), end);
        assert_eq!(failures.attempt(address("2001:db8::1"), end), Attempt::Fine);
    }

    #[test]
    fn addresses_are_bounded() {
        let mut failures = Failures::default();
        for index in 0..u32::try_from(ADDRESSES_MAX).unwrap() * 2 {
            failures.fail(IpAddr::from(index.to_be_bytes()), Timestamp::from_ns(0));
        }
        assert_eq!(failures.addresses.len(), ADDRESSES_MAX);
        failures.fail(address("192.0.2.1"), Timestamp::from_ns(PERIOD_NS));
        assert_eq!(failures.addresses.len(), 1);
    }
}
