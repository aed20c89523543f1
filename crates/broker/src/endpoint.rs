//! The public handle of an endpoint.

pub(crate) mod builder;
mod counters;
mod peerings;

use std::fmt;
use std::sync::Arc;

use broker_data::{Source, Timestamp};
use broker_proto::store::CloneOptions;
use broker_proto::{EndpointId, Topic};

pub use self::builder::Builder;
pub use self::peerings::Retry;
use crate::config::Options;
use crate::core::pending::Pending;
use crate::core::shared::Shared;
use crate::error::Error;
use crate::flow::blocked::{BlockedPublish, wait_if_blocked};
use crate::flow::publish::{self, encoding};
use crate::hub::Hub;
use crate::publisher::Publisher;
use crate::status_subscriber::StatusSubscriber;
use crate::store::{Backend, Node, Store, StoreError, StoreEvents};
use crate::subscriber::{Room, Subscriber};

/// One node of a Broker network: it listens, peers, publishes and subscribes.
///
/// Clones are handles to the same endpoint. When the last one is dropped the endpoint shuts down in
/// the background; [`shutdown`](Self::shutdown) says when it is done. Subscribers and publishers do
/// not keep their endpoint.
///
/// Every method may be called from any thread. Calls that return [`Pending`] can be awaited or
/// waited for; the others return at once, except [`publish`](Self::publish), which waits while a
/// consumer is full.
#[derive(Clone)]
pub struct Endpoint {
    handle: Arc<LastHandle>,
}

/// Dropped with the last handle.
struct LastHandle {
    node: Node,
}

impl Drop for LastHandle {
    fn drop(&mut self) {
        self.node.shared.begin_shutdown(None);
    }
}

