//! One native connection.
//!
//! | module | what it is |
//! |---|---|
//! | `task` | owns the socket both ways |
//! | `reader` | from bytes to frames, from frames to mailboxes |
//! | `delivery` | runs on their way to their targets, and what is held up |
//! | `command` | commands of data stores, to the stores of this endpoint |
//! | `read_buffers` | the memory that is read into |
//! | `accept`, `dial` | from a listener, or from an address, to a task |

pub(crate) mod accept;
mod command;
mod delivery;
pub(crate) mod dial;
mod read_buffers;
mod reader;
mod task;
