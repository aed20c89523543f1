//! The making of an endpoint: its options, its runtime, and what stands above the control plane.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::{Endpoint, LastHandle};
use crate::config::{Options, TlsOptions};
use crate::core::hooks::{ClosingStores, Destination, Dial, Hooks};
use crate::core::runtime;
use crate::core::shared::Shared;
use crate::error::Error;
#[cfg(feature = "http")]
use crate::http;
#[cfg(feature = "status")]
use crate::http::status;
use crate::peer::dial;
use crate::recorder;
use crate::store::{Node, Stores};
use crate::transport;

/// Sets the options of an [`Endpoint`].
#[derive(Debug, Clone, Default)]
#[must_use = "call `build` to get the endpoint"]
pub struct Builder {
    options: Options,
    runtime: Option<Handle>,
}

impl Builder {
    /// Replaces all options.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Plain TCP instead of TLS. Both ends must agree.
    pub fn disable_ssl(mut self, disable: bool) -> Self {
        self.options.disable_ssl = disable;
        self
    }

    /// Never pass on messages of one peer to another.
    pub fn disable_forwarding(mut self, disable: bool) -> Self {
        self.options.disable_forwarding = disable;
        self
    }

    /// Certificates and keys; both ends then authenticate each other.
    pub fn tls(mut self, tls: TlsOptions) -> Self {
        self.options.tls = tls;
        self
    }

    /// Runs the endpoint's tasks on that runtime, which must have its I/O and time drivers enabled
    /// and outlive the endpoint. Otherwise all endpoints of the process share a small pool.
    pub fn runtime(mut self, handle: Handle) -> Self {
        self.runtime = Some(handle);
        self
    }

    /// Starts the endpoint.
    ///
    /// # Errors
    ///
    /// Fails when an option has a value it cannot have, when the TLS set-up is incomplete or a file
    /// of it cannot be used, when a recording cannot be written, and when the process cannot start
    /// threads.
    pub fn build(self) -> Result<Endpoint, Error> {
        self.build_with(hooks)
    }

    /// As [`build`](Self::build), with other parts above the control plane.
    pub(crate) fn build_with(
        self,
        hooks: impl FnOnce(&Arc<Stores>) -> Hooks,
    ) -> Result<Endpoint, Error> {
        let runtime = match self.runtime {
            Some(handle) => handle,
            None => runtime::shared().map_err(|error| Error::Start(Arc::new(error)))?,
        };
        let stores = Arc::new(Stores::default());
        let shared = Shared::new(self.options, runtime, hooks(&stores))?;
        let (told, waiting) = (stores.clone(), shared.routes_changed.clone());
        shared.data.routes.tell_changes(move || {
            told.routes_changed();
            waiting.notify_waiters();
        });
        recorder::start_configured(&shared)?;
        #[cfg(feature = "http")]
        http::start_configured(&shared)?;
        let node = Node { shared, stores };
        #[cfg(feature = "status")]
        status::start_configured(&node)?;
        node.shared.runtime.spawn(node.shared.clone().run_timer());
        Ok(Endpoint {
            handle: Arc::new(LastHandle { node }),
        })
    }
}

/// Starts an outgoing connection with what speaks its protocol.
fn start(node: Node, dial: Dial) {
    match &dial.to {
        Destination::Native { host, port } => {
            let (host, port) = (host.clone(), *port);
            dial::start(node, dial, host, port);
        }
        Destination::Foreign { url } => {
            let url = url.clone();
            transport::start(node.shared, dial, url);
        }
    }
}

/// What the control plane has done by the parts of an endpoint above it.
pub(crate) fn hooks(stores: &Arc<Stores>) -> Hooks {
    let (dialing, closing) = (stores.clone(), stores.clone());
    Hooks {
        foreign: transport::foreign,
        dial: Box::new(move |shared, dial| {
            let node = Node {
                shared: shared.clone(),
                stores: dialing.clone(),
            };
            start(node, dial);
        }),
        closing_stores: Box::new(move || {
            let stores = closing.clone();
            (!stores.is_empty()).then(|| -> ClosingStores { Box::new(move || stores.close()) })
        }),
    }
}
