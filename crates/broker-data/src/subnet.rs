//! Networks of addresses.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::{Address, ParseError};

/// Bits of the 128 that precede an IPv4 address.
const V4_BITS_BEFORE: u8 = 96;

/// Network: an address and the number of its leading bits that matter.
///
/// The number is kept in terms of 128 bits ("raw"); for an IPv4 network it is 96 more than what
/// people write. A subnet that came from the network may have any raw length and host bits that
/// are set; [`Subnet::new`] and parsing make regular ones only.
///
/// ```
/// use broker_data::Subnet;
///
/// let subnet: Subnet = "10.1.2.3/8".parse()?;
/// assert_eq!(subnet.to_string(), "10.0.0.0/8");
/// assert_eq!((subnet.length(), subnet.raw_length()), (8, 104));
/// assert!(subnet.contains(&"10.255.0.1".parse()?));
/// # Ok::<(), broker_data::ParseError>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet {
    network: Address,
    raw_length: u8,
}

impl Subnet {
    /// Makes a network and clears the host bits of its address.
    ///
    /// `length` counts in the terms of the address: up to 32 for IPv4, up to 128 for IPv6.
    /// Returns `None` when it is greater.
    #[must_use]
    pub fn new(address: Address, length: u8) -> Option<Self> {
        let raw_length = if address.is_v4() {
            length.checked_add(V4_BITS_BEFORE)?
        } else {
            length
        };
        Some(Self {
            network: address.mask(raw_length)?,
            raw_length,
        })
    }

    /// Makes a network from what is on the wire, unchecked and unmasked.
    #[inline]
    #[must_use]
    pub const fn from_raw(network: Address, raw_length: u8) -> Self {
        Self {
            network,
            raw_length,
        }
    }

    /// Returns the address of the network.
    #[must_use]
    pub const fn network(&self) -> Address {
        self.network
    }

    /// Returns the number of leading bits in the terms of the address family.
    ///
    /// Zero for an irregular IPv4 network with a raw length below 96.
    #[must_use]
    pub fn length(&self) -> u8 {
        if self.network.is_v4() {
            self.raw_length.saturating_sub(V4_BITS_BEFORE)
        } else {
            self.raw_length
        }
    }

    /// Returns the number of leading bits in terms of 128 bits, as on the wire.
    #[inline]
    #[must_use]
    pub const fn raw_length(&self) -> u8 {
        self.raw_length
    }

    /// Tells whether `address` is in this network.
    #[must_use]
    pub fn contains(&self, address: &Address) -> bool {
        let bits = self.raw_length.min(128);
        address.mask(bits) == self.network.mask(bits)
    }
}

/// Writes `network/length`; the length of an irregular IPv4 network may be negative.
impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = if self.network.is_v4() {
            V4_BITS_BEFORE
        } else {
            0
        };
        let length = i16::from(self.raw_length) - i16::from(before);
        write!(f, "{}/{length}", self.network)
    }
}

impl fmt::Debug for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Subnet {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let refuse = || ParseError::new(text, "a network such as `10.0.0.0/8` or `2001:db8::/32`");
        let (address, length) = text.split_once('/').ok_or_else(refuse)?;
        if !length.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(refuse());
        }
        let address: IpAddr = address.parse().map_err(|_| refuse())?;
        let length: u8 = length.parse().map_err(|_| refuse())?;
        Self::new(address.into(), length).ok_or_else(refuse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Subnet {
        text.parse().expect("a valid subnet")
    }

    #[test]
    fn host_bits_are_cleared() {
        assert_eq!(parse("192.168.1.77/24").to_string(), "192.168.1.0/24");
        assert_eq!(parse("fe80::1/64").to_string(), "fe80::/64");
        assert_eq!(parse("::/0"), Subnet::default());
        assert_eq!(parse("0.0.0.0/0").raw_length(), 96);
    }

    #[test]
    fn lengths_beyond_the_family_are_refused() {
        for text in [
            "10.0.0.0/33",
            "2001:db8::/129",
            "::/256",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/ 8",
            "10.0.0.0/8x",
            "10.0.0.0/",
            "10.0.0.0",
            "x/8",
            "10.0.0.0/255.0.0.0",
        ] {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
        assert_eq!(Subnet::new("10.0.0.0".parse().unwrap(), 33), None);
        assert_eq!(Subnet::new("10.0.0.0".parse().unwrap(), 255), None);
        assert_eq!(Subnet::new("::1".parse().unwrap(), 129), None);
    }

    #[test]
    fn irregular_subnets_are_kept_and_do_no_harm() {
        let network = "10.1.2.3".parse().unwrap();
        assert_eq!(Subnet::from_raw(network, 104).to_string(), "10.1.2.3/8");
        let short = Subnet::from_raw(network, 24);
        assert_eq!(
            (short.to_string().as_str(), short.length()),
            ("10.1.2.3/-72", 0)
        );
        let long = Subnet::from_raw("1111::".parse().unwrap(), 200);
        assert_eq!(long.to_string(), "1111::/200");
        assert!(long.contains(&"1111::".parse().unwrap()));
        assert!(!long.contains(&"1111::1".parse().unwrap()));
    }

    #[test]
    fn a_network_contains_its_addresses() {
        let subnet = parse("10.0.0.0/8");
        assert!(subnet.contains(&"10.1.2.3".parse().unwrap()));
        assert!(!subnet.contains(&"11.1.2.3".parse().unwrap()));
        assert!(parse("::/0").contains(&"10.1.2.3".parse().unwrap()));
        assert!(!parse("0.0.0.0/0").contains(&"::1".parse().unwrap()));
    }

    #[test]
    fn order_is_by_address_then_length() {
        assert!(parse("10.0.0.0/8") < parse("10.0.0.0/16"));
        assert!(parse("10.0.0.0/16") < parse("11.0.0.0/8"));
    }
}
