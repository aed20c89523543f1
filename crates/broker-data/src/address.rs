//! IP addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::ParseError;

/// The twelve bytes in front of an IPv4 address.
const V4_PREFIX: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// IPv4 or IPv6 address; an IPv4 address is an IPv4-mapped IPv6 address.
///
/// ```
/// use broker_data::Address;
///
/// let address: Address = "192.0.2.7".parse()?;
/// assert!(address.is_v4());
/// assert_eq!(address, "::ffff:192.0.2.7".parse()?);
/// assert_eq!(address.mask(96 + 24).map(|masked| masked.to_string()).as_deref(), Some("192.0.2.0"));
/// # Ok::<(), broker_data::ParseError>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address([u8; 16]);

impl Address {
    /// The address `::`, which is the default.
    pub const UNSPECIFIED: Self = Self([0; 16]);

    /// Makes an address from its sixteen bytes in network order.
    #[inline]
    #[must_use]
    pub const fn from_octets(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    /// Returns the sixteen bytes in network order.
    #[inline]
    #[must_use]
    pub const fn octets(&self) -> [u8; 16] {
        self.0
    }

    /// Tells whether this is an IPv4 address.
    #[must_use]
    pub fn is_v4(&self) -> bool {
        self.0.starts_with(&V4_PREFIX)
    }

    /// Returns the address as the standard library has it; IPv4-mapped addresses become IPv4.
    #[must_use]
    pub fn to_ip(&self) -> IpAddr {
        Ipv6Addr::from(self.0).to_canonical()
    }

    /// Clears all but the first `top_bits` of the 128 bits; `None` when there are not as many.
    ///
    /// The bits of an IPv4 address are the last 32: `mask(96 + 24)` keeps 24 of them.
    #[must_use]
    pub fn mask(&self, top_bits: u8) -> Option<Self> {
        let cleared = 128_u32.checked_sub(u32::from(top_bits))?;
        let mask = u128::MAX.checked_shl(cleared).unwrap_or(0);
        Some(Self((u128::from_be_bytes(self.0) & mask).to_be_bytes()))
    }
}

impl From<Ipv4Addr> for Address {
    fn from(ip: Ipv4Addr) -> Self {
        Self(ip.to_ipv6_mapped().octets())
    }
}

impl From<Ipv6Addr> for Address {
    fn from(ip: Ipv6Addr) -> Self {
        Self(ip.octets())
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => ip.into(),
            IpAddr::V6(ip) => ip.into(),
        }
    }
}

impl From<[u8; 16]> for Address {
    fn from(octets: [u8; 16]) -> Self {
        Self(octets)
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        address.to_ip()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_ip().fmt(f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Address {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        text.parse::<IpAddr>()
            .map(Self::from)
            .map_err(|_| ParseError::new(text, "an IPv4 or IPv6 address"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Address {
        text.parse().expect("a valid address")
    }

    #[test]
    fn text_is_canonical() {
        for (input, text) in [
            ("1.2.3.4", "1.2.3.4"),
            ("::ffff:102:304", "1.2.3.4"),
            ("::1.2.3.4", "::102:304"),
            ("::", "::"),
            ("2001:DB8::FF", "2001:db8::ff"),
            ("1:0:0:2:0:0:0:3", "1:0:0:2::3"),
            ("1:2:3:4:5:0:7:8", "1:2:3:4:5:0:7:8"),
            ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"),
            ("64:ff9b::192.0.2.33", "64:ff9b::c000:221"),
        ] {
            assert_eq!(parse(input).to_string(), text);
        }
    }

    #[test]
    fn only_mapped_addresses_are_v4() {
        assert!(parse("0.0.0.0").is_v4());
        assert!(!parse("::").is_v4());
        assert!(!parse("::1.2.3.4").is_v4());
        assert_eq!(Address::default(), parse("::"));
    }

    #[test]
    fn masks_count_from_the_first_of_128_bits() {
        let address = parse("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
        assert_eq!(address.mask(0), Some(parse("::")));
        assert_eq!(address.mask(33), Some(parse("ffff:ffff:8000::")));
        assert_eq!(address.mask(128), Some(address));
        assert_eq!(address.mask(129), None);
        assert_eq!(parse("10.1.2.3").mask(104), Some(parse("10.0.0.0")));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "1.2.3",
            "256.1.1.1",
            "[::1]",
            "fe80::1%eth0",
            " ::1",
            "::1/8",
            "x",
        ] {
            let error = text.parse::<Address>().expect_err(text);
            assert!(error.to_string().contains("IPv4 or IPv6"), "{error}");
        }
    }
}
