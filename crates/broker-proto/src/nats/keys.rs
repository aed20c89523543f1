//! Keys and credentials of users of NATS: the text forms, without cryptography.
//!
//! A key is base 32 of a prefix that says what it is, 32 bytes, and a checksum. A credentials file has a
//! user's JWT and the seed of its key between lines of dashes; a file with a seed alone is one as well.

/// What seeds of users begin with: the upper five bits say "seed", the next eight are those of the public
/// key.
const SEED_USER: [u8; 2] = [18 << 3 | PUBLIC_USER >> 5, PUBLIC_USER << 3];
/// What public keys of users begin with.
const PUBLIC_USER: u8 = 20 << 3;

const KEY_SIZE: usize = 32;

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Text that has no credentials. Nothing of it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// There is no seed.
    #[error("expected the seed of a user's key, which begins with `SU`")]
    NoSeed,
    /// The seed is damaged, or that of somebody who is no user.
    #[error("the seed is damaged")]
    Seed,
}

/// Who a user is. No secret is shown by [`Debug`].
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// What an account says of the user; nothing where servers know the key.
    pub jwt: Option<String>,
    /// The private key, for signatures with Ed25519.
    pub seed: [u8; KEY_SIZE],
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads the text of a credentials file, or of one with a seed alone.
    ///
    /// # Errors
    ///
    /// When there is no seed in it.
    pub fn parse(text: &str) -> Result<Self, CredentialsError> {
        let lines = text.lines().map(str::trim);
        let mut contents = lines.filter(|line| {
            let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"._-=".contains(&byte);
            !line.is_empty() && !line.starts_with("--") && line.bytes().all(is_word)
        });
        let (mut jwt, mut seed) = (None, None);
        for line in &mut contents {
            if line.starts_with("eyJ") && line.matches('.').count() == 2 {
                jwt = jwt.or(Some(line));
            } else if line.starts_with("SU") {
                seed = seed.or(Some(line));
            }
        }
        let seed = seed.ok_or(CredentialsError::NoSeed)?;
        Ok(Self {
            jwt: jwt.map(str::to_owned),
            seed: read_seed(seed).ok_or(CredentialsError::Seed)?,
        })
    }
}

fn read_seed(text: &str) -> Option<[u8; KEY_SIZE]> {
    let bytes = from_base32(text)?;
    let (content, checksum) = bytes.split_last_chunk::<2>()?;
    if u16::from_le_bytes(*checksum) != crc16(content) {
        return None;
    }
    content.strip_prefix(&SEED_USER)?.try_into().ok()
}

/// The public key of a user as servers know it.
pub fn public_user_key(key: &[u8]) -> String {
    let mut bytes = vec![PUBLIC_USER];
    bytes.extend_from_slice(key);
    let checksum = crc16(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    digits(&bytes, 5, |digit| BASE32.get(digit))
}

/// Base 64 for URLs, without padding. RFC 4648, section 5.
pub fn base64_url(bytes: &[u8]) -> String {
    digits(bytes, 6, |digit| BASE64_URL.get(digit))
}

/// Bytes as digits of so many bits each, the last one filled up with zeros.
fn digits<'a>(bytes: &[u8], bits: u32, digit: impl Fn(usize) -> Option<&'a u8>) -> String {
    let (mut text, mut number, mut held) = (String::new(), 0_u32, 0);
    let mut push = |number: u32| {
        let index = usize::try_from(number & ((1 << bits) - 1)).unwrap_or_default();
        text.extend(digit(index).map(|byte| char::from(*byte)));
    };
    for byte in bytes {
        number = number << 8 | u32::from(*byte);
        held += 8;
        while held >= bits {
            held -= bits;
            push(number >> held);
        }
        number &= (1 << held) - 1;
    }
    if held > 0 {
        push(number << (bits - held));
    }
    text
}

fn from_base32(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut number, mut held) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes() {
        let digit = BASE32.iter().position(|it| *it == byte)?;
        number = number << 5 | u32::try_from(digit).ok()?;
        held += 5;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(number >> held & 0xff).ok()?);
            number &= (1 << held) - 1;
        }
    }
    Some(bytes)
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0_u16;
    for byte in bytes {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            let carry = crc & 0x8000 != 0;
            crc = crc << 1 ^ if carry { 0x1021 } else { 0 };
        }
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(content: &[u8]) -> String {
        let mut bytes = content.to_vec();
        bytes.extend_from_slice(&crc16(content).to_le_bytes());
        digits(&bytes, 5, |digit| BASE32.get(digit))
    }

    fn user_seed() -> String {
        seed(&[&SEED_USER[..], &[7; KEY_SIZE]].concat())
    }

    #[test]
    fn checks_and_digits_are_those_of_the_standards() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(digits(b"foobar", 5, |it| BASE32.get(it)), "MZXW6YTBOI");
        assert_eq!(from_base32("MZXW6YTBOI").unwrap(), b"foobar");
        assert_eq!(base64_url(b"\xfb\xff\xfe\xff"), "-__-_w");
    }

    #[test]
    fn keys_have_the_letters_of_users() {
        assert!(user_seed().starts_with("SU"));
        let public = public_user_key(&[9; KEY_SIZE]);
        assert!(public.starts_with('U') && public.len() == 56, "{public}");
    }

    #[test]
    fn credentials_are_found_between_the_lines() {
        let text = format!(
            "-----BEGIN NATS USER JWT-----\neyJhbGci.eyJq.c2ln\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\n\
             NKEY Seed printed below can be used to sign.\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            user_seed()
        );
        let found = Credentials::parse(&text).unwrap();
        assert_eq!(found.jwt.as_deref(), Some("eyJhbGci.eyJq.c2ln"));
        assert_eq!(found.seed, [7; KEY_SIZE]);
        assert!(!format!("{found:?}").contains('7'));
        let alone = Credentials::parse(&user_seed()).unwrap();
        assert_eq!((alone.jwt, alone.seed), (None, [7; KEY_SIZE]));
    }

    #[test]
    fn what_is_no_seed_is_refused() {
        assert_eq!(Credentials::parse("x\ny"), Err(CredentialsError::NoSeed));
        let mut damaged = user_seed();
        damaged.replace_range(10..11, if &damaged[10..11] == "A" { "B" } else { "A" });
        let cut = &user_seed()[..20];
        let account = seed(&[&[18 << 3, 0][..], &[7; KEY_SIZE]].concat());
        for text in [damaged.as_str(), cut, "SU1", "SU"] {
            assert_eq!(Credentials::parse(text), Err(CredentialsError::Seed));
        }
        assert!(account.starts_with("SA") && Credentials::parse(&account).is_err());
    }
}
