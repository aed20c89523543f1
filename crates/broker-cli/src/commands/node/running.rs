//! A node at work: start, reload, drain.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::pin::pin;
use std::time::Duration;

use broker::policy::{Policy, PolicyFile};
use broker::{Backend, CloneOptions, Endpoint, Options, PolicyOptions, Retry, SqliteOptions};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

use super::Node;
use super::configuration::{Configuration, Role, Store, listen_address};
use super::forwarder;
use super::links::Link;
use super::log::{self, Log};
use super::policy_watch::{LOOK_INTERVAL, PolicyWatch};
use super::service::{self, Orphans, Use};
use crate::interrupt::Interrupt;
use crate::outcome::{Exit, Failure, Outcome};
use crate::session::next;
use crate::target::peer_url;

/// Runs until a signal comes.
pub(super) async fn run(
    node: &Node,
    configuration: Configuration,
    options: Options,
    given: Vec<(Use, TcpListener)>,
    log: Log,
) -> Outcome {
    let failed = |error| Failure::failed(format!("cannot watch signals: {error}"));
    let interrupt = Interrupt::start(&tokio::runtime::Handle::current()).map_err(failed)?;
    let mut hangups = signal(SignalKind::hangup()).map_err(failed)?;
    let mut orphans = Orphans::of_this_process().map_err(failed)?;
    let policy = options.policy.clone().map(PolicyWatch::new);
    let endpoint = Endpoint::builder()
        .options(options)
        .runtime(tokio::runtime::Handle::current())
        .build()?;
    let mut statuses = endpoint.status_subscriber(true)?;
    let mut running = Running {
        endpoint,
        policy,
        forwarder: forwarder::Running::default(),
        configuration: Configuration {
            listen: Vec::new(),
            peers: Vec::new(),
            topics: Vec::new(),
            stores: Vec::new(),
            links: Vec::new(),
            ..configuration.clone()
        },
    };
    running.configuration.websocket.listen.clear();
    running.configuration.http.listen.clear();
    for (of, listener) in given {
        let endpoint = &running.endpoint;
        let port = match of {
            Use::Peers => endpoint.listen_on(listener)?,
            Use::WebSocket => {
                endpoint.listen_ws_on(listener, configuration.web_socket_options())?
            }
            Use::Http => endpoint.serve_http_on(listener, configuration.http_options()?)?,
        };
        match of {
            Use::Peers => tracing::info!(event = "listening", given = true, port),
            Use::WebSocket => tracing::info!(event = "listening-web-socket", given = true, port),
            Use::Http => tracing::info!(event = "listening-http", given = true, port),
        }
    }
    running.start(&configuration).await?;
    tracing::info!(event = "started", id = %running.endpoint.id());
    service::tell(&[NotifyState::Ready]);
    let period = service::watchdog_interval().unwrap_or(Duration::from_secs(3600));
    let mut alive = tokio::time::interval(period.max(Duration::from_millis(1)));
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ended = pin!(interrupt.wait());
    loop {
        tokio::select! {
            biased;
            _ = &mut ended => break,
            _ = hangups.recv() => {
                service::tell_reloading();
                running.reload(node, &log).await;
                service::tell(&[NotifyState::Ready]);
            }
            _ = looks.tick(), if running.policy.is_some() => running.look_at_policy().await,
            _ = alive.tick() => service::tell(&[NotifyState::Watchdog]),
            () = orphans.bury() => {}
            event = next(&mut statuses) => {
                if let Some(event) = event {
                    log::tell(&event);
                }
            }
        }
    }
    service::tell(&[NotifyState::Stopping]);
    running.drain().await;
    Ok(Exit::Done)
}

/// An endpoint and what of the configuration is in effect.
struct Running {
    endpoint: Endpoint,
    policy: Option<PolicyWatch>,
    forwarder: forwarder::Running,
    configuration: Configuration,
}

