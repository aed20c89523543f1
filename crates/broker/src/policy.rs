//! Permissions: who may do what, as a file says it.
//!
//! What is decided, and how, is `broker_proto::policy`; here are the file and what an endpoint does with
//! it. See `docs/security.md`.

#[cfg(feature = "policy")]
mod file;

pub use broker_proto::policy::*;

/// Bytes of a topic, store or event that the record of decisions has; what is longer is cut.
pub const AUDIT_NAME_BYTES_MAX: usize = 256;

/// The resource in the record of decisions that were too many to be told apart.
pub const AUDIT_OTHERS: &str = "(others)";

/// Decisions about one principal so far, over all its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PolicyCounts {
    /// Messages, topics of subscriptions and requests that were allowed.
    pub allowed: u64,
    /// Those that were denied.
    pub denied: u64,
    /// Messages that were refused because of limits.
    pub limited: u64,
}

#[cfg(feature = "policy")]
pub use file::{POLICY_FILE_BYTES_MAX, PolicyFile};
