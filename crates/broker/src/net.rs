//! TCP and TLS, as all protocols use them.
//!
//! | module | what it is |
//! |---|---|
//! | `listener` | bind and accept |
//! | `certificate_names` | who the other side is, by its certificate |
//! | `connector` | resolve and connect |
//! | `socket` | the byte stream of a connection, plain or under TLS |
//! | `rotation` | certificates that are exchanged while the endpoint runs |
//! | `tls` | set-up and handshake of TLS |
//! | `tls_probe` | a look at what a TLS server shows of itself |
//! | `tls_session` | what both ends of a session agreed on |

pub(crate) mod certificate_names;
pub(crate) mod connector;
pub(crate) mod listener;
#[cfg(feature = "tls")]
pub(crate) mod rotation;
pub(crate) mod socket;
#[cfg(feature = "tls")]
pub(crate) mod tls;
#[cfg(feature = "tls")]
pub(crate) mod tls_probe;
pub(crate) mod tls_session;
