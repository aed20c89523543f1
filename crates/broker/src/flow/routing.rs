//! The targets of a message: the snapshot of the routing table and the memos in front of it.
//!
//! The table is replaced as a whole and read without a lock. A publisher and a peer task each keep
//! a memo from topic to targets, so that a message costs one comparison with the previous topic or
//! one hash lookup; a memo forgets everything when the table's version moves.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use rustc_hash::FxHashMap;

use broker_proto::json::message::is_reserved;
use broker_proto::routes::{Origin, RoutingTable};
use broker_proto::{EndpointId, Topic};

use crate::config::MEMO_TOPICS_MAX;
use crate::flow::joint_end::{JOINT_TARGETS_MIN, JointEnd};
use crate::flow::target::{Target, TargetKind};
use crate::flow::topic_counts::{TopicCounter, TopicCounts};
use crate::lock::Lock;

/// The targets of a topic. Topics with the same targets share one list, so that comparing pointers
/// tells whether two messages go the same way.
pub(crate) type TargetList = Arc<Targets>;

/// Those that a message goes to, and what they get together.
#[derive(Debug)]
pub(crate) struct Targets {
    list: Box<[Target]>,
    /// There if they are many, and their mailboxes can share runs in the making.
    joint: Option<JointEnd>,
    /// Whether what goes to the list carries a mark; local consumers do not look at it.
    is_marked: bool,
    /// Whether some of them are peers, so that what goes to the list is sent by this endpoint.
    goes_on: bool,
    /// Whether the endpoint has several peers, so that a message may come in several ways.
    has_several_peers: bool,
    /// Whether they are nobody because the peer is not heard under the topic. See ADR 0150.
    is_closed: bool,
    /// Whether messages may circle: they go on to peers, and not all peers know marks.
    is_watched: bool,
    /// Peers that get the same without the mark.
    unmarked: Box<[Target]>,
}

impl Targets {
    pub(crate) fn new(list: Vec<Target>) -> TargetList {
        let is_joint =
            list.len() >= JOINT_TARGETS_MIN && list.iter().all(|target| target.mailbox.may_join());
        let goes_on = list.iter().any(|target| target.kind.is_peer());
        Arc::new(Self {
            goes_on,
            list: list.into(),
            joint: is_joint.then(JointEnd::default),
            is_marked: false,
            has_several_peers: false,
            is_closed: false,
            is_watched: false,
            unmarked: Box::default(),
        })
    }

    /// Those who get a message to everybody: with several peers, siblings get it with a mark.
    pub(crate) fn of_all(list: Vec<Target>, has_several_peers: bool) -> TargetList {
        let is_marked = has_several_peers && list.iter().any(|target| target.kind.keeps_marks());
        let (unmarked, list) = list
            .into_iter()
            .partition(|target| is_marked && target.kind == TargetKind::Peer);
        let mut targets = Self::new(list);
        if let Some(targets) = Arc::get_mut(&mut targets) {
            targets.is_marked = is_marked;
            targets.has_several_peers = has_several_peers;
            targets.unmarked = Vec::into_boxed_slice(unmarked);
        }
        targets
    }

    /// Those who get a message to everybody from there.
    fn of_origin(
        table: &RoutingTable<Target>,
        origin: Origin,
        list: Vec<Target>,
        is_closed: bool,
    ) -> TargetList {
        let has_several_peers = has_several_peers(table);
        let is_watched = has_several_peers
            && matches!(origin, Origin::Peer(_))
            && list.iter().any(|target| target.kind.is_peer())
            && has_strangers(table);
        let mut targets = Self::of_all(list, has_several_peers);
        if let Some(targets) = Arc::get_mut(&mut targets) {
            targets.is_closed = is_closed;
            targets.is_watched = is_watched;
        }
        targets
    }

    /// Whether this is what [`of_all`](Self::of_all) makes of these.
    fn is_of(&self, list: &[Target]) -> bool {
        let is_unmarked = |target: &&Target| self.is_marked && target.kind == TargetKind::Peer;
        self.list.len() + self.unmarked.len() == list.len()
            && list.iter().filter(|it| !is_unmarked(it)).eq(&*self.list)
            && list.iter().filter(is_unmarked).eq(&*self.unmarked)
    }

    /// Some of them, that get messages without a mark.
    pub(crate) fn only(&self, wants: impl Fn(&Target) -> bool) -> TargetList {
        let all = self.list.iter().chain(&self.unmarked);
        Self::new(all.filter(|target| wants(target)).cloned().collect())
    }

    /// Whether what goes to the list carries a mark.
    pub(crate) fn is_marked(&self) -> bool {
        self.is_marked
    }

