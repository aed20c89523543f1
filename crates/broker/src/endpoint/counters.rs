//! Numbers that an endpoint counts.

use std::sync::atomic::Ordering;

use broker_proto::{EndpointId, RefusalCounts};

use super::Endpoint;
#[cfg(feature = "nats")]
use crate::NatsPeerCounts;
#[cfg(feature = "zeromq")]
use crate::ZeroMqPeerCounts;
#[cfg(feature = "zeromq")]
use crate::core::forwarders::FORWARDERS_MAX;
use crate::error::Error;
#[cfg(feature = "status")]
use crate::http::status;
use crate::stats::{self, Stats};
#[cfg(feature = "http")]
use crate::{WebSocketCounts, WebSocketPeerCounts};

impl Endpoint {
    /// What the endpoint counted so far, and how its peers, consumers and stores are.
    pub fn stats(&self) -> Stats {
        stats::of(self.node())
    }

    /// As [`stats`](Self::stats), as a JSON object: what the path `/v1/stats` of
    /// [`serve_http`](Self::serve_http) tells. docs/http.md describes its keys.
    #[cfg(feature = "status")]
    pub fn stats_json(&self) -> String {
        status::stats_json(self.node())
    }

    /// Has the counters of a forwarder told in [`stats`](Self::stats) and in the metrics, until it is
    /// gone.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] for the 17th forwarder.
    #[cfg(feature = "zeromq")]
    pub fn report_forwarder(&self, forwarder: &crate::zeromq::Forwarder) -> Result<(), Error> {
        let read = Box::new(forwarder.stats_while_there());
        if self.shared().forwarders.add(read) {
            return Ok(());
        }
        Err(Error::Option {
            name: "forwarder",
            cause: format!("there are {FORWARDERS_MAX} forwarders already"),
        })
    }

    /// Has the policy of this endpoint, as it is at any time, judge the clients of a forwarder that is set
    /// up with these options: what they subscribe to and publish, by their principal. What it decides is
    /// counted and recorded with what it decides about connections of the endpoint, and a new policy
    /// ([`set_policy`](Self::set_policy)) applies to both at once.
    ///
    /// ```
    /// use broker::zeromq::ForwarderOptions;
    /// use broker::{Endpoint, Options, PolicyOptions};
    ///
    /// let options = Options { policy: Some(PolicyOptions::default()), ..Options::default() };
    /// let endpoint = Endpoint::builder().options(options).build()?;
    /// let mut forwarder = ForwarderOptions::default();
    /// endpoint.judge_forwarder(&mut forwarder)?;
    /// # endpoint.shutdown().wait();
    /// # Ok::<(), broker::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Option`] when the endpoint began without a policy.
    #[cfg(feature = "zeromq")]
    pub fn judge_forwarder(
        &self,
        options: &mut crate::zeromq::ForwarderOptions,
    ) -> Result<(), Error> {
        let Some(gate) = &self.shared().gate else {
            return Err(Error::Option {
                name: "policy",
                cause: "the endpoint began without one".to_owned(),
            });
        };
        options.gate = Some(gate.clone());
        Ok(())
    }

    /// Has a number that the program counts told in [`stats`](Self::stats) and in the metrics, where
    /// `_total` is added to its name. It is read when somebody asks, on any thread, and must not call
    /// the endpoint.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    ///
    /// let alerts = Arc::new(AtomicU64::new(3));
    /// let endpoint = broker::Endpoint::new()?;
    /// let counter = alerts.clone();
    /// let read = move || counter.load(Ordering::Relaxed);
    /// endpoint.add_counter("broker_program_alerts", "Alerts that were raised.", read)?;
    /// assert_eq!(endpoint.stats().program[0].value, 3);
    /// # endpoint.shutdown().wait();
    /// # Ok::<(), broker::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Option`] for a name that a metric cannot have or that is one of the endpoint's own,
    /// without a line about what it counts, and for the 65th counter.
    pub fn add_counter(
        &self,
        name: &str,
        help: &str,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Result<(), Error> {
        let counters = &self.shared().program_counters;
        counters.add(name, help, Box::new(read))
    }

    /// Messages for a peer that were dropped because it did not take them, since it is a peer; 0 for
    /// an endpoint that is none. A peer whose policy is to be disconnected loses what waits for it,
    /// and is none any more.
    pub fn dropped_for_peer(&self, peer: EndpointId) -> u64 {
        let table = self.shared().data.routes.load();
        table
            .peer(peer)
            .map_or(0, |target| target.mailbox.dropped())
    }

    /// Incoming connections of native peers that did not become peerings, so far. An error event
    /// tells the address and the reason of each, at most one per second after a burst of ten.
    pub fn refusal_counts(&self) -> RefusalCounts {
        self.shared().lock_control().machine().refusal_counts()
    }

    /// Commands of data stores that were refused because they cannot be from whom they name: sent
    /// by a peer in the name of this endpoint, of another peer or of nobody. In networks with
    /// circles such copies of honest commands arrive, too: those that come before the message itself,
    /// or through peers of another implementation. Spec: stores 3.
    pub fn refused_commands(&self) -> u64 {
        self.shared().refused_commands.load(Ordering::Relaxed)
    }

    /// Copies of messages that were dropped: in a ring or mesh of endpoints a message comes in
    /// several ways, and once is enough. Copies that come through peers of another implementation
    /// are not recognised; circles of such peers are cut instead, see
    /// [`loops_found`](Self::loops_found).
    pub fn duplicates_dropped(&self) -> u64 {
        self.shared().data.marking.dropped()
    }

    /// Circles through peers of other implementations that were found so far; each was told in an
    /// error event ([`ErrorCode::ForwardingLoop`](broker_proto::ErrorCode::ForwardingLoop)) and cut.
    pub fn loops_found(&self) -> u64 {
        self.shared().circles.lock().found()
    }

    /// What went on between WebSocket clients and this endpoint so far, by the name of their
    /// application; those without one are `unknown`.
    #[cfg(feature = "http")]
    pub fn web_socket_counts(&self) -> std::collections::BTreeMap<String, WebSocketCounts> {
        self.shared().web_sockets.by_application()
    }

    /// What went on between this endpoint and the WebSocket servers it peered with so far, by their
    /// URL as in lists of peers and events.
    #[cfg(feature = "http")]
    pub fn web_socket_peer_counts(
        &self,
    ) -> std::collections::BTreeMap<String, WebSocketPeerCounts> {
        self.shared().web_sockets.by_server()
    }

    /// Connections of WebSocket clients that were turned away before they could subscribe.
    #[cfg(feature = "http")]
    pub fn web_socket_refusals(&self) -> u64 {
        self.shared().web_sockets.refusals()
    }

    /// What went on between this endpoint and the servers of NATS it peered with, by their addresses.
    #[cfg(feature = "nats")]
    pub fn nats_peer_counts(&self) -> std::collections::BTreeMap<String, NatsPeerCounts> {
        self.shared().nats.by_address()
    }

    /// What went on between this endpoint and the ZeroMQ proxies it peered with, by their URLs.
    #[cfg(feature = "zeromq")]
    pub fn zeromq_peer_counts(&self) -> std::collections::BTreeMap<String, ZeroMqPeerCounts> {
        self.shared().zeromq.by_address()
    }
}
