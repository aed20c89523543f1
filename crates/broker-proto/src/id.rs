//! The id of an endpoint: 16 bytes that only comparison gives a meaning to.
//!
//! Spec: wire 11. Which side of a connection leads the handshake follows from the order of the two
//! ids (wire 7.1), so `Ord` is part of the protocol: bytes from the first on, unsigned.

use std::fmt;
use std::str::FromStr;

/// Number of bytes of an id.
pub const ENDPOINT_ID_SIZE: usize = 16;

/// Where the text form has its dashes, counted in bytes of the id before them.
const DASHES: [usize; 4] = [4, 6, 8, 10];

/// Length of the text form: two digits per byte and the dashes.
const TEXT_LEN: usize = 2 * ENDPOINT_ID_SIZE + DASHES.len();

/// Identifies an endpoint for as long as it lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EndpointId([u8; ENDPOINT_ID_SIZE]);

impl EndpointId {
    /// All zero: nobody in particular, which as a receiver means everybody.
    pub const NIL: Self = Self([0; ENDPOINT_ID_SIZE]);

    /// Takes the bytes as they are on the wire.
    pub const fn from_bytes(bytes: [u8; ENDPOINT_ID_SIZE]) -> Self {
        Self(bytes)
    }

    /// Makes an id from random bytes.
    ///
    /// Sets the version and variant bits that mark a name-based UUID: status subscribers of older
    /// peers cannot read events about ids without them. Spec: wire 11.
    pub const fn from_random(mut bytes: [u8; ENDPOINT_ID_SIZE]) -> Self {
        bytes[6] = (bytes[6] & 0x0f) | 0x50;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes)
    }

    /// The bytes as they are on the wire.
    pub const fn bytes(&self) -> &[u8; ENDPOINT_ID_SIZE] {
        &self.0
    }

    /// Whether this is [`NIL`](Self::NIL).
    pub fn is_nil(&self) -> bool {
        *self == Self::NIL
    }

    /// Parses the text form of any 16 bytes; [`FromStr`] refuses what is not a UUID version 1 to 5.
    pub fn parse_any(text: &str) -> Option<Self> {
        let text = text.trim().as_bytes();
        if text.len() != TEXT_LEN {
            return None;
        }
        let mut bytes = [0; ENDPOINT_ID_SIZE];
        let mut rest = text;
        for (index, byte) in bytes.iter_mut().enumerate() {
            if DASHES.contains(&index) {
                rest = rest.strip_prefix(b"-")?;
            }
            let (digits, tail) = rest.split_first_chunk::<2>()?;
            *byte = hex_digit(digits[0])? << 4 | hex_digit(digits[1])?;
            rest = tail;
        }
        rest.is_empty().then_some(Self(bytes))
    }
}

impl AsRef<[u8]> for EndpointId {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<[u8; ENDPOINT_ID_SIZE]> for EndpointId {
    fn from(bytes: [u8; ENDPOINT_ID_SIZE]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if DASHES.contains(&index) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Text that is not the id of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an endpoint id is a UUID of version 1 to 5, or all zero")]
pub struct ParseIdError;

impl FromStr for EndpointId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = Self::parse_any(text).ok_or(ParseIdError)?;
        let version = id.0[6] >> 4;
        if id.is_nil() || (1..=5).contains(&version) {
            Ok(id)
        } else {
            Err(ParseIdError)
        }
    }
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        let text = "afcb7c93-9038-52ac-b62b-07e90c4070c3";
        let id: EndpointId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(text.to_uppercase().parse(), Ok(id));
        assert_eq!(format!("  {text}\n").parse(), Ok(id));
    }

    #[test]
    fn refuses_other_text() {
        for text in [
            "",
            "afcb7c93903852acb62b07e90c4070c3",
            "afcb7c93-9038-52ac-b62b-07e90c4070c",
            "afcb7c93-9038-52ac-b62b-07e90c4070c3a",
            "afcb7c93-9038-52ac-b62b07e90c4070c3-",
            "gfcb7c93-9038-52ac-b62b-07e90c4070c3",
            "+fcb7c93-9038-52ac-b62b-07e90c4070c3",
        ] {
            assert_eq!(text.parse::<EndpointId>(), Err(ParseIdError), "{text}");
        }
    }

    #[test]
    fn only_known_versions_parse_strictly() {
        for version in 0..16u8 {
            let mut bytes = [0x11; 16];
            bytes[6] = version << 4;
            let id = EndpointId::from_bytes(bytes);
            let strict = id.to_string().parse::<EndpointId>();
            assert_eq!(
                strict.is_ok(),
                (1..=5).contains(&version),
                "version {version}"
            );
            assert_eq!(EndpointId::parse_any(&id.to_string()), Some(id));
        }
        assert_eq!(EndpointId::NIL.to_string().parse(), Ok(EndpointId::NIL));
    }

    #[test]
    fn random_ids_are_well_formed() {
        for byte in [0x00, 0x55, 0xff] {
            let id = EndpointId::from_random([byte; 16]);
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(id.bytes()[8] & 0xc0, 0x80);
        }
    }

    #[test]
    fn order_is_that_of_unsigned_bytes() {
        let first = |byte| {
            let mut bytes = [0; 16];
            bytes[0] = byte;
            EndpointId::from_bytes(bytes)
        };
        assert!(first(0x00) < first(0x7f));
        assert!(first(0x7f) < first(0x80));
        assert!(EndpointId::NIL < first(0x01));
    }
}
