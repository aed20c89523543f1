//! The answer to a request, and the rule behind it.

use std::fmt;

use super::Misfit;

/// One line of a policy: the role it stands in, its key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The role.
    pub role: Box<str>,
    /// The key within the role, such as `deny.publish`.
    pub key: &'static str,
    /// The prefix or name.
    pub pattern: Box<str>,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, key, pattern } = self;
        if self.is_permissive() {
            return f.write_str(key);
        }
        write!(f, "roles.{role}.{key} \"{}\"", pattern.escape_debug())
    }
}

impl Rule {
    /// What allows in a permissive policy where no rule does; no role has an empty name.
    pub(super) fn permissive() -> Self {
        Self::new("", "permissive", b"")
    }

    /// Whether it is no rule of a role, but the policy that is permissive.
    pub fn is_permissive(&self) -> bool {
        self.role.is_empty()
    }

    pub(super) fn new(role: &str, key: &'static str, pattern: &[u8]) -> Self {
        Self {
            role: role.into(),
            key,
            pattern: String::from_utf8_lossy(pattern).into(),
        }
    }
}

/// Why something is denied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denial {
    /// The policy does not know the principal.
    UnknownPrincipal,
    /// Topics that begin with `<$>` are the endpoints' own.
    Reserved,
    /// No role allows it.
    NoRule,
    /// The topic is allowed, and no role that allows it allows the event.
    NoEventRule,
    /// This rule denies it.
    Rule(Rule),
    /// Whether a rule about events denies it cannot be said, because it is not a whole event.
    Malformed,
    /// The arguments of the event are not what the schema says.
    Misfit(Misfit),
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownPrincipal => f.write_str("unknown principal"),
            Self::Reserved => f.write_str("topics of endpoints"),
            Self::NoRule => f.write_str("no rule allows it"),
            Self::NoEventRule => f.write_str("no rule allows the event"),
            Self::Rule(rule) => rule.fmt(f),
            Self::Malformed => f.write_str("not a whole event"),
            Self::Misfit(misfit) => misfit.fmt(f),
        }
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Because of this rule.
    Allow(Rule),
    /// Because of this.
    Deny(Denial),
}

impl Decision {
    /// Whether it may be done.
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }
}
