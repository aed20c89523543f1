//! The end of an endpoint: listeners first, then data stores, then the goodbyes to peers, then local
//! consumers.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::config::SHUTDOWN_TIMEOUT;
use crate::core::control::Shutdown;
use crate::core::pending::Resolver;
use crate::core::shared::Shared;
use crate::flow::publish;

impl Shared {
    /// Begins the shutdown, or joins the one under way.
    pub(crate) fn begin_shutdown(self: &Arc<Self>, resolver: Option<Resolver<()>>) {
        publish::forget_audience();
        let mut begun = None;
        self.act(|control, now| {
            let mut resolver = resolver;
            match &mut control.shutdown {
                Shutdown::Over => {
                    if let Some(resolver) = resolver {
                        resolver.resolve(());
                    }
                }
                Shutdown::Leaving { waiting, .. } => waiting.extend(resolver),
                Shutdown::Running => {
                    let (left, through) = oneshot::channel();
                    control.shutdown = Shutdown::Leaving {
                        left: Some(left),
                        waiting: resolver.take().into_iter().collect(),
                    };
                    self.mark_shut_down();
                    begun = Some((through, control.listeners.take()));
                    // What stores still have to say is said before the goodbyes.
                    if (self.hooks.closing_stores)().is_none() {
                        control.machine.shutdown(now);
                    }
                }
            }
        });
        if let Some((through, listeners)) = begun {
            let shared = self.clone();
            self.runtime
                .spawn(async move { shared.finish_shutdown(through, listeners).await });
        }
    }

    async fn finish_shutdown(
        self: Arc<Self>,
        through: oneshot::Receiver<()>,
        listeners: Vec<tokio::task::JoinHandle<()>>,
    ) {
        for listener in listeners {
            listener.abort();
            // An aborted task is gone, and its socket with it, when the handle resolves.
            let _ = listener.await;
        }
        if let Some(closing) = (self.hooks.closing_stores)() {
            let closed = tokio::task::spawn_blocking(closing);
            // Storage that hangs must not keep the peers from being told.
            let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, closed).await;
            self.act(|control, now| control.machine.shutdown(now));
        }
        let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, through).await;
        let (links, waiting) = {
            let mut control = self.lock_control();
            let links = std::mem::take(&mut control.links);
            let waiting = match std::mem::replace(&mut control.shutdown, Shutdown::Over) {
                Shutdown::Leaving { waiting, .. } => waiting,
                Shutdown::Running | Shutdown::Over => Vec::new(),
            };
            control.requests.clear();
            (links, waiting)
        };
        for link in links.values() {
            link.close();
        }
        for (_, _, target) in self.data.routes.load().locals() {
            target.mailbox.finish();
        }
        self.connections.closed().await;
        self.recorded().await;
        if let Some(gate) = self.gate.clone() {
            // It waits for a disk, for a bounded time.
            let _ = tokio::task::spawn_blocking(move || gate.flush()).await;
        }
        self.mark_over();
        for resolver in waiting {
            resolver.resolve(());
        }
    }
}
