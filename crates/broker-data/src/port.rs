//! Transport-level ports.

use std::fmt;
use std::str::FromStr;

use crate::ParseError;

/// Transport protocol of a port; the number is the one on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Protocol {
    /// Not known; written `?`.
    #[default]
    Unknown = 0,
    /// TCP.
    Tcp = 1,
    /// UDP.
    Udp = 2,
    /// ICMP; the number is the type of the message.
    Icmp = 3,
}

impl Protocol {
    /// Returns the protocol with this number; `None` for numbers above 3.
    #[inline]
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Unknown,
            1 => Self::Tcp,
            2 => Self::Udp,
            3 => Self::Icmp,
            _ => return None,
        })
    }

    /// Returns the number on the wire.
    #[inline]
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Returns `tcp`, `udp`, `icmp` or `?`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "?",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Port number and protocol, written `80/tcp`; ordered by number, then by protocol.
///
/// ```
/// use broker_data::{Port, Protocol};
///
/// let port: Port = "53/udp".parse()?;
/// assert_eq!(port, Port::new(53, Protocol::Udp));
/// assert_eq!(Port::default().to_string(), "0/?");
/// # Ok::<(), broker_data::ParseError>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    number: u16,
    protocol: Protocol,
}

impl Port {
    /// Makes a port.
    #[inline]
    #[must_use]
    pub const fn new(number: u16, protocol: Protocol) -> Self {
        Self { number, protocol }
    }

    /// Returns the number.
    #[inline]
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// Returns the protocol.
    #[inline]
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol)
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Port {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let refuse = || ParseError::new(text, "a port such as `80/tcp`, `53/udp`, `8/icmp`, `0/?`");
        let (number, protocol) = text.split_once('/').ok_or_else(refuse)?;
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(refuse());
        }
        let number = number.parse().map_err(|_| refuse())?;
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "icmp" => Protocol::Icmp,
            // Zeek writes the word, the original the sign.
            "?" | "unknown" => Protocol::Unknown,
            _ => return Err(refuse()),
        };
        Ok(Self { number, protocol })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_goes_both_ways() {
        for text in ["0/?", "80/tcp", "53/udp", "8/icmp", "65535/tcp"] {
            assert_eq!(text.parse::<Port>().unwrap().to_string(), text);
        }
        assert_eq!("0/unknown".parse(), Ok(Port::default()));
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "80",
            "/tcp",
            "80/",
            "80/TCP",
            "65536/tcp",
            "-1/tcp",
            "+1/tcp",
            "a/tcp",
        ] {
            assert!(text.parse::<Port>().is_err(), "{text}");
        }
    }

    #[test]
    fn order_is_by_number_then_protocol() {
        assert!(Port::new(0, Protocol::Icmp) < Port::new(1, Protocol::Tcp));
        assert!(Port::new(1, Protocol::Tcp) < Port::new(1, Protocol::Udp));
    }

    #[test]
    fn protocols_and_numbers_are_one_to_one() {
        for number in 0..=u8::MAX {
            let protocol = Protocol::from_number(number);
            assert_eq!(
                protocol.map(Protocol::number),
                (number < 4).then_some(number)
            );
        }
    }
}
