//! Options of permissions.

use std::path::PathBuf;

use broker_proto::policy::Policy;

/// What becomes of publishing while decisions cannot be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuditFailure {
    /// Messages of connections that the policy judges are refused.
    #[default]
    Closed,
    /// They go on.
    Open,
}

/// The record of decisions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditOptions {
    /// File for lines of JSON, which are appended. `None`: what is denied is in the log, at the level
    /// `info`.
    pub file: Option<PathBuf>,
    /// What happens while the file cannot be written.
    pub failure: AuditFailure,
    /// Whether messages that are allowed are recorded, too. Connections and subscriptions are in any case.
    pub allowed: bool,
}

/// Permissions of an endpoint; see [`Options::policy`](crate::Options::policy).
///
/// ```
/// use broker::policy::{Policy, Role};
/// use broker::{Options, PolicyOptions};
///
/// let mut reader = Role::default();
/// reader.allow.subscribe.add(b"/notices/");
/// let mut policy = Policy::default();
/// policy.add_role("reader", reader)?;
/// policy.add_principal("anonymous", ["reader"])?;
/// let policy = PolicyOptions { policy, ..PolicyOptions::default() };
/// let options = Options { policy: Some(policy), disable_ssl: true, ..Options::default() };
/// let endpoint = broker::Endpoint::builder().options(options).build()?;
/// # endpoint.shutdown().wait();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PolicyOptions {
    /// Who may do what.
    pub policy: Policy,
    /// What is recorded of it.
    pub audit: AuditOptions,
}
