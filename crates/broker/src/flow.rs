//! The data path: who gets a message, and how it comes to them. Nothing in here opens a socket.
//!
//! | module | what it is |
//! |---|---|
//! | `data_plane` | what everything needs that hands messages on: id, routes, limits, marks, reports |
//! | `losses` | what is told of messages that a consumer did not take |
//! | `publish`, `inject` | a value into a frame, on the caller's thread; encoded messages of any origin into mailboxes |
//! | `blocked`, `retry` | the rest of a message that met a full mailbox; runs that are offered again |
//! | `routing`, `target` | who gets what; where a message can be handed to |
//! | `foreign` | what a transport says of the peers that it leads to |
//! | `mailbox`, `joint_end` | the queue in front of each consumer; small messages collected for several of them |
//! | `marking` | what tells copies from news in rings and meshes of endpoints |
//! | `translation` | a message as JSON, for all who want it so |
//! | `buffers` | memory used again |
//! | `counters`, `topic_counts`, `event_log` | how much of it there was, under which topics; the last events |

pub(crate) mod blocked;
pub(crate) mod buffers;
pub(crate) mod counters;
pub(crate) mod data_plane;
#[cfg(feature = "status")]
pub(crate) mod event_log;
pub(crate) mod foreign;
pub(crate) mod inject;
mod joint_end;
mod losses;
pub(crate) mod mailbox;
pub(crate) mod marking;
pub(crate) mod publish;
pub(crate) mod retry;
pub(crate) mod routing;
pub(crate) mod target;
pub(crate) mod topic_counts;
pub(crate) mod translation;
