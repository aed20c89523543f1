//! The state that the handles, tasks and subscribers of one endpoint share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use broker_data::Timestamp;
use broker_proto::circle::Circles;
use broker_proto::duplicates::Keys;
use broker_proto::endpoint::Endpoint as Machine;
use broker_proto::routes::LocalKind;
use broker_proto::{Config, EndpointId};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, oneshot};

use crate::config::{Options, Overflow, SHUTDOWN_TIMEOUT};
use crate::core::clock::Clock;
use crate::core::control::Control;
use crate::core::gate::Gate;
use crate::core::hooks::Hooks;
use crate::core::link_rules::RulesByAddress;
use crate::core::program_counters::ProgramCounters;
use crate::error::Error;
use crate::flow::data_plane::DataPlane;
use crate::lock::Lock;
use crate::net::socket::Liveness;
#[cfg(feature = "tls")]
use crate::net::tls::Tls;

/// Handshake frames above the ordinary limit that may be in memory at once. Only a very large filter
/// makes one, and strangers must not make us hold many.
const LARGE_HANDSHAKES_MAX: usize = 2;

/// How long closed connections may take to flush and end before a shutdown stops waiting for them.
const CONNECTIONS_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) data: Arc<DataPlane>,
    pub(crate) options: Options,
    pub(super) hooks: Hooks,
    /// Who may do what; `None`: everybody everything.
    pub(crate) gate: Option<Arc<Gate>>,
    /// Made with the endpoint when there are certificates, which may be wrong, otherwise by the
    /// first connection: OpenSSL is half of what a fresh endpoint would cost.
    #[cfg(feature = "tls")]
    tls: std::sync::OnceLock<Tls>,
    /// The set-up of peerings under `wss://`, made by the first of them at the latest.
    #[cfg(all(feature = "http", feature = "tls"))]
    pub(crate) web_tls: std::sync::OnceLock<Result<Tls, String>>,
    pub(crate) runtime: Handle,
    pub(crate) control: Lock<Control>,
    /// Says that the next timeout of the machine moved.
    pub(crate) timer: Notify,
    /// One permit per connection that has not finished its handshake.
    pub(crate) pending: Arc<Semaphore>,
    pub(crate) large_handshakes: Semaphore,
    pub(crate) connections: Gauge,
    pub(crate) program_counters: ProgramCounters,
    /// Commands of data stores in somebody else's name.
    pub(crate) refused_commands: AtomicU64,
    /// Taken behind `control`, if both are.
    pub(crate) circles: Lock<Circles>,
    /// Whether it holds messages, and every one has to be shown to it.
    pub(crate) is_testing_circles: AtomicBool,
    /// What crosses peerings that are links.
    pub(crate) link_rules: RulesByAddress,
    #[cfg(feature = "http")]
    pub(crate) web_sockets: crate::core::websocket_counts::Counters,
    #[cfg(feature = "nats")]
    pub(crate) nats: crate::core::nats_peers::NatsPeers,
    #[cfg(feature = "zeromq")]
    pub(crate) zeromq: crate::core::zeromq_peers::ZeroMqPeers,
    #[cfg(feature = "zeromq")]
    pub(crate) forwarders: crate::core::forwarders::Forwarders,
    /// The addresses of peers whose protocol knows no stores.
    unreached_peers: ArcSwap<Vec<String>>,
    started: Instant,
    /// What data stores go by.
    pub(crate) clock: Clock,
    /// Resolves when the recording of the endpoint is whole, if there is one.
    recorded: Lock<Option<oneshot::Receiver<()>>>,
    /// Told of every change of peers, of what they subscribe to and of local consumers.
    pub(crate) routes_changed: Arc<Notify>,
    stopping: Notify,
    /// Peers came or want something else.
    wants_changed: Notify,
    over: AtomicBool,
}

