//! The data path: who gets a message, and how it comes to them. Nothing in here opens a socket.
//!
//! | module | what it is |
//! |---|---|
//! | `blocked` | publishing, and the rest of a message that met a full mailbox |
//! | `routing` | who gets what |
//! | `mailbox` | the queue in front of each consumer |
//! | `marking` | what tells copies from news in rings and meshes of endpoints |
//! | `translation` | a message as JSON, for all who want it so |
//! | `buffers` | memory used again |
//! | `counters` | how much of it there was |

pub(crate) mod blocked;
pub(crate) mod buffers;
pub(crate) mod counters;
pub(crate) mod mailbox;
pub(crate) mod marking;
pub(crate) mod routing;
pub(crate) mod translation;
