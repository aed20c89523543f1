//! The log-in: what this endpoint tells a server of itself.

use broker_proto::nats::connection::{Login, ServerInfo};
#[cfg(feature = "tls")]
use broker_proto::nats::keys::{self, Credentials};

use crate::config::NatsPeerOptions;
use crate::core::shared::Shared;

/// What is said to a server that told of itself.
pub(super) fn login(
    shared: &Shared,
    options: &NatsPeerOptions,
    info: &ServerInfo,
    is_encrypted: bool,
) -> Result<Login, String> {
    let mut login = Login {
        name: format!("broker {}", shared.data.id),
        user: options.user.clone(),
        password: options.password.clone(),
        token: options.token.clone(),
        is_encrypted,
        ..Login::default()
    };
    sign(options, info, &mut login)?;
    Ok(login)
}

/// Reads the credentials, anew each time as they are renewed in place, and signs what the server asks.
#[cfg(feature = "tls")]
fn sign(options: &NatsPeerOptions, info: &ServerInfo, login: &mut Login) -> Result<(), String> {
    use openssl::pkey::{Id, PKey};
    use openssl::sign::Signer;

    let Some(path) = &options.credentials_file else {
        return Ok(());
    };
    let wrong = |cause: &dyn std::fmt::Display| {
        format!("cannot use the credentials `{}`: {cause}", path.display())
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let Credentials { jwt, seed } = Credentials::parse(&text).map_err(|error| wrong(&error))?;
    let signed = || {
        let key = PKey::private_key_from_raw_bytes(&seed, Id::ED25519)?;
        let public = key.raw_public_key()?;
        let mut signer = Signer::new_without_digest(&key)?;
        Ok::<_, openssl::error::ErrorStack>((
            public,
            signer.sign_oneshot_to_vec(info.nonce.as_bytes())?,
        ))
    };
    let (public, signature) = signed().map_err(|_| wrong(&"its key cannot sign"))?;
    login.signature = Some(keys::base64_url(&signature));
    if jwt.is_none() {
        login.nkey = Some(keys::public_user_key(&public));
    }
    login.jwt = jwt;
    Ok(())
}

#[cfg(not(feature = "tls"))]
fn sign(options: &NatsPeerOptions, _: &ServerInfo, _: &mut Login) -> Result<(), String> {
    match options.credentials_file {
        Some(_) => Err("this build has no cryptography for credentials".to_owned()),
        None => Ok(()),
    }
}