impl Shared {
    pub(crate) fn new(options: Options, runtime: Handle, hooks: Hooks) -> Result<Arc<Self>, Error> {
        options.check()?;
        #[cfg(feature = "tls")]
        let tls = std::sync::OnceLock::new();
        #[cfg(feature = "tls")]
        if !options.disable_ssl && options.tls.is_authenticated() {
            let _first = tls.set(Tls::new(&options.tls)?);
        }
        #[cfg(not(feature = "tls"))]
        if !options.disable_ssl {
            let cause = "this build has no TLS: set `disable_ssl`".to_owned();
            return Err(Error::Tls { cause });
        }
        let gate = options.policy.as_ref().map(Gate::new).transpose()?;
        let mut random = [0; 64];
        getrandom::fill(&mut random)
            .map_err(|error| Error::Start(Arc::new(std::io::Error::other(error))))?;
        let (mut id, mut seed, mut secret) = ([0; 16], [0; 8], [0; 24]);
        let mut keys = [[0; 8]; 2];
        id.copy_from_slice(&random[..16]);
        seed.copy_from_slice(&random[16..24]);
        secret.copy_from_slice(&random[24..48]);
        keys[0].copy_from_slice(&random[48..56]);
        keys[1].copy_from_slice(&random[56..]);
        let keys = Keys::new(keys.map(u64::from_be_bytes));
        let id = options.id.unwrap_or(EndpointId::recognizable(id));
        let config = Config::new(id, u64::from_be_bytes(seed));
        Ok(Arc::new(Self {
            data: DataPlane::new(id, secret, &options, runtime.clone()),
            hooks,
            gate: gate.map(Arc::new),
            unreached_peers: ArcSwap::default(),
            #[cfg(feature = "tls")]
            tls,
            #[cfg(all(feature = "http", feature = "tls"))]
            web_tls: Tls::prepared_for_web_servers(&options)?,
            runtime,
            control: Lock::new(Control::new(Machine::new(config))),
            timer: Notify::new(),
            pending: Arc::new(Semaphore::new(
                options.pending_connections_max.min(Semaphore::MAX_PERMITS),
            )),
            large_handshakes: Semaphore::new(LARGE_HANDSHAKES_MAX),
            connections: Gauge::default(),
            program_counters: ProgramCounters::default(),
            refused_commands: AtomicU64::new(0),
            circles: Lock::new(Circles::new(id, keys, Box::new(unforeseeable))),
            is_testing_circles: AtomicBool::new(false),
            #[cfg(feature = "http")]
            web_sockets: crate::core::websocket_counts::Counters::default(),
            link_rules: RulesByAddress::default(),
            #[cfg(feature = "nats")]
            nats: crate::core::nats_peers::NatsPeers::default(),
            #[cfg(feature = "zeromq")]
            zeromq: crate::core::zeromq_peers::ZeroMqPeers::default(),
            #[cfg(feature = "zeromq")]
            forwarders: crate::core::forwarders::Forwarders::default(),
            started: Instant::now(),
            clock: Clock::new(options.use_real_time),
            recorded: Lock::new(None),
            routes_changed: Arc::default(),
            stopping: Notify::new(),
            wants_changed: Notify::new(),
            over: AtomicBool::new(false),
            options,
        }))
    }

    /// The set-up of TLS between native peers; `None` where they speak plain TCP.
    ///
    /// # Errors
    ///
    /// Fails when OpenSSL cannot do what peers without certificates need.
    #[cfg(feature = "tls")]
    pub(crate) fn tls(&self) -> Result<Option<&Tls>, Error> {
        if self.options.disable_ssl {
            return Ok(None);
        }
        if let Some(tls) = self.tls.get() {
            return Ok(Some(tls));
        }
        let tls = Tls::new(&self.options.tls)?;
        Ok(Some(self.tls.get_or_init(|| tls)))
    }

    /// When the certificate towards native peers is over; nothing without one.
    #[cfg(feature = "tls")]
    pub(crate) fn certificate_expiry(&self) -> Option<Timestamp> {
        self.tls.get()?.expiry()
    }

    /// Time as the machine counts it: since the endpoint began.
    pub(crate) fn now(&self) -> Timestamp {
        let elapsed = self.started.elapsed().as_nanos();
        Timestamp::from_ns(i64::try_from(elapsed).unwrap_or(i64::MAX))
    }

    /// When the system's clock reaches a time of the machine.
    pub(crate) fn instant(&self, at: Timestamp) -> Instant {
        self.started + Duration::from_nanos(u64::try_from(at.ns()).unwrap_or(0))
    }

    /// Has the shutdown wait for the recording.
    pub(crate) fn is_recorded_by(&self, whole: oneshot::Receiver<()>) {
        *self.recorded.lock() = Some(whole);
    }

