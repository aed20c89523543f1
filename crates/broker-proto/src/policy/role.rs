//! Roles: things that they allow and deny.

use std::collections::BTreeMap;

use super::{Glob, Globs, Limits, Operation, Prefixes};

/// One half of a role: what it allows, or what it denies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Beginnings of topics to publish under.
    pub publish: Prefixes,
    /// Beginnings of topics to get messages of.
    pub subscribe: Prefixes,
    /// Names of events. Where a role allows some, it allows to publish nothing else: no other events, no
    /// logs, no values of other programs. `None`: whatever is published under its topics.
    pub events_publish: Option<Globs>,
    /// Data stores, each with the greatest operation that is allowed, or the least that is denied.
    pub stores: BTreeMap<Glob, Operation>,
    /// Beginnings of paths of the HTTP server.
    pub http: Prefixes,
}

/// A named set of rights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// What it lets a principal do.
    pub allow: Rules,
    /// What a principal that has it can never do, whatever its other roles allow.
    pub deny: Rules,
    /// How much of it.
    pub limits: Limits,
}
