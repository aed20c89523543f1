//! Waiting for a store: until it can be read, has room, or has nothing left to do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use broker_proto::store::{Contact, Role};

use crate::store::host::{Core, Host};
use crate::store::registry::Node;
use crate::store::worker::Job;

impl Host {
    /// Blocks until `check` has something to say or the time is over.
    pub(super) fn wait_until<T>(
        &self,
        timeout: Duration,
        mut check: impl FnMut(&mut Core) -> Option<T>,
    ) -> Option<T> {
        self.changed
            .wait(self.lock(), timeout, |state| check(&mut state.core))
    }

    /// Resolves when `check` has something to say.
    async fn until<T>(&self, mut check: impl FnMut(&mut Core) -> Option<T>) -> T {
        self.changed.until(|| check(&mut self.lock().core)).await
    }

    /// What has to be done before a read sees everything that was asked for before it.
    pub(super) fn ticket(&self) -> u64 {
        self.worker.as_ref().map_or(0, |worker| worker.ticket())
    }

    fn is_applied(&self, ticket: u64) -> bool {
        self.worker
            .as_ref()
            .is_none_or(|worker| worker.is_done(ticket))
    }

    /// Whether a read need not wait: requests up to the ticket are applied, a clone has a copy or
    /// will have none.
    pub(super) fn is_readable(&self, ticket: u64) -> bool {
        self.is_applied(ticket) && self.has_content()
    }

    /// Whether there is something to read, or never will be. Of a master there always is, which need
    /// not wait for its storage to say so.
    fn has_content(&self) -> bool {
        self.role == Role::Master || is_readable(&mut self.lock().core).is_some()
    }

    /// Blocks until [`is_readable`](Self::is_readable) or the time is over.
    pub(super) fn wait_readable(&self, ticket: u64, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        if let Some(worker) = &self.worker
            && !worker.wait_done(ticket, timeout)
        {
            return false;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        self.role == Role::Master || self.wait_until(left, is_readable).is_some()
    }

    pub(super) async fn readable(&self, ticket: u64) {
        if let Some(worker) = &self.worker {
            worker.done(ticket).await;
        }
        if self.role == Role::Clone {
            self.until(is_readable).await;
        }
    }

    /// Blocks until a request has room or the time is over.
    pub(super) fn wait_room(&self, bytes: usize, timeout: Duration) -> bool {
        match &self.worker {
            Some(worker) => worker.wait_room(timeout),
            None => self
                .wait_until(timeout, |core| has_room(core, bytes))
                .is_some(),
        }
    }

    pub(super) async fn room(&self, bytes: usize) {
        match &self.worker {
            Some(worker) => worker.room().await,
            None => self.until(|core| has_room(core, bytes)).await,
        }
    }

    /// Asks the other side to say how far it is.
    pub(super) fn probe(self: &Arc<Self>, node: &Node) {
        match &self.worker {
            Some(worker) => {
                worker.push(Job::Probe);
            }
            None => {
                // What has no room now is asked again at the next look.
                let _ = self.act(node, |core| {
                    core.handle_job(node.shared.clock.time_of_day(), &Job::Probe)
                });
            }
        }
    }

    /// Blocks until both sides have everything, as far as is known here, or the time is over.
    pub(super) fn wait_idle(self: &Arc<Self>, node: &Node, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        if !self.wait_done(timeout) {
            return false;
        }
        // The way to the other side may just have gone. What has no room now is said again later.
        let _ = self.look_at_routes(node);
        if let Some(idle) = is_idle(&mut self.lock().core) {
            return idle;
        }
        self.probe(node);
        let left = deadline.saturating_duration_since(Instant::now());
        self.wait_until(left, is_idle).unwrap_or(false)
    }

    fn wait_done(&self, timeout: Duration) -> bool {
        self.worker
            .as_ref()
            .is_none_or(|worker| worker.wait_done(worker.ticket(), timeout))
    }

    /// As [`wait_idle`](Self::wait_idle), for async code.
    pub(super) async fn idle(self: &Arc<Self>, node: &Node) -> bool {
        if let Some(worker) = &self.worker {
            worker.done(worker.ticket()).await;
        }
        // The way to the other side may just have gone. What has no room now is said again later.
        let _ = self.look_at_routes(node);
        if let Some(idle) = is_idle(&mut self.lock().core) {
            return idle;
        }
        self.probe(node);
        self.until(is_idle).await
    }
}

fn is_readable(core: &mut Core) -> Option<()> {
    match core {
        Core::Clone(clone) if clone.contact() == Contact::Searching => None,
        Core::Clone(_) | Core::Master(_) | Core::Closed => Some(()),
        #[cfg(feature = "nats")]
        Core::Replica(_) => Some(()),
    }
}

fn has_room(core: &mut Core, bytes: usize) -> Option<()> {
    match core {
        // What waits for a search that failed learns that instead.
        Core::Clone(clone) => {
            (clone.has_room(bytes) || clone.contact() == Contact::Failed).then_some(())
        }
        Core::Master(_) | Core::Closed => Some(()),
        #[cfg(feature = "nats")]
        Core::Replica(_) => Some(()),
    }
}

/// Some once it is decided: idle, or nothing that could become so.
fn is_idle(core: &mut Core) -> Option<bool> {
    match core {
        Core::Master(master) => master.is_idle().then_some(true),
        Core::Clone(clone) => {
            if clone.is_idle() {
                Some(true)
            } else {
                (clone.contact() == Contact::Failed).then_some(false)
            }
        }
        #[cfg(feature = "nats")]
        Core::Replica(replica) => replica.is_idle().then_some(true),
        Core::Closed => Some(false),
    }
}
