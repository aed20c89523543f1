//! Permissions: which principal may publish, subscribe to, read and change what.
//!
//! | module | what it is |
//! |---|---|
//! | `role` | what a role allows and denies |
//! | `prefixes`, `glob` | sets of byte prefixes; names that may end in `*` |
//! | `rights` | what one principal may do: its roles together, and the decision |
//! | `request` | what is asked for: an action and what it is about |
//! | `decision` | the answer, and the rule behind it |
//! | `peer` | what native peers ask for: filters with topics of stores, commands of stores |
//! | `limits` | token buckets, which are told what time it is |
//! | `failures` | attempts that failed, by address |
//! | `learned` | what requests need to be allowed, and no more |
//! | `schema` | events with the types of their arguments |
//! | `token` | secrets of clients, and what is kept of them |
//!
//! Everything here is a function of its arguments: no clock, no file, no random numbers. The rules:
//! a request that no role allows is denied; a rule that denies counts more than any that allows, whatever
//! their order and roles; topics that belong to endpoints are nobody's; a policy without content denies
//! everything. See `docs/adr/0360-permissions-are-a-function.md`.

mod decision;
mod failures;
mod glob;
mod learned;
mod limits;
mod peer;
mod prefixes;
mod request;
mod rights;
mod role;
mod schema;
mod token;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use decision::{Decision, Denial, Rule};
pub use failures::{ADDRESSES_MAX, Attempt, FAILURES_MAX, Failures, PERIOD_NS};
pub use glob::{Glob, Globs};
pub use learned::{Learned, REQUESTS_MAX, Unlearnable};
pub use limits::{Buckets, Limits, OnLimit, TokenBucket};
pub use peer::{PeerGranted, store_request};
pub use prefixes::Prefixes;
pub use request::{Action, Content, Operation, Request};
pub use rights::{Granted, Rights, TopicRight};
pub use role::{Role, Rules};
pub use schema::{Misfit, Schema, SchemaError};
pub use token::{Digest, InvalidDigest, SECRET_BYTES, Secret, Token};

#[cfg(feature = "zeromq")]
use crate::zmtp::PublicKey;

/// Name of the principal of connections without any proof.
pub const ANONYMOUS: &str = "anonymous";

/// Longest name of a role, a principal or a token, in bytes: a certificate's names fit, and audit lines
/// stay lines.
pub const NAME_BYTES_MAX: usize = 1024;

/// Why something cannot be part of a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Nothing, too much, or with control characters, which no log should have to show.
    #[error("`{}` is no name: it has 1 to {NAME_BYTES_MAX} bytes and no control characters", .0.escape_debug())]
    Name(String),
    /// There are two of that name.
    #[error("there is a second `{0}`")]
    Twice(String),
    /// A principal or token names a role that there is not.
    #[error("there is no role `{0}`")]
    Role(String),
    /// A token names a principal that there is not.
    #[error("there is no principal `{0}`")]
    Principal(String),
    /// Two principals claim one name of certificates.
    #[error("the certificate name `{0}` belongs to another principal already")]
    Certificate(String),
    /// Two principals claim one public key of CURVE.
    #[error("the public key `{0}` belongs to another principal already")]
    CurveKey(String),
}

/// A name that a certificate proves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CertificateName {
    /// A subject alternative name that is a URI, such as `spiffe://corp/soar`.
    Uri(String),
    /// A subject alternative name of the domain name system.
    Dns(String),
    /// The common name of the subject.
    Common(String),
}

impl CertificateName {
    /// Reads `uri:NAME`, `dns:NAME` or `cn:NAME`.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(':')?;
        if name.is_empty() {
            return None;
        }
        match kind {
            "uri" => Some(Self::Uri(name.to_owned())),
            "dns" => Some(Self::Dns(name.to_owned())),
            "cn" => Some(Self::Common(name.to_owned())),
            _ => None,
        }
    }
}

impl std::fmt::Display for CertificateName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Uri(name) => write!(f, "uri:{name}"),
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::Common(name) => write!(f, "cn:{name}"),
        }
    }
}

