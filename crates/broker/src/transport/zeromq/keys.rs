//! Random numbers for CURVE: key pairs, and what each connection needs.

use std::io;

use broker_proto::zmtp::{Entropy, KeyPair};

pub use crate::config::{
    Curve, curve_keys_from_directory, curve_keys_from_environment, curve_keys_from_file,
};
use crate::error::Error;

/// Makes a key pair for CURVE, from the system's random source.
///
/// # Errors
///
/// When the system has no random bytes.
pub fn generate_curve_keypair() -> Result<KeyPair, Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| Error::CurveKeys {
        from: "to be generated".to_owned(),
        cause: format!("no random bytes: {error}"),
    })?;
    Ok(KeyPair::from_random(bytes))
}

/// Random bytes for one connection.
pub(crate) fn entropy() -> io::Result<Entropy> {
    let mut bytes = [0; Entropy::BYTES];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(Entropy::new(bytes))
}
