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

/// Bytes at the end of a recognizable id that follow from those before: what is left, 74 random
/// bits, keeps ids apart, and 48 bits keep ids of others from being taken for one.
const DIGEST_SIZE: usize = 6;
const DIGEST_OFFSET: usize = ENDPOINT_ID_SIZE - DIGEST_SIZE;

/// Digest of the first bytes of an id. Its start also stands for what endpoints with such ids
/// understand: another set of abilities needs another one.
const fn digest(bytes: &[u8; ENDPOINT_ID_SIZE]) -> [u8; DIGEST_SIZE] {
    const DOMAIN: &[u8] = b"broker endpoint, marks 1";
    // FNV-1a, 64 bits.
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut at = 0;
    while at < DOMAIN.len() {
        hash = (hash ^ DOMAIN[at] as u64).wrapping_mul(PRIME);
        at += 1;
    }
    at = 0;
    while at < DIGEST_OFFSET {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(PRIME);
        at += 1;
    }
    // The low bits of a product know nothing of the high bits of its factors.
    hash ^= hash >> 32;
    let [_, _, digest @ ..] = hash.to_be_bytes();
    digest
}

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

    /// The id of something that has a name and no id, which depends on nothing but the name and what
    /// kind of thing it is.
    pub fn named(kind: &str, name: &str) -> Self {
        // FNV-1a, 128 bits: what matters is that it is always the same.
        let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        for byte in kind.bytes().chain([b' ']).chain(name.bytes()) {
            hash =
                (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
        Self::from_random(hash.to_be_bytes())
    }

    /// Makes an id from random bytes that endpoints of this implementation recognise as one of
    /// theirs: its end is a digest of the rest. To everybody else it is an id like any other.
    ///
    /// Anyone can make such an id, so nothing may depend on it that a stranger could abuse. See
    /// ADR 0115.
    pub const fn recognizable(bytes: [u8; ENDPOINT_ID_SIZE]) -> Self {
        let Self(mut bytes) = Self::from_random(bytes);
        let digest = digest(&bytes);
        let mut at = 0;
        while at < DIGEST_SIZE {
            bytes[DIGEST_OFFSET + at] = digest[at];
            at += 1;
        }
        Self(bytes)
    }

    /// Whether the id was made by [`recognizable`](Self::recognizable). Of ids made in other ways
    /// one in 2^48 looks as if.
    pub const fn is_recognizable(&self) -> bool {
        let digest = digest(&self.0);
        let mut at = 0;
        while at < DIGEST_SIZE {
            if self.0[DIGEST_OFFSET + at] != digest[at] {
                return false;
            }
            at += 1;
        }
        true
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
    fn recognizable_ids_are_well_formed_and_recognised() {
        for byte in [0x00, 0x55, 0xff] {
            let id = EndpointId::recognizable([byte; 16]);
            assert!(id.is_recognizable());
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(id.bytes()[8] & 0xc0, 0x80);
            assert_eq!(id.bytes()[..6], [byte; 6]);
            for at in 0..16 {
                let mut bytes = *id.bytes();
                bytes[at] ^= 1;
                assert!(
                    !EndpointId::from_bytes(bytes).is_recognizable(),
                    "byte {at}"
                );
            }
            assert!(!EndpointId::from_random([byte; 16]).is_recognizable());
        }
        assert!(!EndpointId::NIL.is_recognizable());
    }

    #[test]
    fn the_digest_never_changes() {
        // Endpoints of other builds have to compute the same.
        let id = EndpointId::recognizable([7; 16]);
        assert_eq!(id.to_string(), "07070707-0707-5707-8707-c0221e8aa512");
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