/// Who may do what.
///
/// ```
/// use broker_proto::policy::{Content, Decision, Policy, Request, Role, decide};
///
/// let mut policy = Policy::default();
/// let mut responder = Role::default();
/// responder.allow.publish.add(b"/netcontrol/");
/// policy.add_role("responder", responder)?;
/// policy.add_principal("soar", ["responder"])?;
/// let publish = |topic| Request::Publish { topic, content: Content::Other };
/// assert!(decide(&policy, "soar", &publish(b"/netcontrol/x")).is_allowed());
/// assert!(!decide(&policy, "soar", &publish(b"/netcontro")).is_allowed());
/// assert!(!decide(&policy, "siem", &publish(b"/netcontrol/x")).is_allowed());
/// # Ok::<(), broker_proto::policy::PolicyError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    roles: BTreeMap<Box<str>, Role>,
    /// Roles by principal.
    principals: BTreeMap<Box<str>, BTreeSet<Box<str>>>,
    certificates: BTreeMap<CertificateName, Box<str>>,
    #[cfg(feature = "zeromq")]
    curve_keys: BTreeMap<PublicKey, Box<str>>,
    tokens: BTreeMap<Box<str>, Token>,
    is_permissive: bool,
    schema: Option<Arc<Schema>>,
}

impl Policy {
    /// Has events be denied to all principals whose arguments do not fit. See [`Rights::check_event`].
    pub fn set_schema(&mut self, schema: Schema) {
        self.schema = Some(Arc::new(schema));
    }

    /// What arguments of events have to be, if that is said.
    pub fn schema(&self) -> Option<&Schema> {
        self.schema.as_deref()
    }

    /// Has all be allowed that no rule denies, to principals without roles as well, and connections without
    /// proof be `anonymous`: to find out what is done before it is forbidden. Topics of endpoints stay
    /// theirs, and limits hold.
    pub fn set_permissive(&mut self, is_permissive: bool) {
        self.is_permissive = is_permissive;
    }

    /// Whether all is allowed that no rule denies.
    pub const fn is_permissive(&self) -> bool {
        self.is_permissive
    }

    /// Adds a role.
    ///
    /// # Errors
    ///
    /// When the name is none, or there is one of it.
    pub fn add_role(&mut self, name: &str, role: Role) -> Result<(), PolicyError> {
        check_name(name)?;
        if self.roles.contains_key(name) {
            return Err(PolicyError::Twice(name.to_owned()));
        }
        self.roles.insert(name.into(), role);
        Ok(())
    }

