//! Options of permissions.

use std::path::{Path, PathBuf};

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

/// A service of the system that keeps records, by the socket at which it takes datagrams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditService {
    /// Syslog, mostly at `/dev/log`: the facility is that of security (10), what was denied a notice.
    Syslog(PathBuf),
    /// The journal of systemd in its own protocol, mostly at `/run/systemd/journal/socket`; the line is the
    /// message.
    Journald(PathBuf),
}

impl AuditService {
    /// Its socket.
    pub fn path(&self) -> &Path {
        let (Self::Syslog(path) | Self::Journald(path)) = self;
        path
    }
}

/// The record of decisions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditOptions {
    /// File for lines of JSON, which are appended. Without it and [`service`](Self::service), what is denied
    /// is in the log, at the level `info`.
    pub file: Option<PathBuf>,
    /// Service for the lines, instead of a file.
    pub service: Option<AuditService>,
    /// What happens while the record cannot be written.
    pub failure: AuditFailure,
    /// Whether messages that are allowed are recorded, too, with the names of their events. Connections and
    /// subscriptions are in any case, and with a permissive policy everything is.
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