    /// Whether some of those who get it together are peers. Without any, a frame keeps the peer that it
    /// came from as its sender.
    pub(crate) fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// Whether the endpoint had several peers when the list was made.
    pub(crate) fn has_several_peers(&self) -> bool {
        self.has_several_peers
    }

    /// Whether the peer that messages come from is not heard under the topic.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether it is looked out for messages that circle.
    pub(crate) fn is_watched(&self) -> bool {
        self.is_watched
    }

    /// Peers beside the list, that get the same without the mark; none where there is no mark.
    pub(crate) fn unmarked(&self) -> &[Target] {
        &self.unmarked
    }

    /// Where small messages for all of them are collected.
    pub(crate) fn joint(&self) -> Option<&JointEnd> {
        self.joint.as_ref()
    }
}

impl Deref for Targets {
    type Target = [Target];

    fn deref(&self) -> &[Target] {
        &self.list
    }
}

/// The routing table of an endpoint.
pub(crate) struct Routes {
    /// How much goes where, found together with the targets.
    pub(crate) topic_counts: TopicCounts,
    table: ArcSwap<RoutingTable<Target>>,
    /// Tells the tables of one endpoint from those of another.
    serial: u64,
    /// That of the table, for memos: looking at it is cheaper than holding the table.
    version: AtomicU64,
    /// Changes are made one at a time on a copy.
    writer: Lock<()>,
    changed: OnceLock<OnChange>,
}

/// Is told of every change, on the thread that made it. It must not wait.
type OnChange = Box<dyn Fn() + Send + Sync>;

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routes")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// Names one table among all that this process ever has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TableStamp {
    serial: u64,
    version: u64,
}

impl Routes {
    pub(crate) fn new(table: RoutingTable<Target>) -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        Self {
            topic_counts: TopicCounts::default(),
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            version: AtomicU64::new(table.version()),
            table: ArcSwap::from_pointee(table),
            writer: Lock::new(()),
            changed: OnceLock::new(),
        }
    }

    /// The current snapshot.
    pub(crate) fn load(&self) -> arc_swap::Guard<Arc<RoutingTable<Target>>> {
        self.table.load()
    }

    /// Which table the current one is. What is loaded afterwards may be newer, never older.
    pub(crate) fn stamp(&self) -> TableStamp {
        TableStamp {
            serial: self.serial,
            version: self.version.load(Ordering::Acquire),
        }
    }

    /// Has changes told to `told`, from now on. Only the first call counts.
    pub(crate) fn tell_changes(&self, told: impl Fn() + Send + Sync + 'static) {
        let _first = self.changed.set(Box::new(told));
    }

    /// Changes the table.
    pub(crate) fn update(&self, change: impl FnOnce(&mut RoutingTable<Target>)) {
        let one_at_a_time = self.writer.lock();
        let mut table = RoutingTable::clone(&self.table.load());
        change(&mut table);
        let version = table.version();
        self.table.store(Arc::new(table));
        // Behind the table: whoever sees the version finds the table.
        self.version.store(version, Ordering::Release);
        drop(one_at_a_time);
        if let Some(told) = self.changed.get() {
            told();
        }
    }
}

/// Everybody a message is handed to. Nothing with an empty topic leaves: older peers close the
/// connection on it. Spec: wire 12, ADR 0025. What one foreign peer sent is not passed on to
/// another, which may well be of the same cluster and send it back, unless both are links with rules. See
/// ADR 0085 and 0470.
pub(crate) fn audience(
    table: &RoutingTable<Target>,
    origin: Origin,
    receiver: EndpointId,
    topic: &[u8],
    forwarding: bool,
) -> Vec<Target> {
    let mut targets = table.targets(origin, receiver, topic, forwarding);
    if topic.is_empty() {
        targets.retain(|target| !target.kind.is_peer());
    }
    if let Some(hop) = foreign_hop(table, origin) {
        let is_link = table.link_rules(hop).is_some();
        targets.retain(|target| {
            let is_joined = || is_link && table.linked_peers().any(|(_, it)| it == target);
            !target.kind.is_foreign() || is_joined()
        });
    }
    if is_reserved(topic) {
        targets.retain(|target| !target.kind.is_foreign() || target.kind.carries_stores());
    }
    targets
}

/// Whether a message may come to this endpoint in several ways.
pub(crate) fn has_several_peers(table: &RoutingTable<Target>) -> bool {
    table.peer_count() > 1
}

/// Whether there are peers that know no marks.
pub(crate) fn has_strangers(table: &RoutingTable<Target>) -> bool {
    table
        .peers()
        .any(|(_, _, target)| !target.kind.keeps_marks())
}

