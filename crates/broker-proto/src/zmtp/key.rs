//! Keys of CURVE: their text form, pairs of them, and where Zeek keeps them. Spec: zeromq 8.

use std::fmt;
use std::str::FromStr;

use super::{Clients, Security};

/// Characters of a key as text.
pub const KEY_CHARACTERS: usize = 40;

/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// The 85 characters of Z85, each of which stands for a number below 85.
const ALPHABET: &[u8; 85] =
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/// Names of the environment variables from which Zeek takes keys: of the server, public and secret,
/// and of the clients.
pub const KEY_VARIABLES: [&str; 4] = [
    "ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_SERVER_PUBLICKEY",
    "ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_SERVER_SECRETKEY",
    "ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_CLIENT_PUBLICKEY",
    "ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_CLIENT_SECRETKEY",
];

/// Names of the files in which zeekctl keeps keys, in the same order.
pub const KEY_FILES: [&str; 4] = [
    "server_publickey",
    "server_secretkey",
    "client_publickey",
    "client_secretkey",
];

/// What is wrong with keys. Keys themselves never stand in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Too short or too long.
    #[error("a CURVE key has 40 characters of Z85, this one has {0}")]
    Length(usize),
    /// Characters that Z85 does not have, or that together stand for too large a number.
    #[error("a CURVE key has 40 characters of Z85, this one has another at character {0}")]
    Character(usize),
    /// One of the keys by its name.
    #[error("`{name}`: {error}")]
    Named {
        /// Name of a variable or a file.
        name: String,
        /// What is wrong with it.
        error: Box<KeyError>,
    },
    /// A side that has some of its keys only.
    #[error("CURVE keys for a {side} are incomplete: `{missing}` is missing")]
    Missing {
        /// `client` or `server`.
        side: &'static str,
        /// Name of the key.
        missing: &'static str,
    },
    /// A public key that does not belong to the secret one.
    #[error("`{public}` does not belong to `{secret}`: generate both anew")]
    Mismatch {
        /// Name of the public key.
        public: &'static str,
        /// Name of the secret key.
        secret: &'static str,
    },
}

fn encode(bytes: &[u8; KEY_BYTES]) -> String {
    let mut text = String::with_capacity(KEY_CHARACTERS);
    for chunk in bytes.as_chunks::<4>().0 {
        let number = u32::from_be_bytes(*chunk);
        for power in [52_200_625, 614_125, 7_225, 85, 1] {
            let digit = (number / power) % 85;
            text.push(
                ALPHABET
                    .get(digit as usize)
                    .map_or('?', |byte| char::from(*byte)),
            );
        }
    }
    text
}

fn decode(text: &str) -> Result<[u8; KEY_BYTES], KeyError> {
    // Files end with the end of a line, and so do values that were pasted.
    let text = text.trim();
    let characters = text.chars().count();
    if characters != KEY_CHARACTERS {
        return Err(KeyError::Length(characters));
    }
    let mut bytes = [0; KEY_BYTES];
    let mut number: u32 = 0;
    let mut groups = bytes.as_chunks_mut::<4>().0.iter_mut();
    for (at, character) in text.chars().enumerate() {
        let digit = ALPHABET
            .iter()
            .zip(0..)
            .find_map(|(known, digit)| (char::from(*known) == character).then_some(digit));
        if at % 5 == 0 {
            number = 0;
        }
        number = digit
            .and_then(|digit: u32| number.checked_mul(85)?.checked_add(digit))
            .ok_or(KeyError::Character(at + 1))?;
        if at % 5 == 4
            && let Some(group) = groups.next()
        {
            *group = number.to_be_bytes();
        }
    }
    Ok(bytes)
}

/// A public key. Its text form is Z85, as that of all keys of ZeroMQ.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; KEY_BYTES]);

impl PublicKey {
    /// Makes a key of its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// Returns its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    pub(super) fn to_library(self) -> crypto_box::PublicKey {
        crypto_box::PublicKey::from_bytes(self.0)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(text).map(Self)
    }
}

/// A secret key. It is overwritten when it is dropped, and no part of it is in its `Debug` form.
#[derive(Clone)]
pub struct SecretKey(crypto_box::SecretKey);

