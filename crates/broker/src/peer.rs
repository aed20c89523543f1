//! One native connection.
//!
//! | module | what it is |
//! |---|---|
//! | `task` | owns the socket both ways |
//! | `reader` | from bytes to frames, from frames to mailboxes |
//! | `read_buffers` | the memory that is read into |
//! | `link` | the half that the control plane sees |

pub(crate) mod link;
pub(crate) mod read_buffers;
pub(crate) mod reader;
pub(crate) mod task;
