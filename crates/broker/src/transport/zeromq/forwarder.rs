//! The proxy between publishers and subscribers of a cluster, in place of the thread of Zeek's
//! manager. Spec: zeromq 1, 6.1.
//!
//! Zeek's own stops all events of a cluster while one subscriber does not read. This one keeps a
//! bounded queue for each subscriber, drops what finds no room there, counts it, and never stops to
//! read. Who gets what is decided by [`broker_proto::zmtp::Forwarder`]; here are the sockets.
//!
//! A publisher's task reads messages, looks up who wants the topic, and gathers what goes to the same
//! subscribers into one run of encoded messages, which their mailboxes share. A subscriber's task
//! writes what its mailbox holds. With a policy, a `Judge` stands between each client and all that.

mod judge;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use broker_proto::zmtp::{
    self, Clients, ConnectionConfig, ConnectionId, Event, ForwarderOutput, Message, PublicKey,
    Security, SocketType, write_message,
};
use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use judge::Judge;

use crate::config::{MAILBOX_BYTES_MAX, Overflow};
pub use crate::core::forwarders::{ForwarderConnection, ForwarderSide, ForwarderStats};
use crate::core::gate::Gate;
use crate::core::runtime;
use crate::error::Error;
use crate::flow::mailbox::{Limits, Mailbox, Pushed, Run, SHARED_RUN_MIN};
use crate::lock::Lock;
use crate::transport::zeromq::address::Address;
use crate::transport::zeromq::connection::{Answer, Ended, Happened, Reading, drive};
use crate::transport::zeromq::keys::Curve;
use crate::transport::zeromq::listener::{self, Admission};
use crate::transport::zeromq::log_receiver::log_end;

/// Where Zeek's own proxy listens for subscribers. Spec: zeromq 1.1.
const XPUB_DEFAULT: &str = "tcp://127.0.0.1:5555";

/// Where it listens for publishers.
const XSUB_DEFAULT: &str = "tcp://127.0.0.1:5556";

/// Topics whose targets a publisher's task remembers. Zeek's topics are names of nodes and a few more.
const MEMO_MAX: usize = 1024;

/// Bytes of a topic that is remembered: others would make the memory grow.
const MEMO_TOPIC_MAX: usize = 256;

/// Bytes of messages that are gathered before they are passed on: a read of the socket has no more,
/// unless a message is larger.
const RUN_BYTES: usize = 64 << 10;

/// Bytes of messages that wait for all subscribers together: sixteen that do not read have full queues.
const TOTAL_BYTES_MAX: usize = 1 << 30;

/// The answer to most of what happens.
const GO_ON: Answer = ControlFlow::Continue(Reading::GoesOn);

/// Why a connection is cut off whose client is not let in any more.
const KEY_WITHDRAWN: &str = "its key was withdrawn";

/// How a forwarder is set up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ForwarderOptions {
    /// Where subscribers connect to, Zeek's `listen_xpub_endpoint`.
    pub xpub: String,
    /// Where publishers connect to, Zeek's `listen_xsub_endpoint`.
    pub xsub: String,
    /// Keys of CURVE, as a server has them.
    pub curve: Curve,
    /// Keys of clients that are let in besides the one of the cluster.
    pub clients: Vec<PublicKey>,
    /// Bytes of messages that wait for one subscriber; further ones are dropped for it.
    pub queue_bytes_max: usize,
    /// Bytes of messages that wait for all subscribers together. Where so many are connected that their
    /// queues could have more, each gets an equal share of it as its limit.
    pub total_bytes_max: usize,
    /// Threads to run on; `None` for those that endpoints share.
    pub runtime: Option<Handle>,
    /// The permissions of the endpoint whose policy judges clients. See
    /// [`Endpoint::judge_forwarder`](crate::Endpoint::judge_forwarder).
    pub(crate) gate: Option<Arc<Gate>>,
}

impl ForwarderOptions {
    /// Checks everything that can be checked without a socket.
    ///
    /// # Errors
    ///
    /// When an address makes no sense, or keys cannot be read or are incomplete.
    pub fn check(&self) -> Result<(), Error> {
        Address::parse(&self.xpub, "tcp")?;
        Address::parse(&self.xsub, "tcp")?;
        self.curve.server(&self.clients)?;
        Ok(())
    }
}