impl Running {
    /// Starts what is not there yet. Stores come first, so that peers find them.
    async fn start(&mut self, wanted: &Configuration) -> Result<(), Failure> {
        let topics = added(&self.configuration.topics, &wanted.topics);
        self.endpoint.forward(topics.iter().map(String::as_str));
        // What goes to one peer has to come from the others first.
        let crossing = wanted.links.iter().flat_map(Link::topics);
        self.endpoint.forward(crossing);
        for store in &wanted.stores {
            if !self.configuration.stores.contains(store) {
                self.attach(store)?;
                self.configuration.stores.push(store.clone());
            }
        }
        for address in added(&self.configuration.listen, &wanted.listen) {
            let (host, port) = listen_address(&address)?;
            let port = self.endpoint.listen(&host, port).await?;
            tracing::info!(event = "listening", address = host, port);
            self.configuration.listen.push(address);
        }
        for address in added(
            &self.configuration.websocket.listen,
            &wanted.websocket.listen,
        ) {
            let (host, port) = listen_address(&address)?;
            let port = self.endpoint.listen_ws(&host, port).await?;
            tracing::info!(event = "listening-web-socket", address = host, port);
            self.configuration.websocket.listen.push(address);
        }
        for address in added(&self.configuration.http.listen, &wanted.http.listen) {
            let (host, port) = listen_address(&address)?;
            let options = wanted.http_options()?;
            let port = self.endpoint.serve_http(&host, port, options).await?;
            tracing::info!(event = "listening-http", address = host, port);
            self.configuration.http.listen.push(address);
        }
        // Before peers, of which it may be one.
        let has_policy = self.policy.is_some();
        self.forwarder
            .start(&wanted.forwarder, &self.endpoint, has_policy)?;
        for peer in added(&self.configuration.peers, &wanted.peers) {
            // Its outcome is told by events, and so is every later one.
            let retry = Retry::After(wanted.retry);
            drop(self.endpoint.peer_url(peer_url(&peer)?, retry));
            self.configuration.peers.push(peer);
        }
        for link in &wanted.links {
            if !self.configuration.links.contains(link) {
                link.start(&self.endpoint, Retry::After(wanted.retry))?;
                self.configuration.links.push(link.clone());
            }
        }
        self.configuration.topics.clone_from(&wanted.topics);
        Ok(())
    }

    fn attach(&self, store: &Store) -> Result<(), Failure> {
        let attached = match (store.role, &store.file) {
            (Role::Clone, _) => self
                .endpoint
                .attach_clone(&store.name, CloneOptions::default()),
            (Role::Master, None) => self.endpoint.attach_master(&store.name, Backend::Memory),
            (Role::Master, Some(path)) => {
                let options = SqliteOptions::new(path);
                self.endpoint
                    .attach_master(&store.name, Backend::Sqlite(options))
            }
        };
        let attached = attached.map_err(|error| Failure::failed(error.to_string()))?;
        let is_master = attached.is_master();
        tracing::info!(event = "store-attached", store = store.name, is_master);
        Ok(())
    }

    /// Reads the file again and changes what can be changed.
    async fn reload(&mut self, node: &Node, log: &Log) {
        let wanted = node.configuration().and_then(|wanted| {
            let options = wanted.options()?;
            Ok((wanted, options.policy))
        });
        let (wanted, policy) = match wanted {
            Ok(wanted) => wanted,
            Err(failure) => {
                return tracing::error!(event = "reload-failed", cause = ?failure, "nothing changed");
            }
        };
        if let (Some(policy), Some(watch)) = (&policy, &mut self.policy) {
            if let Err(error) = self.endpoint.set_policy(policy) {
                return tracing::error!(event = "reload-failed", cause = %error, "nothing changed");
            }
            watch.set_in_effect(policy.clone());
            self.configuration.policy = wanted.policy.clone();
            tell_policy(policy);
        }
        log.set_levels(&wanted.log);
        #[cfg(feature = "tls")]
        self.endpoint.reload_certificates();
        let levels = wanted.log.clone();
        for peer in added(&wanted.peers, &self.configuration.peers) {
            if let Ok(url) = peer_url(&peer) {
                self.endpoint.unpeer_url(&url).await;
            }
            self.configuration.peers.retain(|it| *it != peer);
        }
        let links = std::mem::take(&mut self.configuration.links);
        for link in links {
            if wanted.links.contains(&link) {
                self.configuration.links.push(link);
            } else {
                link.end(&self.endpoint).await;
            }
        }
        for what in self.unchangeable(&wanted) {
            tracing::warn!(
                event = "restart-needed",
                what,
                "it stays as it is until a restart"
            );
        }
        self.configuration.log.take_levels(levels);
        match self.start(&wanted).await {
            Ok(()) => tracing::info!(event = "reloaded"),
            Err(failure) => tracing::error!(event = "reload-failed", cause = ?failure),
        }
    }

