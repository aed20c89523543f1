//! Topics and messages of endpoints on NATS: subjects, subscriptions, what a NATS message holds.
//!
//! | module | what it is |
//! |---|---|
//! | [`subject`] | from topics to subjects and back |
//! | [`mod@cover`] | which subjects to subscribe to for a filter |
//! | `connection` | what client and server say to each other; with the feature `nats` |
//! | `jetstream` | streams of servers: requests, cursors, publishing until it is stored; with the feature `nats` |
//! | [`keys`] | keys and credentials of users |
//! | [`message`] | headers and payload of one NATS message, one value or a batch of them |
//!
//! What is read comes from strangers, as anybody with access to the servers can publish under the same
//! subjects. See ADR 0350 and 0351.

#[cfg(feature = "nats")]
pub mod connection;
pub mod cover;
#[cfg(feature = "nats")]
pub mod jetstream;
pub mod keys;
pub mod message;
pub mod subject;

pub use cover::cover;
pub use message::{Batch, Headers, Incoming, Refusal, read};
pub use subject::{Form, PrefixError, SubjectError, Subjects};