impl Default for ForwarderOptions {
    fn default() -> Self {
        Self {
            xpub: XPUB_DEFAULT.to_owned(),
            xsub: XSUB_DEFAULT.to_owned(),
            curve: Curve::default(),
            clients: Vec::new(),
            queue_bytes_max: MAILBOX_BYTES_MAX,
            total_bytes_max: TOTAL_BYTES_MAX,
            runtime: None,
            gate: None,
        }
    }
}

/// A connection that is ready.
#[derive(Debug)]
struct Outlet {
    address: SocketAddr,
    side: ForwarderSide,
    key: Option<PublicKey>,
    /// Who it is for the policy.
    principal: Option<Box<str>>,
    /// Messages for a subscriber; notices of subscriptions for a publisher.
    mailbox: Arc<Mailbox>,
    /// Has its task end it at once, whatever waits to be written: a peer that does not read would
    /// keep it open otherwise.
    cut_off: Arc<Notify>,
    /// What came from a publisher.
    messages: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    forwarder: zmtp::Forwarder,
    outlets: BTreeMap<ConnectionId, Arc<Outlet>>,
    connections_made: u64,
    /// Drops of those that are gone.
    dropped: u64,
}

#[derive(Debug)]
struct ForwarderCore {
    xpub: SocketAddr,
    xsub: SocketAddr,
    state: Lock<State>,
    /// That of `zmtp::Forwarder`, to be looked at without the lock.
    version: AtomicU64,
    security: Lock<Security>,
    gate: Option<Arc<Gate>>,
    queue_bytes_max: usize,
    total_bytes_max: usize,
    /// Bytes that may wait for one subscriber at the moment, no more than `queue_bytes_max`.
    share: AtomicUsize,
    unwanted: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
    denied: AtomicU64,
    refused: AtomicU64,
}

/// Forwards what publishers of a cluster send to those who subscribed to it.
///
/// It takes the place of the proxy that Zeek's manager runs, with the same ports and the same notices
/// of subscriptions. It stops when it is dropped or closed.
#[derive(Debug)]
pub struct Forwarder {
    shared: Arc<ForwarderCore>,
    servers: [AbortHandle; 2],
}

impl Forwarder {
    /// Binds both ports and begins to forward.
    ///
    /// # Errors
    ///
    /// When an address makes no sense or cannot be listened on, or keys are incomplete.
    pub fn bind(options: ForwarderOptions) -> Result<Self, Error> {
        let xpub = Address::parse(&options.xpub, "tcp")?;
        let xsub = Address::parse(&options.xsub, "tcp")?;
        let security = options.curve.server(&options.clients)?;
        let runtime = match options.runtime {
            Some(runtime) => runtime,
            None => runtime::shared().map_err(|error| Error::Start(Arc::new(error)))?,
        };
        let xpub = listener::bind(&runtime, &xpub)?;
        let xsub = listener::bind(&runtime, &xsub)?;
        let shared = Arc::new(ForwarderCore {
            xpub: xpub.address,
            xsub: xsub.address,
            state: Lock::default(),
            version: AtomicU64::new(0),
            security: Lock::new(security),
            gate: options.gate,
            queue_bytes_max: options.queue_bytes_max,
            total_bytes_max: options.total_bytes_max,
            share: AtomicUsize::new(options.queue_bytes_max),
            unwanted: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        });
        let sides = [
            (xpub, ForwarderSide::Subscriber),
            (xsub, ForwarderSide::Publisher),
        ];
        let servers = sides.map(|(bound, side)| {
            let serving = shared.clone();
            listener::serve(&runtime, bound, move |stream, remote, admission| {
                serving.clone().serve(side, stream, remote, admission)
            })
        });
        tracing::info!(event = "zeromq-forwarding", xpub = %shared.xpub, xsub = %shared.xsub);
        Ok(Self { shared, servers })
    }