    /// Reads the policy again if its file is another one.
    async fn look_at_policy(&mut self) {
        let (Some(watch), Some(path)) = (&mut self.policy, &self.configuration.policy.file) else {
            return;
        };
        let stamps = watch.stamps(path).await;
        if !watch.look(stamps) {
            return;
        }
        let failed = |cause: &dyn std::fmt::Debug| {
            tracing::error!(event = "reload-failed", ?cause, "the policy is as before");
        };
        let file = match self.configuration.policy.read() {
            Ok(Some(file)) => file,
            Ok(None) => return,
            Err(failure) => {
                // The one that is named from now on may be what is wrong: it is read again when it is mended.
                if let Some(schema) = PolicyFile::schema_named_by(path) {
                    watch.schema = Some(schema);
                }
                return failed(&failure);
            }
        };
        watch.schema.clone_from(&file.schema_file);
        let policy = PolicyOptions::from(file);
        if !watch.differs(&policy) {
            return;
        }
        if policy.policy == Policy::default() {
            // A file that something is about to write, more likely than the wish to deny everything.
            return failed(&"the file says nothing; SIGHUP takes it as it is");
        }
        match self.endpoint.set_policy(&policy) {
            Ok(()) => {
                tell_policy(&policy);
                watch.set_in_effect(policy);
            }
            Err(error) => failed(&error),
        }
    }

    /// What differs and cannot change while the node runs.
    fn unchangeable(&self, wanted: &Configuration) -> Vec<&'static str> {
        let now = &self.configuration;
        let gone = |now: &[String], wanted: &[String]| !added(wanted, now).is_empty();
        let is_store_gone = now.stores.iter().any(|it| !wanted.stores.contains(it));
        let mut web_socket = wanted.websocket.clone();
        web_socket.listen.clone_from(&now.websocket.listen);
        let mut http = wanted.http.clone();
        http.listen.clone_from(&now.http.listen);
        let differs = [
            (
                "a listener that was removed",
                gone(&now.listen, &wanted.listen),
            ),
            (
                "a WebSocket listener that was removed",
                gone(&now.websocket.listen, &wanted.websocket.listen),
            ),
            (
                "a topic that was removed",
                gone(&now.topics, &wanted.topics),
            ),
            ("a store that was removed or changed", is_store_gone),
            ("forward", now.forward != wanted.forward),
            ("[tls]", now.tls != wanted.tls),
            ("[websocket]", now.websocket != web_socket),
            ("[http]", now.http != http),
            (
                "an HTTP listener that was removed",
                gone(&now.http.listen, &wanted.http.listen),
            ),
            ("the format of the log", !now.log.has_format_of(&wanted.log)),
            (
                "[policy] where there was none, or none where there was one",
                now.policy.file.is_some() != wanted.policy.file.is_some(),
            ),
            (
                "[forwarder], but for its keys",
                self.forwarder.needs_restart(&wanted.forwarder),
            ),
            ("[recording]", now.recording != wanted.recording),
            ("[limits]", now.limits != wanted.limits),
        ];
        let differs = differs.into_iter().filter(|(_, differs)| *differs);
        differs.map(|(what, _)| what).collect()
    }

    /// Waits until the peers have taken what was sent to them, then says goodbye.
    async fn drain(self) {
        let limit = self.configuration.drain_timeout;
        tracing::info!(event = "draining", limit = ?limit);
        let deadline = tokio::time::Instant::now() + limit;
        let native = self.endpoint.peers().into_iter();
        let native = native.filter(|peer| !peer.network.host.contains("://"));
        let pings: Vec<_> = native
            .map(|peer| (self.endpoint.ping(peer.id), peer))
            .collect();
        for (ping, peer) in pings {
            if tokio::time::timeout_at(deadline, ping).await.is_err() {
                let stats = self.endpoint.stats();
                let left = stats.peers.iter().find(|it| it.id == peer.id);
                let messages = left.map_or(0, |it| it.sent.waiting_messages);
                let bytes = left.map_or(0, |it| it.sent.waiting_bytes);
                let peer = peer.network.to_string();
                tracing::warn!(
                    event = "not-drained",
                    peer,
                    messages,
                    bytes,
                    "it has not taken everything"
                );
            }
        }
        self.endpoint.shutdown().await;
        tracing::info!(event = "stopped");
    }
}

fn tell_policy(policy: &PolicyOptions) {
    let principals = policy.policy.principals().count();
    tracing::info!(event = "policy-in-effect", principals);
}

/// What is in the second list and not in the first, each once.
fn added(before: &[String], after: &[String]) -> Vec<String> {
    let mut known: BTreeSet<&String> = before.iter().collect();
    after
        .iter()
        .filter(|it| known.insert(it))
        .cloned()
        .collect()
}
