//! Permissions: who may do what, as a file says it.
//!
//! What is decided, and how, is `broker_proto::policy`; here are the file and what an endpoint does with
//! it. See `docs/security.md`.

#[cfg(feature = "policy")]
mod file;

pub use broker_proto::policy::*;

#[cfg(feature = "policy")]
pub use file::{POLICY_FILE_BYTES_MAX, PolicyFile};
