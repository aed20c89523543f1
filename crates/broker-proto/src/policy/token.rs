//! Secrets of clients, and what a policy keeps of them.

use std::fmt;

use broker_data::Timestamp;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

/// Bytes of randomness in a secret.
pub const SECRET_BYTES: usize = 32;

/// Digits of base 64 for URLs, which need no quotes in headers, subprotocols and shells.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What a client proves itself with. It is shown where it is made and nowhere else.
pub struct Secret(String);

impl Secret {
    /// Makes one of random bytes; all 256 bits count.
    pub fn from_random(random: [u8; SECRET_BYTES]) -> Self {
        let mut text = String::with_capacity(SECRET_BYTES * 4 / 3 + 1);
        let mut bits = 0_u32;
        let mut count = 0_u32;
        let mut put = |index: u32| {
            let digit = DIGITS.get((index & 63) as usize).copied();
            text.push(char::from(digit.unwrap_or(b'A')));
        };
        for byte in random {
            bits = (bits << 8 | u32::from(byte)) & 0xffff;
            count += 8;
            while count >= 6 {
                count -= 6;
                put(bits >> count);
            }
        }
        if count > 0 {
            put(bits << (6 - count));
        }
        Self(text)
    }

    /// The text that a client sends.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What a policy keeps of it.
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }
}

/// Without the secret.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The SHA-256 of a secret. A secret is random, so that it needs no salt and no slow function.
#[derive(Clone, PartialEq, Eq)]
pub struct Digest([u8; 32]);

/// A text that is no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest has 64 hexadecimal digits")]
pub struct InvalidDigest;

impl Digest {
    /// Of a secret as it comes from a client.
    pub fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// Reads 64 hexadecimal digits.
    ///
    /// # Errors
    ///
    /// When it is anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidDigest> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return Err(InvalidDigest);
        }
        let mut digest = [0; 32];
        for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
            let digit = |it: &u8| char::from(*it).to_digit(16).ok_or(InvalidDigest);
            *byte = u8::try_from(digit(high)? << 4 | digit(low)?).map_err(|_| InvalidDigest)?;
        }
        Ok(Self(digest))
    }

    /// Whether both are the same, found out in a time that does not depend on where they differ.
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// 64 hexadecimal digits.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What leads to a secret stays out of logs, even if it is little.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

/// What a policy knows of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Whose it is.
    pub principal: Box<str>,
    /// Of the secret.
    pub digest: Digest,
    /// The time from which on it is worth nothing.
    pub expires: Option<Timestamp>,
}
