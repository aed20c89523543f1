//! Listeners of an endpoint, and addresses where it tried to listen and could not.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::task::JoinHandle;

#[cfg(feature = "tls")]
use crate::net::tls::Tls;

/// Whom a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ListenerKind {
    /// Native peers.
    Peers,
    /// WebSocket clients.
    WebSocket,
    /// Those who ask for metrics and status, and WebSocket clients where both share a port.
    Http,
}

impl ListenerKind {
    /// The name that metrics and documents use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Peers => "peers",
            Self::WebSocket => "web-socket",
            Self::Http => "http",
        }
    }
}

/// One listener.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) kind: ListenerKind,
    pub(crate) address: SocketAddr,
    pub(crate) task: JoinHandle<()>,
    /// Its own set-up of TLS, if it does not have that of native peers.
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Tls>,
}

/// The listeners of an endpoint.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    /// Bound: what the program asked for and the system had ports for.
    open: Vec<Listener>,
    /// Why the last attempt to listen failed, until one of that kind succeeds.
    failures: BTreeMap<ListenerKind, String>,
}

impl Listeners {
    pub(crate) fn add(&mut self, listener: Listener) {
        self.failures.remove(&listener.kind);
        self.open.push(listener);
    }

    pub(crate) fn note_failure(&mut self, kind: ListenerKind, cause: String) {
        self.failures.insert(kind, cause);
    }

    pub(crate) fn open(&self) -> &[Listener] {
        &self.open
    }

    /// The tasks, to be ended.
    pub(super) fn take(&mut self) -> Vec<JoinHandle<()>> {
        let open = std::mem::take(&mut self.open);
        open.into_iter().map(|listener| listener.task).collect()
    }

    /// What does not listen although it should, in words.
    #[cfg(feature = "status")]
    pub(crate) fn complaints(&self) -> Vec<String> {
        let ended = self.open.iter().filter(|it| it.task.is_finished());
        let ended = ended.map(|it| format!("nothing listens on {} any more", it.address));
        self.failures.values().cloned().chain(ended).collect()
    }
}