impl SecretKey {
    /// Makes a key of its bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(crypto_box::SecretKey::from_bytes(bytes))
    }

    /// Returns the public key that belongs to it.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(*self.0.public_key().as_bytes())
    }

    /// Returns its text, to be written where Zeek looks for it.
    #[must_use]
    pub fn reveal(&self) -> String {
        encode(&self.0.to_bytes())
    }

    pub(super) const fn as_library(&self) -> &crypto_box::SecretKey {
        &self.0
    }
}

/// Secret keys are equal if their public keys are: that takes as long for any two of them.
impl PartialEq for SecretKey {
    fn eq(&self, other: &Self) -> bool {
        self.public_key() == other.public_key()
    }
}

impl Eq for SecretKey {}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey")
    }
}

impl FromStr for SecretKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(text).map(Self::from_bytes)
    }
}

/// A secret key and the public one that belongs to it.
#[derive(Clone, Debug)]
pub struct KeyPair {
    /// The public one.
    pub public: PublicKey,
    /// The secret one.
    pub secret: SecretKey,
}

impl KeyPair {
    /// Makes a pair of bytes from a source that is fit for keys.
    #[must_use]
    pub fn from_random(bytes: [u8; KEY_BYTES]) -> Self {
        Self::of(SecretKey::from_bytes(bytes))
    }

    /// Completes a secret key.
    #[must_use]
    pub fn of(secret: SecretKey) -> Self {
        Self {
            public: secret.public_key(),
            secret,
        }
    }
}

/// The four keys of a cluster, as far as they are known.
///
/// A client needs the server's public key and both keys of clients, a server its secret key and the
/// clients' public one.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CurveKeys {
    /// Public key of the proxy and of loggers.
    pub server_public: Option<PublicKey>,
    /// Its secret key.
    pub server_secret: Option<SecretKey>,
    /// Public key of everything that connects to them.
    pub client_public: Option<PublicKey>,
    /// Its secret key.
    pub client_secret: Option<SecretKey>,
}

impl CurveKeys {
    /// Collects the keys from where their values stand under names: [`KEY_VARIABLES`] in the
    /// environment, [`KEY_FILES`] in a directory of zeekctl. Empty values are as missing ones.
    ///
    /// ```
    /// use broker_proto::zmtp::{CurveKeys, KEY_VARIABLES};
    ///
    /// let keys = CurveKeys::find(KEY_VARIABLES, |name| std::env::var(name).ok())?;
    /// assert!(keys.client()?.is_none(), "no keys, no encryption");
    /// # Ok::<(), broker_proto::zmtp::KeyError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When a value is not a key; the error has its name.
    pub fn find(
        names: [&str; 4],
        mut look_up: impl FnMut(&str) -> Option<String>,
    ) -> Result<Self, KeyError> {
        let [server_public, server_secret, client_public, client_secret] = names;
        Ok(Self {
            server_public: parse(server_public, look_up(server_public))?,
            server_secret: parse(server_secret, look_up(server_secret))?,
            client_public: parse(client_public, look_up(client_public))?,
            client_secret: parse(client_secret, look_up(client_secret))?,
        })
    }

    /// What connections to the proxy and to loggers use; `None` without any keys.
    ///
    /// # Errors
    ///
    /// When some of the three keys are missing: a program that was given keys never falls back to no
    /// encryption. When the two keys of clients do not belong together.
    pub fn client(&self) -> Result<Option<Security>, KeyError> {
        let missing = |missing| {
            Err(KeyError::Missing {
                side: "client",
                missing,
            })
        };
        match (
            &self.server_public,
            &self.client_public,
            &self.client_secret,
        ) {
            (None, None, None) if self.server_secret.is_none() => Ok(None),
            (None, _, _) => missing("server_publickey"),
            (_, None, _) => missing("client_publickey"),
            (_, _, None) => missing("client_secretkey"),
            (Some(server), Some(public), Some(secret)) => {
                if secret.public_key() != *public {
                    return Err(KeyError::Mismatch {
                        public: "client_publickey",
                        secret: "client_secretkey",
                    });
                }
                Ok(Some(Security::CurveClient {
                    server: *server,
                    keys: KeyPair::of(secret.clone()),
                }))
            }
        }
    }