    /// Returns where subscribers connect to.
    #[must_use]
    pub fn xpub_address(&self) -> SocketAddr {
        self.shared.xpub
    }

    /// Returns where publishers connect to.
    #[must_use]
    pub fn xsub_address(&self) -> SocketAddr {
        self.shared.xsub
    }

    /// Exchanges the keys. Connections of clients whose keys are not among those that are let in any
    /// more end at once, and all do if the server's key or whether there are keys at all changed.
    ///
    /// # Errors
    ///
    /// When keys are incomplete; then nothing changes.
    pub fn set_keys(&self, curve: &Curve, clients: &[PublicKey]) -> Result<(), Error> {
        let security = curve.server(clients)?;
        let before = std::mem::replace(&mut *self.shared.security.lock(), security.clone());
        // One in its handshake looks at them itself.
        for outlet in self.shared.state.lock().outlets.values() {
            if !still_admits(&before, &security, outlet.key) {
                tracing::info!(event = "zeromq-key-withdrawn", remote = %outlet.address);
                outlet.cut_off.notify_one();
            }
        }
        Ok(())
    }

    /// What went through it so far.
    pub fn stats(&self) -> ForwarderStats {
        self.shared.stats()
    }

    /// Reads the counters, as long as it is there; then `None`.
    pub(crate) fn stats_while_there(
        &self,
    ) -> impl Fn() -> Option<ForwarderStats> + Send + Sync + use<> {
        // Tasks of connections keep the counters until they have ended.
        let shared = Arc::downgrade(&self.shared);
        move || Some(shared.upgrade()?.stats())
    }

    /// Closes both ports and all connections at once, as a process that ends does.
    pub fn close(&self) {
        for server in &self.servers {
            server.abort();
        }
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.close();
    }
}

impl Outlet {
    fn stats(&self) -> ForwarderConnection {
        let queue = self.mailbox.stats();
        let (messages, bytes, waiting, waiting_bytes) = match self.side {
            ForwarderSide::Subscriber => (
                queue.messages,
                queue.bytes,
                queue.waiting_messages,
                queue.waiting_bytes,
            ),
            ForwarderSide::Publisher => (
                self.messages.load(Ordering::Relaxed),
                self.bytes.load(Ordering::Relaxed),
                0,
                0,
            ),
        };
        ForwarderConnection {
            address: self.address,
            side: self.side,
            key: self.key,
            principal: self.principal.as_deref().map(str::to_owned),
            messages,
            bytes,
            waiting,
            waiting_bytes,
            dropped: queue.dropped,
        }
    }
}