impl Endpoint {
    /// An endpoint with the default options: TLS without certificates.
    ///
    /// # Errors
    ///
    /// As [`Builder::build`].
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// Starts to describe an endpoint.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn node(&self) -> &Node {
        &self.handle.node
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.node.shared
    }

    /// The id, random and different for every endpoint.
    pub fn id(&self) -> EndpointId {
        self.shared().data.id
    }

    // --- certificates ------------------------------------------------------------------------------

    /// When the certificate that native peers see is over; `None` without one.
    #[cfg(feature = "tls")]
    pub fn certificate_expiry(&self) -> Option<Timestamp> {
        self.shared().certificate_expiry()
    }

    /// Has the files of certificates, keys and authorities looked at now, and not within a minute, as
    /// happens by itself. New connections use what is found; files that do not fit together leave the
    /// old ones in use, and the log says why.
    #[cfg(feature = "tls")]
    pub fn reload_certificates(&self) {
        crate::net::rotation::look_again();
        let _expiry = self.certificate_expiry();
    }

    // --- permissions -------------------------------------------------------------------------------

    /// Replaces the policy whole, and opens the file of the record again. Connections lose at once what
    /// they may not do any more, and get what they asked for earlier and may now have; those without any
    /// right end.
    ///
    /// # Errors
    ///
    /// When the endpoint began without a policy, or the file cannot be opened; the old policy stays.
    pub fn set_policy(&self, options: &crate::PolicyOptions) -> Result<(), Error> {
        match &self.shared().gate {
            Some(gate) => gate.replace(options),
            None => Err(Error::Option {
                name: "policy",
                cause: "the endpoint began without one".to_owned(),
            }),
        }
    }

    /// Decisions so far, by principal; those that the policy does not know any more are left out.
    pub fn policy_counts(&self) -> std::collections::BTreeMap<String, crate::policy::PolicyCounts> {
        let gate = self.shared().gate.as_ref();
        gate.map(|gate| gate.counts()).unwrap_or_default()
    }

    /// Connections and requests that could not become a principal.
    pub fn policy_failures(&self) -> u64 {
        let gate = self.shared().gate.as_ref();
        gate.map_or(0, |gate| gate.failures())
    }

    // --- the clock of data stores ------------------------------------------------------------------

    /// The time that data stores go by: the system's, or with
    /// [`use_real_time`](crate::Options::use_real_time) off, the one it was moved to.
    pub fn now(&self) -> Timestamp {
        self.shared().clock.time_of_day()
    }

    /// Moves the time that data stores go by, if it is not the system's: entries whose time has come end, and
    /// stores do what they do regularly. It never goes back. Spec: endpoint 1.
    ///
    /// ```
    /// use broker::{Backend, Endpoint, Options, Timespan, Timestamp};
    ///
    /// let options = Options { use_real_time: false, ..Options::default() };
    /// let endpoint = Endpoint::builder().options(options).build()?;
    /// let store = endpoint.attach_master("seen", Backend::Memory)?;
    /// store.put_for("host", &true, Some(Timespan::from_ns(60_000_000_000)))?;
    /// assert!(store.exists("host")?);
    /// endpoint.advance_time(Timestamp::from_ns(60_000_000_001));
    /// assert!(!store.exists("host")?);
    /// # endpoint.shutdown().wait();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn advance_time(&self, to: Timestamp) {
        self.shared().clock.advance(to);
    }

    // --- messages -------------------------------------------------------------------------------

    /// Publishes a value to all peers that subscribed to a prefix of the topic, and to local hubs.
    /// Subscribers of the same endpoint do not get it. Spec: endpoint 3.
    ///
    /// Waits while a consumer is full but still moves, see [`Overflow`](crate::Overflow); from async
    /// code use [`publish_async`](Self::publish_async). Without anybody interested it does nothing.
    ///
    /// # Errors
    ///
    /// Fails when the value cannot be encoded, the topic is too long, or the endpoint is shut down.
    pub fn publish<S: Source + ?Sized>(
        &self,
        topic: impl AsRef<[u8]>,
        value: &S,
    ) -> Result<(), Error> {
        self.offer(None, topic.as_ref(), encoding(value))
            .map(wait_if_blocked)
    }

    /// As [`publish`](Self::publish), to one direct peer whatever its subscriptions; without such a
    /// peer the message vanishes. Spec: wire 8.3.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    pub fn publish_to<S: Source + ?Sized>(
        &self,
        peer: EndpointId,
        topic: impl AsRef<[u8]>,
        value: &S,
    ) -> Result<(), Error> {
        self.offer(Some(peer), topic.as_ref(), encoding(value))
            .map(wait_if_blocked)
    }

    /// As [`publish`](Self::publish), waiting as a future. The value is encoded before the first
    /// await.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    pub async fn publish_async<S: Source + ?Sized>(
        &self,
        topic: impl AsRef<[u8]>,
        value: &S,
    ) -> Result<(), Error> {
        if let Some(blocked) = self.offer(None, topic.as_ref(), encoding(value))? {
            blocked.finished().await;
        }
        Ok(())
    }

    /// Publishes without waiting: what some consumers have no room for is returned.
    ///
    /// `write` appends exactly one encoded value; it is called once, also when nobody is interested.
    /// A receiver makes the message a directed one.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish), and what `write` returns.
    pub fn offer<E: From<Error>>(
        &self,
        receiver: Option<EndpointId>,
        topic: &[u8],
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Option<BlockedPublish>, E> {
        let shared = self.shared();
        publish::offer(
            &shared.data,
            &shared.data.publish_memo,
            receiver,
            topic,
            write,
        )
    }

    /// A publisher for one topic.
    pub fn publisher(&self, topic: impl Into<Topic>) -> Publisher {
        Publisher::new(self.shared().clone(), topic.into())
    }

    /// Subscribes to topics by their prefixes. The peers know when the call returns.
    ///
    /// # Errors
    ///
    /// [`Error::ShutDown`] after a shutdown.
    pub fn subscriber<T: Into<Topic>>(
        &self,
        topics: impl IntoIterator<Item = T>,
    ) -> Result<Subscriber, Error> {
        Subscriber::new(self.shared(), topics.into_iter().map(Into::into).collect())
    }

    /// As [`subscriber`](Self::subscriber), with room of its own.
    ///
    /// # Errors
    ///
    /// [`Error::ShutDown`] after a shutdown.
    pub fn subscriber_with_room<T: Into<Topic>>(
        &self,
        topics: impl IntoIterator<Item = T>,
        room: Room,
    ) -> Result<Subscriber, Error> {
        let topics = topics.into_iter().map(Into::into).collect();
        Subscriber::with_room(self.shared(), topics, room)
    }

    /// Subscribes to error events, and to status events if asked for. Events that happened before
    /// are not delivered. Spec: endpoint 5.
    ///
    /// # Errors
    ///
    /// [`Error::ShutDown`] after a shutdown.
    pub fn status_subscriber(&self, statuses: bool) -> Result<StatusSubscriber, Error> {
        StatusSubscriber::new(self.shared(), statuses)
    }

    /// A consumer and producer in one: it also gets what this endpoint publishes, and what it
    /// publishes reaches subscribers of this endpoint. Spec: endpoint 3.
    ///
    /// # Errors
    ///
    /// [`Error::ShutDown`] after a shutdown.
    pub fn hub<T: Into<Topic>>(&self, topics: impl IntoIterator<Item = T>) -> Result<Hub, Error> {
        Hub::new(self.shared(), topics.into_iter().map(Into::into).collect())
    }

    /// How it was set up.
    pub fn options(&self) -> &Options {
        &self.shared().options
    }

    // --- stores ---------------------------------------------------------------------------------

    /// Attaches the master of a store: the one front end that has its entries.
    ///
    /// When this endpoint has that master already, the handle is another one of the same. Opening a
    /// file may block. Spec: stores 2.1.
    ///
    /// # Errors
    ///
    /// [`StoreError::MasterExists`] when a peer subscribes to exactly the topic of that master,
    /// [`StoreError::Backend`] when the storage cannot be opened, [`StoreError::Closed`] after a
    /// shutdown.
    pub fn attach_master(&self, name: &str, backend: Backend) -> Result<Store, StoreError> {
        Store::attach_master(self.node(), name, backend)
    }

    /// As [`attach_master`](Self::attach_master) for async code: a file is opened in another thread.
    ///
    /// Dropping the returned value does not stop that; the handle goes as soon as it is there.
    ///
    /// # Errors
    ///
    /// As [`attach_master`](Self::attach_master).
    pub fn attach_master_async(
        &self,
        name: &str,
        backend: Backend,
    ) -> Pending<Result<Store, StoreError>> {
        let (resolver, pending) = Pending::new(|| Err(StoreError::Closed));
        let (endpoint, name) = (self.clone(), name.to_owned());
        self.shared()
            .runtime
            .spawn_blocking(move || resolver.resolve(endpoint.attach_master(&name, backend)));
        pending
    }

    /// Attaches a clone of a store: a copy that follows the master on a peer.
    ///
    /// Returns at once; the search for the master goes on behind. When this endpoint has a clone of
    /// the store already, the handle is another one of the same, and a search that had failed
    /// begins again. Spec: stores 2.2.
    ///
    /// # Errors
    ///
    /// [`StoreError::MasterIsHere`] when the master is on this endpoint, [`StoreError::Closed`]
    /// after a shutdown.
    pub fn attach_clone(&self, name: &str, options: CloneOptions) -> Result<Store, StoreError> {
        Store::attach_clone(self.node(), name, options)
    }

    /// The changes of all stores of this endpoint from now on.
    ///
    /// # Errors
    ///
    /// [`Error::ShutDown`] after a shutdown.
    pub fn store_events(&self) -> Result<StoreEvents, Error> {
        StoreEvents::new(self.shared(), None)
    }

    // --- the end --------------------------------------------------------------------------------

    /// Says goodbye to all peers, closes everything and resolves when that is done, after at most
    /// [`SHUTDOWN_TIMEOUT`](crate::SHUTDOWN_TIMEOUT). What was published before by the same thread
    /// is sent first. May be called repeatedly and from any thread. Spec: endpoint 6.
    pub fn shutdown(&self) -> Pending<()> {
        let (resolver, pending) = Pending::new(|| ());
        self.shared().begin_shutdown(Some(resolver));
        pending
    }

    /// Whether the endpoint was shut down or is about to be.
    pub fn is_shut_down(&self) -> bool {
        self.shared().is_shut_down()
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("id", &self.id())
            .field("shut_down", &self.is_shut_down())
            .finish_non_exhaustive()
    }
}
