//! One native connection.
//!
//! | module | what it is |
//! |---|---|
//! | `task` | owns the socket both ways |
//! | `reader` | from bytes to frames, from frames to mailboxes |
//! | `step` | what one frame asks for |
//! | `read_buffers` | the memory that is read into |
//! | `accept`, `dial` | from a listener, or from an address, to a task |

pub(crate) mod accept;
pub(crate) mod dial;
mod read_buffers;
mod reader;
mod step;
mod task;