impl ForwarderCore {
    fn stats(&self) -> ForwarderStats {
        let state = self.state.lock();
        let connections: Vec<_> = state
            .outlets
            .values()
            .map(|outlet| outlet.stats())
            .collect();
        let dropped: u64 = connections
            .iter()
            .map(|connection| connection.dropped)
            .sum();
        ForwarderStats {
            xpub: self.xpub,
            xsub: self.xsub,
            connections,
            subscriptions: state.forwarder.subscriptions(),
            messages: self.messages.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            unwanted: self.unwanted.load(Ordering::Relaxed),
            dropped: dropped.saturating_add(state.dropped),
            denied: self.denied.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    /// One connection, from its first byte to its end.
    async fn serve(
        self: Arc<Self>,
        side: ForwarderSide,
        stream: TcpStream,
        remote: SocketAddr,
        mut admission: Admission,
    ) {
        let security = self.security.lock().clone();
        let config = ConnectionConfig::new(socket_type(side)).with_security(security.clone());
        let mailbox = Arc::new(Mailbox::new(Limits {
            bytes_max: self.queue_bytes_max,
            messages_max: usize::MAX,
            overflow: Overflow::DropNewest,
            stall_limit: Duration::ZERO,
            strict: false,
            translated: false,
        }));
        let cut_off = Arc::new(Notify::new());
        let mut registered: Option<Registered> = None;
        let mut judge: Option<Judge> = None;
        let mut gathered = Gathered::new();
        let ended = drive(stream, config, Some(&mailbox), |happened| {
            let (event, own) = match (happened, &registered) {
                (Happened::Turn(cx), own) => {
                    return match (&mut judge, own) {
                        (Some(judge), Some(own)) => judge.look_again(cx, own, &mut gathered),
                        _ => GO_ON,
                    };
                }
                (Happened::Pause, _) => {
                    gathered.pass_on(&self);
                    return GO_ON;
                }
                (Happened::Event(Event::Ready(peer)), _) => {
                    admission.pending = None;
                    match self.admit(side, remote, peer.key) {
                        Ok(admitted) => judge = admitted,
                        Err(cause) => return ControlFlow::Break(cause.to_owned()),
                    }
                    let principal = judge.as_ref().map(|judge| judge.principal().into());
                    let outlet = Outlet {
                        address: remote,
                        side,
                        key: peer.key,
                        principal,
                        mailbox: mailbox.clone(),
                        cut_off: cut_off.clone(),
                        messages: AtomicU64::new(0),
                        bytes: AtomicU64::new(0),
                    };
                    tracing::debug!(event = "zeromq-connected", side = side.name(), %remote);
                    registered = Some(Registered::new(&self, Arc::new(outlet)));
                    // Keys that were exchanged during the handshake. From now on it is cut off with
                    // the others.
                    if !still_admits(&security, &self.security.lock(), peer.key) {
                        return ControlFlow::Break(KEY_WITHDRAWN.to_owned());
                    }
                    return GO_ON;
                }
                (Happened::Event(event), Some(own)) => (event, own),
                (Happened::Event(_), None) => return GO_ON,
            };
            match event {
                Event::Subscribed(prefix) => match &mut judge {
                    Some(judge) => return judge.subscribed(prefix, own),
                    None => {
                        if let Err(error) = own.subscribed(prefix) {
                            return ControlFlow::Break(error.to_string());
                        }
                    }
                },
                Event::Unsubscribed(prefix) => match &mut judge {
                    Some(judge) => judge.unsubscribed(prefix, own),
                    None => own.unsubscribed(prefix),
                },
                // What an XSUB sends upwards is for no one: publishers do not read.
                Event::Message(message) if side == ForwarderSide::Publisher => {
                    self.count(&own.outlet, &message);
                    match &mut judge {
                        Some(judge) => return judge.published(&message, own, &mut gathered),
                        None => gathered.add(&self, message.parts()),
                    }
                }
                _ => {}
            }
            GO_ON
        });
        let ended = tokio::select! {
            biased;
            () = cut_off.notified() => Ended::Refused(KEY_WITHDRAWN.to_owned()),
            ended = ended => ended,
        };
        if registered.is_none() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        log_end(side.name(), remote, registered.is_some(), &ended);
    }

    /// Finds out what a client may do, if there is a policy.
    ///
    /// # Errors
    ///
    /// Says why it may do nothing.
    fn admit(
        &self,
        side: ForwarderSide,
        remote: SocketAddr,
        key: Option<PublicKey>,
    ) -> Result<Option<Judge>, &'static str> {
        let Some(gate) = &self.gate else {
            return Ok(None);
        };
        let port = match side {
            ForwarderSide::Subscriber => self.xpub.port(),
            ForwarderSide::Publisher => self.xsub.port(),
        };
        let pass = gate.admit_client(key, remote.ip(), port)?;
        Ok(Some(Judge::new(pass)))
    }

    /// Counts a message that came.
    fn count(&self, publisher: &Outlet, message: &Message<'_>) {
        let size: usize = message.parts().map(<[u8]>::len).sum();
        add(&publisher.messages, 1);
        add(&publisher.bytes, size as u64);
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(size as u64, Ordering::Relaxed);
    }

    /// Counts one of which the policy let nothing go on, or not all.
    fn count_denied(&self) {
        self.denied.fetch_add(1, Ordering::Relaxed);
    }

    /// Says how much may wait for each subscriber, now that there is one more or less.
    fn share_out(&self, state: &State) {
        let outlets = state.outlets.values();
        let subscribers = outlets.filter(|it| it.side == ForwarderSide::Subscriber);
        let share = self.total_bytes_max / subscribers.count().max(1);
        self.share
            .store(share.min(self.queue_bytes_max), Ordering::Relaxed);
    }

    /// Changes what is wanted, and has publishers told.
    fn change<T>(&self, change: impl FnOnce(&mut zmtp::Forwarder) -> T) -> T {
        let mut state = self.state.lock();
        let State {
            forwarder, outlets, ..
        } = &mut *state;
        let result = change(forwarder);
        // Before messages can be sent that this brings about: they come after it is told.
        self.version.store(forwarder.version(), Ordering::Release);
        while let Some(output) = forwarder.poll_output() {
            let encode = |notice: &[u8]| {
                let mut bytes = Vec::new();
                write_message([notice], &mut bytes);
                Bytes::from(bytes)
            };
            match output {
                ForwarderOutput::Tell { to, notice } => {
                    if let Some(outlet) = outlets.get(&to) {
                        outlet.mailbox.push_control(encode(&notice));
                    }
                }
                ForwarderOutput::TellAll { notice } => {
                    let notice = encode(&notice);
                    for outlet in outlets.values() {
                        if outlet.side == ForwarderSide::Publisher {
                            outlet.mailbox.push_control(notice.clone());
                        }
                    }
                }
            }
        }
        result
    }
}

/// The kind of socket that a side has here.
const fn socket_type(side: ForwarderSide) -> SocketType {
    match side {
        ForwarderSide::Subscriber => SocketType::Xpub,
        ForwarderSide::Publisher => SocketType::Xsub,
    }
}

/// Whether a connection that was made under the keys `before` may go on under those of `now`.
fn still_admits(before: &Security, now: &Security, key: Option<PublicKey>) -> bool {
    match (before, now) {
        (Security::CurveServer { keys: old, .. }, Security::CurveServer { keys, clients }) => {
            let is_listed = match (clients, key) {
                (Clients::Only(list), Some(key)) => list.contains(&key),
                _ => true,
            };
            old.public == keys.public && is_listed
        }
        (Security::Null, Security::Null) => true,
        _ => false,
    }
}

/// A connection that the forwarder knows of, until this is dropped.
struct Registered {
    shared: Arc<ForwarderCore>,
    id: ConnectionId,
    outlet: Arc<Outlet>,
}

impl Registered {
    fn new(shared: &Arc<ForwarderCore>, outlet: Arc<Outlet>) -> Self {
        let id = {
            let mut state = shared.state.lock();
            state.connections_made += 1;
            let id = ConnectionId(state.connections_made);
            state.outlets.insert(id, outlet.clone());
            shared.share_out(&state);
            id
        };
        shared.change(|forwarder| match outlet.side {
            ForwarderSide::Subscriber => forwarder.handle_subscriber(id),
            ForwarderSide::Publisher => forwarder.handle_publisher(id),
        });
        Self {
            shared: shared.clone(),
            id,
            outlet,
        }
    }