/// The peer that a message came from, if it is a foreign one.
fn foreign_hop(table: &RoutingTable<Target>, origin: Origin) -> Option<EndpointId> {
    let (Origin::Peer(hop) | Origin::Spoofed(hop)) = origin else {
        return None;
    };
    let is_foreign = table.peer(hop).is_some_and(|it| it.kind.is_foreign());
    is_foreign.then_some(hop)
}

/// A topic, its targets, and what counts its messages.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) topic: Topic,
    pub(crate) targets: TargetList,
    pub(crate) counter: Arc<TopicCounter>,
}

/// Remembers the targets of topics for one origin.
#[derive(Debug)]
pub(crate) struct TopicMemo {
    origin: Origin,
    forwarding: bool,
    /// Of the table that everything below is from; `None` before the first look-up.
    version: Option<u64>,
    topics: FxHashMap<Topic, Entry>,
    /// Every distinct list handed out under the current version.
    lists: Vec<TargetList>,
    /// The previous message's.
    last: Entry,
    /// Messages of the last entry that its counter does not know of yet.
    received: (u64, u64),
}

impl TopicMemo {
    pub(crate) fn new(origin: Origin, forwarding: bool) -> Self {
        Self {
            origin,
            forwarding,
            version: None,
            topics: FxHashMap::default(),
            lists: Vec::new(),
            last: Entry {
                topic: Topic::from(""),
                targets: Targets::new(Vec::new()),
                counter: Arc::default(),
            },
            received: (0, 0),
        }
    }

    /// The targets of a data message to everybody.
    #[inline]
    pub(crate) fn targets(&mut self, routes: &Routes, topic: &[u8]) -> &TargetList {
        &self.entry(routes, topic).targets
    }

    /// What the last look-up found.
    #[inline]
    pub(crate) fn last_targets(&self) -> &TargetList {
        &self.last.targets
    }

    /// As [`targets`](Self::targets), with a topic that can be kept.
    #[inline]
    pub(crate) fn entry(&mut self, routes: &Routes, topic: &[u8]) -> &Entry {
        let version = Some(routes.version.load(Ordering::Acquire));
        if self.version != version || self.last.topic.as_bytes() != topic {
            self.flush_counts();
            self.last = self.look_up(routes, version, topic);
        }
        &self.last
    }

    /// Counts a message that came under the topic of the last look-up.
    #[inline]
    pub(crate) fn count_received(&mut self, bytes: usize) {
        self.received.0 += 1;
        self.received.1 += bytes as u64;
    }

    /// Has the counters know of what was counted.
    pub(crate) fn flush_counts(&mut self) {
        let (messages, bytes) = std::mem::take(&mut self.received);
        if messages > 0 {
            self.last.counter.count_received(messages, bytes);
        }
    }

    /// Apart from the comparison with the last message, which nearly always suffices.
    #[inline(never)]
    fn look_up(&mut self, routes: &Routes, version: Option<u64>, topic: &[u8]) -> Entry {
        if self.version == version
            && let Some(entry) = self.topics.get(topic)
        {
            return entry.clone();
        }
        // It may be newer than the version, never older.
        let table = routes.load();
        let version = Some(table.version());
        if self.version != version {
            self.forget();
            self.version = version;
        }
        let targets = audience(&table, self.origin, EndpointId::NIL, topic, self.forwarding);
        if self.topics.len() >= MEMO_TOPICS_MAX {
            self.forget();
        }
        let is_closed = table.is_closed(self.origin, topic);
        let is_same = |list: &&TargetList| list.is_closed == is_closed && list.is_of(&targets);
        let known = self.lists.iter().find(is_same).cloned();
        let list = known.unwrap_or_else(|| {
            let list = Targets::of_origin(&table, self.origin, targets, is_closed);
            self.lists.push(list.clone());
            list
        });
        let entry = Entry {
            topic: Topic::from(topic),
            targets: list,
            counter: routes.topic_counts.find(topic),
        };
        self.topics.insert(entry.topic.clone(), entry.clone());
        entry
    }

    /// Drops everything but the last entry, which the caller replaces, and with it the references to
    /// mailboxes of those who left.
    fn forget(&mut self) {
        self.topics.clear();
        self.lists.clear();
    }
}

/// A memo that several threads look into.
#[derive(Debug)]
pub(crate) struct SharedMemo {
    origin: Origin,
    memo: Lock<TopicMemo>,
}

impl SharedMemo {
    pub(crate) fn new(origin: Origin) -> Self {
        Self {
            origin,
            memo: Lock::new(TopicMemo::new(origin, true)),
        }
    }

    /// The origin whose messages it is for.
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// The targets of a data message to everybody, the topic, and what counts it.
    pub(crate) fn entry(&self, routes: &Routes, topic: &[u8]) -> Entry {
        let mut memo = self.memo.lock();
        memo.entry(routes, topic).clone()
    }
}