    /// Waits until the recording is whole, for a bounded time: a disk that hangs holds up no shutdown.
    pub(super) async fn recorded(&self) {
        let recorded = self.recorded.lock().take();
        if let Some(recorded) = recorded {
            let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, recorded).await;
        }
    }

    pub(crate) fn is_shut_down(&self) -> bool {
        self.data.is_shut_down()
    }

    pub(crate) fn mark_shut_down(&self) {
        self.data.mark_shut_down();
        self.stopping.notify_waiters();
    }

    /// Resolves when the endpoint is being shut down.
    pub(crate) async fn until_shutdown(&self) {
        let stopping = self.stopping.notified();
        if !self.is_shut_down() {
            stopping.await;
        }
    }

    /// Notes that peers or WebSocket clients came, or want something else.
    pub(crate) fn wants_changed(&self) {
        self.wants_changed.notify_waiters();
    }

    /// Resolves to `true` when a peer or a WebSocket client wants messages of that topic, to `false` at
    /// the shutdown.
    pub(crate) async fn until_wanted(&self, topic: &[u8]) -> bool {
        loop {
            // In this order, so that a change in between wakes.
            let mut changed = std::pin::pin!(self.wants_changed.notified());
            changed.as_mut().enable();
            if self.is_wanted(topic) {
                return true;
            }
            tokio::select! {
                () = changed => {}
                () = self.until_shutdown() => return false,
            }
        }
    }

    fn is_wanted(&self, topic: &[u8]) -> bool {
        let table = self.data.routes.load();
        let mut clients = table
            .locals()
            .filter(|&(_, kind, _)| kind == LocalKind::Client);
        table.peers().any(|(_, filter, _)| filter.matches(topic))
            || clients.any(|(id, ..)| {
                let mut wanted = table.local_topics(id);
                wanted.any(|prefix| topic.starts_with(prefix.as_bytes()))
            })
    }

    /// The addresses of peers whose protocol knows no data stores.
    pub(crate) fn unreached_peers(&self) -> arc_swap::Guard<Arc<Vec<String>>> {
        self.unreached_peers.load()
    }

    pub(super) fn set_unreached_peers(&self, addresses: Vec<String>) {
        if **self.unreached_peers.load() != addresses {
            self.unreached_peers.store(Arc::new(addresses));
        }
    }

    /// How soon a peer that vanished is noticed. Data it does not take counts unless the options ask
    /// for patience.
    pub(crate) fn liveness(&self) -> Liveness {
        Liveness {
            dead_after: self.options.dead_peer_timeout,
            unread_counts: self.options.peer_overflow == Overflow::Disconnect,
        }
    }

    /// Says that nothing of the endpoint runs any more, and ends its timer.
    pub(crate) fn mark_over(&self) {
        self.over.store(true, Ordering::Release);
        self.timer.notify_one();
    }

    /// Feeds the machine its timeouts until the endpoint is shut down.
    pub(crate) async fn run_timer(self: Arc<Self>) {
        while !self.over.load(Ordering::Acquire) {
            let machine = self.lock_control().machine().next_timeout();
            let circles = self.circles.lock().next_timeout();
            let next = machine.map(|(at, _)| at).into_iter().chain(circles).min();
            let Some(at) = next else {
                self.timer.notified().await;
                continue;
            };
            tokio::select! {
                () = tokio::time::sleep_until(self.instant(at).into()) => {
                    if let Some((_, reason)) = machine.filter(|(due, _)| *due <= at) {
                        tracing::trace!(event = "timeout", ?reason);
                        self.act_on_timeout();
                    }
                    if circles.is_some_and(|due| due <= at) {
                        self.act_on_circles();
                    }
                }
                () = self.timer.notified() => {}
            }
        }
    }
}

/// The number of a probe. The system had random numbers when the endpoint got its id; should it have
/// none any more, the numbers differ at least.
fn unforeseeable() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut bytes = COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let _ = getrandom::fill(&mut bytes);
    u64::from_be_bytes(bytes)
}

/// Counts tasks and tells when none is left.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    count: AtomicUsize,
    changed: Notify,
}

/// One counted task.
#[derive(Debug)]
pub(crate) struct Counted(Arc<Shared>);

impl Gauge {
    /// Counts a task until the guard is dropped.
    pub(crate) fn enter(shared: &Arc<Shared>) -> Counted {
        shared.connections.count.fetch_add(1, Ordering::AcqRel);
        Counted(shared.clone())
    }

    /// How many tasks there are.
    pub(crate) fn now(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Waits until no task is left, for a bounded time.
    pub(crate) async fn closed(&self) {
        let all_closed = async {
            loop {
                let changed = self.changed.notified();
                if self.count.load(Ordering::Acquire) == 0 {
                    return;
                }
                changed.await;
            }
        };
        let _ = tokio::time::timeout(CONNECTIONS_CLOSE_TIMEOUT, all_closed).await;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.count.fetch_sub(1, Ordering::AcqRel);
        self.0.connections.changed.notify_waiters();
    }
}