    fn subscribed(&self, prefix: &[u8]) -> Result<(), zmtp::TooManySubscriptions> {
        self.shared
            .change(|forwarder| forwarder.handle_subscribed(self.id, prefix))
    }

    fn unsubscribed(&self, prefix: &[u8]) {
        self.shared
            .change(|forwarder| forwarder.handle_unsubscribed(self.id, prefix));
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shared
            .change(|forwarder| forwarder.handle_lost(self.id));
        let mut state = self.shared.state.lock();
        state.outlets.remove(&self.id);
        self.shared.share_out(&state);
        let dropped = self.outlet.mailbox.dropped();
        state.dropped = state.dropped.saturating_add(dropped);
    }
}

/// Subscribers that get a message.
type Targets = Arc<[Arc<Outlet>]>;

/// Messages of one publisher that go to the same subscribers.
struct Gathered {
    /// Bound: `RUN_BYTES` and one message.
    run: Vec<u8>,
    messages: usize,
    targets: Option<Targets>,
    /// Bound: `MEMO_MAX`.
    memo: HashMap<Box<[u8]>, Targets>,
    version: u64,
}

impl Gathered {
    fn new() -> Self {
        Self {
            run: Vec::new(),
            messages: 0,
            targets: None,
            memo: HashMap::new(),
            version: 0,
        }
    }

