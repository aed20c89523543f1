//! Hooks of the control plane: calls into the parts of an endpoint that stand above it.

use std::fmt;
use std::sync::Arc;

use broker_proto::endpoint::ConnectionId;
use broker_proto::peer_url::{PeerUrl, Scheme};

use crate::core::link::Link;
use crate::core::shared::{Counted, Shared};
use crate::flow::foreign::Foreign;

/// Given when an endpoint is made. Of these, `foreign` and `closing_stores` are called under the control
/// plane's lock, the others are not.
pub(crate) struct Hooks {
    /// What is spoken under a scheme; `None` for the native protocol, and where this build speaks
    /// nothing. It only looks.
    pub(crate) foreign: fn(Scheme) -> Option<&'static Foreign>,
    /// Starts an outgoing connection.
    pub(crate) dial: Box<StartDial>,
    /// What ends the data stores, if there are any; it blocks until all they had to do is done.
    pub(crate) closing_stores: Box<dyn Fn() -> Option<ClosingStores> + Send + Sync>,
}

/// Starts an outgoing connection.
pub(crate) type StartDial = dyn Fn(&Arc<Shared>, Dial) + Send + Sync;

/// Ends the data stores of an endpoint; blocks for as long as that takes.
pub(crate) type ClosingStores = Box<dyn FnOnce() + Send>;

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}

/// An outgoing connection that the state machine wants.
#[derive(Debug)]
pub(crate) struct Dial {
    pub(crate) connection: ConnectionId,
    pub(crate) link: Arc<Link>,
    /// Keeps the shutdown waiting until the connection is over.
    pub(crate) counted: Counted,
    pub(crate) to: Destination,
}

/// Where an outgoing connection leads.
#[derive(Debug)]
pub(crate) enum Destination {
    /// To a peer that speaks the native protocol.
    Native { host: String, port: u16 },
    /// To a peer that another protocol is spoken with, which the URL names.
    Foreign { url: Arc<PeerUrl> },
}
