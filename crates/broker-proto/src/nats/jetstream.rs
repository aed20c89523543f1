//! Streams of JetStream, as a client of them sees it: without a socket and without a clock.
//!
//! | module | what it is |
//! |---|---|
//! | [`api`] | requests to servers and their answers, in JSON |
//! | [`stream`] | the shape of a stream, and how it differs from another one |
//! | [`topics`] | which subjects a stream keeps, and which of them a cursor follows |
//! | [`cursor`] | durable consumers of a stream |
//! | [`exchange`] | what a session and its caller tell each other |
//! | [`replicated`] | where a replicated store is kept, and what is asked there |
//! | [`session`] | requests, publishes and cursors over connections that come and go |
//!
//! Replication, storage and consensus are those of the servers. See ADR 0390.

pub mod api;
pub mod cursor;
pub mod exchange;
pub mod replicated;
pub mod session;
pub mod stream;
pub mod topics;

pub use api::{ApiError, Stored};
pub use cursor::{Cursor, Delivery, Follower, Start};
pub use exchange::{
    Load, Output, Publication, ReadMessage, ReaderId, Reading, RequestError, RequestId,
};
pub use session::Session;
pub use stream::{Discard, StreamShape};

/// The first version of servers whose cursors follow several subjects. Older ones take such a cursor and
/// give it everything.
pub const CURSORS_FROM: [u32; 2] = [2, 10];