    /// Adds a message, by its parts.
    fn add<'m>(&mut self, shared: &ForwarderCore, parts: impl Iterator<Item = &'m [u8]> + Clone) {
        let topic = parts.clone().next().unwrap_or_default();
        let targets = self.targets_of(shared, topic);
        if targets.is_empty() {
            shared.unwanted.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let is_same = self
            .targets
            .as_ref()
            .is_some_and(|same| Arc::ptr_eq(same, &targets));
        if !is_same || self.run.len() >= RUN_BYTES {
            self.pass_on(shared);
            self.targets = Some(targets);
        }
        write_message(parts, &mut self.run);
        self.messages += 1;
    }

    fn targets_of(&mut self, shared: &ForwarderCore, topic: &[u8]) -> Targets {
        let version = shared.version.load(Ordering::Acquire);
        if version != self.version {
            self.memo.clear();
            self.version = version;
        }
        if let Some(targets) = self.memo.get(topic) {
            return targets.clone();
        }
        let targets: Targets = {
            let state = shared.state.lock();
            let ids = state.forwarder.targets(topic);
            let outlets = ids.iter().filter_map(|id| state.outlets.get(id).cloned());
            outlets.collect()
        };
        // Topics with the same targets share a list: their messages stay in one run.
        let targets = match &self.targets {
            Some(last) if is_same(last, &targets) => last.clone(),
            _ => targets,
        };
        if topic.len() <= MEMO_TOPIC_MAX {
            if self.memo.len() >= MEMO_MAX {
                self.memo.clear();
            }
            self.memo.insert(topic.into(), targets.clone());
        }
        targets
    }

    /// Hands the messages to their subscribers.
    fn pass_on(&mut self, shared: &ForwarderCore) {
        let Some(targets) = self.targets.as_ref().filter(|_| self.messages > 0) else {
            return;
        };
        let shared_bytes;
        let run = if self.run.len() < SHARED_RUN_MIN {
            Run::copied(&self.run, self.messages)
        } else {
            shared_bytes = Bytes::from(std::mem::take(&mut self.run));
            Run::whole(&shared_bytes, self.messages)
        };
        let share = shared.share.load(Ordering::Relaxed);
        for outlet in targets.iter() {
            let pushed = outlet.mailbox.push_within(run, share);
            if let Pushed::Dropped { burst_began: true } = pushed {
                tracing::warn!(
                    event = "zeromq-subscriber-slow",
                    remote = %outlet.address,
                    "it does not take its messages: new ones are dropped for it"
                );
            }
        }
        self.run.clear();
        self.messages = 0;
    }
}

fn is_same(one: &Targets, other: &Targets) -> bool {
    one.len() == other.len() && one.iter().zip(other.iter()).all(|(a, b)| Arc::ptr_eq(a, b))
}

/// Counts for one writer.
fn add(counter: &AtomicU64, more: u64) {
    counter.store(
        counter.load(Ordering::Relaxed).wrapping_add(more),
        Ordering::Relaxed,
    );
}

#[cfg(test)]
mod tests {
    use broker_proto::zmtp::KeyPair;

    use super::*;

    #[test]
    fn a_connection_goes_on_under_new_keys_while_they_let_it_in() {
        let [server, client, stranger] = [1, 2, 3].map(|byte| KeyPair::from_random([byte; 32]));
        let only = |server: &KeyPair, client: &KeyPair| Security::CurveServer {
            keys: server.clone(),
            clients: Clients::Only(vec![client.public]),
        };
        let (before, key) = (only(&server, &client), Some(client.public));
        assert!(still_admits(&before, &before, key));
        assert!(!still_admits(&before, &only(&server, &stranger), key));
        assert!(!still_admits(&before, &only(&stranger, &client), key));
        assert!(!still_admits(&before, &Security::Null, key));
        assert!(!still_admits(&Security::Null, &before, None));
        assert!(still_admits(&Security::Null, &Security::Null, None));
    }
}