    /// What listeners use; `None` without any keys.
    ///
    /// # Errors
    ///
    /// When the secret key of the server or the public one of clients is missing; when the server's
    /// keys do not belong together.
    pub fn server(&self) -> Result<Option<Security>, KeyError> {
        let missing = |missing| {
            Err(KeyError::Missing {
                side: "server",
                missing,
            })
        };
        match (&self.server_secret, &self.client_public) {
            (None, None) if self.server_public.is_none() && self.client_secret.is_none() => {
                Ok(None)
            }
            (None, _) => missing("server_secretkey"),
            (_, None) => missing("client_publickey"),
            (Some(secret), Some(client)) => {
                let keys = KeyPair::of(secret.clone());
                if self
                    .server_public
                    .is_some_and(|public| public != keys.public)
                {
                    return Err(KeyError::Mismatch {
                        public: "server_publickey",
                        secret: "server_secretkey",
                    });
                }
                Ok(Some(Security::CurveServer {
                    keys,
                    clients: Clients::Only(vec![*client]),
                }))
            }
        }
    }
}

fn parse<K: FromStr<Err = KeyError>>(
    name: &str,
    value: Option<String>,
) -> Result<Option<K>, KeyError> {
    let value = value.filter(|value| !value.trim().is_empty());
    let key = value.map(|value| value.parse()).transpose();
    key.map_err(|error| KeyError::Named {
        name: name.to_owned(),
        error: Box::new(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // The pair in the documentation of `zmq_curve_public`.
    const SECRET: &str = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs";
    const PUBLIC: &str = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";

    #[test]
    fn public_keys_are_those_of_libzmq() {
        let secret: SecretKey = SECRET.parse().unwrap();
        assert_eq!(secret.public_key().to_string(), PUBLIC);
        assert_eq!(secret.reveal(), SECRET);
        assert_eq!(format!("{secret:?}"), "SecretKey");
        let public: PublicKey = format!("{PUBLIC}\n").parse().unwrap();
        assert_eq!(public, secret.public_key());
    }

    #[test]
    fn text_that_is_no_key_is_refused_without_repeating_it() {
        let parse = |text: &str| text.parse::<PublicKey>().unwrap_err();
        assert_eq!(parse("abc"), KeyError::Length(3));
        assert_eq!(parse(&PUBLIC.replace('@', "~")), KeyError::Character(4));
        assert_eq!(parse(&"#".repeat(40)), KeyError::Character(5));
        assert_eq!(parse(&"ä".repeat(40)), KeyError::Character(1));
        let error = CurveKeys::find(KEY_FILES, |name| {
            (name == "client_secretkey").then(|| "hunter2".into())
        });
        assert_eq!(
            error.unwrap_err().to_string(),
            "`client_secretkey`: a CURVE key has 40 characters of Z85, this one has 7"
        );
    }

    #[test]
    fn no_keys_no_encryption_but_some_keys_are_an_error() {
        let find = |given: &[(&str, &str)]| {
            CurveKeys::find(KEY_FILES, |name| {
                let mut given = given.iter();
                given.find_map(|(known, value)| (*known == name).then(|| (*value).to_owned()))
            })
            .unwrap()
        };
        let server = ("server_publickey", PUBLIC);
        let public = ("client_publickey", PUBLIC);
        let secret = ("client_secretkey", SECRET);
        assert!(find(&[]).client().unwrap().is_none());
        assert!(
            find(&[("server_publickey", "\n")])
                .server()
                .unwrap()
                .is_none()
        );
        let all = find(&[server, public, secret]);
        assert!(matches!(
            all.client(),
            Ok(Some(Security::CurveClient { .. }))
        ));
        assert!(all.server().is_err(), "no secret key of the server");
        for (given, missing) in [
            ([public, secret], "server_publickey"),
            ([server, secret], "client_publickey"),
            ([server, public], "client_secretkey"),
        ] {
            let error = find(&given).client().unwrap_err();
            assert_eq!(
                error,
                KeyError::Missing {
                    side: "client",
                    missing
                }
            );
        }
        let other = KeyPair::from_random([7; 32]).public.to_string();
        let error = find(&[server, ("client_publickey", &other), secret]).client();
        assert!(matches!(error, Err(KeyError::Mismatch { .. })));
        let secret = ("server_secretkey", SECRET);
        let server = find(&[secret, public]).server();
        assert!(matches!(server, Ok(Some(Security::CurveServer { .. }))));
        let error = find(&[secret, public, ("server_publickey", &other)]).server();
        assert!(matches!(error, Err(KeyError::Mismatch { .. })));
    }
}
