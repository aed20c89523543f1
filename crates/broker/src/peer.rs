//! One native connection.
//!
//! | module | what it is |
//! |---|---|
//! | `task` | owns the socket both ways |
//! | `reader` | bytes of the socket, and the handshake |
//! | `router` | from frames to runs, from runs to mailboxes |
//! | `recipients` | who gets what came |
//! | `unsent` | a run that targets had no room for |
//! | `judge` | what the policy decides about each frame of a peer |
//! | `command` | commands of data stores, to the stores of this endpoint |
//! | `read_buffers` | the memory that is read into |
//! | `accept`, `dial` | from a listener, or from an address, to a task |

pub(crate) mod accept;
mod command;
pub(crate) mod dial;
mod judge;
mod read_buffers;
mod reader;
mod recipients;
mod router;
mod task;
mod unsent;