    /// Adds a principal with roles that are there already.
    ///
    /// # Errors
    ///
    /// When the name is none, or there is one of it, or one of the roles is missing.
    pub fn add_principal<'a>(
        &mut self,
        name: &str,
        roles: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), PolicyError> {
        check_name(name)?;
        if self.principals.contains_key(name) {
            return Err(PolicyError::Twice(name.to_owned()));
        }
        let roles = roles.into_iter().map(|role| {
            let known = self.roles.get_key_value(role);
            let known = known.map(|(name, _)| name.clone());
            known.ok_or_else(|| PolicyError::Role(role.to_owned()))
        });
        let roles = roles.collect::<Result<_, _>>()?;
        self.principals.insert(name.into(), roles);
        Ok(())
    }

    /// Has a name of certificates stand for a principal.
    ///
    /// # Errors
    ///
    /// When there is no such principal, or the name stands for one already.
    pub fn add_certificate(
        &mut self,
        name: CertificateName,
        principal: &str,
    ) -> Result<(), PolicyError> {
        if !self.principals.contains_key(principal) {
            return Err(PolicyError::Principal(principal.to_owned()));
        }
        if self.certificates.contains_key(&name) {
            return Err(PolicyError::Certificate(name.to_string()));
        }
        self.certificates.insert(name, principal.into());
        Ok(())
    }

    /// Has a public key of CURVE, which a client of ZeroMQ proves to have, stand for a principal.
    ///
    /// # Errors
    ///
    /// When there is no such principal, or the key stands for one already.
    #[cfg(feature = "zeromq")]
    pub fn add_curve_key(&mut self, key: PublicKey, principal: &str) -> Result<(), PolicyError> {
        if !self.principals.contains_key(principal) {
            return Err(PolicyError::Principal(principal.to_owned()));
        }
        if self.curve_keys.contains_key(&key) {
            return Err(PolicyError::CurveKey(key.to_string()));
        }
        self.curve_keys.insert(key, principal.into());
        Ok(())
    }

    /// Adds a token of a principal that is there already.
    ///
    /// # Errors
    ///
    /// When the name is none, or there is one of it, or the principal is missing.
    pub fn add_token(&mut self, name: &str, token: Token) -> Result<(), PolicyError> {
        check_name(name)?;
        if !self.principals.contains_key(&*token.principal) {
            return Err(PolicyError::Principal(token.principal.into()));
        }
        if self.tokens.contains_key(name) {
            return Err(PolicyError::Twice(name.to_owned()));
        }
        self.tokens.insert(name.into(), token);
        Ok(())
    }

    /// Whether there is such a role.
    pub fn has_role(&self, name: &str) -> bool {
        self.roles.contains_key(name)
    }

    /// Whether there is such a principal. A permissive policy has [`ANONYMOUS`] in any case.
    pub fn has_principal(&self, name: &str) -> bool {
        self.principals.contains_key(name) || self.is_permissive && name == ANONYMOUS
    }

    /// The principals in ascending order.
    pub fn principals(&self) -> impl Iterator<Item = &str> {
        self.principals.keys().map(|name| &**name)
    }

    /// The names of a principal's roles in ascending order; none if it is not known.
    pub fn roles_of(&self, principal: &str) -> impl Iterator<Item = &str> {
        let roles = self.principals.get(principal).into_iter().flatten();
        roles.map(|role| &**role)
    }

    /// The roles in ascending order, with their names.
    pub fn roles(&self) -> impl Iterator<Item = (&str, &Role)> {
        self.roles.iter().map(|(name, role)| (&**name, role))
    }

    /// The tokens in the order of their names.
    pub fn tokens(&self) -> impl Iterator<Item = (&str, &Token)> {
        self.tokens.iter().map(|(name, token)| (&**name, token))
    }

    /// The token of that name.
    pub fn token(&self, name: &str) -> Option<&Token> {
        self.tokens.get(name)
    }

    /// What a principal may do; `None` if it is not known, which is less than any right.
    pub fn rights(&self, principal: &str) -> Option<Rights> {
        if !self.has_principal(principal) {
            return None;
        }
        let roles = self.principals.get(principal);
        let roles = roles
            .into_iter()
            .flatten()
            .filter_map(|role| self.roles.get_key_value(role));
        Some(Rights::of(
            roles.map(|(name, role)| (name.clone(), role.clone())),
            self.is_permissive,
            self.schema.clone(),
        ))
    }

    /// The token of a secret at that time, with its name. All tokens are compared, each in a time that does
    /// not depend on its bytes, so that the time says nothing about them.
    pub fn token_of_secret(
        &self,
        secret: &str,
        now: broker_data::Timestamp,
    ) -> Option<(&str, &Token)> {
        let digest = Digest::of(secret.as_bytes());
        let mut found = None;
        for (name, token) in &self.tokens {
            if token.digest.is_same(&digest) {
                found = Some((&**name, token));
            }
        }
        found.filter(|(_, token)| token.expires.is_none_or(|end| now < end))
    }

    /// The principal of a secret at that time.
    pub fn principal_of_secret(&self, secret: &str, now: broker_data::Timestamp) -> Option<&str> {
        let (_, token) = self.token_of_secret(secret, now)?;
        Some(&token.principal)
    }

    /// The principal of a certificate with these names. A URI counts more than a domain name, which counts
    /// more than a common name; of several names of one kind the least in order that is known counts.
    pub fn principal_of_certificate(&self, names: &[CertificateName]) -> Option<&str> {
        let known = names
            .iter()
            .filter(|name| self.certificates.contains_key(name));
        let principal = self.certificates.get(known.min()?)?;
        Some(principal)
    }

    /// The principal of a client that proved to have a key of CURVE.
    #[cfg(feature = "zeromq")]
    pub fn principal_of_curve_key(&self, key: &PublicKey) -> Option<&str> {
        self.curve_keys.get(key).map(|principal| &**principal)
    }

    /// The principal of a connection without proof to a listener at that port: `anonymous@PORT` if there is
    /// one, else `anonymous` if there is one.
    pub fn anonymous(&self, port: u16) -> Option<&str> {
        let of_port = format!("{ANONYMOUS}@{port}");
        let known = self.principals.get_key_value(&*of_port);
        let known = known.or_else(|| self.principals.get_key_value(ANONYMOUS));
        let known = known.map(|(name, _)| &**name);
        known.or(self.is_permissive.then_some(ANONYMOUS))
    }
}

/// Decides about a request of a principal, once. [`Rights`] are for many.
pub fn decide(policy: &Policy, principal: &str, request: &Request<'_>) -> Decision {
    match policy.rights(principal) {
        Some(rights) => rights.decide(request),
        None => Decision::Deny(Denial::UnknownPrincipal),
    }
}

fn check_name(name: &str) -> Result<(), PolicyError> {
    let is_one = (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.contains(char::is_control);
    if is_one {
        Ok(())
    } else {
        Err(PolicyError::Name(name.to_owned()))
    }
}

#[cfg(test)]
mod tests;
